"""What makes two runs the same run: the canonical configuration and its hash (explanation/runs.md §5).

Left out: values at the schema's default, the machine, names of choices, and keys without effect. A value that is scaled
to the length of a run enters as it acts, not as it was set.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sfa_bench.choices import recipes
from sfa_bench.choices.classifiers import OPTIONS as CLASSIFIER_OPTIONS
from sfa_bench.choices.heads import MEDIUM, WITH
from sfa_bench.choices.losses import LOSSES, losses_of
from sfa_bench.choices.methods import AFTER_WARMUP as LEARNERS_AFTER_WARMUP
from sfa_bench.choices.methods import (
    LEARNERS,
    augmentations,
    has_warmup,
    lambda_u,
    options_without_effect,
    warmup_epochs,
)
from sfa_bench.choices.noises import NOISES, OPTIONS, known_rate
from sfa_bench.choices.selectors import OF_ALL as SELECTOR_KEYS
from sfa_bench.choices.selectors import OPTIONS as SELECTOR_OPTIONS
from sfa_bench.choices.selectors import SELECTORS
from sfa_bench.choices.sources import OF_IMAGE_FILES, SOURCES
from sfa_bench.choices.sources import OPTIONS as SOURCE_OPTIONS
from sfa_bench.config.external import BROUGHT, brought
from sfa_bench.config.schema import SEED_KEYS, RunConfig
from sfa_bench.config.values import options
from sfa_bench.errors import ConfigError
from sfa_bench.parts.schedules import deferred

MACHINE = {
    *("replicate", "threads", "device", "data_dir", "runs_dir", "checkpoint_seconds", "keep_checkpoint"),
    *("share_warmup", "fail_fast", "retry_failed", "rerun", "isolate", "jobs_per_gpu"),
    *("logger", "eval.batch_size", "record.probes", "record.train_probability", "tuned.file"),
    # on_bad_image, max_pixels: the fingerprints of the data tell where they leave images out
    *(f"dataset.{key}" for key in ("on_bad_image", "max_pixels", "cache", "cache_dir", "workers")),
}
# Names of choices, what a data set offers, and nominal values that act through recipe.effective.
INDIRECT = {
    *("dataset.human", "recipe.name", "recipe.milestone", "recipe.schedule", "method.ramp_epochs"),
    *("plugin.selector", "plugin.beta", "plugin.phi"),
}
# Of ELR+ alone: since 2 its targets, steps and constants on web data are the release's. ELR stays as it was.
PLUS_REVISION = 2
# Since 2 β₁ falls in the release's epoch, and no epoch is trained at a rate of 0.
SCHEDULE_REVISION = {"coteaching_cifar10": 2, "coteaching_cifar100": 2}
# Since 2 observed counts also group the classes of data whose classes are otherwise grouped by their index.
SHOTS_REVISION = 2
# What acts only from the first selection on: of a plug-in, everything but its head.
AFTER_WARMUP = {
    *("dataset.selection_draw", "noise.assumed_rate", *(f"method.{key}" for key in LEARNERS_AFTER_WARMUP)),
    *(f"method.selector.{key}" for key in (*SELECTOR_KEYS, *SELECTOR_OPTIONS, "revision")),
    *(f"recipe.effective.{key}" for key in ("beta", "phi", "ramp_epochs")),
}
OF_THE_HEAD = {
    *("plugin.head", "plugin.medium_warmup", "plugin.abc.count_floor", "plugin.abc.detach", "plugin.revision")
}
# What null meant before data sets had values of their own. Still left out, so that old runs keep their hashes.
USUAL = {
    "method.lambda_u": 25.0,
    "method.alpha": 4.0,
    "method.forward": "all",
    "method.partner": "updated",
    "method.selector.variant": "usual",
    "model.pretrained": False,
    "recipe.optimizer": "sgd",
    "recipe.schedule": "step",
}


def run_hash(config: RunConfig) -> str:
    """The first 12 hex digits of SHA-256 over the canonical configuration."""
    return _Digest(_without_seeds(config)).of(config.seed, config.data_seed)


class Hashes(NamedTuple):
    """`run_hash`; the hash of the run without its decoupled classifier; and the hash of the epochs before the first
    selection, which is equal for runs that differ only in what acts later. The last is None where a run has no such
    epochs, does not share them, or has a learner of the user's own or a selector that watches them.
    """

    run: str
    trained: str
    warmup: str | None


def hashes(config: RunConfig) -> Hashes:
    """The three identities of a run."""
    identities, seeds = Identities(config), (config.seed, config.data_seed)
    return Hashes(identities.run(*seeds), identities.trained(*seeds), identities.warmup(*seeds))


class Identities:
    """The hashes of all runs that differ from one in their seeds alone; the seeds of this one are not looked at."""

    def __init__(self, config: RunConfig):
        values, warmup = _without_seeds(config), warmup_epochs(config)
        self._run = self._trained = _Digest(values)
        self._warmup: _Digest | None = None
        if config.classifier.name != "joint":
            values = {path: value for path, value in values.items() if not path.startswith("classifier.")}
            self._trained = _Digest(values)
        selector = config.method.selector
        watched = SELECTORS[selector.name].watches(selector)
        if warmup == 0 or not config.share_warmup or config.method.target is not None or watched:
            return
        later = AFTER_WARMUP | {path for path in values if path.startswith("plugin.")} - OF_THE_HEAD
        later |= set(_not_in_warmup(config, warmup))
        self._warmup = _Digest({path: value for path, value in values.items() if path not in later})

    def run(self, seed: int, data_seed: int) -> str:
        """`run_hash` with these seeds."""
        return self._run.of(seed, data_seed)

    def trained(self, seed: int, data_seed: int) -> str:
        """The second of `Hashes`."""
        return self._trained.of(seed, data_seed)

    def warmup(self, seed: int, data_seed: int) -> str | None:
        """The third of `Hashes`."""
        return None if self._warmup is None else self._warmup.of(seed, data_seed)


def _not_in_warmup(config: RunConfig, warmup: int) -> Iterator[str]:
    """Keys that depend on the length of the run and change nothing in its first epochs."""
    effective = config.recipe.effective
    weighted_later = warmup < deferred(config.epochs)
    if not LOSSES[config.method.loss.name].weighted and weighted_later:
        yield from ("method.schedule", "method.class_beta", "method.count_floor")
    if effective.schedule == "step" and warmup < effective.lr_drop_epoch:
        yield from ("recipe.lr_drop", "recipe.effective.lr_drop_epoch")
        # With eval.every the last epochs, which are always evaluated, may be among the first.
        if config.eval.every == 1 and (weighted_later or config.method.schedule == "none"):
            yield "epochs"


class _Digest:
    """The first 12 hex digits of SHA-256 over values as JSON with sorted keys, the seeds among them where they are not
    the default, 0.
    """

    __slots__ = ("_after", "_before", "_between")

    def __init__(self, values: Mapping[str, Any]):
        self._before = _entries({key: value for key, value in values.items() if key < "data_seed"})
        self._between = _entries({key: value for key, value in values.items() if "data_seed" < key < "seed"})
        self._after = _entries({key: value for key, value in values.items() if key > "seed"})

    def of(self, seed: int, data_seed: int) -> str:
        drawn, trained = f'"data_seed":{data_seed},' if data_seed else "", f'"seed":{seed},' if seed else ""
        text = f"{self._before}{drawn}{self._between}{trained}{self._after}"
        return hashlib.sha256(f"{{{text[:-1]}}}".encode()).hexdigest()[:12]


_sorted_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _entries(values: Mapping[str, Any]) -> str:
    """The entries of a JSON object, each with a comma behind it."""
    return f"{_sorted_json(values)[1:-1]}," if values else ""


def canonical(config: RunConfig) -> dict[str, Any]:
    """Path -> value of everything that acts and differs from the schema's default.

    Raises: ConfigError if the file of a noise matrix, of a selector or of pretrained weights cannot be read (their
    content is part of the identity).
    """
    seeds = {key: seed for key, seed in (("seed", config.seed), ("data_seed", config.data_seed)) if seed}
    return dict(sorted((_without_seeds(config) | seeds).items()))


def _without_seeds(config: RunConfig) -> dict[str, Any]:
    """`canonical` without the seeds, unsorted."""
    plain = config.to_plain()
    for key in SEED_KEYS:
        del plain[key]
    values: dict[str, Any] = {}
    _flatten(plain, "", values)
    for path in ("recipe.effective.beta", "recipe.effective.phi", "recipe.effective.ramp_epochs"):
        values[path] = float(f"{values[path]:.12g}")  # the last bits of a power differ between machines
    if "lambda_u" in LEARNERS[config.method.learner].options:
        values["method.lambda_u"] = lambda_u(config)
    if (revision := SELECTORS[config.method.selector.name].revision) > 1:
        values["method.selector.revision"] = revision
    if (revision := SCHEDULE_REVISION.get(config.recipe.effective.schedule, 1)) > 1:
        values["recipe.effective.schedule.revision"] = revision
    if config.method.plus:
        values["method.plus.revision"] = PLUS_REVISION
    if SOURCES[config.dataset.source].shots == "number" and config.dataset.shots.basis == "observed":
        values["dataset.shots.revision"] = SHOTS_REVISION
    if config.noise.count == NOISES[config.noise.name].count:
        values["noise.count"] = "auto"
    if "file" in NOISES[config.noise.name].options:
        values["noise.file"] = _content("noise.file", str(config.noise.file))
    if (file := config.method.selector.file) is not None:
        values["method.selector.file"] = _content("method.selector.file", file)
    if config.model.pretrained:
        values["model.pretrained"] = _content("model.pretrained", config.model.pretrained)
    silent = {*MACHINE, *INDIRECT, *without_effect(config)}
    usual = defaults()
    acting = {k: v for k, v in values.items() if k not in silent and (k not in usual or usual[k] != v)}
    return acting | own_arguments(config)


def own_arguments(config: RunConfig) -> dict[str, Any]:
    """Options of a class of the user's own. They act, even where one has the name of a key without effect."""
    arguments: dict[str, Any] = {}
    for group in BROUGHT:
        _flatten(brought(config, group).arguments, f"{BROUGHT[group].path}.", arguments)
    return arguments


def without_effect(config: RunConfig) -> Iterator[str]:
    """Keys that cannot change this run's result, whatever their value."""
    noise, source = NOISES[config.noise.name], SOURCES[config.dataset.source]
    if config.device == "cpu":  # whose kernels repeat their bits anyway
        yield "deterministic"
    if config.tuned.file is None:
        yield from ("tuned.trials", "tuned.val")
    if config.imbalance.name == "none":
        yield "imb_factor"
    if not noise.ratio:
        yield "noise_ratio"
    yield from (f"noise.{option}" for option in OPTIONS if option not in noise.options)
    if not source.checked:  # otherwise false means other files under the official name
        yield "dataset.checksum"
    if config.dataset.val == "none":
        yield "dataset.val_fraction"
    if "variant" not in config.model.described.options:
        yield "model.variant"
    if config.recipe.effective.lr_drop_epoch > config.epochs:
        yield from ("recipe.lr_drop", "recipe.effective.lr_drop_epoch")
    yield from recipes.silent(config)
    yield from _learner_without_effect(config)
    yield from (f"dataset.{key}" for key in SOURCE_OPTIONS if key not in source.options)
    if source.framing is None:
        yield from (f"dataset.{key}" for key in OF_IMAGE_FILES)
    if not augmentations(config):
        yield "dataset.augment"
    if config.classifier.name == "joint":
        yield from (f"classifier.{key}" for key in (*CLASSIFIER_OPTIONS, "revision"))
    if "lambda_u" not in LEARNERS[config.method.learner].options or lambda_u(config) == 0:
        yield "recipe.effective.ramp_epochs"
    yield from _selection_without_effect(config)


def _learner_without_effect(config: RunConfig) -> Iterator[str]:
    method, effective = config.method, config.recipe.effective
    learner = LEARNERS[method.learner]
    yield from (f"method.{key}" for key in options_without_effect(config))
    if not losses_of(method.learner):
        yield from (f"method.loss.{field.name}" for field in fields(method.loss))
    yield "method.loss.transferred"  # where constants come from
    loss = LOSSES[method.loss.name]
    for constant, value in loss.neutral.items():
        if getattr(method.loss, constant) == value:
            yield f"method.loss.{constant}"
    if not learner.subset:
        yield "plugin.main_subset"
    if method.target is not None:
        return
    if method.schedule == "none" and not loss.weighted:
        yield from ("method.class_beta", "method.count_floor")
    if not asks_for_rate(config) or config.noise.assumed_rate == known_rate(config):
        yield "noise.assumed_rate"
    if effective.plain_batch == 2 * config.batch_size:
        yield "recipe.effective.plain_batch"
    for key, usual in (("drop_last", False), ("schedule", "step"), ("adam", False)):
        if getattr(effective, key) == usual:
            yield f"recipe.effective.{key}"
    if effective.schedule != "step":
        yield from ("recipe.lr_drop", "recipe.effective.lr_drop_epoch")
    if effective.adam or config.recipe.optimizer == "adamw":
        yield "recipe.momentum"


def asks_for_rate(config: RunConfig) -> bool:
    """Whether any part of this run is told the share of noisy labels."""
    method = config.method
    return SELECTORS[method.selector.name].asks_rate or LEARNERS[method.learner].asks_rate(config)


def _selection_without_effect(config: RunConfig) -> Iterator[str]:
    plugin, selector = config.plugin, config.method.selector.name
    described = SELECTORS[selector]
    if selector == "none":
        yield "dataset.selection_draw"
        yield from ("method.selector.no_clean_class", "plugin.abc.counts")
        yield "plugin.main_subset"
    if not has_warmup(config):
        yield "warmup_epochs"
    acting = set(described.options)
    if not LEARNERS[config.method.learner].projects:
        acting.discard("features")
    yield from (f"method.selector.{key}" for key in SELECTOR_OPTIONS if key not in acting)
    if not described.by_class:
        yield from ("method.selector.no_clean_class", "plugin.gmm.min_samples")
    if not described.looks:
        yield "method.selector.view"
    if not described.mixtures:  # and no probability is compared with a threshold
        yield from ("plugin.gmm.monotone", "plugin.gmm.fit", "plugin.p_threshold")
    if plugin.head == "none":
        yield from ("plugin.abc.counts", "plugin.abc.count_floor", "plugin.abc.detach")
    if MEDIUM not in WITH[plugin.head] or warmup_epochs(config) == 0:
        yield "plugin.medium_warmup"
    yield from described.silent(config)
    for other in SELECTORS.values():
        yield from (f"plugin.{key}" for key in other.plugin_options if key not in described.plugin_options)
        yield from (f"recipe.effective.{key}" for key in other.effective if key not in described.effective)
    if plugin.moments == "none":
        yield "recipe.effective.beta"
    if plugin.moments == "none" or not plugin.draw:  # no spread, or no draw from it
        yield from ("plugin.samples", "plugin.sample_min", "plugin.var_floor")
    if plugin.moments == "none":
        yield "plugin.draw"


@cache
def defaults() -> Mapping[str, Any]:
    """The schema's default of every option."""
    values = {}
    for path in options():
        *parents, leaf = path.split(".")
        cls: Any = RunConfig
        for parent in parents:
            cls = options(cls)[parent][0]
        default = next(f.default for f in fields(cls) if f.name == leaf)
        if default is not MISSING:
            values[path] = default
    return values | USUAL


def _flatten(plain: Mapping[str, Any], prefix: str, flat: dict[str, Any]) -> None:
    """Add path -> value to `found`. Not a generator, because planning a large sweep would create a million frames."""
    for key, value in plain.items():
        if isinstance(value, dict):
            _flatten(value, f"{prefix}{key}.", flat)
        else:
            flat[f"{prefix}{key}"] = value


def _content(key: str, path: str) -> str:
    """SHA-256 of a file's content, which is read again only when the file has changed."""
    try:
        now = os.stat(path)
        return _digest_of_file(path, now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    except OSError as error:
        raise ConfigError(f"{key}={path}: cannot be read ({error.strerror})") from error


@lru_cache(maxsize=64)
def _digest_of_file(path: str, *state: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
