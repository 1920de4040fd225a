"""The selectors, which decide which labels are clean (algorithms/sfa.md, algorithms/ibc.md §2, algorithms/methods.md
§7–9, algorithms/tabasco.md, algorithms/dacc.md, algorithms/quota.md, algorithms/dss.md,
algorithms/confident_learning.md, algorithms/ssr.md, algorithms/fine.md, algorithms/scs.md). A new one is a class and an
entry here.
"""

# ruff: noqa: RUF009

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sfa_bench.choices.options import LONGEST, MANY, Brought, named_by_users, option, section
from sfa_bench.choices.recipes import Recipe

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


def _nothing(config: RunConfig) -> Iterator[str]:
    yield from ()


def _never(options: SelectorConfig) -> bool:
    return False


@dataclass(frozen=True)
class Selector:
    """A selector of one network.

    code: `module.Class`, made by its `of` from `selectors.base.SelectorInputs`; None where there is no selection, or
    for a class of the user's own.
    looks: it uses what networks answer; mixtures: it fits mixtures, so that `plugin.gmm` and `plugin.p_threshold` act;
    by_class: one for each class.
    options: keys of `method.selector` that act on it, beside those that act on all; defaults: what those are that are
    null; plugin_options: keys of `plugin` that act on it alone; effective: of `recipe.effective`.
    watches: it is shown what its network predicts of each batch that it trains on, also in the warm-up, which is then
    not shared with others. remembers: its answer depends on what it was shown in earlier epochs.
    balanced_head: it uses the balanced head's logits where there is one.
    running_means: it keeps running averages of centroids unless `plugin.moments=none`.
    asks_samples: it is told which samples of the data set it selects from.
    asks_rate: it is told the share of noisy labels; averaged_at: the share at which it averages over epochs.
    knows: what else it is told. plugin: the plug-in that brings it, where it cannot be set by itself.
    not_with: methods with which it is refused, and why; refuses: sentences against values that do not go together.
    gives_targets: it gives heads labels of their own, on which not every learner trains.
    silent: which keys do not act on it in this run.
    native: what its original ran, by the method that it was published in.
    revision: raised when a change of it changes results.
    """

    code: str | None
    looks: bool = True
    mixtures: bool = True
    by_class: bool = True
    options: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    plugin_options: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    watches: Callable[[SelectorConfig], bool] = _never
    remembers: bool = False
    balanced_head: bool = False
    running_means: bool = False
    asks_samples: bool = False
    asks_rate: bool = False
    averaged_at: float | None = None
    knows: tuple[str, ...] = ()
    plugin: str | None = None
    not_with: Mapping[str, str] = field(default_factory=dict)
    gives_targets: bool = False
    refuses: Callable[[RunConfig], Iterator[str]] = _nothing
    silent: Callable[[RunConfig], Iterator[str]] = _nothing
    native: Mapping[str, Callable[[RunConfig], Recipe | None]] = field(default_factory=dict)
    revision: int = 1


# ---- TABASCO


def _tabasco_ran(config: RunConfig) -> Recipe | None:
    """DivideMix at one learning rate, by another clock (algorithms/tabasco.md §8)."""
    warmup = {"cifar10": 10, "cifar100": 30}.get(config.dataset.source)
    if warmup is None:
        return None
    return Recipe("preact_resnet18", 101, warmup, 64, milestone=1.0, method={"ramp_origin": "zero_based"})


# ---- class quotas


def _quota_silent(config: RunConfig) -> Iterator[str]:
    selector, unused = config.method.selector, []
    if isinstance(selector.rate, str):
        unused = ["rate_end", "rate_epochs"]
    else:
        unused = ["mean_limit", *(["rate_end", "rate_epochs"] if selector.rate_end in (None, selector.rate) else [])]
    yield from (f"method.selector.{key}" for key in unused)


def _quota_refuses(config: RunConfig) -> Iterator[str]:
    if config.method.selector.networks == "both" and config.method.networks != 2:
        yield (
            f"method.selector.networks=both for method={config.names.get('method')}, which has one network: set "
            "method.networks=2, or method.selector.networks=own"
        )


# ---- IBC: SFA, and soft labels


def _ibc_silent(config: RunConfig) -> Iterator[str]:
    if config.plugin.head == "none":
        yield "plugin.epsilon"
    if config.plugin.head == "none" or config.plugin.epsilon == 0:  # no head learns what neighbours share
        yield from ("plugin.kappa", "plugin.query_centre")


_OF_SFA = ("moments", "selection_at", "tau0", "samples", "draw", "distance", "sample_min", "empty_class", "var_floor")

# ---- DSS


def _by_batches(options: SelectorConfig) -> bool:
    return options.source == "training"


# ---- FINE


def _fine_silent(config: RunConfig) -> Iterator[str]:
    if config.method.selector.split == "kmeans":  # which gives 1 or 0
        yield from ("plugin.gmm.monotone", "plugin.gmm.fit", "plugin.p_threshold")


# ---- confident learning


def _confident(name: str) -> str:
    return f"sfa_bench.selectors.confident.{name}"


# ---- a list


def _file_refuses(config: RunConfig) -> Iterator[str]:
    if (file := config.method.selector.file) is None:
        yield "method.selector.name=file needs method.selector.file=FILE, a .csv with columns index (or path) and keep"
    elif not Path(file).expanduser().is_file():
        yield f"method.selector.file={file}: there is no such file"


# ---- what there is


SELECTORS: Mapping[str, Selector] = {
    "none": Selector(None, mixtures=False, by_class=False, looks=False),
    "loss_gmm": Selector(
        "sfa_bench.selectors.loss.LossMixture", by_class=False, options=("variant",), asks_rate=True, averaged_at=0.9
    ),
    "loss_gmm_cls": Selector("sfa_bench.selectors.loss.ClassLossMixture"),
    # Since revision 2 these two see features in half precision, as a saved probe holds them.
    "proto": Selector("sfa_bench.selectors.prototype.Prototype", options=("variant",), revision=2),
    "sfa": Selector(
        "sfa_bench.selectors.sfa.StochasticFeatureAveraging",
        plugin_options=_OF_SFA,
        effective=("beta", "phi"),
        balanced_head=True,
        running_means=True,
        plugin="sfa",
        not_with={
            "rolt_plus": "method=rolt_plus with sfa is method=dividemix plugin=sfa: set that, or add plugin=none"
        },
        revision=2,
    ),
    "tabasco": Selector("sfa_bench.selectors.tabasco.Tabasco", native={"dividemix": _tabasco_ran}),
    "dacc": Selector(
        "sfa_bench.selectors.dacc.DistributionAwareCentroids",
        options=("phi", "temperature", "features"),
        balanced_head=True,
    ),
    "quota": Selector(
        "sfa_bench.selectors.quota.Quota",
        mixtures=False,
        by_class=False,
        options=("score", "rate", "rate_end", "rate_epochs", "mean_limit", "networks"),
        silent=_quota_silent,
        refuses=_quota_refuses,
    ),
    "ibc": Selector(
        "sfa_bench.selectors.ibc.InstancesBenefittingClasses",
        plugin_options=(*_OF_SFA, "epsilon", "kappa", "query_centre"),
        effective=("beta", "phi"),
        balanced_head=True,
        running_means=True,
        plugin="ibc",
        not_with={
            "rolt_plus": "method=rolt_plus with ibc is method=dividemix plugin=ibc: set that, or add plugin=none"
        },
        gives_targets=True,
        silent=_ibc_silent,
    ),
    "base": Selector("sfa_bench.selectors.dss.PredictedLabel", mixtures=False, by_class=False),
    "mda": Selector(
        "sfa_bench.selectors.dss.MarginalAlignment",
        mixtures=False,
        by_class=False,
        options=("prior", "momentum", "source"),
        defaults={"momentum": 0.99},
        watches=_by_batches,
        remembers=True,
    ),
    "confident_learning": Selector(
        _confident("ConfidentLearning"), mixtures=False, by_class=False, options=("prune", "counting")
    ),
    "self_confidence": Selector(_confident("SelfConfidence"), mixtures=False, by_class=False, options=("counting",)),
    "normalised_margin": Selector(
        _confident("NormalisedMargin"), mixtures=False, by_class=False, options=("counting",)
    ),
    "ssr_knn": Selector(
        "sfa_bench.selectors.ssr.NeighbourVotes",
        mixtures=False,
        by_class=False,
        options=("neighbours", "relabel_above", "agreement"),
    ),
    "fine": Selector("sfa_bench.selectors.fine.Fine", options=("direction", "split"), silent=_fine_silent),
    "scs": Selector(
        "sfa_bench.selectors.scs.SelfAdaptive",
        mixtures=False,
        by_class=False,
        options=("momentum", "quantile"),
        defaults={"momentum": 0.999},
        remembers=True,
    ),
    "oracle": Selector(
        "sfa_bench.selectors.oracle.Oracle", looks=False, mixtures=False, by_class=False, knows=("clean_labels",)
    ),
    "file": Selector(
        "sfa_bench.selectors.listed.Listed",
        looks=False,
        mixtures=False,
        by_class=False,
        options=("file",),
        asks_samples=True,
        knows=("clean_labels",),  # whoever made the list may have looked at the images
        refuses=_file_refuses,
    ),
    "external": Selector(None, balanced_head=True),
}
NAMES = named_by_users(SELECTORS)
OF_ALL = ("name", "view", "no_clean_class")  # keys of `method.selector` that are no options of one


if TYPE_CHECKING:
    SelectorName = str
else:
    SelectorName = Literal[NAMES]


@dataclass(frozen=True)
class SelectorConfig:
    name: SelectorName = option("none", "what decides which labels are clean")
    variant: Literal["usual", "webvision"] = option(
        None, "loss_gmm, proto: mixtures' constants (null = usual, webvision in its native recipe)", auto=True
    )
    view: Literal["test", "train"] = option("test", "images of the selection pass: test, or augmented as in training")
    no_clean_class: Literal["keep_all", "none"] = option(
        "keep_all", "a class with no sample selected: keep all or none"
    )
    phi: float = option(1.005, "dacc: growth of its gate's threshold an epoch, not scaled", above=0, high=10)
    temperature: float = option(0.1, "dacc: of the predictions that weigh samples in centroids", above=0)
    features: Literal["project", "default"] = option(
        "project", "dacc: projections where the network has them (dasc), or the heads' input"
    )
    score: Literal["jsd", "loss"] = option("jsd", "quota: distance of prediction and label")
    rate: float | Literal["mean_threshold"] = option(
        "mean_threshold", "quota: share of the samples, or those nearer than the mean", above=0, high=1
    )
    rate_end: float | None = option(None, "quota: what a number as rate goes to (null = it stays)", above=0, high=1)
    rate_epochs: int = option(100, "quota: epochs until rate_end, not scaled", low=1, high=LONGEST)
    mean_limit: float | None = option(
        None, "quota: a mean distance above it is lowered (null = none is)", above=0, below=math.log(2)
    )
    networks: Literal["own", "both"] = option("own", "quota: whose softmax is scored; both = the mean of two")
    prior: Literal["uniform", "observed", "estimated"] = option(
        "uniform", "mda: class prior that predictions are moved to"
    )
    momentum: float = option(
        None,
        "mda: of the mean prediction (null = 0.99); scs: of its thresholds (null = 0.999)",
        low=0,
        below=1,
        auto=True,
    )
    source: Literal["probe", "training"] = option(
        "probe", "mda: predictions of the selection pass are averaged, or those of training"
    )
    prune: Literal["noise_rate", "class", "both", "off_diagonal"] = option(
        "noise_rate", "confident_learning: which samples are label errors"
    )
    counting: Literal["cleanlab", "paper"] = option(
        "cleanlab", "confident_learning, self_confidence, normalised_margin: whose rules"
    )
    neighbours: int = option(200, "ssr_knn: nearest samples that vote, the sample itself among them", low=1, high=MANY)
    relabel_above: float = option(
        0.9, "ssr_knn: a prediction with a higher probability replaces the label; 1 = none does", low=0, high=1
    )
    agreement: float = option(1.0, "ssr_knn: share of the most votes that a label needs", above=0, high=1)
    direction: Literal["eigenvector", "mean"] = option("eigenvector", "fine: of a class's features")
    split: Literal["mixture", "kmeans"] = option("mixture", "fine: what splits the scores of a class")
    quantile: float | Literal["mean"] = option(
        0.8, "scs: of the probabilities of observed labels, for its threshold; or their mean", low=0, high=1
    )
    file: str | None = option(None, "file: a .csv with the columns index (or path) and keep, 0 or 1")


def has_quota(selector: SelectorConfig) -> bool:
    """Whether it takes as many samples of each class, so that a class can be shorter than that."""
    return "mean_limit" in SELECTORS[selector.name].options


def scores_by_divergence(selector: SelectorConfig) -> bool:
    """Whether its clean probability is 1 − d/ln 2, d the divergence of prediction and label."""
    return "score" in SELECTORS[selector.name].options and selector.score == "jsd"


OPTIONS = tuple(field.name for field in fields(SelectorConfig) if field.name not in OF_ALL)


@dataclass(frozen=True)
class AbcConfig:
    counts: Literal["selected", "observed"] = option("selected", "class counts inside the balanced head's softmax")
    count_floor: float = option(1.0, "smallest count (release: 0)", low=0)
    detach: bool = option(False, "keep the balanced head's gradient out of the backbone")


@dataclass(frozen=True)
class GmmConfig:
    min_samples: int = option(2, "a class with fewer observed samples is kept whole", low=2, high=MANY)
    monotone: bool = option(False, "the clean probability never falls as the score rises")
    fit: Literal["sklearn", "batched"] = option(
        "sklearn", "batched = all classes at once in Torch; the same to rounding"
    )


@dataclass(frozen=True)
class PluginConfig(Brought):
    selector: Literal["none", "sfa", "ibc", "external"] = option(
        "none", "selector the plug-in brings (replaces the method's)", fixed=True
    )
    moments: Literal["persistent", "release", "none"] = option("persistent", "running averages of the centroids")
    beta: float = option(
        None, "smoothing of the moments, nominal (null = 0.99, 0.9 on web data)", low=0, below=1, auto=True
    )
    phi: float = option(1.005, "growth of the gate's threshold an epoch (per 200 epochs)", above=0, high=10)
    selection_at: Literal["start", "end"] = option(
        "start", "end = as at the end of the previous epoch, moments begun twice (WebVision's release)"
    )
    tau0: float | None = option(None, "the gate's threshold at epoch 0 (null = 1/K)", low=0, below=1)
    samples: int = option(1, "draws of each centroid", low=1, high=10_000)
    draw: bool = option(True, "draw centroids; false uses their means")
    distance: Literal["own", "relative"] = option(
        "own", "to the observed class's centroid; relative = less that to the nearest other"
    )
    sample_min: int | Literal["auto", "release"] = option(
        "auto", "draw only classes with more gated samples", low=0, high=MANY
    )
    epsilon: float = option(0.1, "ibc: share of a soft label that neighbour classes have (0 = hard)", low=0, below=1)
    kappa: float = option(0.25, "ibc: share of the classes that are neighbours of a sample", above=0, high=1)
    query_centre: Literal["dataset", "sample"] = option(
        "dataset", "ibc: the mean that a feature is compared without; sample = of its own coordinates"
    )
    head: Literal["abc", "experts", "none"] = option(
        "none", "auxiliary balanced classifier; experts = and a medium head"
    )
    medium_warmup: bool = option(True, "the medium head is trained in the warm-up, too")
    main_subset: Literal["selected", "all"] = option("selected", "samples in the main loss of single-network methods")
    empty_class: Literal["carry", "zero", "error"] = option(
        "carry", "a class with no gated sample keeps its moments, is at the origin, or fails"
    )
    p_threshold: float = option(0.5, "clean probability above which a sample is selected", low=0, below=1)
    var_floor: float = option(1e-30, "smallest variance of a centroid", above=0)
    abc: AbcConfig = section(AbcConfig)
    gmm: GmmConfig = section(GmmConfig)
    revision: int = option(1, "raised when a change of the plug-in changes results", low=1, fixed=True)


# What a plug-in is called in a paper's tables and figures.
TITLES: Mapping[str, str] = {
    "none": "none",
    "abc": "ABC",
    "ibc": "IBC",
    "ibc_release": "IBC (release)",
    "sfa": "SFA",
    "sfa_release": "SFA (release)",
}
