"""The noise models (algorithms/data.md §4). A new one is a function of `data.noise`, an entry here, and a YAML."""

# ruff: noqa: RUF009

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sfa_bench.choices.options import Brought, named_by_users, option
from sfa_bench.choices.sources import SOURCES, HumanLabels

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig

Count = Literal["exact", "exact_per_class", "bernoulli"]
COUNTS: tuple[Count, ...] = ("exact", "exact_per_class", "bernoulli")
OPTIONS = ("count", "include_self", "map", "labels", "file")  # keys of `noise` that act on some models alone


@dataclass(frozen=True)
class Noise:
    """Where observed labels come from.

    law: `module.function`, which takes a `data.noise.LawInputs` and returns the rate [K] and the targets [K, K]; None
    where `source` is not `law`.
    source: what the labels depend on: a transition `law` of the classes, human `annotations` (a file of the data set),
    the `images`, or a `function` of the user's own.
    count: how flips are counted where `noise.count` is auto; counts: the values that can be set.
    options: keys of `noise` that act on it.
    ratio: whether `noise_ratio` acts on it, so that the share of noisy labels is known.
    similar: each class is mislabelled as one that looks like it (the literature's *asymmetric*), which some methods are
    told.
    legacy: how the releases' generator draws the new label; None: it does not have this model.
    """

    law: str | None = None
    source: Literal["law", "annotations", "images", "function"] = "law"
    count: Count = "bernoulli"
    counts: tuple[Count, ...] = COUNTS
    options: tuple[str, ...] = ("count",)
    ratio: bool = True
    similar: bool = False
    legacy: Literal["uniform", "by size"] | None = None


def _law(function: str) -> str:
    return f"sfa_bench.data.noise.{function}"


NOISES: Mapping[str, Noise] = {
    "joint": Noise(_law("by_size"), count="exact", options=("count", "include_self"), legacy="by size"),
    "symmetric": Noise(_law("uniform"), count="exact", options=("count", "include_self"), legacy="uniform"),
    "asymmetric": Noise(_law("similar_class"), count="exact_per_class", options=("count", "map"), similar=True),
    "pair": Noise(_law("next_class")),
    "flip": Noise(_law("one_other_class")),
    "instance": Noise(source="images", options=()),
    "tail_to_head": Noise(_law("larger_classes")),
    "human": Noise(source="annotations", options=("labels",), ratio=False),
    # Each class has its own rate.
    "matrix": Noise(_law("from_file"), counts=("exact_per_class", "bernoulli"), options=("count", "file"), ratio=False),
    "none": Noise(_law("nothing"), options=(), ratio=False, legacy="by size"),
    "external": Noise(source="function", options=()),
}
NAMES = named_by_users(NOISES)

if TYPE_CHECKING:
    NoiseName = str
else:
    NoiseName = Literal[NAMES]


@dataclass(frozen=True)
class NoiseConfig(Brought):
    name: NoiseName = option("joint", "the noise model", fixed=True)
    count: Literal["auto", Count] = option("auto", "how flips are counted: auto = the noise model's usual way")
    include_self: bool = option(False, "a drawn label may be the old one (joint, symmetric)")
    map: Literal["default", "block5"] = option("default", "class map of asymmetric noise; block5 only on cifar100")
    labels: HumanLabels | None = option(None, "human: null = worst, on cifar100n noisy")
    file: str | None = option(None, "text or .npy file with a row-stochastic KxK matrix (noise=matrix)")
    assumed_rate: float | None = option(None, "rate that methods are told (null = noise_ratio)", low=0, below=1)
    revision: int = option(1, "raised when a change of the noise changes results", low=1, fixed=True)


WITHOUT_RATIO = tuple(name for name, noise in NOISES.items() if not noise.ratio)


def told_rate(config: RunConfig) -> float | None:
    """The share of noisy labels that a method is told where it asks; None where it is unknown."""
    return known_rate(config) if config.noise.assumed_rate is None else config.noise.assumed_rate


def known_rate(config: RunConfig) -> float | None:
    """The share of noisy labels by the configuration of the noise; None where it is unknown."""
    source, nothing_added = SOURCES[config.dataset.source], config.noise.name == "none"
    if source.web or (nothing_added and source.noisy):
        return None  # the labels are noisy already, at an unknown rate
    if nothing_added:
        return 0.0
    return config.noise_ratio if NOISES[config.noise.name].ratio else None
