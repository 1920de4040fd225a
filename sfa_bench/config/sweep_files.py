"""Sweep files: grids that are kept, `conf/sweep/NAME.yaml` (`+sweep=NAME`).

A file has `blocks`, a list of grids: each maps a key to a value, a list of values, or a text in Hydra's grammar for
several (`range(0,5)`); `common`, a grid that every block begins with; and, in a block or beside them, `exclude`: a list
of combinations to leave out, each a mapping of keys to a value or a list of values, all of which must be met. A key on
the command line replaces this key in all blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sfa_bench.config import user_yaml
from sfa_bench.config.compose import at, compose_checked, plain_config
from sfa_bench.config.hydras import quoted
from sfa_bench.config.overrides import (
    APPENDED,
    CheckedOverride,
    axes,
    choice_file,
    combinations,
    last_of_each,
    refuse_too_many,
)
from sfa_bench.config.schema import CHOSEN, SEED_KEYS
from sfa_bench.config.source_text import TextKeepingLoader, TypedFloat, TypedInt, bare
from sfa_bench.config.values import options, show, takes_text
from sfa_bench.errors import ConfigError

KEYS = ("common", "blocks", "exclude")


def jobs(overrides: Sequence[str], conf: Path | None) -> Iterator[tuple[CheckedOverride, ...]]:
    """Every job of a sweep with its checked overrides; the last key varies fastest, block after block.

    Raises: ConfigError for an invalid sweep, before the first job; a sweep that is too large is not listed.
    """
    return (job for _, job in jobs_by_setting(overrides, conf))


def jobs_by_setting(
    overrides: Sequence[str], conf: Path | None
) -> Iterator[tuple[tuple[int, ...] | None, tuple[CheckedOverride, ...]]]:
    """(key, job) of each of `jobs`: those that differ in nothing but whole numbers as `replicate`, `seed` and
    `data_seed` have one key; None where there are no such others.
    """
    grids = list(_grids(last_of_each(overrides)[0], conf))
    refuse_too_many(sum(combinations(words, conf) for words, _ in grids))
    for number, (words, excluded) in enumerate(grids):
        axes_of_grid = axes(words, conf)
        for axis in axes_of_grid:
            if axis[0].key == "runs_dir" and len(axis) > 1:
                several = ",".join(str(override.value) for override in axis)
                raise ConfigError(f"runs_dir={several}: a sweep has one runs folder; set one")
        left_out = [[_values(key, value, conf) for key, value in combination.items()] for combination in excluded]
        places = [[number], *map(_places, axes_of_grid)]
        alone = all(axis.count(-1) < 2 for axis in places)
        for key, job in zip(itertools.product(*places), itertools.product(*axes_of_grid), strict=True):
            if not left_out or not any(_meets(job, combination, conf) for combination in left_out):
                yield None if alone else key, job


def _places(axis: Sequence[CheckedOverride]) -> list[int]:
    """The place of each value on an axis, counted from 0; -1 for a plain seed."""
    return [-1 if o.key in SEED_KEYS and type(o.value) is int else place for place, o in enumerate(axis)]


def _grids(overrides: Sequence[str], conf: Path | None) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """The overrides of each grid of a sweep with its exclusions: every block of its files, or the command line."""
    of_files = [word for word in overrides if word.partition("=")[0] in ("sweep", "+sweep")]
    rest = [word for word in overrides if word not in of_files]
    if not of_files:
        yield rest, []
        return
    given = {word.partition("=")[0].lstrip("+") for word in rest}
    for name in (override.value for axis in axes(of_files, conf) for override in axis):
        for grid, excluded in blocks(choice_file("sweep", name, conf)):
            yield (
                [*(_override(key, value) for key, value in grid.items() if str(key).lstrip("+") not in given), *rest],
                excluded,
            )


def blocks(path: Path) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """(grid, exclusions) of each block. Raises ConfigError where the file is none, or names a launcher."""
    content = user_yaml.read(path, TextKeepingLoader)
    if not isinstance(content, dict) or not isinstance(content.get("blocks"), list) or not content["blocks"]:
        raise ConfigError(f"{path}: a sweep file has a list of blocks: each maps keys to values")
    if strange := set(content) - set(KEYS):
        raise ConfigError(f"{path}: {', '.join(map(str, strange))} is none of {', '.join(KEYS)}")
    common, everywhere = content.get("common") or {}, content.get("exclude") or []
    for block in content["blocks"]:
        if not isinstance(block, dict) or not isinstance(common, dict):
            raise ConfigError(f"{path}: a block maps keys to values, and so does common")
        lists = [exclusions or [] for exclusions in (everywhere, block.get("exclude"))]
        if not all(isinstance(c, list) and all(isinstance(keys, dict) and keys for keys in c) for c in lists):
            raise ConfigError(f"{path}: exclude is a list of mappings of keys to values")
        excluded = [*lists[0], *lists[1]]
        grid = {**common, **{key: value for key, value in block.items() if key != "exclude"}}
        for key in grid:
            if str(key).startswith(("hydra", "+hydra")):
                raise ConfigError(
                    f"{path}: {key} belongs on the command line or in config.yaml, not in a sweep file: what runs is "
                    "one thing, where it runs another"
                )
            if key == "runs_dir":
                raise ConfigError(f"{path}: a sweep has one runs folder: set runs_dir={grid[key]} on the command line")
            if key in ("sweep", "+sweep"):
                raise ConfigError(f"{path}: a sweep file cannot name another one; set +sweep=A,B")
        yield grid, excluded


def _override(key: str, value: Any) -> str:
    """The override in the form of the command line."""
    several = value if isinstance(value, list) else [value]
    return f"{'+' if key == 'preset' else ''}{key}={','.join(_text(str(key), item) for item in several)}"


def _text(key: str, value: Any) -> str:
    text = key in options() and takes_text(key)
    if isinstance(value, TypedInt | TypedFloat):
        return value.text if text or key not in options() else str(bare(value))
    if isinstance(value, bool) and text:
        raise ConfigError(f"{key}: {value}: YAML reads a truth value where a text is meant: put it in quotes")
    if isinstance(value, str) and text and value.lower() in ("true", "false", "null"):
        return f"'{value}'"
    if isinstance(value, str) and value.endswith("\\"):  # or the next comma would be a part of it
        return quoted(value)
    return show(value)


def _values(key: str, value: Any, conf: Path | None) -> tuple[str, list[Any]]:
    (axis,) = axes([_override(key, value)], conf)
    return axis[0].key, [override.value for override in axis]


def _meets(job: Sequence[CheckedOverride], combination: Sequence[tuple[str, list[Any]]], conf: Path | None) -> bool:
    """Whether a job has these values: those on the command line first, since the others need the composed job."""
    given = {override.key: override.value for override in job}
    composed = []
    for key, values in combination:
        if key not in given or (given[key] not in values and (given[key] is None or "${" in str(given[key]))):
            composed.append((key, values))
        elif given[key] not in values:
            return False
    return all(_acts(job, key, values, conf) for key, values in composed)


def _acts(job: Sequence[CheckedOverride], key: str, values: Sequence[Any], conf: Path | None) -> bool:
    """Whether a key that is not on the command line has one of these values: by a choice, another key or the recipe."""
    plain, names = plain_config(job, conf)
    if key in (*CHOSEN, *APPENDED):
        return names.get(key) in values
    value = at(plain, key)
    if value is None and value not in values:
        try:
            value = at(compose_checked(job, conf).to_plain(), key)
        except ConfigError as error:
            if not error.invalid_combination:
                raise
    return value in values
