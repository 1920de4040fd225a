"""The documented example of a selector: its votes against scikit-learn's classifier, left out row by row."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from sfa_bench.selectors.base import Probe, Thresholds

PATH = Path(__file__).resolve().parents[2] / "docs" / "examples" / "neighbours.py"
spec = importlib.util.spec_from_file_location("neighbours", PATH)
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)

SIZES = [50, 20, 8]


def probe(seed=0):
    """A long tail of three clusters, of which a third of the labels are wrong."""
    rng = np.random.default_rng(seed)
    clean = np.repeat(np.arange(3), SIZES)
    observed = np.where(rng.random(len(clean)) < 0.3, rng.permutation(clean), clean)
    features = (rng.normal(size=(len(clean), 6)) + 3 * np.eye(3, 6)[clean]).astype(np.float32)
    return Probe(features, rng.normal(size=(len(clean), 3)), None, observed), clean


@pytest.mark.parametrize("rarity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("k", [3, 10])
def test_the_score_is_the_share_of_votes_for_the_rows_own_label(k, rarity):
    seen, _ = probe()
    labels = seen.observed_labels
    unit = seen.features.astype(np.float64) - seen.features.astype(np.float64).mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    weight = 1 / np.bincount(labels) ** rarity
    selection = example.NeighbourVote(Thresholds(), neighbours=k, rarity=rarity).select(seen, 1)
    for i, label in enumerate(labels):
        others = np.arange(len(labels)) != i
        shares = KNeighborsClassifier(k).fit(unit[others], labels[others]).predict_proba(unit[i : i + 1])[0] * weight
        assert selection.score[i] == pytest.approx(shares[label] / shares.sum(), rel=1e-9)


def test_it_tells_clean_labels_from_wrong_ones():
    seen, clean = probe()
    selection = example.NeighbourVote(Thresholds()).select(seen, 1)
    assert roc_auc_score(clean == seen.observed_labels, selection.clean_probability) > 0.85
    assert np.array_equal(selection.class_counts, np.bincount(seen.observed_labels[selection.mask], minlength=3))


def test_its_thresholds_act():
    seen, _ = probe()
    masks = [
        example.NeighbourVote(Thresholds(**options)).select(seen, 1).mask
        for options in ({}, {"p_threshold": 0.99}, {"min_samples": 15})
    ]
    assert masks[1].sum() < masks[0].sum()
    rare = seen.observed_labels == 2
    assert masks[2][rare].all()
    assert not masks[0][rare].all()


def test_more_neighbours_than_samples_are_all_of_them():
    seen, _ = probe()
    few = Probe(seen.features[:4], seen.logits[:4], None, seen.observed_labels[:4])
    selection = example.NeighbourVote(Thresholds(), neighbours=50).select(few, 1)
    assert np.isfinite(selection.score).all()
