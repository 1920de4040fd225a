"""Descriptions of a training set's long tail and noise, for banners and titles."""

from __future__ import annotations

from sfa_bench.choices.noises import NOISES
from sfa_bench.choices.sources import SOURCES
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.values import number


def imbalance(config: RunConfig) -> str:
    """`exp 0.1`, `balanced`, or for natural data `as it is`."""
    if config.imbalance.name != "none":
        return f"{config.imbalance.name} {number(config.imb_factor)}"
    return "as it is" if SOURCES[config.dataset.source].natural or config.dataset.human else "balanced"


def noise(config: RunConfig) -> str:
    """`joint 0.4`, `human worst`, `no noise`, or where labels may be noisy as they come `labels as they are`."""
    name = config.noise.name if config.noise.target is None else config.names.get("noise", "own")
    if config.noise.name == "none":
        return "labels as they are" if SOURCES[config.dataset.source].noisy else "no noise"
    described = NOISES[config.noise.name]
    words = [name, *([config.noise.labels] if "labels" in described.options and config.noise.labels else [])]
    return " ".join([*words, *([number(config.noise_ratio)] if described.ratio else [])])
