"""Stochastic Feature Averaging: near a centroid *drawn* from a running Gaussian is clean (algorithms/sfa.md §1–6)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sfa_bench.errors import RunError
from sfa_bench.parts.mixtures import class_posteriors
from sfa_bench.parts.prototypes import centre_and_normalise, instant_centroids, label_scores, nearest_other
from sfa_bench.parts.softmax import softmax
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs, Thresholds

HIGHEST_GATE = 0.999


def sample_min(value: int | str, observed_counts: Any) -> int:
    """Gated samples above which a class is drawn; `auto` is 6 % of the largest observed class (algorithms/sfa.md
    §2.7).
    """
    return int(0.06 * int(observed_counts.max())) if value == "auto" else int(value)


class StochasticFeatureAveraging(Selector):
    """SFA's selector of one network.

    Args:
        thresholds: how posteriors become a mask.
        moments: `persistent` keeps running averages of the centroids and their squares over the epochs, as the paper
            says; `release` forgets them after the first call, as the published script does (Q1); `none` uses the
            instant centroids.
        selection_at: `start` of an epoch; `end` counts each call to the epoch before, and begins the moments in the
            first two calls, as the WebVision script does (Q7).
        beta, phi: smoothing of the moments and growth of the gate per epoch.
        tau0: base of the gate; None is 1/K.
        samples: draws R a selection.
        draw: False scores against the mean.
        distance: of a sample to the centroid of its `own` observed class; or `relative`, that less the one to the
            nearest other centroid (ours, algorithms/sfa.md §2.8).
        sample_min: only classes with more gated samples are drawn.
        empty_class: `carry` keeps the moments of a class whose gate is empty; `zero` puts its centroid at the origin,
            and begins the moments with all samples (IBC's release, algorithms/ibc.md §7); `error` fails the run.
        var_floor: smallest variance.
        generator: epoch → the generator of that epoch's draws.
    """

    def __init__(
        self,
        thresholds: Thresholds,
        *,
        moments: str = "persistent",
        selection_at: str = "start",
        beta: float = 0.99,
        phi: float = 1.005,
        tau0: float | None = None,
        samples: int = 1,
        draw: bool = True,
        distance: str = "own",
        sample_min: int = 0,
        empty_class: str = "carry",
        var_floor: float = 1e-30,
        generator: Callable[[int], np.random.Generator],
    ):
        self.thresholds = thresholds
        self.moments, self.beta = moments, beta
        self.gate_delay, self.beginnings = (1, 2) if selection_at == "end" else (0, 1)
        self.phi, self.tau0 = phi, tau0
        self.samples, self.draw, self.sample_min, self.distance = samples, draw, sample_min, distance
        self.empty_class, self.var_floor = empty_class, var_floor
        self.generator = generator
        self.mean: np.ndarray | None = None  # μ [K, d]
        self.square: np.ndarray | None = None  # q [K, d]
        self.initialised: np.ndarray | None = None  # [K] bool
        self.calls = 0

    @classmethod
    def of(cls, inputs: SelectorInputs) -> StochasticFeatureAveraging:
        return cls(inputs.thresholds, **cls.arguments(inputs))

    @classmethod
    def arguments(cls, inputs: SelectorInputs) -> dict[str, Any]:
        """What `conf/plugin` describes, by the names of the arguments."""
        plugin, effective = inputs.plugin, inputs.effective
        return {
            "moments": plugin.moments,
            "selection_at": plugin.selection_at,
            "beta": effective.beta,
            "phi": effective.phi,
            "tau0": plugin.tau0,
            "samples": plugin.samples,
            "draw": plugin.draw,
            "distance": plugin.distance,
            "sample_min": sample_min(plugin.sample_min, inputs.observed_counts),
            "empty_class": plugin.empty_class,
            "var_floor": plugin.var_floor,
            "generator": inputs.generator,
        }

    def gate_threshold(self, epoch: int, num_classes: int) -> float:
        """τ_e = τ0·φ^e, with e−1 where the selection is the epoch before's; kept below one."""
        tau0 = 1 / num_classes if self.tau0 is None else self.tau0
        try:
            growth = self.phi ** (epoch - self.gate_delay)
        except OverflowError:  # it passed the highest gate long ago
            growth = sys.float_info.max
        return min(tau0 * growth, HIGHEST_GATE)

    def select(self, probe: Probe, epoch: int) -> Selection:
        labels, num_classes = probe.observed_labels, probe.num_classes
        logits = probe.logits if probe.abc_logits is None else probe.abc_logits
        # Plain softmax: the log counts of the balanced head's loss have no place in its confidence.
        confidence = softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
        gate = confidence > self.gate_threshold(epoch, num_classes)
        if self.empty_class == "zero" and self.calls < self.beginnings:
            gate[:] = True
        unit, center = centre_and_normalise(probe.features)
        centroids, gated = instant_centroids(unit, labels, gate, num_classes)

        fallbacks = {}
        unseen = self._unseen(num_classes)
        observed = np.bincount(labels, minlength=num_classes)
        empty = (gated == 0) & (observed > 0)
        if empty.any():
            if self.empty_class == "error":
                raise RunError(
                    f"no sample of class {np.flatnonzero(empty)[0]} passes the gate in epoch {epoch} "
                    "(plugin.empty_class=error, as the release); plugin.empty_class=carry goes on with what is known"
                )
            fallbacks["class_without_gated_sample"] = int(empty.sum())
            ungated, _ = instant_centroids(unit, labels, empty[labels], num_classes)
            centroids[empty & unseen] = ungated[empty & unseen]

        given = empty if self.empty_class == "zero" else empty & unseen  # centroids of classes without a gated sample
        mean, square = self._update(centroids, known=(gated > 0) | given)
        assert self.initialised is not None
        spread = np.sqrt(np.clip(square - mean * mean, self.var_floor, 1e30))
        drawn = (gated > self.sample_min) & (gated > 0) & self.draw & (self.moments != "none")
        rng = self.generator(epoch)
        scores, others = np.zeros(len(labels)), np.zeros(len(labels))
        for _ in range(self.samples):
            noise = rng.standard_normal(mean.shape)
            centers = np.where(drawn[:, None], mean + spread * noise, mean)
            scores += label_scores(unit, centers, labels)
            if self.distance == "relative":
                others += nearest_other(unit, centers, labels, self.initialised)
        if self.empty_class == "zero":  # all are as far from the origin: rounding must not tell them apart
            scores[(mean == 0).all(axis=1)[labels]] = -self.samples
        scores += others
        posterior = class_posteriors(
            scores,
            labels,
            num_classes,
            larger=True,
            rescale=True,
            **self.thresholds.mixtures,
        )
        return self.thresholds.decide(
            posterior.probability,
            scores,
            labels,
            num_classes,
            posterior.unsplit,
            inverted=posterior.inverted,
            classes_drawn=int(drawn.sum()),
            fallbacks=fallbacks,
            prototypes=mean.copy(),  # not the draw
            center=center,
        )

    def _unseen(self, num_classes: int) -> np.ndarray:
        return np.ones(num_classes, dtype=bool) if self.initialised is None else ~self.initialised

    def _update(self, centroids: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moments to use in this call, [K, d] each; what is stored for the next call depends on the mode.

        `known` [K]: classes that have a centroid now; the others carry what is stored.
        """
        if self.initialised is None:
            self.mean, self.square = np.zeros_like(centroids), np.zeros_like(centroids)
            self.initialised = np.zeros(len(centroids), dtype=bool)
        later = self.calls >= self.beginnings
        self.calls += 1
        assert self.mean is not None
        assert self.square is not None
        again = known & self.initialised & later
        first = known & ~again
        mean, square = self.mean.copy(), self.square.copy()
        mean[first], square[first] = centroids[first], centroids[first] ** 2
        new = 1 - self.beta
        if self.moments == "none":
            mean[again], square[again] = centroids[again], centroids[again] ** 2
        elif self.moments == "persistent":
            # As increments, so that a centroid that does not move leaves a variance of exactly zero.
            mean[again] += new * (centroids[again] - mean[again])
            square[again] += new * (centroids[again] ** 2 - square[again])
        else:
            # The release starts every later call from zeros: its updates never leave the function.
            mean[again] = new * centroids[again]
            square[again] = new * centroids[again] ** 2
        if self.moments == "release" and later:
            self.mean[first], self.square[first] = mean[first], square[first]
        else:
            self.mean, self.square = mean, square
        self.initialised |= known
        # Copies: changing what is returned must not change what is stored (Q2).
        return mean.copy(), square.copy()

    def state(self) -> dict[str, Any]:
        if self.initialised is None or self.mean is None or self.square is None:
            return {}
        return {
            "mean": torch.from_numpy(self.mean.copy()),
            "square": torch.from_numpy(self.square.copy()),
            "initialised": torch.from_numpy(self.initialised.copy()),
            "calls": self.calls,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        if state:
            self.mean, self.square = state["mean"].numpy().copy(), state["square"].numpy().copy()
            self.initialised = state["initialised"].numpy().copy()
            self.calls = state.get("calls", self.beginnings)  # states without the count have begun once
