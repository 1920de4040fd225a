"""How a training set is announced: its long tail and its noise, as they are where nobody added any."""

from __future__ import annotations

from sfa_bench.choices.noises import NOISES
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.values import number

# Whose labels and class sizes are what the world made them: what nobody adds to them is not known to be none.
NATURAL = ("webvision", "clothing1m", "arrays", "folder", "csv")


def imbalance(config: RunConfig) -> str:
    """`exp 0.1`, `balanced`, or of natural data `as it is`."""
    if config.imbalance.name != "none":
        return f"{config.imbalance.name} {number(config.imb_factor)}"
    return "as it is" if config.dataset.source in NATURAL or config.dataset.human else "balanced"


def noise(config: RunConfig) -> str:
    """`joint 0.4`, `human worst`, `no noise`, or of natural data `labels as they are`."""
    name = config.noise.name
    if name == "none":
        return "labels as they are" if config.dataset.source in NATURAL else "no noise"
    described = NOISES[name]
    words = [name, *([config.noise.labels] if "labels" in described.options and config.noise.labels else [])]
    return " ".join([*words, *([number(config.noise_ratio)] if described.ratio else [])])
