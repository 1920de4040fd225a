"""Two-component mixtures of many groups of values at once, by the steps of scikit-learn's GaussianMixture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class _Groups:
    """Groups that lie one after the other in a tensor of M rows."""

    def __init__(self, sizes: Tensor):
        self.sizes = sizes
        self.of = torch.repeat_interleave(torch.arange(len(sizes)), sizes)  # [M]

    def sums(self, rows: Tensor) -> Tensor:
        """[M, …] → [G, …], always added in the same order."""
        return torch.segment_reduce(rows, "sum", lengths=self.sizes, axis=0)


def fit_mixtures(
    groups: Sequence[np.ndarray], *, max_iter: int = 100, tol: float = 1e-3, reg_covar: float = 1e-6
) -> np.ndarray:
    """Weights, means and variances of a mixture for each of G groups of values, [G, 3, 2] float64.

    As scikit-learn's `GaussianMixture(2, random_state=0)` fits each: the same draws for k-means' start, the same rule
    to stop for each group. Sums are added in another order, so parameters agree to rounding, and where rounding decides
    they may not agree at all: a value as far from one centre as from the other, or two starts that are equally good.

    Args: groups: 1-D float64 arrays of two or more values that are not all equal.
    Raises: ValueError where a value is not finite, as scikit-learn does.
    """
    if not groups:
        return np.empty((0, 3, 2))
    x = torch.from_numpy(np.concatenate(groups))
    if not x.isfinite().all():
        raise ValueError("a mixture is fitted to finite values only")
    members = _Groups(torch.tensor([len(group) for group in groups]))
    second = _start(x, members)
    log_share = torch.stack([~second, second], dim=1).double().log()
    weights, means, variances = fitted = _maximise(x, members, log_share, reg_covar)
    live = torch.arange(len(groups))
    likelihood = torch.full((len(groups),), -math.inf, dtype=torch.float64)
    for _ in range(max_iter):
        apart = (x[:, None] - means[members.of]).square() / variances[members.of]
        joint = (weights.log() - 0.5 * (variances.log() + math.log(2 * math.pi)))[members.of] - 0.5 * apart
        norm = torch.logaddexp(joint[:, 0], joint[:, 1])
        before, likelihood = likelihood, members.sums(norm) / members.sizes
        weights, means, variances = now = _maximise(x, members, joint - norm[:, None], reg_covar)
        fitted[:, live] = now
        going = (likelihood - before).abs() >= tol
        if not going.all():
            live, likelihood, (weights, means, variances) = live[going], likelihood[going], now[:, going]
            x, members = x[going[members.of]], _Groups(members.sizes[going])
        if not len(live):
            break
    return fitted.transpose(0, 1).numpy()


def _maximise(x: Tensor, members: _Groups, log_share: Tensor, reg_covar: float) -> Tensor:
    """Weights, means and variances [3, G, 2] from the log share [M, 2] that each component has of each value."""
    share = log_share.exp()
    mass = members.sums(share) + 10 * torch.finfo(torch.float64).eps
    means = members.sums(share * x[:, None]) / mass
    spread = members.sums(share * (x[:, None] - means[members.of]).square()) / mass
    return torch.stack([mass / mass.sum(dim=1, keepdim=True), means, spread + reg_covar])


def _start(x: Tensor, members: _Groups) -> Tensor:
    """Which of k-means' two clusters each value is in, [M] bool: its seeds by k-means++ with two trials, then Lloyd's
    steps until the centres rest.
    """
    sizes, of = members.sizes, members.of
    draws = np.random.RandomState(0).random_sample(3).tolist()
    x = x - (members.sums(x) / sizes)[of]
    first = x[sizes.cumsum(0) - sizes + (draws[0] * sizes).long()]
    apart = (x - first[of]).square()
    # Each group's distances add up to one: rounding in large groups must not drown small ones behind them.
    reached = (apart / members.sums(apart)[of]).cumsum(0)
    trials = [x[torch.searchsorted(reached, torch.arange(len(sizes)) + draw)] for draw in draws[1:]]
    left = [members.sums(torch.minimum(apart, (x - trial[of]).square())) for trial in trials]
    centres = torch.stack([first, torch.where(left[1] < left[0], trials[1], trials[0])], dim=1)
    tolerance = 1e-4 * members.sums(x.square()) / sizes
    going = torch.ones(len(sizes), dtype=torch.bool)
    for _ in range(300):
        nearer = _nearer(x, centres[of])
        shares = torch.stack([~nearer, nearer], dim=1).double()
        now = members.sums(shares * x[:, None]) / members.sums(shares)
        rests = (now - centres).square().sum(dim=1) <= tolerance
        centres = torch.where(going[:, None], now, centres)
        going &= ~rests
        if not going.any():
            break
    return _nearer(x, centres[of])


def _nearer(x: Tensor, centres: Tensor) -> Tensor:
    """Whether each value [M] is nearer to the second of its two centres [M, 2]; less what both distances share."""
    apart = centres.square() - 2 * x[:, None] * centres
    return apart[:, 1] < apart[:, 0]
