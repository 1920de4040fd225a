"""The heads that a plug-in puts beside the main one (algorithms/sfa.md §7, algorithms/ibc.md §1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Head:
    """A linear classifier on the features of the main head, trained with balanced softmax.

    name: of its layer, its logits and its accuracy; title: in sentences.
    strength: τ, of the log counts inside its softmax.
    shots: the classes, by rank of their size, that its soft labels may name beside the observed label.
    """

    name: str
    title: str
    strength: float
    shots: Literal["medium", "few"]


BALANCED = Head("abc", "balanced head", 1.0, "few")
MEDIUM = Head("medium_head", "medium head", 0.5, "medium")
HEADS = (BALANCED, MEDIUM)  # in the order in which a network makes them and their losses are added
WITH: Mapping[str, tuple[Head, ...]] = {"none": (), "abc": (BALANCED,), "experts": HEADS}  # by `plugin.head`
ALL = ("main", *(head.name for head in HEADS))  # those that predict together
