"""Recipes (design.md §3 "Matched recipes" and "Other lengths"; native ones: spec/methods.md §1, spec/README.md §3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from sfa_bench.choices.losses import resolve_loss
from sfa_bench.choices.models import MODELS
from sfa_bench.choices.noises import NOISES
from sfa_bench.choices.selectors import SELECTORS
from sfa_bench.config.schema import Effective, HumanLabels, RunConfig
from sfa_bench.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """Backbone and schedule of one data set or one original. `nominal` = epochs that per-epoch constants refer to."""

    model: str
    epochs: int
    warmup_epochs: int
    batch_size: int  # labelled; warm-up and single-network steps take twice as many
    lr: float = 0.02
    weight_decay: float = 5e-4
    momentum: float = 0.9
    milestone: float = 0.75  # the learning rate drops in epochs e > milestone * E
    nominal: int = 200
    own_batch: bool = False  # single-network steps take the batch itself, not twice as many
    drop_last: bool = False
    schedule: str = "step"
    adam: bool = False
    width: int | None = None  # of backbones that have several, instead of their own
    pretrained: bool = False  # it starts from weights that the user brings


MATCHED = {
    "digits": Recipe("convnet", 60, 9, 32),
    "synthetic": Recipe("convnet", 60, 9, 64),
    # Of a user's own pictures neither size nor number is known: the one network that takes all, and that trains without
    # an accelerator. For photographs model=resnet50 is a word away, with model.pretrained=FILE if there are few.
    "arrays": Recipe("convnet", 60, 9, 64),
    "folder": Recipe("convnet", 60, 9, 64),
    "csv": Recipe("convnet", 60, 9, 64),
    "fashion_mnist": Recipe("preact_resnet18", 30, 5, 64, width=16),
    "cifar10": Recipe("preact_resnet18", 200, 30, 64),
    "cifar100": Recipe("preact_resnet18", 200, 30, 64),
    "webvision": Recipe("inception_resnet_v2", 100, 1, 32, 0.01, milestone=0.49, nominal=100),
    "clothing1m": Recipe("resnet50", 80, 1, 32, 0.002, 1e-3, milestone=0.5, nominal=80, pretrained=True),
}
# Crawled from the web with their noise: DivideMix and SFA have constants of their own there (spec/methods.md §7).
WEB = ("webvision", "clothing1m")
# Whose files have official checksums, which dataset.checksum=false does not ask for.
CHECKED = ("fashion_mnist", "cifar10", "cifar100")
FIXED_SOURCES = ("digits", "fashion_mnist", "cifar10")  # ten classes that are many, medium, few by their number

# Image files: shorter side, crop, kind of random crop, class-balanced draws without and for a selection (0 = all).
_PLAIN = {"resize": 256, "crop": 224, "random_crop": "resized", "warmup_draw": 0, "selection_draw": 0}
IMAGE_FILES: dict[str, dict[str, Any]] = {
    "webvision": {**_PLAIN, "resize": 320, "crop": 299},
    "clothing1m": {**_PLAIN, "random_crop": "plain", "warmup_draw": 64_000, "selection_draw": 32_000},
    "folder": _PLAIN,
    "csv": _PLAIN,
}

# The labels that people gave to a data set's images, by source; null is the first (spec/data.md §5).
HUMAN_LABELS: dict[str, tuple[HumanLabels, ...]] = {
    "cifar10": ("worst", "aggre", "rand1", "rand2", "rand3", "clean"),
    "cifar100": ("noisy", "clean"),
}


def native(config: RunConfig) -> Recipe:
    """What the original of this method ran (spec/methods.md §1, §5). Raises ConfigError where there is none."""
    method, plugin, source = config.names.get("method"), config.names.get("plugin"), config.dataset.source
    if source in WEB:
        return _native_on_web_data(config)
    if source not in ("cifar10", "cifar100"):
        raise ConfigError(
            f"recipe=native exists for dataset=cifar10, cifar100, webvision and clothing1m, not for {source}: choose "
            "one, or recipe=matched",
            invalid_combination=True,
        )
    ten = source == "cifar10"
    if method == "dividemix" and plugin in ("sfa", "sfa_release"):
        return Recipe("preact_resnet18", 200, 30, 64)
    if plugin == "none":
        match method:
            case "dividemix":
                return Recipe("preact_resnet18", 301, 10 if ten else 30, 64, milestone=0.5)  # from epoch 151
            case "rolt_plus":
                long_tailed = config.imbalance.name != "none" and config.imb_factor < 1
                return Recipe("preact_resnet18", 300, 50 if long_tailed else 10 if ten else 30, 64, milestone=0.5)
            case "rolt" | "rolt_drw" | "ldam" | "ldam_drw":
                lt = Recipe("resnet32", 200, 0, 128, 0.1, 2e-4, own_batch=True, schedule="cifar_lt")
                return replace(lt, drop_last=method.startswith("rolt"))
            case "elr" if config.method.plus:
                plus = Recipe("preact_resnet18", 200, 0, 128, own_batch=True)
                return plus if ten else replace(plus, epochs=250, milestone=0.8)
            case "elr":
                asymmetric = ten and NOISES[config.noise.name].similar
                schedule = "elr_cifar10_asymmetric" if asymmetric else f"elr_{source}"
                elr = Recipe("resnet34", 150, 0, 128, 0.02, 1e-3, own_batch=True, schedule=schedule)
                return replace(elr, epochs=120) if asymmetric else elr
            case "coteaching":
                adam = Recipe("cnn9", 200, 0, 128, 0.001, 0.0, own_batch=True, drop_last=True, adam=True)
                return replace(adam, schedule=f"coteaching_{source}")
    raise ConfigError(
        f"recipe=native does not exist for method={method} plugin={plugin} (only for dividemix with plugin=none, sfa "
        "or sfa_release, and with plugin=none for rolt, rolt_drw, rolt_plus, ldam, ldam_drw, elr and coteaching): type "
        "recipe=matched",
        invalid_combination=True,
    )


def _native_on_web_data(config: RunConfig) -> Recipe:
    """The recipes of DivideMix's parallel WebVision script and its Clothing1M script (also RoLT+'s), and SFA's."""
    method, plugin, source = config.names.get("method"), config.names.get("plugin"), config.dataset.source
    if plugin == "none" and method in ("dividemix", "rolt_plus"):
        if source == "webvision":
            return replace(MATCHED[source], epochs=101, milestone=0.5)  # the lower rate from epoch 51
        return replace(MATCHED[source], epochs=81)  # from epoch 41
    if source == "webvision" and method == "dividemix" and plugin in ("sfa", "sfa_release"):
        return MATCHED[source]
    raise ConfigError(
        f"recipe=native does not exist for method={method} plugin={plugin} on dataset={source} (only with plugin=none "
        f"for dividemix and rolt_plus{', and for dividemix with sfa or sfa_release' if source == 'webvision' else ''}"
        "): type recipe=matched",
        invalid_combination=True,
    )


def resolve(config: RunConfig) -> RunConfig:
    """Fill in what is null from the recipe and scale per-epoch constants to the run's length."""
    is_native, source = config.recipe.name == "native", config.dataset.source
    recipe = native(config) if is_native else MATCHED[source]
    epochs = config.epochs or recipe.epochs
    warmup = config.warmup_epochs
    if warmup is None:
        warmup = -(-recipe.warmup_epochs * epochs // recipe.epochs)  # rounded up, in whole numbers
    model = config.model.name or recipe.model
    milestone = _first(config.recipe.milestone, recipe.milestone)
    literal = is_native or config.names.get("preset", "").startswith("release_")
    stretch = 1.0 if literal else recipe.nominal / epochs
    ramp = config.method.ramp_epochs
    batch_size = config.batch_size or recipe.batch_size
    plain_batch = batch_size if recipe.own_batch else 2 * batch_size
    beta = _first(config.plugin.beta, 0.9 if source in WEB else 0.99)
    effective = Effective(
        beta=beta**stretch,
        phi=config.plugin.phi**stretch,
        ramp_epochs=ramp if literal else max(1.0, ramp / stretch),
        lr_drop_epoch=first_after(milestone, epochs),
        plain_batch=plain_batch,
        drop_last=recipe.drop_last,
        schedule=recipe.schedule,
        adam=recipe.adam,
    )
    two = config.method.learner in ("dividemix", "coteaching") or config.method.plus
    original = is_native and config.names.get("method") == "dividemix" and config.names.get("plugin") == "none"
    # The scripts for WebVision train both networks at once, in two processes.
    parallel = is_native and source == "webvision"
    sample_min = config.plugin.sample_min
    if sample_min == "release":
        sample_min = 300 if source.startswith("cifar") else "auto"
    if sample_min == "auto" and source in WEB:
        sample_min = 0
    labels = config.noise.labels
    if "labels" in NOISES[config.noise.name].options and labels is None and source in HUMAN_LABELS:
        labels = HUMAN_LABELS[source][0]
    fraction = config.dataset.val_fraction
    if config.dataset.val != "none" and fraction is None:
        fraction = 0.1
    return replace(
        config,
        epochs=epochs,
        warmup_epochs=warmup,
        batch_size=batch_size,
        lr=config.lr or recipe.lr,
        dataset=replace(config.dataset, val_fraction=fraction, **_image_files(config)),
        noise=replace(config.noise, labels=labels),
        method=replace(
            config.method,
            loss=resolve_loss(config),
            selector=replace(config.method.selector, variant=_variant(config)),
            **_semi_supervised(config),
            networks=2 if two else config.method.networks,
            native=_first(config.method.native, is_native and config.method.learner == "coteaching"),
            partner=config.method.partner or ("previous" if parallel else "updated"),
            ramp_origin=config.method.ramp_origin or ("zero_based" if original else "one_based"),
        ),
        plugin=replace(config.plugin, beta=beta, sample_min=sample_min),
        model=replace(
            config.model,
            name=model,
            width=config.model.width or (MODELS[model].width and (recipe.width or MODELS[model].width)),
            pretrained=_first(config.model.pretrained, _pretrained(recipe, model)),
        ),
        recipe=replace(
            config.recipe,
            momentum=_first(config.recipe.momentum, recipe.momentum),
            weight_decay=_first(config.recipe.weight_decay, recipe.weight_decay),
            milestone=milestone,
            effective=effective,
        ),
    )


def _semi_supervised(config: RunConfig) -> dict[str, Any]:
    """DivideMix's constants by data set; on web data it has no unlabelled loss and forwards none of its rows."""
    method, web = config.method, config.dataset.source in WEB
    weight: Any = _first(method.lambda_u, 0.0 if web else 25.0)
    unused = web and method.learner == "dividemix" and weight in (0, "paper")
    return {
        "lambda_u": weight,
        "alpha": _first(method.alpha, 0.5 if web else 4.0),
        "forward": method.forward or ("labelled" if unused else "all"),
    }


def _variant(config: RunConfig) -> Literal["usual", "webvision"]:
    """Which constants the selector's mixtures have."""
    given = config.method.selector.variant
    if given is not None:
        return given
    own = config.recipe.name == "native" and config.dataset.source == "webvision"
    return "webvision" if own and SELECTORS[config.method.selector.name].variants else "usual"


def _pretrained(recipe: Recipe, model: str) -> Literal[False] | None:
    """None (refused by validate) only where the original starts from weights that the user has to bring."""
    return None if recipe.pretrained and model == recipe.model else False


def _image_files(config: RunConfig) -> dict[str, Any]:
    """What is null of the options of image files, from the data set's own."""
    own = IMAGE_FILES.get(config.dataset.source, {})
    return {key: value for key, value in own.items() if getattr(config.dataset, key) is None}


def first_after(fraction: float, epochs: int) -> int:
    """The first epoch e > fraction·E, as in parts.schedules, which is not for planning to import.

    The tolerance keeps 0.29 of 100 epochs at 29, though the product of the floats is a little less.
    """
    return math.floor(fraction * epochs + 1e-9) + 1


def _first(given: Any, otherwise: Any) -> Any:
    return otherwise if given is None else given


def warmup_epochs(config: RunConfig) -> int:
    """Epochs before the first selection: none where nobody selects, and in RoLT, which selects from the first on."""
    own = config.method.learner == "rolt" and config.plugin.selector == "none"
    return 0 if own or config.method.selector.name == "none" else config.warmup_epochs


def told_rate(config: RunConfig) -> float | None:
    """The share of wrong labels that a method is told where it asks; None where nobody can tell it."""
    return known_rate(config) if config.noise.assumed_rate is None else config.noise.assumed_rate


def known_rate(config: RunConfig) -> float | None:
    """The share of wrong labels as the noise has it; None where nobody can tell it."""
    source = config.dataset.source
    if source in WEB or (config.noise.name == "none" and source in ("arrays", "folder", "csv")):
        return None  # of the noise that their labels have already
    if config.noise.name == "none":
        return 0.0
    return config.noise_ratio if NOISES[config.noise.name].ratio else None


def lambda_u(config: RunConfig) -> float:
    """The weight as a number; DivideMix's paper has no unlabelled loss at 20 % noise, for asymmetric noise and on web
    data (spec/methods.md §1, §7).
    """
    if config.method.lambda_u != "paper":
        return float(config.method.lambda_u)
    if config.dataset.source in WEB:
        return 0.0
    rate = told_rate(config)
    assert rate is not None  # else validate has refused it
    return 0.0 if NOISES[config.noise.name].similar or rate <= 0.2 else 25.0
