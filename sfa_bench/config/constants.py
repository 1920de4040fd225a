"""Constants of losses by data set (spec/methods.md §2, §5), and which of them were found on other data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sfa_bench.config.schema import LossConfig, RunConfig

ANY = "any data set"
# loss -> data set of the original, with its noise where constants were found for one alone -> constants; None: 1
CONSTANTS: Mapping[str, Mapping[str, Mapping[str, float | None]]] = {
    "focal": {ANY: {"gamma": 1.0}},
    "logit_adjust": {ANY: {"tau": 1.0}},
    "ldam": {ANY: {"scale": 30.0, "margin": 0.5}},
    "gce": {ANY: {"q": 0.7}},
    "nfl": {ANY: {"gamma": 0.5, "scale": 1.0}, "cifar10 symmetric": {"gamma": 0.5, "scale": 10.0}},
    "sce": {
        "cifar10": {"alpha": 0.1, "beta": 1.0},
        "cifar100": {"alpha": 6.0, "beta": 0.1},
        "webvision": {"alpha": 10.0, "beta": 1.0},
        "mnist": {"alpha": 0.01, "beta": 1.0},
    },
    "nce_rce": {
        "cifar10": {"alpha": 1.0, "beta": 1.0},
        "cifar100": {"alpha": 10.0, "beta": 0.1},
        "webvision": {"alpha": 50.0, "beta": 0.1},
        "mnist": {"alpha": 1.0, "beta": 10.0},
    },
    "nce_mae": {
        "cifar10": {"alpha": 1.0, "beta": 1.0},
        "cifar100": {"alpha": 10.0, "beta": 1.0},
        "webvision": {"alpha": 50.0, "beta": 1.0},
        "mnist": {"alpha": 1.0, "beta": 10.0},
    },
    "ngce": {
        "cifar10": {"q": 0.1, "scale": None},
        "cifar100": {"q": 0.7, "scale": None},
        "mnist": {"q": 0.1, "scale": None},
        "mnist symmetric": {"q": 0.1, "scale": 10.0},
    },
    "elr": {
        "cifar10": {"beta": 0.7, "weight": 3.0},
        "cifar10 asymmetric": {"beta": 0.9, "weight": 1.0},
        "cifar100": {"beta": 0.9, "weight": 7.0},
        "webvision": {"beta": 0.7, "weight": 3.0},
        "clothing1m": {"beta": 0.7, "weight": 3.0},
    },
}
# What ELR+ has on web data instead of Beta(1, 1) and a decay of 0.997 (spec/methods.md §5).
ELR_PLUS: Mapping[str, Mapping[str, Any]] = {"webvision": {"mixup_alpha": 1.5}, "clothing1m": {"twin_decay": 0.9999}}
FOUND_ON_BALANCED_DATA = ("sce", "nce_rce", "nce_mae", "nfl", "ngce", "gce", "elr")
# whose row a data set takes; its own name where it has one, else cifar10's
ROWS = {"digits": "mnist", "fashion_mnist": "mnist", "clothing1m": "webvision"}
NAMES = ("alpha", "beta", "q", "gamma", "scale", "tau", "margin", "weight")


def row_of(loss: str, source: str, noise: str) -> str:
    """The row of the originals' tables that a data set takes."""
    rows = CONSTANTS[loss]
    wanted = ROWS.get(source, source)
    return next(row for row in (f"{wanted} {noise}", ANY, source, wanted, "cifar10") if row in rows)


def knows_noise(config: RunConfig) -> bool:
    """Whether the loss has constants that were chosen for this kind of noise, and so by knowing it."""
    loss, source = config.method.loss.name, config.dataset.source
    return loss in CONSTANTS and row_of(loss, source, config.noise.name) != row_of(loss, source, "joint")


def resolve_loss(config: RunConfig) -> LossConfig:
    """The loss with every constant it has, and None for those it has not."""
    loss, source = config.method.loss, config.dataset.source
    if loss.name not in CONSTANTS:
        none: dict[str, Any] = dict.fromkeys(NAMES)
        return replace(loss, **none, transferred=False)
    row = row_of(loss.name, source, config.noise.name)
    table = CONSTANTS[loss.name][row]
    given = {name: getattr(loss, name) for name in table if getattr(loss, name) is not None}
    balanced = config.imbalance.name == "none" or config.imb_factor == 1
    elsewhere = row != ANY and source not in row.split()
    taken = any(value is not None and name not in given for name, value in table.items())
    transferred = loss.name in FOUND_ON_BALANCED_DATA and taken and (elsewhere or not balanced)
    constants: dict[str, Any] = {**dict.fromkeys(NAMES), **table, **given}
    return replace(loss, **constants, transferred=transferred)
