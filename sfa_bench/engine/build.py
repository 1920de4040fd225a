"""From a resolved configuration and its data to a method ready to train."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from sfa_bench import memory, models, numerics, streams
from sfa_bench.choices.code import load
from sfa_bench.choices.heads import WITH
from sfa_bench.choices.losses import LOSSES, knows_noise
from sfa_bench.choices.methods import LEARNERS, augmentations, images_only, warmup_epochs
from sfa_bench.choices.noises import told_rate
from sfa_bench.choices.selectors import SELECTORS
from sfa_bench.choices.sources import SOURCES
from sfa_bench.config import external
from sfa_bench.data.images import ImageFiles
from sfa_bench.data.types import Data
from sfa_bench.errors import ConfigError
from sfa_bench.methods.base import BalancedHead, Method, Optimisation, Training
from sfa_bench.selectors.base import Samples, Selector, SelectorInputs, Thresholds

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


def build_method(
    config: RunConfig,
    data: Data,
    devices: list[torch.device],
    *,
    bfloat16: bool = False,
    class_errors: np.ndarray | None = None,
    on_step: Callable[[str, int, int, int], None] | None = None,
    on_phase: Callable[[str], None] | None = None,
) -> Method:
    """The learner of this run with its networks, selectors and options."""
    plugin = config.plugin
    heads = ("main", *(head.name for head in WITH[plugin.head]))
    channels, *size = data.view.images.shape[1:]
    if not size and (why := images_only(config)):  # of a function of the user's own, whose data are known only now
        raise ConfigError(why, invalid_combination=True)
    view = data.view
    if policies := augmentations(config):
        _check_augmented(config, channels if size else 0)
        view = replace(view, transform=view.transform.changed(**policies))
    cosine = config.method.loss.scale if LOSSES[config.method.loss.name].cosine else None

    def build_network(k: int) -> models.Network:
        seed = streams.derive(config.seed, "weights", k)
        return models.build(
            config.model,
            channels,
            tuple(size),
            data.view.num_classes,
            heads,
            seed,
            statistics=(data.view.transform.mean, data.view.transform.std),
            cosine=cosine,
            default_heads=LEARNERS[config.method.learner].default_heads,
        )

    if config.model.width is not None:
        _check_size(config, channels, build_network)
    effective, selector = config.recipe.effective, config.method.selector
    watched = SELECTORS[selector.name].watches(selector)
    training = Training(
        view=view,
        build_network=build_network,
        optimisation=Optimisation(
            lr=config.lr,
            momentum=config.recipe.momentum,
            weight_decay=config.recipe.weight_decay,
            drop_from=effective.lr_drop_epoch,
            drop=config.recipe.lr_drop,
            schedule=effective.schedule,
            epochs=config.epochs,
            adam=effective.adam,
            adamw=config.recipe.optimizer == "adamw",
            warmup=config.recipe.lr_warmup,
            nesterov=config.recipe.nesterov,
            clip=config.recipe.clip,
            ema=config.recipe.ema,
        ),
        seed=config.seed,
        epochs=config.epochs,
        warmup_epochs=warmup_epochs(config),
        batch_size=config.batch_size,
        plain_batch=effective.plain_batch,
        drop_last=effective.drop_last,
        warmup_draw=config.dataset.warmup_draw or 0,
        selection_draw=config.dataset.selection_draw or 0,
        evaluation_batch=numerics.evaluation_batch(config.eval.batch_size, devices[0], math.prod(size)),
        devices=devices,
        autocast=bfloat16,
        compiled=config.compile,
        selectors=build_selectors(config, data, config.method.networks),
        selection_view=selector.view,
        watched=watched,
        select_aside=devices[0].type != "cpu" and not watched,  # else what it sees would depend on who is faster
        class_errors=class_errors,
        head=BalancedHead(plugin.abc.counts, plugin.abc.count_floor, plugin.abc.detach, plugin.medium_warmup),
    )
    if on_step is not None:
        training.on_step = on_step
    if on_phase is not None:
        training.on_phase = on_phase
    return _learner(config, training)


def _check_augmented(config: RunConfig, channels: int) -> None:
    """Refuse what no policy changes: vectors (0 channels), and images that are neither grey nor coloured."""
    if channels not in (1, 3):
        what = f"images of {channels} channels" if channels else "vectors"
        raise ConfigError(
            f"dataset.augment={config.dataset.augment} changes grey and colour images, and these are {what}: leave it "
            "out",
            invalid_combination=True,
        )


def _check_size(config: RunConfig, channels: int, build_network: Callable[[int], models.Network]) -> None:
    """Refuse networks that do not fit into memory before it is allocated. Raises: ConfigError."""
    size = f"model.width={config.model.width}"
    if "dim" in SOURCES[config.dataset.source].size:
        size += f" and dataset.dim={channels}"
    try:
        with torch.device("meta"):  # shapes without memory
            numbers = sum(parameter.numel() for parameter in build_network(0).parameters())
    except (RuntimeError, OverflowError, TypeError) as error:  # more numbers than Torch can count
        raise ConfigError(f"{size}: no network can be that large; set a smaller one") from error
    # of each network its weights, gradients and momentum
    memory.require(3 * 4 * numbers * config.method.networks, f"networks with {size}", "set a smaller model.width")


def _learner(config: RunConfig, training: Training) -> Method:
    if (target := config.method.target) is not None:
        made: Method = external.make("method", target, training, **config.method.arguments)
        if made.averages and made.predictors() != [average.module for average in made.averages]:
            raise ConfigError(
                f"recipe.ema={config.recipe.ema} with {target}, which has predictors of its own: leave recipe.ema out"
            )
        return made
    code = LEARNERS[config.method.learner].code
    assert code is not None
    made = load(code).of(training, config)
    return made


def build_selectors(config: RunConfig, data: Data, networks: int) -> list[Selector]:
    """One selector a network, or none."""
    selector, plugin = config.method.selector, config.plugin
    if selector.name == "none":
        return []
    gmm = plugin.gmm
    thresholds = Thresholds(plugin.p_threshold, selector.no_clean_class, gmm.min_samples, gmm.monotone, gmm.fit)
    if plugin.target is not None:
        return [_external_selector(config, thresholds, k) for k in range(networks)]
    described = SELECTORS[selector.name]
    assert described.code is not None
    return [
        load(described.code).of(
            SelectorInputs(
                thresholds,
                plugin,
                config.recipe.effective,
                selector,
                averages_losses(config),
                data.clean_labels if "clean_labels" in described.knows and not described.asks_samples else None,
                data.observed_counts,
                warmup_epochs(config) + 1,
                partial(streams.numpy_generator, config.seed, "centroid_draw", k),
                WITH[plugin.head],
                _samples(data) if described.asks_samples else None,
            )
        )
        for k in range(networks)
    ]


def _samples(data: Data) -> Samples:
    images = data.view.images
    paths = [name.decode() for name in images.names.tolist()] if isinstance(images, ImageFiles) else None
    return Samples(data.index, paths, data.size)


def _external_selector(config: RunConfig, thresholds: Thresholds, k: int) -> Selector:
    target, given = str(config.plugin.target), dict(config.plugin.arguments)
    if "generator" in inspect.signature(external.load("plugin", target)).parameters:
        given["generator"] = partial(streams.numpy_generator, config.seed, "own_selector", k)
    made: Selector = external.make("plugin", target, thresholds, **given)
    return made


def averages_losses(config: RunConfig) -> bool:
    """Whether DivideMix averages losses over epochs, as it does where it is told that 90 % of the labels are noisy
    (algorithms/methods.md §7). Not where each selection is made among other samples.
    """
    at = SELECTORS[config.method.selector.name].averaged_at
    return at is not None and told_rate(config) == at and not config.dataset.selection_draw


def knows(config: RunConfig, own_val: bool = False) -> list[str]:
    """What the method was told beyond the observed labels: any of rate, type, clean_labels, clean_val, pretraining.

    own_val: the data set brings a validation set, which chooses epochs.
    """
    method, learner = config.method, LEARNERS[config.method.learner]
    told = {
        "rate": averages_losses(config) or any(learner.needs_rate(config)),
        "type": learner.told_type(config) or knows_noise(config),
        "clean_val": own_val or "clean_balanced" in (config.dataset.val, config.tuned.val),
        "pretraining": bool(config.model.pretrained),
    }
    told |= dict.fromkeys(SELECTORS[method.selector.name].knows, True)
    for group in external.BROUGHT:
        if (target := external.brought(config, group).target) is not None:
            told |= dict.fromkeys(getattr(external.load(group, target), "knows", ()), True)
    return [name for name in external.KNOWN if told.get(name)]
