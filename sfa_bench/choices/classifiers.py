"""Classifiers fitted on a finished run's features (algorithms/methods.md §10). A new one: a function, an entry, a
YAML.
"""

# ruff: noqa: RUF009

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sfa_bench.choices.options import LONGEST, MANY, option


@dataclass(frozen=True)
class Classifier:
    """A classifier of one network.

    code: `module.function`, which takes a `classifiers.fit.FitInputs` and returns a head and figures; None: the network
    keeps its own classifier.
    linear: the network's own classifier must be linear.
    options: keys of `classifier` that act on it.
    title: what it is called in a paper's tables and figures.
    """

    code: str | None
    title: str
    linear: bool = False
    options: tuple[str, ...] = ()


_TRAINED = ("bn_mode", "epochs", "batch_size", "lr")
CLASSIFIERS: Mapping[str, Classifier] = {
    "joint": Classifier(None, "joint"),
    "crt": Classifier("sfa_bench.classifiers.fit.retrained", "cRT", options=_TRAINED),
    "lws": Classifier("sfa_bench.classifiers.fit.scaled", "LWS", linear=True, options=_TRAINED),
    "tau_norm": Classifier("sfa_bench.classifiers.fit.normalised", "τ-norm", linear=True, options=("tau",)),
    "ncm": Classifier("sfa_bench.classifiers.fit.nearest_mean", "NCM"),
    "logit_adjust": Classifier("sfa_bench.classifiers.fit.prior_subtracted", "logit adjustment", options=("tau",)),
}
OPTIONS = tuple(dict.fromkeys(option for classifier in CLASSIFIERS.values() for option in classifier.options))


if TYPE_CHECKING:
    ClassifierName = str
else:
    ClassifierName = Literal[tuple(CLASSIFIERS)]


@dataclass(frozen=True)
class ClassifierConfig:
    name: ClassifierName = option("joint", "classifier fitted after training", fixed=True)
    bn_mode: Literal["eval", "train"] = option("eval", "BatchNorm of the frozen backbone (release: train)")
    epochs: int | None = option(None, "crt, lws: epochs", low=1, high=LONGEST)
    batch_size: int | None = option(None, "crt, lws: batch", low=2, high=MANY)
    lr: float | None = option(None, "crt, lws: learning rate, falling as a cosine", above=0)
    tau: float | None = option(None, "tau_norm: exponent (null = chosen); logit_adjust: strength", low=0)
    revision: int = option(1, "raised when a change of the classifier changes results", low=1, fixed=True)
