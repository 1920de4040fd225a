"""The noise models (spec/data.md §4). A new one is a function of `data.noise`, an entry here, and a YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Count = Literal["exact", "exact_per_class", "bernoulli"]
COUNTS: tuple[Count, ...] = ("exact", "exact_per_class", "bernoulli")
OPTIONS = ("count", "include_self", "map", "labels", "file")  # keys of `noise` that act on some models alone


@dataclass(frozen=True)
class Noise:
    """Where observed labels come from.

    law: `module.function` of a `data.noise.LawInputs`, the rate [K] and the targets [K, K]; None where `source` is not
    `law`.
    source: of the labels: a law of the classes, `people` (a file of the data set's), or what the `images` show.
    count: how many labels flip where `noise.count` is auto; counts: which of them can be typed.
    options: keys of `noise` that act on it.
    ratio: whether `noise_ratio` acts on it, and is then known.
    similar: each class goes into one that looks like it, which some methods are told (the literature's *asymmetric*).
    legacy: how the releases' generator draws the new label; None: it does not know this model.
    """

    law: str | None = None
    source: Literal["law", "people", "images"] = "law"
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
    "human": Noise(source="people", options=("labels",), ratio=False),
    # Each class has its own rate.
    "matrix": Noise(_law("from_file"), counts=("exact_per_class", "bernoulli"), options=("count", "file"), ratio=False),
    "none": Noise(_law("nothing"), options=(), ratio=False, legacy="by size"),
}
WITHOUT_RATIO = tuple(name for name, noise in NOISES.items() if not noise.ratio)
