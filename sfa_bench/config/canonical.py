"""What makes two runs the same run: the canonical configuration and its hash (design.md §4 "Identity").

Left out: values at the schema's default, the machine, names of choices, and keys without effect. What is scaled to the
length of a run enters as it acts, not as it was typed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any

from sfa_bench.config.recipes import lambda_u
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.values import options
from sfa_bench.errors import ConfigError

MACHINE = {
    *("replicate", "threads", "device", "data_dir", "runs_dir", "checkpoint_seconds", "keep_checkpoint"),
    *("eval.batch_size", "dataset.checksum"),
}
# Names of choices, and nominal values that act through recipe.effective.
INDIRECT = {"recipe.name", "recipe.milestone", "plugin.selector", "plugin.beta", "plugin.phi", "method.ramp_epochs"}
SFA = ("moments", "tau0", "samples", "draw", "sample_min", "empty_class", "var_floor")
SSL = ("lambda_u", "alpha", "temperature", "penalty", "guess_mode", "ramp_origin")
USUAL_COUNT = {"joint": "exact", "symmetric": "exact", "asymmetric": "exact_per_class"}  # others: bernoulli


def run_hash(config: RunConfig) -> str:
    """The first 12 hex digits of SHA-256 over the canonical configuration."""
    text = json.dumps(canonical(config), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def canonical(config: RunConfig) -> dict[str, Any]:
    """Path -> value of everything that acts and differs from the schema's default.

    Raises: ConfigError if the file of a noise matrix cannot be read (its content is part of the identity).
    """
    values = dict(_flat(config.to_plain()))
    for path in ("recipe.effective.beta", "recipe.effective.phi", "recipe.effective.ramp_epochs"):
        values[path] = float(f"{values[path]:.12g}")  # the last bits of a power are the machine's
    values["method.lambda_u"] = lambda_u(config)
    if config.noise.count == USUAL_COUNT.get(config.noise.name, "bernoulli"):
        values["noise.count"] = "auto"
    if config.noise.name == "matrix":
        values["noise.file"] = _content(str(config.noise.file))
    silent = {*MACHINE, *INDIRECT, *_without_effect(config)}
    defaults = _defaults()
    return {k: v for k, v in sorted(values.items()) if k not in silent and (k not in defaults or defaults[k] != v)}


def _without_effect(config: RunConfig) -> Iterator[str]:
    """Keys that cannot change this run's result, whatever their value."""
    noise, selector = config.noise.name, config.method.selector.name
    single = config.method.learner == "single"
    if config.imbalance.name == "none":
        yield "imb_factor"
    if noise in ("none", "matrix"):
        yield "noise_ratio"
    if noise == "none":
        yield from ("noise.count", "noise.revision")
    if noise not in ("joint", "symmetric"):
        yield "noise.include_self"
    if noise != "asymmetric":
        yield "noise.map"
    if noise != "matrix":
        yield "noise.file"
    if config.dataset.val == "none":
        yield "dataset.val_fraction"
    if config.model.name != "preact_resnet18":
        yield "model.variant"
    if config.recipe.effective.lr_drop_epoch > config.epochs:
        yield from ("recipe.lr_drop", "recipe.effective.lr_drop_epoch")
    if not single:
        yield "method.loss.name"
    if single:
        yield from (f"method.{key}" for key in SSL)
    if single or lambda_u(config) == 0:
        yield from ("method.ramp_origin", "recipe.effective.ramp_epochs")
    yield from _selection_without_effect(config, single, selector)


def _selection_without_effect(config: RunConfig, single: bool, selector: str) -> Iterator[str]:
    plugin = config.plugin
    if selector == "none":
        yield from ("method.selector.view", "method.selector.no_clean_class", "plugin.abc.counts")
        if single:
            yield "warmup_epochs"
    if selector in ("loss_gmm", "oracle"):  # they know no classes
        yield from ("method.selector.no_clean_class", "plugin.gmm.min_samples")
    if selector in ("none", "oracle"):  # nobody fits a mixture or compares a probability
        yield from ("method.selector.view", "plugin.p_threshold", "plugin.gmm.min_samples")
    if selector == "none" or not single:
        yield "plugin.main_subset"
    if plugin.head == "none":
        yield from ("plugin.abc.counts", "plugin.abc.count_floor", "plugin.abc.detach")
    if selector != "sfa":
        yield from (f"plugin.{key}" for key in SFA)
        yield from ("recipe.effective.beta", "recipe.effective.phi")
    if plugin.moments == "none":
        yield "recipe.effective.beta"
    if plugin.moments == "none" or not plugin.draw:  # no spread, or nobody draws from it
        yield from ("plugin.samples", "plugin.sample_min", "plugin.var_floor")
    if plugin.moments == "none":
        yield "plugin.draw"


@cache
def _defaults() -> Mapping[str, Any]:
    """The schema's default of every option."""
    found = {}
    for path in options():
        *parents, leaf = path.split(".")
        cls: Any = RunConfig
        for parent in parents:
            cls = options(cls)[parent][0]
        default = next(f.default for f in fields(cls) if f.name == leaf)
        if default is not MISSING:
            found[path] = default
    return found


def _flat(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _content(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"noise.file={path}: cannot be read ({error.strerror})") from error
