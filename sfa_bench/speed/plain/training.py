"""Epochs of warm-up and of DivideMix as one would write them down first: NCHW, fp32, a number read in every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.data.types import Transform
from sfa_bench.speed.plain.network import Network
from sfa_bench.speed.plain.pictures import Pictures, pictures

ALPHA, TEMPERATURE, LAMBDA_U, RAMP = 4.0, 0.5, 25.0, 16


class Learner:
    """Two networks with their optimisers.

    Args: path: the pictures; ramp: epochs over which the unlabelled loss gains its weight; on_step: called with the
    steps of the pass as each begins; bfloat16: the networks run under autocast.
    """

    def __init__(
        self,
        path: Path,
        transform: Transform,
        num_classes: int,
        networks: Sequence[Network],
        device: torch.device,
        batch_size: int = 64,
        evaluation_batch: int = 256,
        ramp: float = RAMP,
        on_step: Callable[[int], None] = lambda steps: None,
        bfloat16: bool = False,
    ):
        self.path, self.transform, self.num_classes, self.device = path, transform, num_classes, device
        self.bfloat16 = bfloat16
        self.batch_size, self.evaluation_batch, self.ramp, self.on_step = batch_size, evaluation_batch, ramp, on_step
        self.networks = [network.to(device) for network in networks]
        self.optimisers = [
            torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4) for network in self.networks
        ]
        self.trained = self.guessed = self.selected = 0
        self.losses: list[float] = []

    def warm_up(self, k: int, log_counts: Tensor) -> None:
        """One pass of network k over all pictures."""
        self.networks[k].train()
        loader = pictures(Pictures(self.path, self.transform, 1), 2 * self.batch_size)
        for images, labels, _, _ in loader:
            self.on_step(len(loader))
            self._step(k, self.plain_loss(k, images.to(self.device), labels.to(self.device), log_counts))

    def answers(self, k: int, images: Tensor) -> list[Tensor | None]:
        """Features, main and balanced logits of network k, in fp32."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            found = self.networks[k](images)
        return [None if one is None else one.float() for one in found] if self.bfloat16 else list(found)

    def plain_loss(self, k: int, images: Tensor, labels: Tensor, log_counts: Tensor) -> Tensor:
        _, main, balanced = self.answers(k, images)
        assert main is not None
        self.trained += len(images)
        loss = F.cross_entropy(main, labels)
        return loss if balanced is None else loss + F.cross_entropy(balanced + log_counts, labels)

    def train(self, k: int, mask: np.ndarray, probability: np.ndarray, log_counts: Tensor, epoch: float) -> None:
        """One pass of network k over the labelled pictures, beside as many batches of the others."""
        self.networks[k].train()
        self.networks[1 - k].eval()
        labelled = Pictures(self.path, self.transform, 2, np.flatnonzero(mask), probability)
        unlabelled = Pictures(self.path, self.transform, 2, np.flatnonzero(~mask))
        first, second = pictures(labelled, self.batch_size), pictures(unlabelled, self.batch_size)
        others = iter(second)
        for b, (x1, x2, labels, _, w) in enumerate(first):
            self.on_step(len(first))
            try:
                u1, u2, *_ = next(others)
            except StopIteration:
                others = iter(second)
                u1, u2, *_ = next(others)
            views = [view.to(self.device) for view in (x1, x2, u1, u2)]
            share = float(np.random.default_rng(b).beta(ALPHA, ALPHA))
            permutation = torch.randperm(2 * len(x1) + 2 * len(u1))
            weight = LAMBDA_U * min(max((epoch + b / len(first)) / self.ramp, 0), 1)
            loss = self.mixed_loss(
                k, views, labels.to(self.device), w.float().to(self.device), share, permutation, weight, log_counts
            )
            self._step(k, loss)

    def mixed_loss(
        self,
        k: int,
        views: list[Tensor],
        labels: Tensor,
        w: Tensor,
        share: float,
        permutation: Tensor,
        weight: float,
        log_counts: Tensor,
    ) -> Tensor:
        """DivideMix's loss of two views of labelled and two of unlabelled pictures (spec/methods.md §7)."""
        x1, x2, u1, u2 = views
        with torch.no_grad():
            guesses = [self._guess(k, u1), self._guess(k, u2), self._guess(1 - k, u1), self._guess(1 - k, u2)]
            guess_u = sum(guesses[1:], guesses[0]) / 4
            target_u = guess_u ** (1 / TEMPERATURE)
            target_u = target_u / target_u.sum(dim=1, keepdim=True)
            guess_x = (self._guess(k, x1) + self._guess(k, x2)) / 2
            one_hot = torch.zeros(len(labels), self.num_classes, device=self.device)
            one_hot = one_hot.scatter_(1, labels.view(-1, 1), 1)
            target_x = (w.view(-1, 1) * one_hot + (1 - w.view(-1, 1)) * guess_x) ** (1 / TEMPERATURE)
            target_x = target_x / target_x.sum(dim=1, keepdim=True)
        share = max(share, 1 - share)
        images, targets = torch.cat([x1, x2, u1, u2]), torch.cat([target_x, target_x, target_u, target_u])
        images = share * images + (1 - share) * images[permutation]
        targets = share * targets + (1 - share) * targets[permutation]
        _, main, balanced = self.answers(k, images)
        assert main is not None
        self.trained += len(images)
        split = 2 * len(x1)

        def terms(logits: Tensor) -> Tensor:
            labelled = -(F.log_softmax(logits[:split], dim=1) * targets[:split]).sum(dim=1).mean()
            return labelled + weight * ((torch.softmax(logits[split:], dim=1) - targets[split:]) ** 2).mean()

        loss = terms(main)
        if balanced is not None:
            loss = loss + terms(balanced + log_counts)
        prior = torch.full((self.num_classes,), 1 / self.num_classes, device=self.device)
        mean = torch.softmax(main, dim=1).mean(dim=0)
        return loss + (prior * torch.log(prior / mean)).sum()

    def _guess(self, k: int, images: Tensor) -> Tensor:
        self.guessed += len(images)
        main = self.answers(k, images)[1]
        assert main is not None
        return torch.softmax(main, dim=1)

    def _step(self, k: int, loss: Tensor) -> None:
        self.optimisers[k].zero_grad()
        loss.backward()
        self.optimisers[k].step()
        self.losses.append(loss.item())

    def evaluate(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features [N, d], losses [N] and the confidence in the observed label [N] of network k, copied one by one."""
        self.networks[k].eval()
        loader = pictures(Pictures(self.path, self.transform, 0), self.evaluation_batch)
        count = len(loader.dataset)  # type: ignore[arg-type]
        features = torch.zeros(count, self.networks[k].main.in_features)
        losses, confidence = torch.zeros(count), torch.zeros(count)
        with torch.no_grad():
            for images, labels, rows, _ in loader:
                self.on_step(len(loader))
                out: Any = self.answers(k, images.to(self.device))
                copy_out(out, labels.to(self.device), rows, features, losses, confidence)
                self.selected += len(images)
        return features, losses, confidence

    def test(self, path: Path) -> float:
        """Accuracy [%] of all heads together on the pictures of another file."""
        for network in self.networks:
            network.eval()
        loader = pictures(Pictures(path, self.transform, 0), self.evaluation_batch)
        correct = 0
        with torch.no_grad():
            for images, labels, _, _ in loader:
                heads = [head for network in self.networks for head in network(images.to(self.device))[1:]]
                predicted = sum(head for head in heads if head is not None).argmax(dim=1)
                correct += (predicted == labels.to(self.device)).sum().item()
        return 100 * correct / len(loader.dataset)  # type: ignore[arg-type]


def copy_out(out: Any, labels: Tensor, rows: Tensor, features: Tensor, losses: Tensor, confidence: Tensor) -> None:
    """What selectors need of a batch's outputs (features, main, balanced), to the places of its rows."""
    found, main, balanced = out
    loss = F.cross_entropy(main, labels, reduction="none")
    probability = torch.softmax(main if balanced is None else balanced, dim=1)
    for b in range(len(rows)):
        features[rows[b]] = found[b].cpu()
        losses[rows[b]] = loss[b].cpu()
        confidence[rows[b]] = probability[b, labels[b]].cpu()
