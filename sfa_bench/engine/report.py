"""Contents of the record beside accuracies: the data, selections, predictions and warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sfa_bench.data.images import ImageFiles
from sfa_bench.data.loader import pixels
from sfa_bench.data.types import Data
from sfa_bench.engine.metrics import Logits, ensemble, selection_metrics, test_metrics
from sfa_bench.methods.base import Method
from sfa_bench.parts.softmax import softmax
from sfa_bench.selectors.base import Probe, Selection

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig
    from sfa_bench.engine.state import RunState

LARGEST_CONFUSION = 20  # classes; beyond it the record holds the diagonal only
MOST_NUMBERS = 20_000_000  # probabilities of a network that are kept unasked
THUMBS, THUMB_SIZE = 64, 32  # images of `thumbs.npz`, and pixels of their longer side at most

_FALLBACKS = {
    "class_without_mixture": "{n} class(es) cannot be split (one sample, or equal scores): all their samples are kept",
    "class_without_clean_sample": "{n} class(es) have no sample that passes for clean",
    "class_without_gated_sample": "{n} class(es) have no sample above the gate; their centroids do without",
    "class_without_confident_sample": "{n} class(es) have no sample surer than its mean; their centroids take all",
    "class_with_one_component": "{n} class(es) have one component by their centroid: their predictions decide",
    "class_within_quota": "{n} class(es) have no more samples than the quota: all of them are kept",
}


def describe_data(config: RunConfig, data: Data) -> dict[str, Any]:
    """The `data` of a record: the images and labels, their long tail and noise."""
    confusion = data.confusion
    if confusion is not None and len(confusion) > LARGEST_CONFUSION:
        confusion = np.diagonal(confusion)
    return {
        "name": config.dataset.name,
        "fingerprints": data.fingerprints,
        "samples": {
            "train": len(data.index),
            "test": len(data.test.labels),
            "val": 0 if data.val is None else len(data.val.labels),
            **({} if data.fold is None else {"fold": len(data.fold.labels)}),
            **{name: len(part.labels) for name, part in data.more_tests.items()},
        },
        "skipped": list(data.skipped),
        "left_out": dict(data.left_out),
        "classes": None if data.class_names is None else list(data.class_names),
        "input": {
            "shape": list(data.view.images.shape[1:]),
            "mean": list(data.view.transform.mean),
            "std": list(data.view.transform.std),
        },
        "class_embeddings": None if data.view.class_embeddings is None else list(data.view.class_embeddings.shape),
        "drawn_with": dict(data.drawn_with),
        "clean_counts": data.clean_counts,
        "observed_counts": data.observed_counts,
        "noise_rate": data.noise_rate,
        "confusion": confusion,
        "groups": data.groups,
        "bayes": None if data.bayes is None else {"auc": data.bayes.auc, "accuracy": data.bayes.accuracy},
    }


def selection_row(method: Method, data: Data) -> dict[str, Any]:
    """The selection metrics of this epoch."""
    prior = None if data.clean_counts is None else data.clean_counts / data.clean_counts.sum()
    observed = data.view.observed_labels.numpy()
    return describe_selections(method.probes, method.selections, observed, data.clean_labels, data.groups, prior)


def describe_selections(
    probes: Sequence[Probe],
    selections: Sequence[Selection],
    observed: np.ndarray,
    clean: np.ndarray,
    groups: Mapping[str, Sequence[int]],
    clean_prior: np.ndarray | None,
) -> dict[str, Any]:
    """Metrics of one epoch's selections: the mean over the networks, and the networks' agreement.

    Args: one probe and selection a network; observed and clean labels [N], clean = -1 where unknown; groups of class
    ids; clean_prior [K], None where unknown.
    """
    # The networks' joint guess, without the augmentation of training's guesses; each network's own where each saw other
    # samples.
    guesses = [softmax(probe.logits, axis=1) for probe in probes]
    if selections[0].rows is None:
        guesses = [np.mean(guesses, axis=0)] * len(probes)
    each = []
    for selection, probe, guess in zip(selections, probes, guesses, strict=True):
        rows = slice(None) if selection.rows is None else selection.rows
        each.append(
            selection_metrics(
                selected=selection.mask[rows],
                clean_probability=selection.clean_probability[rows],
                score=selection.score[rows],
                observed=observed[rows],
                clean=clean[rows],
                groups=groups,
                num_classes=probe.num_classes,
                clean_prior=clean_prior,
                pseudo_labels=guess.argmax(axis=1),
                predictions=probe.logits.argmax(axis=1),
            )
        )
    row = {key: _mean([metrics[key] for metrics in each]) for key in each[0]}
    row |= _relabelled(selections, observed, clean)
    row["agreement"] = _agreement(selections)
    row["classes_drawn"] = _mean([selection.classes_drawn for selection in selections])
    row["inverted"] = _mean([selection.inverted for selection in selections])
    fallbacks: dict[str, int] = {}
    for selection in selections:
        for name, count in selection.fallbacks.items():
            fallbacks[name] = max(count, fallbacks.get(name, 0))
    row["fallbacks"] = fallbacks
    return row


def _relabelled(selections: Sequence[Selection], observed: np.ndarray, clean: np.ndarray) -> dict[str, float | None]:
    """Share of the selected samples whose label a selector has replaced, and how many of the new ones are right."""
    shares, right = [], []
    for selection in selections:
        if selection.labels is not None and selection.mask.any():
            new = selection.mask & (selection.labels != observed)
            shares.append(float(new.sum() / selection.mask.sum()))
            known = new & (clean >= 0)
            right.append(float((selection.labels == clean)[known].mean()) if known.any() else None)
    return {"relabelled": _mean(shares), "relabelled_acc": _mean(right)}


def _agreement(selections: Sequence[Selection]) -> float | None:
    """Share of the samples judged by both networks on which they agree."""
    if len(selections) != 2:
        return None
    both = np.ones(len(selections[0].mask), dtype=bool)
    for selection in selections:
        if selection.rows is not None:
            both &= np.isin(np.arange(len(both)), selection.rows)
    same = (selections[0].mask == selections[1].mask)[both]
    return float(same.mean()) if len(same) else None


def _mean(values: list[Any]) -> Any:
    """Mean of the defined values; lists elementwise."""
    defined = [value for value in values if value is not None]
    if not defined:
        return None
    return np.mean(defined, axis=0).tolist()


class Surprises:
    """Shows warnings about an epoch's selections, each kind once."""

    def __init__(self, state: RunState, say: Callable[[str], None]):
        self.state, self.say = state, say
        self.said: set[str] = set()

    def epoch(self, row: Mapping[str, Any]) -> None:
        """After an epoch."""
        for kind, sentence in surprises(self.state.method, row["selection"]):
            if kind not in self.said:
                self.said.add(kind)
                self.say(f"epoch {row['epoch']}: {sentence}")


def surprises(method: Method, row: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Warnings about an epoch's selections: (kind, sentence)."""
    if row is None:
        return
    for name, count in row["fallbacks"].items():
        yield name, _FALLBACKS[name].format(n=count)
    for k, selection in enumerate(method.selections):
        if not selection.mask.any():
            yield f"empty_{k}", f"network {k + 1} selects no sample: there is nothing to learn from until it does"


def tested(data: Data, logits: Logits, more_logits: Mapping[str, Logits], how: str) -> dict[str, Any]:
    """The figures of `test_metrics` for the test set, and under their own names for `data.more_tests`."""
    row = test_metrics(logits, data.test.labels.numpy(), how, data.groups)
    for name, answers in more_logits.items():
        metrics = test_metrics(answers, data.more_tests[name].labels.numpy(), how, data.groups)
        row |= {key.replace("test/", f"{name}/", 1): value for key, value in metrics.items()}
    return row


def saves_train_probability(config: RunConfig, data: Data) -> bool:
    """Whether `record.train_probability` asks for what the networks say of these training samples."""
    wanted = config.record.train_probability
    return len(data.index) * data.view.num_classes <= MOST_NUMBERS if wanted == "auto" else bool(wanted)


def predictions(
    method: Method,
    data: Data,
    logits: list[dict[str, np.ndarray]],
    more_logits: Mapping[str, list[dict[str, np.ndarray]]] = MappingProxyType({}),
    train_logits: list[dict[str, np.ndarray]] | None = None,
    fold_logits: list[dict[str, np.ndarray]] | None = None,
    how: str = "logit_sum",
) -> dict[str, np.ndarray]:
    """The arrays of `predictions.npz` (explanation/runs.md §4); per-network ones are stacked along the first axis.

    Args: logits of the test set for each network, and `more_logits` by name: of `data.more_tests`, and `test_at_val`,
    of the test set by each network as its own validation accuracy chose it; train_logits of the training samples, where
    they are to be kept, and fold_logits of the fold that was left out: both as the probabilities that the heads of each
    network give together, combined as `how` says.
    """
    arrays: dict[str, np.ndarray] = {
        "test_label": data.test.labels.numpy(),
        "index": data.index,
        "observed_label": data.view.observed_labels.numpy(),
        "clean_label": data.clean_labels,
    }
    if isinstance(data.view.images, ImageFiles):
        arrays["path"] = data.view.images.names
    for name, answers in {"test": logits, **more_logits}.items():
        for k, heads in enumerate(answers, start=1):
            for head, values in heads.items():
                arrays[f"{name}_logits_{k}_{head}"] = values
    for name, part in data.more_tests.items():
        arrays[f"{name}_label"] = part.labels.numpy()
    for name, of_networks in (("train", train_logits), ("held_out", fold_logits)):
        if of_networks is not None:
            probabilities = [np.exp(ensemble([heads], how)) for heads in of_networks]
            arrays[f"{name}_probability"] = np.stack(probabilities).astype(np.float16)
    if data.fold is not None and data.fold_index is not None:
        arrays |= {"held_out_index": data.fold_index, "held_out_label": data.fold.labels.numpy()}
    if data.bayes is not None:
        arrays["bayes_clean_probability"] = data.bayes.clean_probability.astype(np.float32)
    if method.selections:
        arrays["clean_probability"] = np.stack([s.clean_probability for s in method.selections]).astype(np.float32)
        arrays["selected"] = np.stack([s.mask for s in method.selections])
    return arrays


def thumbs(method: Method, data: Data) -> dict[str, np.ndarray] | None:
    """The arrays of `thumbs.npz`: up to 64 mislabelled training images; None where there are none.

    Those with the highest clean probability (mean of the networks), on which the selection errs most; without a
    selector, evenly spaced ones. image uint8 [n, H, W, C] of at most 32 pixels; index, observed_label and clean_label
    [n]; clean_probability float32 [n] where there is one.
    """
    wrong = np.flatnonzero((data.clean_labels >= 0) & (data.clean_labels != data.view.observed_labels.numpy()))
    images = data.view.images
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(wrong):
        return None
    if method.selections:
        each = np.stack([s.clean_probability for s in method.selections])
        drawn = ~np.isnan(each)  # only samples that a network has judged
        probability = np.where(drawn, each, 0).sum(axis=0) / np.maximum(drawn.sum(axis=0), 1)
        chosen = wrong[np.argsort(-probability[wrong], kind="stable")[:THUMBS]]
    else:
        chosen = wrong[np.unique(np.linspace(0, len(wrong) - 1, THUMBS).round().astype(int))]
    arrays = {
        "image": _small(pixels(images, chosen)).permute(0, 2, 3, 1).numpy(),
        "index": data.index[chosen],
        "observed_label": data.view.observed_labels.numpy()[chosen],
        "clean_label": data.clean_labels[chosen],
    }
    return arrays | ({"clean_probability": probability[chosen].astype(np.float32)} if method.selections else {})


def _small(images: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[2:]
    factor = THUMB_SIZE / max(height, width)
    if factor >= 1:
        return images
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return torch.nn.functional.interpolate(images.float(), size, mode="area").round().to(torch.uint8)
