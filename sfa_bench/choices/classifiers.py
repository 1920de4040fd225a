"""Classifiers fitted on a finished run's features (spec/methods.md §10). A new one: a function, an entry, a YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Classifier:
    """A classifier of one network.

    code: `module.function` of a `classifiers.fit.FitInputs`, its head and figures; None: the one that the network has.
    linear: the network's own has to be linear.
    options: keys of `classifier` that act on it.
    """

    code: str | None
    linear: bool = False
    options: tuple[str, ...] = ()


_TRAINED = ("bn_mode", "epochs", "batch_size", "lr")
CLASSIFIERS: Mapping[str, Classifier] = {
    "joint": Classifier(None),
    "crt": Classifier("sfa_bench.classifiers.fit.retrained", options=_TRAINED),
    "lws": Classifier("sfa_bench.classifiers.fit.scaled", linear=True, options=_TRAINED),
    "tau_norm": Classifier("sfa_bench.classifiers.fit.normalised", linear=True, options=("tau",)),
    "ncm": Classifier("sfa_bench.classifiers.fit.nearest_mean"),
    "logit_adjust": Classifier("sfa_bench.classifiers.fit.prior_subtracted", options=("tau",)),
}
OPTIONS = tuple(dict.fromkeys(option for one in CLASSIFIERS.values() for option in one.options))
