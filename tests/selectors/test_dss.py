"""`base` and `mda` (algorithms/dss.md §1–2): worked numbers, a plain reimplementation, and what must not matter."""

import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cleanlab.count import compute_confident_joint
from rich.console import Console

from sfa_bench.config.canonical import hashes
from sfa_bench.config.compose import compose
from sfa_bench.data import build as build_data
from sfa_bench.engine.build import build_method
from sfa_bench.engine.run import run
from sfa_bench.errors import ConfigError
from sfa_bench.replay import replay
from sfa_bench.selectors.base import Probe
from sfa_bench.selectors.dss import MarginalAlignment, PredictedLabel
from sfa_bench.store.record import command


def seen(p, labels, rows=None):
    """A probe of a network that predicts these probabilities."""
    p = np.asarray(p, dtype=np.float64)
    return Probe(np.zeros((len(p), 1), np.float32), np.log(p).astype(np.float32), None, np.asarray(labels), rows)


def random_probe(seed, n=60, num_classes=4):
    """Noisy labels of a long tail, and a network that leans to the large classes."""
    rng = np.random.default_rng(seed)
    prior = 0.6 ** np.arange(num_classes)
    clean = rng.choice(num_classes, n, p=prior / prior.sum())
    labels = np.where(rng.random(n) < 0.3, rng.integers(0, num_classes, n), clean)
    logits = rng.normal(size=(n, num_classes)) + 2 * np.eye(num_classes)[clean] + np.log(prior)
    return Probe(np.zeros((n, 1), np.float32), logits.astype(np.float32), None, labels)


def aligned(num_classes, marginal=None, **options):
    """`mda` that knows this marginal; batches of which it sees none."""
    uniform = np.full(num_classes, 1 / num_classes)
    found = MarginalAlignment(num_classes, **{"prior": uniform, "momentum": 0.99, "batch": None, **options})
    if marginal is not None:
        found.marginal = torch.tensor(marginal, dtype=torch.float32)
    return found


def plainly(probe, marginal, prior):
    """algorithms/dss.md §2, sample by sample."""
    mask, own = [], []
    for logits, label in zip(probe.logits.astype(float), probe.observed_labels, strict=True):
        moved = [math.exp(z) * r / m for z, r, m in zip(logits, prior, marginal, strict=True)]
        moved = [value / sum(moved) for value in moved]
        mask.append(moved[label] >= max(moved) * (1 - 1e-6))
        own.append(moved[label])
    return mask, own


def test_the_worked_numbers_of_moved_predictions():
    probe = seen([[0.6, 0.3, 0.1]] * 3, [0, 1, 2])
    selection = aligned(3, [0.5, 0.3, 0.2]).select(probe, 1)
    assert selection.clean_probability == pytest.approx([0.444444, 0.370370, 0.185185], abs=1e-5)
    assert selection.mask.tolist() == [True, False, False]
    assert selection.class_counts.tolist() == [1, 0, 0]
    assert selection.fallbacks == {"class_without_clean_sample": 2}


def test_the_worked_numbers_of_the_running_mean():
    watching = aligned(3)
    watching.watch(torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])))
    assert watching.marginal.tolist() == pytest.approx([0.334, 0.335, 0.331], abs=1e-5)
    following = aligned(3, batch=2)  # the same two samples as one batch of the epoch before
    following.select(seen([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], [0, 1]), 2)
    assert following.marginal.tolist() == pytest.approx([0.334, 0.335, 0.331], abs=1e-5)


def test_a_network_that_always_predicts_the_head_leaves_no_tail_to_base_and_everything_to_mda():
    labels = np.array([0] * 95 + [1] * 5)
    probe = seen([[0.7, 0.3]] * 100, labels)
    assert PredictedLabel().select(probe, 1).class_counts.tolist() == [95, 0]
    assert aligned(2, [0.7, 0.3]).select(probe, 1).class_counts.tolist() == [95, 5]  # ties are the label's


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_classes", [2, 4, 100])
def test_both_do_as_a_plain_reimplementation(seed, num_classes):
    probe = random_probe(seed, num_classes=num_classes)
    rng = np.random.default_rng(seed)
    marginal, prior = rng.dirichlet(np.ones(num_classes), 2).astype(np.float32)
    uniform = np.full(num_classes, 1 / num_classes)
    for selector, m, r in (
        (PredictedLabel(), uniform, uniform),
        (aligned(num_classes, marginal), marginal, uniform),
        (aligned(num_classes, marginal, prior=prior), marginal, prior),
    ):
        selection, (mask, own) = selector.select(probe, 3), plainly(probe, m, r)
        assert selection.mask.tolist() == mask
        assert selection.clean_probability == pytest.approx(own, abs=1e-6)
        assert np.array_equal(selection.score, selection.clean_probability)
    assert not np.array_equal(PredictedLabel().select(probe, 3).mask, selection.mask)


def test_the_mean_of_a_pass_is_taken_for_each_batch_that_was_trained_on_since():
    probes, n, batch = [random_probe(seed) for seed in range(3)], 60, 16
    selector, expected, trained = aligned(4, batch=batch), np.full(4, 0.25), 0
    for probe, epoch in zip(probes, (3, 4, 7), strict=True):  # a warm-up of two epochs, and two epochs without a pass
        mean = F.softmax(torch.from_numpy(probe.logits).double(), dim=1).mean(dim=0).numpy()
        for _ in range((epoch - 1 - trained) * math.ceil(n / batch)):
            expected = 0.99 * expected + 0.01 * mean
        trained = epoch - 1
        selection = selector.select(probe, epoch)
        assert selector.marginal.numpy() == pytest.approx(expected, abs=1e-6)
        assert selection.mask.tolist() == plainly(probe, expected, np.full(4, 0.25))[0]


def test_before_the_first_batch_it_is_base():
    probe = random_probe(1)
    assert np.array_equal(aligned(4, batch=8).select(probe, 1).mask, PredictedLabel().select(probe, 1).mask)


def test_a_momentum_of_zero_goes_by_the_last_pass_alone():
    selector = aligned(4, momentum=0.0, batch=8)
    selector.select(random_probe(0), 2)
    probe = random_probe(1)
    selector.select(probe, 3)
    mean = F.softmax(torch.from_numpy(probe.logits).double(), dim=1).mean(dim=0)
    assert selector.marginal.numpy() == pytest.approx(mean.numpy(), abs=1e-6)


def test_the_estimated_prior_is_the_confident_joints():
    probe = random_probe(2, n=300)
    p = F.softmax(torch.from_numpy(probe.logits).double(), dim=1).numpy()
    joint = compute_confident_joint(probe.observed_labels, p, calibrate=True)
    marginal = p.mean(axis=0)
    selection = aligned(4, marginal, prior=None).select(probe, 1)
    assert selection.mask.tolist() == plainly(probe, marginal, joint.sum(axis=0) / joint.sum())[0]
    assert selection.mask.tolist() != plainly(probe, marginal, np.full(4, 0.25))[0]


@pytest.mark.parametrize("prior", ["uniform", "observed", "estimated"])
@pytest.mark.parametrize("source", ["probe", "training"])
def test_order_of_samples_and_names_of_classes_do_not_matter(prior, source):
    probe, rng = random_probe(3, n=200), np.random.default_rng(0)
    order, names = rng.permutation(200), rng.permutation(4)
    renamed = Probe(
        probe.features, probe.logits[order][:, np.argsort(names)], None, names[probe.observed_labels[order]]
    )
    masks = []
    for one in (probe, renamed):
        given = {"uniform": np.full(4, 0.25), "observed": np.bincount(one.observed_labels, minlength=4) / 200}
        selector = aligned(4, prior=given.get(prior), momentum=0.5, batch=16 if source == "probe" else None)
        if source == "training":
            selector.watch(torch.from_numpy(one.logits))
        masks.append(selector.select(one, 4).mask)
    assert np.array_equal(masks[0][order], masks[1])


def test_absent_classes_a_sample_of_its_own_and_equal_predictions():
    labels = np.array([0] * 10 + [1])
    flat = seen(np.full((11, 4), 0.25), labels)
    for selector in (
        PredictedLabel(),
        aligned(4, batch=4),
        aligned(4, prior=np.array([10, 1, 0, 0]) / 11, momentum=0, batch=4),
        aligned(4, prior=None, momentum=0, batch=4),
    ):
        selection = selector.select(flat, 2)
        assert np.isfinite(selection.clean_probability).all()
        assert selection.mask[:10].all()
        assert selection.class_counts.tolist()[2:] == [0, 0]
    assert PredictedLabel().select(flat, 2).mask.all()  # no class is predicted more than another
    assert not aligned(4, prior=np.array([10, 1, 0, 0]) / 11).select(flat, 2).mask[10]
    alone = aligned(4, prior=None, batch=4).select(seen([[0.9, 0.1, 1e-30, 1e-30]], [1]), 5)
    assert np.isfinite(alone.clean_probability).all()


# ---- in a run

WORDS = ["dataset=synthetic", "dataset.size=60", "dataset.classes=4", "epochs=4", "warmup_epochs=2", "batch_size=8"]
WORDS += ["threads=1", "imb_factor=0.3", "plugin=none", "method.selector.name=mda"]


def made(*more):
    config = compose([*WORDS, *more])
    return build_method(config, build_data(config), [torch.device("cpu")])


@pytest.mark.parametrize("learner", ["ce", "dividemix"])
def test_it_watches_exactly_the_forwards_with_a_gradient(learner, monkeypatch):
    watched = []
    monkeypatch.setattr(MarginalAlignment, "watch", lambda self, logits: watched.append((id(self), len(logits))))
    method = made(f"method={learner}", "method.selector.source=training")
    for e in (1, 2, 3):
        before = method.cost.trained
        watched.clear()
        method.epoch(e)
        assert sum(size for _, size in watched) == method.cost.trained - before
        assert {who for who, _ in watched} == {id(selector) for selector in method.training.selectors}
    other = made(f"method={learner}")
    watched.clear()
    other.epoch(1)
    assert watched == []


def test_in_training_it_follows_the_batches_one_by_one(monkeypatch):
    method = made("method=ce", "method.selector.source=training")
    (selector,), logits = method.training.selectors, []
    original = selector.watch
    monkeypatch.setattr(selector, "watch", lambda z: (logits.append(z.clone()), original(z)))
    for e in (1, 2, 3):
        method.epoch(e)
    expected = torch.full((4,), 0.25, dtype=torch.float64)
    for z in logits:
        expected = 0.99 * expected + 0.01 * F.softmax(z.double(), dim=1).mean(dim=0)
    assert len(logits) > 10
    assert selector.marginal.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_what_it_watched_in_a_warm_up_is_nobody_elses_and_a_replay_cannot_see_it(tmp_path):
    usual, watching = (compose([*WORDS, f"method.selector.source={source}"]) for source in ("probe", "training"))
    assert hashes(usual).warmup == hashes(compose([*WORDS, "method.selector.name=base"])).warmup is not None
    assert hashes(watching).warmup is None
    typed = [*WORDS, "method=ce", "method.selector.source=training", "record.probes=1", f"runs_dir={tmp_path}"]
    path = run(compose(typed), command(typed, None), Console(file=io.StringIO()))
    with pytest.raises(ConfigError, match=r"sees the batches of training.* set method.selector.source=probe"):
        replay([path], [])
    table, notes = replay([path], ["method.selector.source=probe,training"])
    assert list(table["epoch"]) == [3, 4]
    (note,) = notes
    assert note.startswith(f"not valid: method.selector.source=training for {path.parent.name}/{path.name}: ")


def test_a_replay_with_every_epoch_is_what_training_selected(tmp_path):
    typed = [*WORDS, "method=dividemix", "record.probes=1", f"runs_dir={tmp_path}"]
    path = run(compose(typed), command(typed, None), Console(file=io.StringIO()))
    table, notes = replay([path], [])
    assert list(table["like_training"]) == [1, 1]
    assert notes == []
    assert list(replay([path], ["method.selector.name=base"])[0]["like_training"]) != [1, 1]


def test_the_preset_is_the_papers_schedule():
    config = compose(["+preset=dss", "dataset=cifar10"])
    effective = config.recipe.effective
    assert (config.epochs, effective.plain_batch, config.lr, effective.lr_drop_epoch) == (150, 128, 0.02, 81)
    assert (config.recipe.momentum, config.recipe.weight_decay, config.recipe.lr_drop) == (0.9, 1e-3, 0.1)
    assert config.model.name == "preact_resnet18"
    assert (config.names["method"], config.names["plugin"], config.method.average_over) == ("ccs", "none", "batch")
    selector = config.method.selector
    assert (selector.name, selector.source, selector.momentum, selector.prior) == ("mda", "training", 0.99, "uniform")
    assert (config.method.loss.level, config.method.loss.window, config.method.loss.transferred) == (0.1, 30, True)
