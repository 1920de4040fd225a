"""The values of a choice, read from its YAML as Hydra reads it, where the file does no more than set values of its own
group: Hydra takes tenths of a second to compose a combination of choices, and a sweep may have hundreds.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sfa_bench.config import hydras

_NAME = re.compile(r"\w+")
_PART = re.compile(r"/(\w+)@(\w+)")  # another group's choice, in a section of this one


class _OthersError(Exception):
    """A file does something that is left to Hydra, or cannot be read, which Hydra then says."""


def choice_values(group: str, choice: str, conf: Path | None) -> dict[str, Any] | None:
    """The values of a choice's section, with those of the parts that its defaults list names; interpolations are left
    as they are.

    Returns: None where Hydra has to say what the file does: it sets values elsewhere (`@package`), changes other
    choices (`override`), has no values, or is broken.
    """
    parts: list[tuple[str, str, str]] = []
    try:
        return _values(group, choice, conf, "", parts) or None
    except (_OthersError, OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException):
        return None


def _values(group: str, choice: str, conf: Path | None, place: str, parts: list[tuple[str, str, str]]) -> Any:
    """place: the section of the values, from that of the first choice; parts: what has been read, Hydra refuses what
    it reads twice.
    """
    if (group, choice, place) in parts or not _NAME.fullmatch(choice):
        raise _OthersError
    parts.append((group, choice, place))
    folder = next(
        (folder for folder in (hydras.CONF, conf) if folder and (folder / group / f"{choice}.yaml").is_file()), None
    )
    if folder is None:
        raise _OthersError
    path = folder / group / f"{choice}.yaml"
    status = path.stat()
    own = copy.deepcopy(_read(path, status.st_mtime_ns, status.st_size))
    if not isinstance(own, dict):
        raise _OthersError
    defaults = own.pop("defaults", ["_self_"])
    if not isinstance(defaults, list) or defaults.count("_self_") != 1:
        raise _OthersError
    if len(defaults) > 1 and "???" in map(str, _leaves(own)):  # a value that is not there replaces none
        raise _OthersError
    values: dict[str, Any] = {}
    for entry in defaults:
        if entry == "_self_":
            _merge(values, own)
        elif isinstance(entry, str):
            _merge(values, _values(group, entry, conf, place, parts))
        else:
            _merge(values, _part(entry, conf, place, parts))
    return values


@lru_cache(maxsize=1024)  # combinations of choices have most of their files in common
def _read(path: Path, *state: int) -> Any:
    if "@package" in path.read_text(encoding="utf-8"):
        raise _OthersError
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def _part(entry: Any, conf: Path | None, place: str, parts: list[tuple[str, str, str]]) -> dict[str, Any]:
    """The values of `/loss@loss: sce` in a defaults list."""
    if not isinstance(entry, dict) or len(entry) != 1:
        raise _OthersError
    ((key, choice),) = entry.items()
    match = _PART.fullmatch(str(key))
    if match is None or not isinstance(choice, str):
        raise _OthersError
    return {match[2]: _values(match[1], choice, conf, f"{place}.{match[2]}", parts)}


def _merge(values: dict[str, Any], later: dict[str, Any]) -> None:
    for key, value in later.items():
        before = values.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            _merge(before, value)
        elif key in values and isinstance(value, dict) is not isinstance(before, dict):
            raise _OthersError
        else:
            values[key] = value


def _leaves(node: Any) -> Iterator[Any]:
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, (dict, list)):
            yield from _leaves(value)
        else:
            yield value
