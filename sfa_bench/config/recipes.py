"""Recipes (protocol.md §3; native ones: algorithms/methods.md §1, algorithms/README.md §3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from sfa_bench.choices import methods
from sfa_bench.choices.losses import resolve_loss
from sfa_bench.choices.methods import LEARNERS
from sfa_bench.choices.noises import NOISES
from sfa_bench.choices.recipes import Recipe
from sfa_bench.choices.selectors import SELECTORS, SelectorConfig
from sfa_bench.choices.sources import SOURCES
from sfa_bench.config.schema import Effective, RunConfig
from sfa_bench.errors import ConfigError
from sfa_bench.parts.schedules import first_after


def native(config: RunConfig) -> Recipe:
    """The recipe of this method's original. Raises ConfigError where there is none."""
    if (recipe := methods.native(config)) is not None:
        return recipe
    method, plugin, source = config.names.get("method"), config.names.get("plugin"), config.dataset.source
    if not (exist := methods.natives(config)):
        able = [s for s in SOURCES if methods.natives(replace(config, dataset=replace(config.dataset, source=s)))]
        raise ConfigError(
            f"recipe=native exists for dataset={', '.join(able)}, not for {source}: choose one, or recipe=matched",
            invalid_combination=True,
        )
    raise ConfigError(
        f"recipe=native does not exist for method={method} plugin={plugin} on dataset={source} (only for "
        f"{', '.join(exist)}): set recipe=matched",
        invalid_combination=True,
    )


def resolve(config: RunConfig) -> RunConfig:
    """Fill in what is null from the recipe and scale per-epoch constants to the run's length."""
    is_native, source = config.recipe.name == "native", SOURCES[config.dataset.source]
    recipe = native(config) if is_native else source.recipe
    epochs = config.epochs or recipe.epochs
    warmup = config.warmup_epochs
    if warmup is None:
        warmup = -(-recipe.warmup_epochs * epochs // recipe.epochs)  # rounded up, in whole numbers
    model = replace(config.model, name=config.model.name or recipe.model)
    if model.unknown:  # in a YAML of the user's own
        raise ConfigError(model.unknown)
    milestone = _first(config.recipe.milestone, recipe.milestone)
    literal = is_native or config.names.get("preset", "").startswith("release_")
    stretch = 1.0 if literal else recipe.nominal / epochs
    ramp = config.method.ramp_epochs
    batch_size = config.batch_size or recipe.batch_size
    plain_batch = batch_size if recipe.own_batch else 2 * batch_size
    beta = _first(config.plugin.beta, 0.9 if source.web else 0.99)
    effective = Effective(
        beta=beta**stretch,
        phi=config.plugin.phi**stretch,
        ramp_epochs=ramp if literal else max(1.0, ramp / stretch),
        lr_drop_epoch=first_after(milestone, epochs),
        plain_batch=plain_batch,
        drop_last=recipe.drop_last,
        schedule=config.recipe.schedule or recipe.schedule,
        adam=recipe.adam and config.recipe.optimizer is None,
    )
    networks = LEARNERS[config.method.learner].networks or (2 if config.method.plus else config.method.networks)
    sample_min = config.plugin.sample_min
    if sample_min == "release":
        sample_min = source.release_sample_min or "auto"
    if sample_min == "auto" and source.web:
        sample_min = 0
    labels = config.noise.labels
    if "labels" in NOISES[config.noise.name].options and labels is None and source.human is not None:
        labels = source.human.labels[0]
    fraction = config.dataset.val_fraction
    if config.dataset.val != "none" and fraction is None:
        fraction = 0.1
    return replace(
        config,
        data_dir=config.data_dir or RunConfig.data_dir,
        epochs=epochs,
        warmup_epochs=warmup,
        batch_size=batch_size,
        lr=config.lr or recipe.lr,
        dataset=replace(config.dataset, val_fraction=fraction, **_image_files(config)),
        noise=replace(config.noise, labels=labels),
        method=replace(
            config.method,
            loss=resolve_loss(config),
            selector=_selector(config, recipe),
            **_semi_supervised(config),
            networks=networks,
            estimate_epochs=_estimate_epochs(config, epochs),
            native=_first(config.method.native, recipe.method.get("native", False)),
            partner=config.method.partner or recipe.method.get("partner", "updated"),
            ramp_origin=config.method.ramp_origin or recipe.method.get("ramp_origin", "one_based"),
        ),
        plugin=replace(config.plugin, beta=beta, sample_min=sample_min),
        model=replace(
            model,
            width=model.width or (model.described.width and (recipe.width or model.described.width)),
            pretrained=_first(config.model.pretrained, _pretrained(recipe, model.choice)),
        ),
        recipe=replace(
            config.recipe,
            optimizer=config.recipe.optimizer or (None if recipe.adam else "sgd"),
            schedule=config.recipe.schedule or ("step" if recipe.schedule == "step" else None),
            momentum=_first(config.recipe.momentum, recipe.momentum),
            weight_decay=_first(config.recipe.weight_decay, recipe.weight_decay),
            milestone=milestone,
            effective=effective,
        ),
    )


def _estimate_epochs(config: RunConfig, epochs: int) -> Any:
    """As many as the run has, for a learner that makes an estimate first."""
    given = config.method.estimate_epochs
    return _first(given, epochs) if "estimate_epochs" in LEARNERS[config.method.learner].options else given


def _semi_supervised(config: RunConfig) -> dict[str, Any]:
    """Fill in DivideMix's constants by data set; on web data it has no unlabelled loss and does not forward unlabelled
    rows.
    """
    method, web = config.method, SOURCES[config.dataset.source].web
    weight: Any = _first(method.lambda_u, 0.0 if web else LEARNERS[method.learner].lambda_u)
    unused = web and "forward" in LEARNERS[method.learner].options and weight in (0, "paper")
    return {
        "lambda_u": weight,
        "alpha": _first(method.alpha, 0.5 if web else 4.0),
        "forward": method.forward or ("labelled" if unused else "all"),
    }


def _selector(config: RunConfig, recipe: Recipe) -> SelectorConfig:
    """The selector's options, with its own where they are null."""
    given = config.method.selector
    defaults = {key: value for key, value in SELECTORS[given.name].defaults.items() if getattr(given, key) is None}
    return replace(given, variant=_variant(config, recipe), **defaults)


def _variant(config: RunConfig, recipe: Recipe) -> Literal["usual", "webvision"]:
    """The set of constants of the selector's mixtures."""
    given = config.method.selector.variant
    if given is not None:
        return given
    default: Literal["usual", "webvision"] = recipe.method.get("selector.variant", "usual")
    return default if "variant" in SELECTORS[config.method.selector.name].options else "usual"


def _pretrained(recipe: Recipe, model: str) -> Literal[False] | None:
    """None (refused by validate) only where the original starts from weights that the user has to bring."""
    return None if recipe.pretrained and model == recipe.model else False


def _image_files(config: RunConfig) -> dict[str, Any]:
    """Fill in the options of image files that are null with the data set's own values."""
    framing = SOURCES[config.dataset.source].framing or {}
    return {key: value for key, value in framing.items() if getattr(config.dataset, key) is None}


def _first(given: Any, otherwise: Any) -> Any:
    return otherwise if given is None else given
