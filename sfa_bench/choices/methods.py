"""The methods: what trains, by its code, and what each original ran (algorithms/methods.md, algorithms/sfa.md §8).

A new method is a class, an entry here, and a YAML. A method that only has other values than an existing one is a YAML
alone.
"""

# ruff: noqa: RUF009

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from sfa_bench.choices.losses import LossConfig
from sfa_bench.choices.models import names_of
from sfa_bench.choices.noises import NOISES, told_rate
from sfa_bench.choices.options import LONGEST, MANY, Brought, named_by_users, option, section
from sfa_bench.choices.recipes import Recipe
from sfa_bench.choices.selectors import SELECTORS, PluginConfig, SelectorConfig, has_quota
from sfa_bench.choices.sources import AUGMENTATIONS, SOURCES, USUAL_STRONG

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


def _never(config: RunConfig) -> bool:
    return False


def _nothing(config: RunConfig) -> Iterator[str]:
    yield from ()


def _no_refusal(config: RunConfig, given: frozenset[str]) -> Iterator[str]:
    yield from ()


def _no_run(config: RunConfig) -> RunConfig | None:
    return None


@dataclass(frozen=True)
class Learner:
    """Code that trains; a method is a learner with its options.

    code: `module.Class`, made by its `of` from a `methods.base.Training` and the configuration; None for a class of the
    user's own.
    options: keys of `method` that act on it, beside `loss` and `selector`; after_warmup: those that act from the first
    selection on.
    networks: how many it always has; None where that is an option.
    selects: whether it may have a selector, must have one, or decides by itself (`own`) which labels are clean.
    from_the_first: its own selector selects from the first epoch on, without a warm-up.
    every_sample: why it cannot train on a draw that changes from epoch to epoch, as the end of a sentence.
    images: why it trains on images alone and not on vectors, as the end of a sentence.
    strong: it asks for strong views beside weak ones, and `dataset.augment` says which strong ones.
    resamples: it knows schedule=drs; subset: `plugin.main_subset` acts on it.
    projects: its networks have projectors, by whose answers selectors may go; selects_in_turn: network 2 selects when
    network 1 has been trained.
    experts: it trains the medium head, and heads on labels of their own where a selector gives these.
    default_heads: its classifiers start as the framework starts linear ones.
    lambda_u: what `method.lambda_u` is where it is null, but for web data.
    asks_rate: whether `noise.assumed_rate`, the share of noisy labels that it is told, enters a run's identity;
    needs_rate: the keys that make it need the rate; told_type: whether it is told the kind of noise.
    silent: its options that do not act in this run; refuses: a sentence for each pair of values that do not go
    together.
    estimate: the run, not yet resolved, that is made first and whose errors on its validation set it is given by class;
    None: it needs none.
    """

    code: str | None
    options: tuple[str, ...] = ()
    after_warmup: tuple[str, ...] = ()
    networks: int | None = None
    selects: Literal["may", "must", "own"] = "may"
    from_the_first: bool = False
    every_sample: str = ""
    images: str = ""
    strong: bool = False
    resamples: bool = False
    subset: bool = False
    projects: bool = False
    selects_in_turn: bool = False
    experts: bool = False
    default_heads: bool = False
    lambda_u: float = 25.0
    asks_rate: Callable[[RunConfig], bool] = _never
    needs_rate: Callable[[RunConfig], Iterator[str]] = _nothing
    told_type: Callable[[RunConfig], bool] = _never
    silent: Callable[[RunConfig], Iterator[str]] = _nothing
    refuses: Callable[[RunConfig, frozenset[str]], Iterator[str]] = _no_refusal
    estimate: Callable[[RunConfig], RunConfig | None] = _no_run


# ---- one loss on one network


def _single_refuses(config: RunConfig, given: frozenset[str]) -> Iterator[str]:
    method = config.method
    if method.mixup and config.plugin.main_subset == "all" and method.selector.name != "none":
        yield "plugin.main_subset=all with mixup, which mixes selected samples only: set method.mixup=false"


def _single_silent(config: RunConfig) -> Iterator[str]:
    method, plugin = config.method, config.plugin
    everything = plugin.main_subset == "all" and plugin.head == "none"  # is learned from, selected or not
    if method.selector.name == "none" or method.mixup or everything:  # which mixes the selected ones alone
        yield "average_over"


# ---- ELR

# What ELR+ has on a data set: Beta parameter of its mixup, decay of its twins, and whether that decay (and for 100
# classes the weight) grows as in its script for CIFAR (algorithms/methods.md §5).
ELR_PLUS: Mapping[str, Mapping[str, Any]] = {
    "webvision": {"mixup_alpha": 1.5},
    "clothing1m": {"twin_decay": 0.9999},
    "cifar10": {"ramped": True},
    "cifar100": {"ramped": True},
}


def _elr_silent(config: RunConfig) -> Iterator[str]:
    if config.method.plus:
        yield from ("networks", "mixup")


def _elr_refuses(config: RunConfig, given: frozenset[str]) -> Iterator[str]:
    method, classifier = config.method, config.classifier.name
    if method.plus and "method.networks" in given:
        yield "method.plus=true has two networks: leave method.networks out"
    if "method.predict" in given and not method.plus:
        yield (
            f"method.predict={method.predict} has no effect with method.plus=false, which has no twins: set "
            "method.plus=true, or leave method.predict out"
        )
    if config.recipe.ema is not None and method.plus and method.predict == "twins":
        yield (
            f"recipe.ema={config.recipe.ema} with method.plus=true, which predicts by averages of its own: leave it "
            "out, or set method.predict=trained"
        )
    if classifier != "joint" and method.plus and method.predict == "twins":
        yield (
            f"classifier={classifier} with method.plus=true, which predicts by averages: leave it out, or set "
            "method.predict=trained"
        )


# ---- HAR


def _har_silent(config: RunConfig) -> Iterator[str]:
    if config.method.gamma == 0:
        yield "estimate_epochs"


def _har_refuses(config: RunConfig, given: frozenset[str]) -> Iterator[str]:
    name, model = config.names.get("method"), config.model
    if not model.described.block_norms:
        which = f"model={config.names.get('model')}" if model.target is not None else model.chosen
        yield (
            f"{which} with method={name}, which takes gradients at the BatchNorm layers of a backbone's blocks, and "
            f"these are not known there: set model={names_of('block_norms')}"
        )
    if config.compile:
        yield f"compile=true with method={name}, which takes second derivatives: leave compile=false"
    if config.dataset.val != "none":
        yield (
            f"dataset.val={config.dataset.val} with method={name}, whose estimate holds out half of the training set "
            "itself: set dataset.val=none"
        )


def _har_estimate(config: RunConfig) -> RunConfig | None:
    """Cross-entropy on half of the training set, with the other half for validation (algorithms/har.md §3)."""
    method = config.method
    if method.gamma == 0 or method.estimate_epochs == 0:
        return None
    return replace(
        config,
        epochs=method.estimate_epochs,
        device=config.device if isinstance(config.device, str) else config.device[0],
        dataset=replace(config.dataset, val="noisy", val_fraction=0.5),
        method=MethodConfig(),
        plugin=PluginConfig(),
        eval=replace(config.eval, ensemble="logit_sum"),
        record=replace(config.record, probes=None),
        names={**config.names, "method": "ce", "plugin": "none"},
    )


# ---- Co-teaching


def _coteaching_asks(config: RunConfig) -> bool:
    return True  # also where forget_rate is set: old runs keep their hashes


def _coteaching_refuses(config: RunConfig, given: frozenset[str]) -> Iterator[str]:
    if config.method.native and augmentations(config):
        yield (
            f"dataset.augment={config.dataset.augment} with method.native=true, which changes no image: set "
            "method.native=false, or leave dataset.augment out"
        )


def _coteaching_needs(config: RunConfig) -> Iterator[str]:
    if config.method.forget_rate is None:
        yield f"method={config.names.get('method')}"


# ---- DivideMix

_GUESSING = ("lambda_u", "alpha", "temperature", "penalty", "guess_mode", "ramp_origin")
_SSL = (*_GUESSING, "forward", "partner")
_UNICON = ("contrastive", "contrastive_temperature", "fill")
_DASC_LATER = ("midl_temperature", "confidence", "refinement", "positive")


def lambda_u(config: RunConfig) -> float:
    """The weight as a number; DivideMix's paper has no unlabelled loss at 20 % noise, for asymmetric noise and on web
    data (algorithms/methods.md §1, §7).
    """
    if config.method.lambda_u != "paper":
        return float(config.method.lambda_u)
    if SOURCES[config.dataset.source].web:
        return 0.0
    rate = told_rate(config)
    assert rate is not None  # else validate has refused it
    return 0.0 if NOISES[config.noise.name].similar or rate <= 0.2 else 25.0


def confidence_penalty(config: RunConfig) -> bool:
    """Whether DivideMix's warm-up has it; Clothing1M's own script always does (algorithms/methods.md §7)."""
    return NOISES[config.noise.name].similar or config.dataset.source == "clothing1m"


def _dividemix_asks(config: RunConfig) -> bool:
    return config.method.lambda_u == "paper"


def _dividemix_needs(config: RunConfig) -> Iterator[str]:
    if config.method.lambda_u == "paper" and not SOURCES[config.dataset.source].web:  # there it is 0 whatever the rate
        yield "method.lambda_u=paper"


def _dividemix_told_type(config: RunConfig) -> bool:
    return NOISES[config.noise.name].similar or any(_dividemix_needs(config))


def _dividemix_silent(config: RunConfig) -> Iterator[str]:
    if lambda_u(config) == 0:
        yield "ramp_origin"


def _dividemix_refuses(config: RunConfig, given: frozenset[str]) -> Iterator[str]:
    if config.method.forward == "labelled" and (weight := lambda_u(config)) > 0:
        yield (
            f"method.forward=labelled leaves out the rows that method.lambda_u={weight:g} weights: set "
            "method.lambda_u=0, or method.forward=all"
        )


# ---- DaSC


def _dasc_silent(config: RunConfig) -> Iterator[str]:
    yield from _dividemix_silent(config)
    method = config.method
    if method.sbcl == 0:
        yield "sbcl_temperature"
    if method.midl == 0:
        yield from ("midl_temperature", "memory", "positive")
    if method.sbcl == method.midl == 0:
        yield from ("sbcl_from", "confidence")


def _dasc_refuses(config: RunConfig, given: frozenset[str]) -> Iterator[str]:
    if config.plugin.head == "none":
        yield f"method={config.names['method']} trains a balanced head: set plugin=abc"


# ---- UNICON


def _unicon_refuses(config: RunConfig, given: frozenset[str]) -> Iterator[str]:
    selector = config.method.selector
    if config.method.fill == "release" and not has_quota(selector):
        yield (
            f"method.fill=release fills classes up to a quota, which the selector {selector.name} does not have: set "
            "plugin=none and leave method.selector.name out, or set method.fill=none"
        )


def _unicon_silent(config: RunConfig) -> Iterator[str]:
    yield from _dividemix_silent(config)
    if config.method.contrastive == 0:
        yield "contrastive_temperature"


_WEIGHTING = ("schedule", "class_beta", "count_floor")
LEARNERS: Mapping[str, Learner] = {
    "single": Learner(
        "sfa_bench.methods.single.Single",
        options=("networks", "mixup", "average_over", *_WEIGHTING),
        after_warmup=("average_over",),
        resamples=True,
        subset=True,
        silent=_single_silent,
        refuses=_single_refuses,
    ),
    "elr": Learner(
        "sfa_bench.methods.elr.Elr",
        options=("networks", "mixup", "plus", "predict"),
        selects="own",
        silent=_elr_silent,
        refuses=_elr_refuses,
    ),
    "har": Learner(
        "sfa_bench.methods.har.Har",
        options=("networks", "gamma", "estimate_epochs", *_WEIGHTING),
        selects="own",
        resamples=True,
        silent=_har_silent,
        refuses=_har_refuses,
        estimate=_har_estimate,
    ),
    "coteaching": Learner(
        "sfa_bench.methods.coteaching.CoTeaching",
        options=("forget_rate", "double_mean", "native"),
        networks=2,
        selects="own",
        asks_rate=_coteaching_asks,
        needs_rate=_coteaching_needs,
        refuses=_coteaching_refuses,
    ),
    "rolt": Learner(
        "sfa_bench.methods.rolt.Rolt",
        options=("networks", "ensemble_bias", *_WEIGHTING),
        after_warmup=("ensemble_bias",),
        selects="must",
        from_the_first=True,
        every_sample="keeps a running average for every sample, epoch by epoch",
        default_heads=True,
    ),
    "dividemix": Learner(
        "sfa_bench.methods.dividemix.DivideMix",
        options=(*_SSL, *_WEIGHTING),
        after_warmup=_SSL,
        networks=2,
        selects="must",
        experts=True,
        asks_rate=_dividemix_asks,
        needs_rate=_dividemix_needs,
        told_type=_dividemix_told_type,
        silent=_dividemix_silent,
        refuses=_dividemix_refuses,
    ),
    "dasc": Learner(
        "sfa_bench.methods.dasc.Dasc",
        options=(*_GUESSING, "sbcl", "sbcl_temperature", "sbcl_from", "midl", "memory", *_DASC_LATER),
        after_warmup=(*_GUESSING, *_DASC_LATER),
        networks=2,
        images="trains on views that AutoAugment changes",
        strong=True,
        selects="must",
        asks_rate=_dividemix_asks,
        needs_rate=_dividemix_needs,
        told_type=lambda config: any(_dividemix_needs(config)),  # its warm-up has no penalty
        projects=True,
        silent=_dasc_silent,
        refuses=_dasc_refuses,
    ),
    "unicon": Learner(
        "sfa_bench.methods.unicon.Unicon",
        options=(*_GUESSING, *_UNICON),
        after_warmup=(*_GUESSING, *_UNICON),
        networks=2,
        images="trains on views that AutoAugment changes",
        strong=True,
        selects="must",
        asks_rate=_dividemix_asks,
        needs_rate=_dividemix_needs,
        told_type=_dividemix_told_type,
        selects_in_turn=True,
        silent=_unicon_silent,
        refuses=_unicon_refuses,
        lambda_u=30.0,
    ),
    "external": Learner(None, experts=True),  # which its class has to bear out
}
AFTER_WARMUP = tuple(dict.fromkeys(key for learner in LEARNERS.values() for key in learner.after_warmup))

if TYPE_CHECKING:
    LearnerName = str
else:
    LearnerName = Literal[named_by_users(LEARNERS)]


@dataclass(frozen=True)
class MethodConfig(Brought):
    learner: LearnerName = option("single", "the code", fixed=True)
    networks: int = option(1, "2 = an ensemble of two independent networks", low=1, high=2)
    mixup: bool = option(False, "train on mixed pairs of samples")
    average_over: Literal["selected", "batch"] = option(
        "selected", "a batch's loss with a selector is divided by its selected samples, or by all of them"
    )
    schedule: Literal["none", "drw", "drs"] = option("none", "class weights, or resampling, from e > 0.8E on")
    class_beta: float = option(0.9999, "effective number of samples (0 = no weighting)", low=0, below=1)
    count_floor: float = option(1.0, "smallest class count in weights", above=0)
    plus: bool = option(False, "ELR+: two networks with averaged twins, and mixup")
    predict: Literal["twins", "trained"] = option("twins", "ELR+: what predicts; trained = as its release tests")
    gamma: float = option(10.0, "HAR: weight of the penalty on gradients (0 = none)", low=0)
    estimate_epochs: int = option(
        None,
        "HAR: epochs of the run that estimates errors (null = this run's; 0 = none)",
        low=0,
        high=LONGEST,
        auto=True,
    )
    forget_rate: float | None = option(None, "Co-teaching: share left out (null = told rate)", low=0, below=1)
    double_mean: bool = option(False, "Co-teaching: divide by the number of kept samples once more, as the release")
    native: bool = option(None, "Co-teaching: no augmentation (null = in its native recipe)", auto=True)
    ensemble_bias: Literal["corrected", "release"] = option("corrected", "RoLT: bias of its running averages")
    loss: LossConfig = section(LossConfig)
    selector: SelectorConfig = section(SelectorConfig)
    lambda_u: float | Literal["paper"] = option(
        None, "weight of the unlabelled loss (null = 25, 0 on web data); paper = its 0 or 25", low=0, auto=True
    )
    alpha: float = option(None, "Beta parameter of mixup (null = 4, 0.5 on web data)", above=0, high=MANY, auto=True)
    forward: Literal["all", "labelled"] = option(
        None, "mixed rows that the network sees (null = all, labelled on web data without lambda_u)", auto=True
    )
    temperature: float = option(0.5, "sharpening of guessed labels", above=0)
    penalty: Literal["uniform", "none"] = option("uniform", "penalty on the mean prediction")
    guess_mode: Literal["train", "eval"] = option("train", "BatchNorm mode of the network that guesses its labels")
    partner: Literal["updated", "previous"] = option(
        None, "network 1 that guides network 2: updated, or the previous epoch's (null = recipe's)", auto=True
    )
    ramp_origin: Literal["one_based", "zero_based"] = option(
        None, "first epoch of the ramp (null = recipe's)", auto=True
    )
    ramp_epochs: float = option(16.0, "length of the ramp of lambda_u, nominal (per 200 epochs)", above=0, high=LONGEST)
    sbcl: float = option(0.5, "DaSC: weight of the contrastive loss of confident samples", low=0)
    midl: float = option(0.3, "DaSC: weight of the contrastive loss of unconfident samples", low=0)
    sbcl_temperature: float = option(0.1, "DaSC: of the former", above=0)
    midl_temperature: float = option(0.5, "DaSC: of the latter", above=0)
    sbcl_from: int = option(10, "DaSC: epochs of the warm-up without contrastive loss", low=0, high=LONGEST)
    memory: int = option(1024, "DaSC: projections that unconfident samples are held against", low=1, high=MANY)
    confidence: float = option(0.9, "DaSC: largest target above which a sample is confident", low=0, below=1)
    refinement: Literal["own", "release"] = option("own", "DaSC: whose clean probability refines a label")
    positive: Literal["own", "release"] = option("own", "DaSC: what an unconfident sample is pulled to")
    contrastive: float = option(0.025, "UNICON: weight of the contrastive loss of unselected samples", low=0)
    contrastive_temperature: float = option(0.05, "UNICON: of it", above=0)
    fill: Literal["none", "release"] = option("none", "UNICON: what fills classes shorter than the quota")
    revision: int = option(1, "raised when a change of the method changes results", low=1, fixed=True)


def options_without_effect(config: RunConfig) -> Iterator[str]:
    """Keys of `method` that do not act on its learner, or not in this run."""
    learner = LEARNERS[config.method.learner]
    of_all = ("learner", "loss", "selector", "revision", "target", "arguments")
    acting = {*of_all, *learner.options} - set(learner.silent(config))
    yield from (field.name for field in fields(config.method) if field.name not in acting)


def augmentations(config: RunConfig) -> dict[str, str]:
    """What is done to training views beside crop and flip, as fields of `data.types.Transform`: to the strong ones of a
    method that asks for such, else to all.
    """
    code = AUGMENTATIONS[config.dataset.augment]
    if LEARNERS[config.method.learner].strong:
        return {} if code in (None, USUAL_STRONG) else {"strong": str(code)}
    return {} if code is None else {"policy": code}


def images_only(config: RunConfig) -> str:
    """Why this method cannot train on vectors, as a sentence; empty where it can."""
    if not (why := LEARNERS[config.method.learner].images):
        return ""
    return (
        f"method={config.names.get('method')} {why}, and dataset={config.names.get('dataset')} has vectors: choose a "
        "data set of images, or another method"
    )


def has_warmup(config: RunConfig) -> bool:
    """Whether epochs come before the first selection. There are none without a selector, nor in RoLT with its own
    selector."""
    at_once = LEARNERS[config.method.learner].from_the_first and config.plugin.selector == "none"
    return not at_once and config.method.selector.name != "none"


def warmup_epochs(config: RunConfig) -> int:
    """Epochs before the first selection."""
    return config.warmup_epochs if has_warmup(config) else 0


# ---- what the originals ran, by the name of the method (algorithms/methods.md §1, §5, algorithms/README.md §3)


def _on_cifar(source: str, ten: Recipe, hundred: Recipe) -> Recipe | None:
    return {"cifar10": ten, "cifar100": hundred}.get(source)


def _sfa(source: str, parallel: Mapping[str, Any]) -> Recipe | None:
    if source == "webvision":
        return replace(SOURCES[source].recipe, method=parallel)
    return SOURCES[source].recipe if source in ("cifar10", "cifar100") else None


# The scripts for WebVision train both networks at once, in two processes.
_PARALLEL = {"partner": "previous", "selector.variant": "webvision"}


def _web(source: str, method: Mapping[str, Any]) -> Recipe | None:
    """DivideMix's parallel WebVision script and its Clothing1M script, which RoLT+'s are, too."""
    if source == "webvision":  # the lower rate from epoch 51
        return replace(SOURCES[source].recipe, epochs=101, milestone=0.5, method={**_PARALLEL, **method})
    if source == "clothing1m":  # from epoch 41
        return replace(SOURCES[source].recipe, epochs=81, method=method)
    return None


def _dividemix_ran(config: RunConfig) -> Recipe | None:
    source, plugin = config.dataset.source, config.names.get("plugin")
    if plugin in ("sfa", "sfa_release"):
        return _sfa(source, _PARALLEL)
    if plugin in ("ibc", "ibc_release"):  # SFA's script with other labels, on CIFAR
        return SOURCES[source].recipe if source in ("cifar10", "cifar100") else None
    if plugin != "none":
        return None
    options = {"ramp_origin": "zero_based"}
    ten = Recipe("preact_resnet18", 301, 10, 64, milestone=0.5, method=options)  # the lower rate from epoch 151
    return _web(source, options) or _on_cifar(source, ten, replace(ten, warmup_epochs=30))


def _rolt_plus_ran(config: RunConfig) -> Recipe | None:
    source = config.dataset.source
    long_tailed = config.imbalance.name != "none" and config.imb_factor < 1
    ten = Recipe("preact_resnet18", 300, 50 if long_tailed else 10, 64, milestone=0.5)
    return _web(source, {}) or _on_cifar(source, ten, replace(ten, warmup_epochs=50 if long_tailed else 30))


def _ldam_ran(config: RunConfig) -> Recipe | None:
    lt = Recipe("resnet32", 200, 0, 128, 0.1, 2e-4, own_batch=True, schedule="cifar_lt")
    return _on_cifar(config.dataset.source, lt, lt)


def _rolt_ran(config: RunConfig) -> Recipe | None:
    lt = _ldam_ran(config)
    return lt and replace(lt, drop_last=True)


def _elr_ran(config: RunConfig) -> Recipe | None:
    source = config.dataset.source
    if config.method.plus:
        plus = Recipe("preact_resnet18", 200, 0, 128, own_batch=True)
        return _on_cifar(source, plus, replace(plus, epochs=250, milestone=0.8))
    elr = Recipe("resnet34", 150, 0, 128, 0.02, 1e-3, own_batch=True, schedule=f"elr_{source}")
    asymmetric = replace(elr, epochs=120, schedule="elr_cifar10_asymmetric")
    return _on_cifar(source, asymmetric if NOISES[config.noise.name].similar else elr, elr)


def _coteaching_ran(config: RunConfig) -> Recipe | None:
    source = config.dataset.source
    adam = Recipe("cnn9", 200, 0, 128, 0.001, 0.0, own_batch=True, drop_last=True, adam=True, method={"native": True})
    adam = replace(adam, schedule=f"coteaching_{source}")
    return _on_cifar(source, adam, adam)


def _dasc_ran(config: RunConfig) -> Recipe | None:
    # 101 epochs at one rate; the drop is an option of the release that is off.
    constant = Recipe("preact_resnet18", 101, 30, 64, 0.02, 1e-4, milestone=1.0, method={"ramp_origin": "zero_based"})
    return _on_cifar(config.dataset.source, constant, constant)


def _unicon_ran(config: RunConfig) -> Recipe | None:
    ten = Recipe("preact_resnet18", 350, 10, 64, schedule="long_cosine", method={"ramp_origin": "zero_based"})
    return _on_cifar(config.dataset.source, ten, replace(ten, warmup_epochs=30))


NATIVE: Mapping[str, Callable[[RunConfig], Recipe | None]] = {
    "dividemix": _dividemix_ran,
    "rolt": _rolt_ran,
    "rolt_drw": _rolt_ran,
    "rolt_plus": _rolt_plus_ran,
    "ldam": _ldam_ran,
    "ldam_drw": _ldam_ran,
    "elr": _elr_ran,
    "coteaching": _coteaching_ran,
    "dasc": _dasc_ran,
    "dasc_release": _dasc_ran,
    "unicon": _unicon_ran,
    "unicon_release": _unicon_ran,
}
# The others' originals have none.
_PLUGINS = {
    "dividemix": ("none", "sfa", "sfa_release", "ibc", "ibc_release"),
    "dasc": ("abc",),
    "dasc_release": ("abc",),
}


def native(config: RunConfig) -> Recipe | None:
    """The recipe of the original of this method with this plug-in on this data set; None where there is none."""
    method = config.names.get("method", "")
    plugin, selector = config.names.get("plugin"), SELECTORS[config.method.selector.name]
    if plugin == "none" and (of_selector := selector.native.get(method)) is not None:
        return of_selector(config)
    return NATIVE[method](config) if method in NATIVE and plugin in _PLUGINS.get(method, ("none",)) else None


def natives(config: RunConfig) -> list[str]:
    """`method=… plugin=…` of all that have one on this data set, with these options."""
    return [
        f"method={method} plugin={plugin}"
        for method in NATIVE
        for plugin in _PLUGINS.get(method, ("none",))
        if native(replace(config, names={**config.names, "method": method, "plugin": plugin})) is not None
    ]


# What a method is called in a paper's tables and figures; a loss that takes cross-entropy's place is a method there.
TITLES: Mapping[str, str] = {
    "balanced_softmax": "Balanced softmax",
    "cb_ce": "CB-CE",
    "ce": "CE",
    "ce_drw": "CE-DRW",
    "ce_mixup": "CE + mixup",
    "ccs": "CCS",
    "coteaching": "Co-teaching",
    "dasc": "DaSC",
    "dasc_release": "DaSC (release)",
    "dividemix": "DivideMix",
    "elr": "ELR",
    "focal": "Focal loss",
    "gce": "GCE",
    "har": "HAR",
    "har_drw": "HAR-DRW",
    "jal_ce": "JAL-CE",
    "jal_fl": "JAL-FL",
    "ldam": "LDAM",
    "ldam_drw": "LDAM-DRW",
    "logit_adjust": "Logit adjustment",
    "mae": "MAE",
    "nce_mae": "NCE+MAE",
    "nce_rce": "NCE+RCE",
    "nfl": "NFL",
    "ngce": "NGCE",
    "rolt": "RoLT",
    "rolt_drw": "RoLT-DRW",
    "rolt_plus": "RoLT+",
    "sce": "SCE",
    "sop": "SOP",
    "unicon": "UNICON",
    "unicon_release": "UNICON (release)",
}
