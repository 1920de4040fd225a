"""From a resolved configuration and its data to a method ready to train."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from sfa_bench import models, streams
from sfa_bench.config.recipes import lambda_u
from sfa_bench.data.types import Data
from sfa_bench.errors import ConfigError
from sfa_bench.methods.base import BalancedHead, Method, Optimisation, Training
from sfa_bench.methods.dividemix import DivideMix
from sfa_bench.methods.single import Single
from sfa_bench.selectors.base import Selector, Thresholds
from sfa_bench.selectors.loss import ClassLossMixture, LossMixture
from sfa_bench.selectors.oracle import Oracle
from sfa_bench.selectors.prototype import Prototype
from sfa_bench.selectors.sfa import StochasticFeatureAveraging

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
    _, channels, height, width = data.view.images.shape

    def build_network(k: int) -> models.Network:
        seed = streams.derive(config.seed, "weights", k)
        return models.build(config.model, channels, (height, width), data.view.num_classes, heads, seed)

    networks = 2 if config.method.learner == "dividemix" else 1
    training = Training(
        view=data.view,
        build_network=build_network,
        optimisation=Optimisation(
            lr=config.lr,
            momentum=config.recipe.momentum,
            weight_decay=config.recipe.weight_decay,
            drop_from=config.recipe.effective.lr_drop_epoch,
            drop=config.recipe.lr_drop,
        ),
        seed=config.seed,
        epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        batch_size=config.batch_size,
        plain_batch=2 * config.batch_size,
        evaluation_batch=config.eval.batch_size,
        devices=devices,
        autocast=bfloat16,
        selectors=build_selectors(config, data, networks),
        selection_view=config.method.selector.view,
        head=BalancedHead(plugin.abc.counts, plugin.abc.count_floor, plugin.abc.detach) if len(heads) == 2 else None,
    )
    if on_step is not None:
        training.on_step = on_step
    if on_phase is not None:
        training.on_phase = on_phase
    return _learner(config, training)


def _learner(config: RunConfig, training: Training) -> Method:
    method = config.method
    if method.learner == "single":
        return Single(training, loss=method.loss.name, main_subset=config.plugin.main_subset)
    return DivideMix(
        training,
        lambda_u=lambda_u(config),
        alpha=method.alpha,
        temperature=method.temperature,
        penalty=method.penalty,
        guess_mode=method.guess_mode,
        ramp_origin=method.ramp_origin,
        ramp_epochs=config.recipe.effective.ramp_epochs,
        confidence_penalty=config.noise.name == "asymmetric",
    )


def build_selectors(config: RunConfig, data: Data, networks: int) -> list[Selector]:
    """One selector a network, or none."""
    make = _selector_factory(config, data)
    return [] if make is None else [make(k) for k in range(networks)]


def _selector_factory(config: RunConfig, data: Data) -> Callable[[int], Selector] | None:
    plugin, selector = config.plugin, config.method.selector
    thresholds = Thresholds(plugin.p_threshold, selector.no_clean_class, plugin.gmm.min_samples)
    match selector.name:
        case "none":
            return None
        case "loss_gmm":
            averaged = averages_losses(config)
            return lambda k: LossMixture(thresholds, average_losses=averaged)
        case "loss_gmm_cls":
            return lambda k: ClassLossMixture(thresholds)
        case "proto":
            return lambda k: Prototype(thresholds)
        case "oracle":
            if (data.clean_labels < 0).any():
                raise ConfigError(
                    "method.selector.name=oracle needs clean labels, which this data set does not have; use another"
                )
            return lambda k: Oracle(data.clean_labels)
        case "sfa":
            return lambda k: StochasticFeatureAveraging(
                thresholds,
                moments=plugin.moments,
                beta=config.recipe.effective.beta,
                phi=config.recipe.effective.phi,
                tau0=plugin.tau0,
                samples=plugin.samples,
                draw=plugin.draw,
                sample_min=sample_min(config, data),
                empty_class=plugin.empty_class,
                var_floor=plugin.var_floor,
                generator=partial(streams.numpy_generator, config.seed, "centroid_draw", k),
            )
    raise ValueError(f"no selector {selector.name!r}")


def averages_losses(config: RunConfig) -> bool:
    """DivideMix averages losses over epochs where it is told that 90 % of the labels are wrong (spec/methods.md §7)."""
    # A matrix has its own rate: there the ratio acts on nothing, and is not part of the run's identity.
    told = config.noise.name not in ("none", "matrix")
    return config.method.selector.name == "loss_gmm" and told and config.noise_ratio == 0.9


def sample_min(config: RunConfig, data: Data) -> int:
    """Gated samples above which a class is drawn; `auto` is 6 % of the largest observed class (design.md §3)."""
    value = config.plugin.sample_min
    if value == "auto":
        return int(0.06 * int(data.observed_counts.max()))
    return int(value)


def knows(config: RunConfig) -> list[str]:
    """What the method was told beyond the observed labels, of rate, type, clean_labels, clean_val and pretraining."""
    dividemix = config.method.learner == "dividemix"
    paper = dividemix and config.method.lambda_u == "paper"
    told = {
        "rate": averages_losses(config) or paper,
        "type": dividemix and (config.noise.name == "asymmetric" or paper),
        "clean_labels": config.method.selector.name == "oracle",
        "clean_val": config.dataset.val == "clean_balanced",
    }
    return [name for name, known in told.items() if known]
