"""Schedules of rates, weights and keep fractions over the epochs (algorithms/methods.md §1, §3.3, §6). Epochs count
from 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def first_after(fraction: float, epochs: int) -> int:
    """The first epoch e > fraction·E; the tolerance keeps 0.29 of 100 at 29, though the floats multiply to less."""
    return math.floor(fraction * epochs + 1e-9) + 1


def deferred(epochs: int) -> int:
    """The first epoch of deferred class weights or resampling, e > 0.8E (algorithms/methods.md §3.3)."""
    return first_after(0.8, epochs)


def cifar_lt(epoch: int, epochs: int) -> float:
    """RoLT and LDAM: linear warm-up over 5 of 200 epochs, then 1, 0.01 from e > 0.8E, 0.0001 from e > 0.9E."""
    warm = -(-5 * epochs // 200)
    if epoch <= warm:
        return epoch / warm
    if epoch < first_after(0.8, epochs):
        return 1.0
    return 0.01 if epoch < first_after(0.9, epochs) else 0.0001


def elr_cifar10(epoch: int, epochs: int) -> float:
    """Cosine from 1 to 0.05 (0.02 → 0.001), started afresh every 10 epochs (of 150)."""
    period = max(1, -(-10 * epochs // 150))
    return 0.05 + 0.95 * (1 + math.cos(math.pi * ((epoch - 1) % period) / period)) / 2


def elr_cifar10_asymmetric(epoch: int, epochs: int) -> float:
    """×0.01 after 40 and again after 80 of 120 epochs."""
    return 0.01 ** ((epoch >= first_after(40 / 120, epochs)) + (epoch >= first_after(80 / 120, epochs)))


def elr_cifar100(epoch: int, epochs: int) -> float:
    """×0.01 after 80 and again after 120 of 150 epochs."""
    return 0.01 ** ((epoch >= first_after(80 / 150, epochs)) + (epoch >= first_after(120 / 150, epochs)))


def _coteaching_entry(epoch: int, epochs: int) -> int:
    """The index into Co-teaching's 0-based tables of E entries: its release trains 1 … E−1, and epoch E uses E−1."""
    return min(epoch, epochs - 1)


def _coteaching_start(schedule: str, epochs: int) -> int:
    """The entry from which its rate falls (there it is still the full rate) and Adam's β₁ is lower
    (algorithms/methods.md §6).
    """
    return first_after(0.5 if schedule == "coteaching_cifar100" else 0.4, epochs) - 1


def coteaching_first_moment(schedule: str, epoch: int, epochs: int) -> float:
    """Adam's β₁: 0.9, and 0.1 from epoch 80 of 200 on (cifar100: 100)."""
    return 0.1 if _coteaching_entry(epoch, epochs) >= _coteaching_start(schedule, epochs) else 0.9


def _coteaching(schedule: str) -> Callable[[int, int], float]:
    def factor(epoch: int, epochs: int) -> float:
        start, entry = _coteaching_start(schedule, epochs), _coteaching_entry(epoch, epochs)
        return 1.0 if entry <= start else (epochs - entry) / (epochs - start)

    return factor


def long_cosine(epoch: int, epochs: int) -> float:
    """Cosine from 1 to 0.01 (0.02 → 2e-4) in 280 of 350 epochs, and then up again, as the release's scheduler goes."""
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (epoch - 1) / (0.8 * epochs))) / 2


NATIVE: dict[str, Callable[[int, int], float]] = {
    "cifar_lt": cifar_lt,
    "elr_cifar10": elr_cifar10,
    "elr_cifar10_asymmetric": elr_cifar10_asymmetric,
    "elr_cifar100": elr_cifar100,
    "coteaching_cifar10": _coteaching("coteaching_cifar10"),
    "coteaching_cifar100": _coteaching("coteaching_cifar100"),
    "long_cosine": long_cosine,
}


def cosine(epoch: int, epochs: int, warmup: int) -> float:
    """Half a cosine from 1 towards 0 in the epochs after the warm-up, as torch's `CosineAnnealingLR` by epochs."""
    return 1.0 if epoch <= warmup else (1 + math.cos(math.pi * (epoch - 1 - warmup) / (epochs - warmup))) / 2


def onecycle(epoch: int, epochs: int, warmup: int) -> float:
    """Cosine from 1/25 up to 1 in the first 30 % and down to 4e-6, as torch's `OneCycleLR` by epochs; it has no other
    warm-up. The momentum stays: that of torch's scheduler moves.
    """
    position, top, end = epoch - 1, 0.3 * epochs - 1, epochs - 1
    low, high, share = (1 / 25, 1.0, position / top) if position <= top else (4e-6, 1.0, (end - position) / (end - top))
    return low + (high - low) * (1 - math.cos(math.pi * share)) / 2


CHOSEN: dict[str, Callable[[int, int, int], float]] = {"cosine": cosine, "onecycle": onecycle}


def keep_fraction(epoch: int, epochs: int, forget_rate: float, exponent: float = 1.0, growth: int = 10) -> float:
    """Co-teaching's 1 − F_e: F rises linearly over `growth` entries of a 0-based list whose entry 0 is never used."""
    position = _coteaching_entry(epoch, epochs)
    if position >= growth:
        return 1 - forget_rate
    return 1 - forget_rate**exponent * position / (growth - 1)
