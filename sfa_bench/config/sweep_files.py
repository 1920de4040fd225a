"""Sweep files: grids that are kept, `conf/sweep/NAME.yaml` (`+sweep=NAME`).

A file has `blocks`, a list of grids: each maps a key to a value, a list of values, or a text in Hydra's grammar for
several (`range(0,5)`); `common`, a grid that every block begins with; and, in a block or beside them, `exclude`: a list
of combinations to leave out, each a mapping of keys to a value or a list of values, all of which must be met. What is
typed on the command line takes the place of a key in all blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sfa_bench.config import user_yaml
from sfa_bench.config.overrides import Typed, axes, choice_file
from sfa_bench.errors import ConfigError

KEYS = ("common", "blocks", "exclude")


def jobs(overrides: Sequence[str], conf: Path | None) -> Iterator[tuple[Typed, ...]]:
    """Every job of a sweep with its checked overrides; the last key varies fastest, block after block."""
    typed = axes(overrides, conf)
    for axis in typed:
        if axis[0].key == "runs_dir" and len(axis) > 1:
            several = ",".join(str(one.value) for one in axis)
            raise ConfigError(f"runs_dir={several}: a sweep has one runs folder; type one")
    names = [one.value for axis in typed if axis[0].key == "sweep" for one in axis]
    rest = [axis for axis in typed if axis[0].key != "sweep"]
    if not names:
        yield from itertools.product(*rest)
        return
    given = {axis[0].key for axis in rest}
    for name in names:
        for grid, excluded in blocks(choice_file("sweep", name, conf)):
            kept = axes([_override(key, value) for key, value in grid.items() if key not in given], conf)
            left_out = [[_values(key, value, conf) for key, value in one.items()] for one in excluded]
            for job in itertools.product(*kept, *rest):
                if not any(_meets(job, one) for one in left_out):
                    yield job


def blocks(path: Path) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """(grid, exclusions) of each block. Raises ConfigError where the file is none, or names a launcher."""
    content = user_yaml.read(path)
    if not isinstance(content, dict) or not isinstance(content.get("blocks"), list) or not content["blocks"]:
        raise ConfigError(f"{path}: a sweep file has a list of blocks: each maps keys to values")
    if strange := set(content) - set(KEYS):
        raise ConfigError(f"{path}: {', '.join(map(str, strange))} is none of {', '.join(KEYS)}")
    common, everywhere = content.get("common") or {}, content.get("exclude") or []
    for block in content["blocks"]:
        if not isinstance(block, dict) or not isinstance(common, dict):
            raise ConfigError(f"{path}: a block maps keys to values, and so does common")
        lists = [found or [] for found in (everywhere, block.get("exclude"))]
        if not all(isinstance(found, list) and all(isinstance(one, dict) and one for one in found) for found in lists):
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
                raise ConfigError(f"{path}: a sweep has one runs folder: type runs_dir={grid[key]} on the command line")
            if key in ("sweep", "+sweep"):
                raise ConfigError(f"{path}: a sweep file cannot name another one; type +sweep=A,B")
        yield grid, excluded


def _override(key: str, value: Any) -> str:
    """As it would be typed."""
    texts = [_text(one) for one in value] if isinstance(value, list) else [_text(value)]
    return f"{'+' if key == 'preset' else ''}{key}={','.join(texts)}"


def _text(value: Any) -> str:
    words = {"None": "null", "True": "true", "False": "false"}
    return words[str(value)] if value is None or isinstance(value, bool) else str(value)


def _values(key: str, value: Any, conf: Path | None) -> tuple[str, list[Any]]:
    (axis,) = axes([_override(key, value)], conf)
    return axis[0].key, [one.value for one in axis]


def _meets(job: Sequence[Typed], combination: Sequence[tuple[str, list[Any]]]) -> bool:
    chosen = {one.key: one.value for one in job}
    return all(key in chosen and chosen[key] in values for key, values in combination)
