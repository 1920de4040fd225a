"""What a command line tunes, and what it compares: Hydra's grammar for several values (guides/tuning.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from sfa_bench.config.canonical import MACHINE, without_effect
from sfa_bench.config.compose import compose_checked
from sfa_bench.config.effect import idle, no_effect
from sfa_bench.config.overrides import APPENDED, CheckedOverride, axes, check_overrides
from sfa_bench.config.schema import CHOSEN, SEED_KEYS
from sfa_bench.config.source_text import parse
from sfa_bench.config.values import alternatives_of, options
from sfa_bench.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import Trial

DATA = ("noise_ratio", "imb_factor")
NOT_HERE = {
    "eval.test": "tune sets it",
    "tuned.file": "tune sets it",
    "sweep": "tune takes the keys themselves",
    "classifier": "it is fitted on a finished run and scored on the test set alone",
}
GROUPS_OF_DATA = ("dataset.", "noise.")


@dataclass(frozen=True)
class Dimension:
    """One key that is tuned: an interval from `low` to `high`, or a list of overrides, `ordered` if it is a range."""

    key: str
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False
    words: tuple[str, ...] = ()
    ordered: bool = False

    def suggest(self, trial: Trial) -> str:
        """The override of a trial."""
        if self.ordered:
            return self.words[trial.suggest_int(self.key, 0, len(self.words) - 1)]
        if self.words:
            return str(trial.suggest_categorical(self.key, self.words))
        if self.whole:
            return f"{self.key}={trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)}"
        return f"{self.key}={float(trial.suggest_float(self.key, self.low, self.high, log=self.log))!r}"

    @property
    def ends(self) -> tuple[str, ...]:
        """Overrides that are valid if all of the dimension are."""
        if self.words:
            return self.words
        return tuple(f"{self.key}={int(x) if self.whole else x}" for x in (self.low, self.high))


@dataclass(frozen=True)
class Task:
    """One study: the overrides of a method on its data, and what is tuned of it."""

    words: tuple[str, ...]
    space: tuple[Dimension, ...]


def tasks(overrides: Sequence[str], conf: Path | None) -> tuple[list[Task], list[str]]:
    """The studies of a command, and the keys in which they differ.

    A choice of a group, and a key of the data, with several values are compared: one study each. Any other key with
    several values, or an interval, is tuned. Raises: ConfigError for what is not valid, before anything is trained.
    """
    parsed = [(text, parse(text)) for text in overrides]
    space = [_dimension(text, override, conf) for text, override in parsed if _is_tuned(text, override)]
    tuned = {dimension.key for dimension in space}
    rest = [text for text, override in parsed if override.key_or_group not in tuned]
    if not space:
        raise ConfigError("nothing is tuned: give a key several values, such as 'lr=tag(log,interval(1e-3,1e-1))'")
    grid = axes(rest, conf)
    jobs: list[list[CheckedOverride]] = [[]]
    for axis in grid:
        jobs = [[*job, override] for job in jobs for override in axis]
    compared = [axis[0].key for axis in grid if len(axis) > 1]
    made, acting = [], set()
    for job in jobs:
        task = _task(job, space, conf, alone=len(jobs) == 1)
        acting |= {word.partition("=")[0].lstrip("+") for word in task.words} | {d.key for d in task.space}
        made.append(task)
    for override in (*(o for axis in grid for o in axis), *(check_overrides(d.ends[:1], conf)[0] for d in space)):
        if override.key not in acting:
            raise no_effect(override)
    return made, compared


def _is_tuned(text: str, override: Override) -> bool:
    """Whether it has several values that are tuned. Raises: ConfigError for those that can be neither tuned nor
    compared.
    """
    key = override.key_or_group
    if key in SEED_KEYS:
        raise ConfigError(f"{text}: tune sets the seeds: give --seeds for its trials and --report-seeds for the report")
    if key in NOT_HERE:
        raise ConfigError(f"{text}: leave {key} out; {NOT_HERE[key]}")
    if not override.is_sweep_override():
        return False
    if key in MACHINE:
        raise ConfigError(f"{text}: {key} changes no result; give it one value")
    compared = key in (*CHOSEN, *APPENDED, *DATA) or key.startswith(GROUPS_OF_DATA)
    if compared and isinstance(override.value(), IntervalSweep):
        raise ConfigError(f"{text}: {key} is compared, not tuned; list its values")
    return not compared


def _dimension(text: str, override: Override, conf: Path | None) -> Dimension:
    key, value = override.key_or_group, override.value()
    if not isinstance(value, IntervalSweep):
        (axis,) = axes([text], conf)
        return Dimension(key, words=tuple(o.text for o in axis), ordered=isinstance(value, RangeSweep))
    low, high = (float(end) for end in (value.start, value.end))  # type: ignore[arg-type]
    log = "log" in value.tags
    if strange := value.tags - {"log"}:
        raise ConfigError(f"{text}: tag {sorted(strange)[0]} is unknown; there is log")
    if not low < high:
        raise ConfigError(f"{text}: an interval goes from a smaller to a larger number")
    if log and low <= 0:
        raise ConfigError(f"{text}: a logarithmic interval begins above 0")
    dimension = Dimension(key, low, high, _whole(key, value.start, value.end), log)
    check_overrides(dimension.ends[:1], conf)
    check_overrides(dimension.ends[1:], conf)
    return dimension


def _whole(key: str, *ends: Any) -> bool:
    """Whether a key takes whole numbers alone; of a user's own option, whether both ends are."""
    if key in options():
        return float not in alternatives_of(options()[key][0])
    return all(isinstance(end, int) for end in ends)


def _task(job: Sequence[CheckedOverride], space: Sequence[Dimension], conf: Path | None, alone: bool) -> Task:
    """The study of one combination, without the keys that cannot act in it (as in a sweep)."""
    acting = []
    for dimension in space:
        tried = check_overrides(dimension.ends[:1], conf)
        try:
            config = compose_checked([*job, *tried], conf)
            if not idle(config, tried) and dimension.key not in set(without_effect(config)):
                acting.append(dimension)
        except ConfigError as error:
            if alone or not error.invalid_combination:
                raise
    for end in [end for dimension in acting for end in dimension.ends]:
        compose_checked([*job, *check_overrides([end], conf)], conf)
    config = compose_checked(job, conf)
    words = tuple(override.text for override in job if override not in idle(config, job))
    if not acting:
        raise ConfigError(
            f"nothing is tuned of {' '.join(words)}: {', '.join(d.key for d in space)} has no effect there"
        )
    if config.dataset.val == "none":
        raise ConfigError(
            "tune needs a validation set: add dataset.val=noisy (of the training samples, with their labels as they "
            "are) or dataset.val=clean_balanced"
        )
    return Task(words, tuple(acting))
