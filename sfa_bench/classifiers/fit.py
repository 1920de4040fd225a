"""Fits one classifier for each network of a trained method, on its own backbone and its own last selection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfa_bench import streams
from sfa_bench.choices.classifiers import CLASSIFIERS
from sfa_bench.choices.code import load
from sfa_bench.classifiers.heads import NearestClassMean, PriorSubtracted, ScaledWeights, TauNormalised
from sfa_bench.classifiers.sampler import class_aware
from sfa_bench.data.loader import AnyLoader
from sfa_bench.data.types import EvaluationSet, Images
from sfa_bench.errors import RunError
from sfa_bench.methods.base import Method
from sfa_bench.parts.prototypes import centre_and_normalise, instant_centroids

TAUS = [round(0.1 * i, 1) for i in range(21)]
WEIGHT_DECAY = 5e-4


@dataclass
class Fitted:
    """The classifiers of all networks, and figures about the fit."""

    method: Method
    heads: list[nn.Module]
    figures: dict[str, Any] = field(default_factory=dict)

    def predict(self, images: Images) -> list[dict[str, np.ndarray]]:
        """Test-view logits [M, K] of M images or vectors, under `main`, for each network."""
        answers = []
        for k, head in enumerate(self.heads):
            loader = self.method.loader_of(images)
            features = _features(self.method, k, loader, torch.arange(len(images)))
            with torch.no_grad():
                answers.append({"main": head(features).cpu().numpy()})
        return answers


def fit(
    name: str,
    method: Method,
    *,
    bn_mode: str = "eval",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    tau: float | None = None,
    val: EvaluationSet | None = None,
    running_means: bool = False,
    on_step: Callable[[], None] = lambda: None,
) -> Fitted:
    """Fit a classifier (choices/classifiers.py) to each network.

    Args: bn_mode: `eval` keeps the backbone's batch statistics, `train` lets them drift as the release (Q47);
    epochs, batch_size, lr: of crt and lws; tau: of tau_norm (None: chosen on `val`, else on class-aware sampled
    training features) and logit_adjust; running_means: ncm takes the last selection's prototypes and mean (SFA's μ).
    Raises: RunError where a network has nothing selected to fit on.
    """
    code = CLASSIFIERS[name].code
    if code is None:
        raise ValueError(f"classifier={name} is the one that a network has already")
    fitted = Fitted(method, [])
    for k in range(len(method.networks)):
        rows = _rows(method, k)
        network = method.networks[k]
        network.requires_grad_(False)
        network.eval()
        head, figures = load(code)(
            FitInputs(method, k, rows, bn_mode, epochs, batch_size, lr, tau, val, running_means, on_step)
        )
        fitted.heads.append(head.to(method.devices[k]))
        fitted.figures[f"network_{k + 1}"] = {"samples": len(rows), **figures}
    return fitted


class FitInputs(NamedTuple):
    """The inputs of one network's classifier: arguments of `fit`, and the rows [n] to learn from."""

    method: Method
    k: int
    rows: Tensor
    bn_mode: str
    epochs: int | None
    batch_size: int | None
    lr: float | None
    tau: float | None
    val: EvaluationSet | None
    running_means: bool
    on_step: Callable[[], None]

    @property
    def linear(self) -> nn.Linear:
        """The network's own linear classifier."""
        main = self.method.networks[self.k].main
        assert isinstance(main, nn.Linear)
        return main


Made = tuple[nn.Module, dict[str, Any]]  # the head, and figures about it


def retrained(inputs: FitInputs) -> Made:
    return _trained(inputs, _fresh_linear(inputs.method, inputs.k))


def scaled(inputs: FitInputs) -> Made:
    return _trained(inputs, ScaledWeights(inputs.linear))


def _trained(inputs: FitInputs, head: nn.Module) -> Made:
    assert inputs.epochs
    assert inputs.batch_size
    assert inputs.lr
    schedule = inputs.epochs, inputs.batch_size, inputs.lr
    return head, _train(inputs.method, inputs.k, head, inputs.rows, *schedule, inputs.bn_mode, inputs.on_step)


def normalised(inputs: FitInputs) -> Made:
    curve = _curve(inputs.method, inputs.k, inputs.rows, inputs.linear, inputs.val)
    chosen = inputs.tau if inputs.tau is not None else max(curve, key=lambda t: (curve[t], -t))
    return TauNormalised(inputs.linear, chosen), {"tau": chosen, "curve": curve}


def nearest_mean(inputs: FitInputs) -> Made:
    return _nearest(inputs.method, inputs.k, inputs.rows, inputs.running_means), {}


def prior_subtracted(inputs: FitInputs) -> Made:
    method, tau = inputs.method, 1.0 if inputs.tau is None else inputs.tau
    counts = method.counts_of(inputs.rows, _labels(method, inputs.k)).to(method.devices[inputs.k])
    return PriorSubtracted(method.networks[inputs.k].main, counts, tau), {}


def _labels(method: Method, k: int) -> Tensor:
    """The labels that network k last trained on [N]."""
    return method.labels_of(method.selections[k] if method.selections else None)


def _rows(method: Method, k: int) -> Tensor:
    """The last selection of network k, or all samples."""
    if not method.selections:
        return torch.arange(len(method.labels))
    rows = torch.from_numpy(method.selections[k].mask).nonzero()[:, 0]
    if len(rows) == 0:
        raise RunError(f"network {k + 1} selected no sample at the end: there is nothing to fit a classifier on")
    return rows


def _features(method: Method, k: int, loader: AnyLoader, rows: Tensor) -> Tensor:
    """Evaluation-mode features [n, d] of the test view."""
    network = method.networks[k]
    network.eval()
    with torch.no_grad():
        views = loader.test_views(rows.split(method.training.evaluation_batch))
        return torch.cat([network.features(images.to(method.devices[k])) for images in views])


def _fresh_linear(method: Method, k: int) -> nn.Linear:
    network = method.networks[k]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(streams.derive(method.training.seed, "classifier", k))
        return nn.Linear(network.feature_width, method.training.view.num_classes).to(method.devices[k])


def _train(
    method: Method,
    k: int,
    head: nn.Module,
    rows: Tensor,
    epochs: int,
    batch_size: int,
    lr: float,
    bn_mode: str,
    on_step: Callable[[], None],
) -> dict[str, Any]:
    """CE under class-aware sampling, the rate falling as a cosine, stepped after each epoch (Q48)."""
    network, device = method.networks[k], method.devices[k]
    optimiser = torch.optim.SGD(
        (p for p in head.parameters() if p.requires_grad), lr=lr, momentum=0.9, weight_decay=WEIGHT_DECAY
    )
    steps = max(1, len(rows) // batch_size)
    losses, labels = [], _labels(method, k)
    for e in range(1, epochs + 1):
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(lr, e, epochs)
        method.prepare(k, e)
        network.train(bn_mode == "train")
        generator = streams.torch_generator(method.training.seed, "class_aware", k, e)
        augmentation = streams.torch_generator(method.training.seed, "classifier_augmentation", k, e)
        order = class_aware(rows, labels, steps * batch_size, generator)
        total = 0.0
        parts = order.split(batch_size)
        for index, (images,) in zip(parts, method.loaders[device].train_views(parts, augmentation), strict=True):
            on_step()
            with torch.no_grad():
                features = network.features(images)
            loss = F.cross_entropy(head(features), labels[index].to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise RunError(
                f"the loss of the classifier on network {k + 1} is not finite in its epoch {e}; a smaller "
                "classifier.lr may help"
            )
        losses.append(total / steps)
    network.eval()
    return {"loss": losses}


def cosine_rate(lr: float, epoch: int, epochs: int) -> float:
    """From lr in epoch 1 towards 0 after the last."""
    return lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2


def _curve(method: Method, k: int, rows: Tensor, main: nn.Linear, val: EvaluationSet | None) -> dict[float, float]:
    """τ → accuracy in percent: on the validation set, else the mean over classes of sampled training features."""
    device = method.devices[k]
    if val is not None:
        features = _features(method, k, method.loader_of(val.images), torch.arange(len(val.labels)))
        labels = val.labels.to(device)
    else:
        sampled = class_aware(
            rows, _labels(method, k), len(rows), streams.torch_generator(method.training.seed, "class_aware", k)
        )
        features = _features(method, k, method.loaders[device], sampled)
        labels = _labels(method, k)[sampled].to(device)
    curve = {}
    for tau in TAUS:
        right = TauNormalised(main, tau)(features).argmax(dim=1) == labels
        if val is None:
            each = [right[labels == c].float().mean() for c in labels.unique()]
            curve[tau] = 100 * float(torch.stack(each).mean())
        else:
            curve[tau] = 100 * float(right.float().mean())
    return curve


def _nearest(method: Method, k: int, rows: Tensor, running_means: bool) -> NearestClassMean:
    if running_means:
        selection = method.selections[k]
        assert selection.prototypes is not None
        assert selection.center is not None
        return NearestClassMean(torch.from_numpy(selection.prototypes), torch.from_numpy(selection.center))
    device, count = method.devices[k], len(method.labels)
    features = _features(method, k, method.loaders[device], torch.arange(count)).cpu().numpy()
    unit, center = centre_and_normalise(features)
    used = np.zeros(count, dtype=bool)
    used[rows.numpy()] = True
    prototypes, _ = instant_centroids(unit, _labels(method, k).numpy(), used, method.training.view.num_classes)
    return NearestClassMean(torch.from_numpy(prototypes), torch.from_numpy(center))
