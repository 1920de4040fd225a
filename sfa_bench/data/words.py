"""Descriptions of a training set's long tail and noise, for banners and titles."""

from __future__ import annotations

from sfa_bench.choices.noises import NOISES
from sfa_bench.choices.sources import SOURCES
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.values import number


def setting(config: RunConfig, rate: float | None = None) -> str:
    """`exp 0.1 · joint 0.4`, `balanced · no noise`; where labels may be noisy as they come
    `as it comes (30.3 % mislabelled)`, or without a known share `as it comes · noise unknown`.

    Args: rate, the realised share of mislabelled samples, None where it is unknown.
    """
    if config.noise.name == "none" and SOURCES[config.dataset.source].noisy:
        known = "" if rate is None else f" ({100 * rate:.1f} % mislabelled)"
        return f"{_imbalance(config)}{known or ' · noise unknown'}"
    return f"{_imbalance(config)} · {_noise(config)}"


def _imbalance(config: RunConfig) -> str:
    if config.imbalance.name != "none":
        return f"{config.imbalance.name} {number(config.imb_factor)}"
    return "as it comes" if SOURCES[config.dataset.source].natural or config.dataset.human else "balanced"


def _noise(config: RunConfig) -> str:
    """`joint 0.4`, `human worst`, `no noise`."""
    name = config.noise.name if config.noise.target is None else config.names.get("noise", "own")
    if config.noise.name == "none":
        return "no noise"
    described = NOISES[config.noise.name]
    words = [name, *([config.noise.labels] if "labels" in described.options and config.noise.labels else [])]
    return " ".join([*words, *([number(config.noise_ratio)] if described.ratio else [])])
