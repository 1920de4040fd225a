"""DivideMix (Li et al. 2020): two networks select clean samples for each other and use the rest as unlabelled.

algorithms/methods.md §7; with the balanced head algorithms/sfa.md §7; with the prototype selector it is RoLT+
(algorithms/methods.md §9).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench import streams
from sfa_bench.choices.methods import confidence_penalty, lambda_u
from sfa_bench.data.loader import batches
from sfa_bench.methods.base import Method, Training
from sfa_bench.methods.networks import set_mode
from sfa_bench.models import Network, Output
from sfa_bench.numerics import send
from sfa_bench.parts import mixmatch
from sfa_bench.parts.reweighting import class_balanced_weights
from sfa_bench.parts.schedules import deferred
from sfa_bench.selectors.base import Selection

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


def unlabelled_options(config: RunConfig) -> dict[str, Any]:
    """Arguments that DivideMix and the methods built on it take alike: of guesses, mixing and the unlabelled term."""
    method = config.method
    options = {key: getattr(method, key) for key in ("alpha", "temperature", "penalty", "guess_mode", "ramp_origin")}
    return {**options, "lambda_u": lambda_u(config), "ramp_epochs": config.recipe.effective.ramp_epochs}


class DivideMixInputs(NamedTuple):
    """The inputs of one network's epoch: the other network's selection, and random streams."""

    clean_probability: Tensor  # w [N]
    log_counts: Tensor  # shift of the balanced head's logits [K]
    mixing: torch.Generator
    class_weights: Tensor | None = None  # of labelled rows, by their own observed label [K]
    targets: Mapping[str, Tensor] = MappingProxyType({})  # head → [N, K], of labelled rows in place of refined labels
    labels: Tensor | None = None  # of labelled rows [N] int64; None: the observed ones


class DivideMix(Method):
    """Args (symbols of the paper in brackets):

    lambda_u: weight of the unlabelled term [λ_u]; ramp_epochs: epochs over which it grows; ramp_origin: `one_based`
    counts the first epoch after the warm-up as 1, `zero_based` as 0 (Q21).
    alpha: Beta parameter of mixup [α]; temperature: of sharpening [T].
    penalty: `uniform` pulls the mean prediction to the uniform distribution, `none` does not (Q26).
    guess_mode: mode of the trained network while it guesses labels (Q16).
    confidence_penalty: negative entropy in the warm-up, for asymmetric noise and Clothing1M.
    forwarded: `all` mixed rows, or only the `labelled` ones, without an unlabelled term: the scripts for WebVision and
    Clothing1M, where unlabelled images act as partners alone.
    partner: network 2 is guided by network 1 as this epoch has `updated` it, or by a copy of it as the `previous` epoch
    left it: the scripts for WebVision, which train both at once.
    schedule: `drw` weights labelled rows by class from e > 0.8E on (RoLT+'s option, algorithms/methods.md §9), by the
    observed counts of the whole training set; class_beta, count_floor: of those weights.
    """

    networks_used = 2
    takes_targets = True
    weak_views, strong_views = 2, 0  # of each sample in a step after the warm-up

    def __init__(
        self,
        training: Training,
        *,
        lambda_u: float,
        alpha: float,
        temperature: float,
        penalty: str,
        guess_mode: str,
        ramp_origin: str,
        ramp_epochs: float,
        confidence_penalty: bool = False,
        forwarded: str = "all",
        partner: str = "updated",
        schedule: str = "none",
        class_beta: float = 0.9999,
        count_floor: float = 1.0,
    ):
        super().__init__(training)
        self.lambda_u, self.alpha, self.temperature = lambda_u, alpha, temperature
        self.penalty, self.guess_mode = penalty, guess_mode
        self.ramp_start = training.warmup_epochs + (1 if ramp_origin == "zero_based" else 0)
        self.ramp_epochs = ramp_epochs
        self.confidence_penalty, self.forwarded = confidence_penalty, forwarded
        # Network 1 at an epoch's start, for network 2; nothing of it outlives the epoch.
        self.earlier = copy.deepcopy(self.networks[0]).eval() if partner == "previous" else None
        self.weights_from = deferred(training.epochs) if schedule == "drw" else training.epochs + 1
        self.class_weights = class_balanced_weights(self.observed_counts, class_beta, count_floor)

    @classmethod
    def of(cls, training: Training, config: RunConfig) -> DivideMix:
        """Build the method from its configuration."""
        method = config.method
        return cls(
            training,
            **unlabelled_options(config),
            confidence_penalty=confidence_penalty(config),
            forwarded=method.forward,
            partner=method.partner,
            schedule=method.schedule,
            class_beta=method.class_beta,
            count_floor=method.count_floor,
        )

    def epoch(self, e: int) -> dict[str, float | None]:
        if not self.selects_in(e):
            return self.figures(e, [self.descend(k, e, self._warm_up(k, e)) for k in (0, 1)])
        self.select(e)
        if self.earlier is not None:
            self.earlier.load_state_dict(self.networks[0].state_dict())
        # Each network trains on what the other selected; network 2 sees network 1 updated, or as it was here.
        losses = [self.descend(k, e, self._losses(k, e, self.selections[1 - k])) for k in (0, 1)]
        return {**self.figures(e, losses), "lambda_u": self._unlabelled_weight(e, 0)}

    def _warm_up(self, k: int, e: int) -> Iterator[tuple[Tensor, int]]:
        self.begin(k, e, "warm-up")
        order = self.epoch_order(k, e)
        log_counts = self.training.head.log_prior(self.counts_of(order), self.devices[k])
        for rows, images in self.views(k, self.plain_batches(order), self.generator("augmentation", k, e), "warm-up"):
            out = self.forward(k, images)
            labels = send(self.labels[rows], self.devices[k])
            loss = F.cross_entropy(out.main, labels)
            if self.confidence_penalty:
                loss = loss + mixmatch.negative_entropy(out.main)
            for head, logits in out.beside_main():
                if self.training.head.trained_in_warmup(head):
                    loss = loss + F.cross_entropy(logits + head.strength * log_counts, labels)
            yield loss, len(rows)

    def _losses(self, k: int, e: int, selection: Selection) -> Iterator[tuple[Tensor, int]]:
        """One pass over the labelled samples in shuffled batches, with as many unlabelled batches beside them."""
        self.begin(k, e, "training")
        self.networks[1 - k].eval()
        steps, others = self._co_divided(k, e, selection)
        parts = [rows for x_rows in steps for rows in (x_rows, next(others))]
        augmentation = self.generator("augmentation", k, e)
        views = self.loaders[self.devices[k]].train_views(parts, augmentation, self.weak_views, self.strong_views)
        beta = streams.numpy_generator(self.training.seed, "mixup_share", k, e)
        given = DivideMixInputs(
            self._refined_by(selection),
            self.training.head.log_prior(self.counts_for_head(selection), self.devices[k]),
            self.generator("mixup", k, e),
            self.class_weights.to(self.devices[k]) if e >= self.weights_from else None,
            self._own_targets(k),
            self.labels_of(selection),
        )
        labelled = sum(len(rows) for rows in steps)
        ramp_steps = labelled // self.training.batch_size + 1  # the releases' count, also where B divides n (Q23)
        for b, x_rows in enumerate(steps):
            self.training.on_step("training", k, b, len(steps))
            weight = self._unlabelled_weight(e, b / ramp_steps)
            yield self._loss(
                k, given, x_rows, (*next(views), *next(views)), float(beta.beta(self.alpha, self.alpha)), weight
            )

    def _refined_by(self, selection: Selection) -> Tensor:
        """w [N], by which labels are refined; a label that a selector has replaced is taken as it is."""
        replaced = self.labels_of(selection) != self.labels
        return torch.from_numpy(selection.clean_probability).masked_fill(replaced, 1.0)

    def _labels_of_rows(self, given: DivideMixInputs, rows: Tensor, device: torch.device) -> Tensor:
        """The labels that labelled rows are trained on [B_x]."""
        return send((self.labels if given.labels is None else given.labels)[rows], device)

    def _own_targets(self, k: int) -> dict[str, Tensor]:
        """What network k's own selector has its heads learn from labelled samples (algorithms/ibc.md §5)."""
        if not self.training.selectors[k].gives_targets:  # do not wait for a selection that is needed later
            return {}
        return {head: torch.from_numpy(targets) for head, targets in (self.selections[k].targets or {}).items()}

    def _co_divided(self, k: int, e: int, selection: Selection) -> tuple[list[Tensor], Iterator[Tensor]]:
        """Batches of the labelled samples, and of the unlabelled ones without end, both shuffled."""
        selected = torch.from_numpy(selection.mask)
        rejected = ~selected
        if selection.rows is not None:  # samples outside of the selection's draw are not part of this epoch
            rejected &= torch.zeros_like(selected).index_fill(0, torch.from_numpy(selection.rows), True)
        labelled = selected.nonzero()[:, 0]
        order = labelled[torch.randperm(len(labelled), generator=self.generator("labelled", k, e))]
        others = self._cycle(rejected.nonzero()[:, 0], self.generator("unlabelled", k, e))
        return list(batches(order, self.training.batch_size)), others

    def _loss(
        self, k: int, given: DivideMixInputs, x_rows: Tensor, views: tuple[Tensor, ...], lam: float, weight: float
    ) -> tuple[Tensor, int]:
        """Steps 1–5 of algorithms/methods.md §7 for one labelled batch [B_x] and one unlabelled batch [B_u, may be 0].

        views: two of the labelled images and two of the unlabelled ones; lam: the draw from Beta(α, α); weight: λᵤ of
        this step. Returns the loss and the images that the network was trained on.
        """
        device = self.devices[k]
        x1, x2, u1, u2 = views
        observed = self._labels_of_rows(given, x_rows, device)
        w = send(given.clean_probability[x_rows].to(torch.float32), device)
        inputs, split = torch.cat([x1, x2, u1, u2]), 2 * len(x_rows)
        with torch.no_grad():
            # Train mode is part of the algorithm: each guess uses, and updates, the batch statistics of its view. The
            # other network is frozen, so that both views go through it at once.
            set_mode(self.networks[k], training=self.guess_mode == "train")
            peer_guess = self._guess(1 - k, inputs[split:], self.earlier if k == 1 else None)
            peer_guess = peer_guess.view(2, len(u1), self.training.view.num_classes)
            q = (self._guess(k, u1) + self._guess(k, u2) + peer_guess[0] + peer_guess[1]) / 4
            t_u = mixmatch.sharpen(q, self.temperature)
            guess = (self._guess(k, x1) + self._guess(k, x2)) / 2
            t_x = mixmatch.refine_labels(observed, w, guess, self.temperature)
            set_mode(self.networks[k], training=True)
        loss, out = self._mixed_loss(k, given, x_rows, inputs, t_x, t_u, lam, weight)
        return loss, len(out.main)

    def _mixed_loss(
        self,
        k: int,
        given: DivideMixInputs,
        x_rows: Tensor,
        inputs: Tensor,
        refined: Tensor,
        t_u: Tensor,
        lam: float,
        weight: float,
    ) -> tuple[Tensor, Output]:
        """The loss of all heads on mixed rows: step 5, and the answers that it was computed from.

        Args: inputs, two views of the labelled batch and two of the unlabelled one; refined [B_x, K] and t_u [B_u, K],
        their targets.
        """
        device, split = self.devices[k], 2 * len(x_rows)
        t_x = {"main": refined} | {head: send(rows[x_rows], device) for head, rows in given.targets.items()}
        lam = max(lam, 1 - lam)
        permutation = send(torch.randperm(len(inputs), generator=given.mixing), device)
        mixed = mixmatch.mix(inputs, lam, permutation)
        targets = {head: mixmatch.mix(torch.cat([t, t, t_u, t_u]), lam, permutation) for head, t in t_x.items()}
        out = self.forward(k, mixed[:split] if self.forwarded == "labelled" else mixed)
        row_weights = None
        if given.class_weights is not None:
            row_weights = given.class_weights[self._labels_of_rows(given, x_rows, device)].repeat(2)

        def semi_supervised(logits: Tensor, targets: Tensor, row_weights: Tensor | None = None) -> Tensor:
            labelled = mixmatch.soft_cross_entropy(logits[:split], targets[:split], row_weights)
            return labelled + weight * mixmatch.squared_error(logits[split:], targets[split:])

        loss = semi_supervised(out.main, targets["main"], row_weights)  # the other heads have their prior instead
        for head, logits in out.beside_main():  # guessed and refined labels come from the main head, and serve all
            shifted = logits + head.strength * given.log_counts
            loss = loss + semi_supervised(shifted, targets.get(head.name, targets["main"]))
        if self.penalty == "uniform":
            loss = loss + mixmatch.prior_penalty(out.main)
        return loss, out

    def _guess(self, k: int, images: Tensor, copied: Network | None = None) -> Tensor:
        """Main-head prediction of network k, or of a copy; images and result are on the trained network's device."""
        if len(images) == 0:
            return images.new_zeros(0, self.training.view.num_classes)
        self.cost.guessed += len(images)
        network = self.networks[k] if copied is None else copied
        training = network.training
        # A single vector has no batch statistics, so the running ones are used.
        set_mode(network, training=training and (len(images) > 1 or images.ndim > 2))
        guess = F.softmax(self.forward(k, images.to(self.devices[k]), copied).main, dim=1).to(images.device)
        set_mode(network, training=training)
        return guess

    def _cycle(self, rows: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Endless shuffled batches of `rows`, reshuffled in each round; empty batches where there are none."""
        while True:
            if len(rows) == 0:
                yield rows
            yield from batches(rows[torch.randperm(len(rows), generator=generator)], self.training.batch_size)

    def _unlabelled_weight(self, e: int, fraction: float) -> float:
        """λ at this point of epoch e (algorithms/methods.md §7)."""
        return mixmatch.unlabelled_weight(self.lambda_u, e + fraction - self.ramp_start, self.ramp_epochs)
