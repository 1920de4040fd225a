"""Who is clean, by one mixture of losses or by SFA's distances, class by class with scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

BETA, PHI = 0.99, 1.005


def by_loss(losses: Tensor) -> np.ndarray:
    """Clean probability [N] from the losses of all samples."""
    scaled = (losses - losses.min()) / (losses.max() - losses.min())
    values = scaled.double().reshape(-1, 1).numpy()
    return _probability(values, GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0), larger=False)


def by_class(scores: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Clean probability [N] from scores, the larger the cleaner, with a mixture for each observed class."""
    probability = np.ones(len(scores))
    for k in range(num_classes):
        members = np.flatnonzero(labels == k)
        values = np.array([scores[i] for i in members])
        if len(members) < 2 or np.ptp(values) <= 1e-12 * np.abs(values).max():
            continue
        values = ((values - values.min()) / (values.max() - values.min())).reshape(-1, 1)
        found = _probability(values, GaussianMixture(2, random_state=0), larger=True)
        for place, i in enumerate(members):
            probability[i] = found[place]
    return probability


def _probability(values: np.ndarray, mixture: GaussianMixture, larger: bool) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(values)
    clean = mixture.means_.argmax() if larger else mixture.means_.argmin()
    return mixture.predict_proba(values)[:, clean]


class Averages:
    """SFA's running moments of one network, and what is near a centroid drawn from them."""

    def __init__(self, num_classes: int, sample_min: int, beta: float = BETA, phi: float = PHI):
        self.num_classes, self.sample_min, self.beta, self.phi = num_classes, sample_min, beta, phi
        self.mean: np.ndarray | None = None
        self.square: np.ndarray | None = None

    def select(
        self, features: Tensor, confidence: Tensor, labels: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Clean probability [N]."""
        values = features.double()
        values = values - values.mean(dim=0)
        values = torch.nn.functional.normalize(values, dim=1)
        confident = (confidence > self.phi**epoch / self.num_classes).numpy()
        found, counts = np.zeros((self.num_classes, values.shape[1])), np.zeros(self.num_classes, dtype=int)
        for k in range(self.num_classes):
            own = labels == k
            members = np.flatnonzero(confident & own)
            counts[k] = len(members)
            if len(members) == 0 and self.mean is None:
                members = np.flatnonzero(own)
            if len(members):
                found[k] = torch.stack([values[i] for i in members]).mean(dim=0).numpy()
        if self.mean is None or self.square is None:
            self.mean, self.square = found, found**2
        else:
            new = np.where(counts > 0, 1 - self.beta, 0)[:, None]  # a class without a confident sample stays as it was
            self.mean = (1 - new) * self.mean + new * found
            self.square = (1 - new) * self.square + new * found**2
        spread = np.sqrt(np.clip(self.square - self.mean**2, 1e-30, 1e30))
        drawn = counts[:, None] > self.sample_min
        centres = np.where(drawn, self.mean + spread * rng.standard_normal(found.shape), self.mean)
        scores = -((values - torch.from_numpy(centres)[labels]) ** 2).sum(dim=1)
        return by_class(scores.numpy(), labels, self.num_classes)
