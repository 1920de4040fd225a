"""From a resolved configuration and its data to a method ready to train."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from sfa_bench import memory, models, numerics, streams
from sfa_bench.choices.code import load
from sfa_bench.choices.losses import LOSSES, knows_noise
from sfa_bench.choices.noises import NOISES
from sfa_bench.choices.selectors import SELECTORS
from sfa_bench.config import external
from sfa_bench.config.recipes import WEB, lambda_u, told_rate, warmup_epochs
from sfa_bench.data.types import Data
from sfa_bench.errors import ConfigError
from sfa_bench.methods.base import BalancedHead, Method, Optimisation, Training
from sfa_bench.methods.coteaching import CoTeaching
from sfa_bench.methods.dividemix import DivideMix
from sfa_bench.methods.elr import PLUS_ON, Elr
from sfa_bench.methods.rolt import Rolt
from sfa_bench.methods.single import Single
from sfa_bench.parts.losses import make_loss
from sfa_bench.selectors.base import Selector, SelectorInputs, Thresholds

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


def build_method(
    config: RunConfig,
    data: Data,
    devices: list[torch.device],
    *,
    bfloat16: bool = False,
    on_step: Callable[[str, int, int, int], None] | None = None,
    on_phase: Callable[[str], None] | None = None,
) -> Method:
    """The learner of this run with its networks, selectors and options."""
    plugin = config.plugin
    heads = ("main", "abc") if plugin.head == "abc" else ("main",)
    channels, *size = data.view.images.shape[1:]
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
            cosine=cosine,
            default_heads=config.method.learner == "rolt",
        )

    if config.model.width is not None:
        _check_size(config, channels, build_network)
    effective = config.recipe.effective
    training = Training(
        view=data.view,
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
        selection_view=config.method.selector.view,
        select_aside=devices[0].type != "cpu",
        head=BalancedHead(plugin.abc.counts, plugin.abc.count_floor, plugin.abc.detach) if len(heads) == 2 else None,
    )
    if on_step is not None:
        training.on_step = on_step
    if on_phase is not None:
        training.on_phase = on_phase
    return _learner(config, training)


def _check_size(config: RunConfig, channels: int, build_network: Callable[[int], models.Network]) -> None:
    """Refuse networks that do not fit into memory before it is asked for. Raises: ConfigError."""
    size = f"model.width={config.model.width}"
    if config.dataset.source == "synthetic":
        size += f" and dataset.dim={channels}"
    try:
        with torch.device("meta"):  # shapes without memory
            numbers = sum(parameter.numel() for parameter in build_network(0).parameters())
    except (RuntimeError, OverflowError, TypeError) as error:  # more numbers than Torch can count
        raise ConfigError(f"{size}: no network can be that large; type a smaller one") from error
    # of each network its weights, gradients and momentum
    memory.require(3 * 4 * numbers * config.method.networks, f"networks with {size}", "type a smaller model.width")


def _learner(config: RunConfig, training: Training) -> Method:
    method = config.method
    loss = {key: value for key, value in vars(method.loss).items() if key not in ("name", "transferred")}
    weighting: dict[str, Any] = {
        "schedule": method.schedule,
        "class_beta": method.class_beta,
        "count_floor": method.count_floor,
    }
    match method.learner:
        case "single":
            return Single(
                training,
                loss=make_loss(method.loss.name, **loss),
                loss_name=method.loss.name,
                main_subset=config.plugin.main_subset,
                networks=method.networks,
                mixup=method.mixup,
                **weighting,
            )
        case "elr":
            return Elr(
                training,
                beta=loss["beta"],
                weight=loss["weight"],
                networks=method.networks,
                mixup=method.mixup,
                plus=method.plus,
                by_twins=method.predict == "twins",
                ramped=config.dataset.source.startswith("cifar"),
                **(PLUS_ON.get(config.dataset.source, {}) if method.plus else {}),
            )
        case "coteaching":
            told = told_rate(config) if method.forget_rate is None else method.forget_rate
            assert told is not None
            return CoTeaching(training, forget_rate=told, double_mean=method.double_mean, native=method.native)
        case "rolt":
            return Rolt(
                training,
                loss=make_loss(method.loss.name, **loss),
                networks=method.networks,
                ensemble_bias=method.ensemble_bias,
                **weighting,
            )
        case "dividemix":
            return DivideMix(
                training,
                lambda_u=lambda_u(config),
                alpha=method.alpha,
                temperature=method.temperature,
                penalty=method.penalty,
                guess_mode=method.guess_mode,
                ramp_origin=method.ramp_origin,
                ramp_epochs=config.recipe.effective.ramp_epochs,
                # Clothing1M's own script always has it (spec/methods.md §7).
                confidence_penalty=NOISES[config.noise.name].similar or config.dataset.source == "clothing1m",
                forwarded=method.forward,
                partner=method.partner,
                **weighting,
            )
        case "external":
            made: Method = external.make("method", str(method.target), training, **method.arguments)
            return made
    raise ValueError(f"no learner {method.learner!r}")


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
                selector.variant,
                averages_losses(config),
                data.clean_labels if "clean_labels" in described.knows else None,
                data.observed_counts,
                partial(streams.numpy_generator, config.seed, "centroid_draw", k),
            )
        )
        for k in range(networks)
    ]


def _external_selector(config: RunConfig, thresholds: Thresholds, k: int) -> Selector:
    target, given = str(config.plugin.target), dict(config.plugin.arguments)
    if "generator" in inspect.signature(external.load("plugin", target)).parameters:
        given["generator"] = partial(streams.numpy_generator, config.seed, "own_selector", k)
    made: Selector = external.make("plugin", target, thresholds, **given)
    return made


def averages_losses(config: RunConfig) -> bool:
    """DivideMix averages losses over epochs where it is told that 90 % of the labels are wrong (spec/methods.md §7);
    where each selection is made among other samples, there is nothing to average.
    """
    at = SELECTORS[config.method.selector.name].averaged_at
    return at is not None and told_rate(config) == at and not config.dataset.selection_draw


def knows(config: RunConfig, own_val: bool = False) -> list[str]:
    """What the method was told beyond the observed labels, of rate, type, clean_labels, clean_val and pretraining.

    own_val: the data set brings a validation set, which chooses epochs.
    """
    method, similar = config.method, NOISES[config.noise.name].similar
    dividemix = method.learner == "dividemix"
    paper = dividemix and method.lambda_u == "paper" and config.dataset.source not in WEB
    told = {
        "rate": averages_losses(config) or paper or (method.learner == "coteaching" and method.forget_rate is None),
        "type": (dividemix and similar) or paper or knows_noise(config),
        "clean_val": own_val or config.dataset.val == "clean_balanced",
        "pretraining": bool(config.model.pretrained),
    }
    told |= dict.fromkeys(SELECTORS[method.selector.name].knows, True)
    for group in external.BROUGHT:
        if (target := getattr(config, group).target) is not None:
            told |= dict.fromkeys(external.load(group, target).knows, True)  # type: ignore[attr-defined]
    return [name for name in external.KNOWN if told.get(name)]
