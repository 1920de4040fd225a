"""Typed values from plain ones: `convert` builds the schema's dataclasses and refuses invalid values."""

from __future__ import annotations

import difflib
import marshal
import math
import re
import sys
import types
import typing
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, Literal, Union, get_args, get_origin

from sfa_bench.choices.options import SEEDS
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.source_text import TypedFloat, TypedInt
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@cache
def options(cls: type = RunConfig, prefix: str = "") -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """Every path of a configuration with its type and metadata; the type of a section is its dataclass."""
    entries: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    hints = _hints(cls)
    for f in fields(cls):
        if f.metadata.get("derived"):
            continue
        entries[prefix + f.name] = (hints[f.name], f.metadata)
        if is_dataclass(hints[f.name]):
            entries |= options(hints[f.name], f"{prefix}{f.name}.")
    return entries


CLOSE = 0.75  # of difflib: a typing error, not another word
CLOSE_SHORT = 0.66  # of words of up to four letters: one of three may be another one


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a user most likely meant; None rather than an unlikely one.

    For keys with dots, one of the same group, or of another where that group does not exist: `sfa.beta` is plugin.beta,
    but `plugin.schedule` is not method.schedule, which schedules something else.
    """
    pool = list(candidates)
    group, dot, leaf = word.rpartition(".")
    here = [c for c in pool if c.startswith(f"{group.partition('.')[0]}.")] if dot else []
    leaves: dict[str, list[str]] = {}
    for c in here or pool:
        leaves.setdefault(c.rsplit(".", 1)[-1], []).append(c)
    if here and leaf not in leaves and leaf in pool:  # a root key, written with the group that it seems to belong to
        return leaf
    close_enough = CLOSE if len(leaf) > 4 else CLOSE_SHORT
    for name in (leaf, *difflib.get_close_matches(leaf, leaves, 1, close_enough)):
        depth = min((c.count(".") for c in leaves.get(name, ())), default=0)
        same_depth = [c for c in leaves.get(name, ()) if c.count(".") == depth]
        if len(same_depth) == 1:
            return same_depth[0]
    if here:
        return None
    close = difflib.get_close_matches(word, pool, 1, close_enough)
    close = close or [c for c in pool if len(word) > 1 and c.startswith(word)]
    return close[0] if close else None


def unknown_key(key: str, candidates: Iterable[str]) -> ConfigError:
    """The refusal of a key that does not exist, with the nearest one that does."""
    near = nearest(key, candidates)
    hint = f"; did you mean {near}?" if near else f"; {Door.here.run} --help lists them"
    return ConfigError(f"unknown key {brief(key)}{hint}")


def convert(cls: type, plain: Mapping[str, Any], prefix: str = "", **derived: Any) -> Any:
    """An instance of a schema class from plain values. Raises ConfigError on an unknown key or an invalid value."""
    hints = _hints(cls)
    known = {f.name: f for f in fields(cls) if not f.metadata.get("derived")}
    for key in plain:
        if key not in known:
            raise unknown_key(f"{prefix}{key}", options())
    made = dict(derived)
    for name, value in plain.items():
        if is_dataclass(hints[name]):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{prefix}{name}={brief(show(value))}: this is a section, set {prefix}{name}.KEY=VALUE"
                )
            made[name] = _section(hints[name], marshal.dumps(dict(value), 2), f"{prefix}{name}.")
        elif isinstance(value, Hashable):
            made[name] = _checked(f"{prefix}{name}", value)
        else:
            made[name] = check_value(f"{prefix}{name}", value)
    return cls(**made)


@lru_cache(maxsize=4096)
def _section(cls: type, content: bytes, prefix: str) -> Any:
    """`convert` of a section's marshalled content: the jobs of a sweep have most of their sections in common.

    By content with types, since 1 == True; format 2 gives equal content equal bytes.
    """
    return convert(cls, marshal.loads(content), prefix)


def check_value(path: str, value: Any) -> Any:
    """The value of one option in its own type (0 -> 0.0 for a number). Raises ConfigError saying what is allowed."""
    kind, limits = options()[path]
    if value is None and limits.get("auto"):
        return None
    if (converted := fit(kind, value)) is not NO:
        _check_range(path, converted, limits)
        return converted
    alternatives = alternatives_of(kind)
    allowed = [*alternatives, type(None)] if limits.get("auto") else alternatives
    words = " or ".join(describe(a) for a in allowed)
    literals = [str(c) for a in alternatives if get_origin(a) is Literal for c in get_args(a)]
    near = nearest(value, literals) if isinstance(value, str) else None
    hint = f"; did you mean {path}={near}?" if near else ""
    if takes_text(path) and (value is None or isinstance(value, bool)):
        hint = f"; for a text of these letters put it in quotes, inside those of a shell: \"{path}='{show(value)}'\""
    elif takes_text(path) and isinstance(value, int | float):  # from YAML, which has lost how it was written
        hint = "; put it in quotes in its file"
    elif value is None:
        hint = f"; leave {path} out for its default"
    raise ConfigError(f"{path}={brief(show(value))}: must be {words}{hint}")


# The jobs of a sweep have most of their values in common. By type, since 1 == True.
_checked = lru_cache(maxsize=8192, typed=True)(check_value)

NO = object()


def takes_text(path: str) -> bool:
    """Whether this option takes any text, even one that looks like a number."""
    return str in alternatives_of(options()[path][0])


def alternatives_of(kind: Any) -> tuple[Any, ...]:
    """The members of a union; any other type by itself."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def fit(kind: Any, value: Any) -> Any:
    """The value in the first alternative of a type that takes it (0 -> 0.0 for a number), or NO."""
    converted = (_as(alternative, value) for alternative in alternatives_of(kind))
    return next((c for c in converted if c is not NO), NO)


def _as(kind: Any, value: Any) -> Any:
    """The value as one of the schema's simple types, or NO."""
    if get_origin(kind) is Literal:
        return value if isinstance(value, str | bool) and value in get_args(kind) else NO
    if get_origin(kind) is tuple:
        fits = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
        return tuple(value) if fits and (len(value) > 0 if ... in get_args(kind) else len(value) == 2) else NO
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number and -sys.float_info.max <= value <= sys.float_info.max:
        return float(value)
    if kind is int and number and (isinstance(value, int) or value.is_integer()):
        return int(value)
    if kind is str and isinstance(value, str | TypedInt | TypedFloat):
        return str(value)
    if kind in (bool, type(None)) and isinstance(value, kind):
        return value
    return NO


def describe(kind: Any) -> str:
    """A description of the values that a type admits."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(describe(k) for k in get_args(kind))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(show, get_args(kind))) if len(get_args(kind)) > 1 else show(get_args(kind)[0])
    if get_origin(kind) is tuple:
        return "a list of names" if ... in get_args(kind) else "a list of two names"
    return _WORDS[kind]


def show(value: Any) -> str:
    """The value as on the command line: null, true, false."""
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def _listed(value: Any) -> str:
    return brief(f"[{','.join(map(show, value))}]" if isinstance(value, tuple) else show(value))


def brief(text: str) -> str:
    """The text, cut to one line."""
    return text if len(text) <= 80 else f"{text[:80]}…"


def _check_range(path: str, value: Any, limits: Mapping[str, Any]) -> None:
    for text in value if isinstance(value, tuple) else [value]:
        if isinstance(text, str):
            _check_text(path, text)
        pattern = limits.get("pattern")
        if pattern and text is not None and not re.fullmatch(pattern, text):
            example = limits.get("form", "letters, digits, '_', '-', '.', beginning with a letter or digit")
            raise ConfigError(f"{path}={brief(text)}: must be {example}")
    if (wrong := limits.get("wrong")) and (sentence := wrong(value)):
        raise ConfigError(f"{path}={_listed(value)}: {sentence}")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    low, high, above, below = (limits.get(k, default) for k, default in _BOUNDS)
    if low <= value <= high and above < value < below:
        return
    raise ConfigError(f"{path}={number(value)}: allowed is {range_text(path, limits)}{_meant(path, value)}")


def _check_text(path: str, text: str) -> None:
    """Refuse texts that cannot be a file, folder or name; a path may have bytes that are not UTF-8."""
    if not text.strip():
        raise ConfigError(f"{path}={text}: is empty; give a value, or leave {path} out")
    if "\0" in text:
        raise ConfigError(f"{path}={brief(text)!r}: holds a NUL character, which no file's name has; leave it out")


def range_text(path: str, limits: Mapping[str, Any]) -> str:
    """`0 < path <= 1`; the path alone where there are no bounds."""
    ends = {
        name: "2^63" if limits[name] == SEEDS else number(limits[name])
        for name in ("above", "low", "below", "high")
        if name in limits
    }
    left = f"{ends['above']} < " if "above" in ends else f"{ends['low']} <= " if "low" in ends else ""
    right = f" < {ends['below']}" if "below" in ends else f" <= {ends['high']}" if "high" in ends else ""
    return f"{left}{path}{right}"


def number(value: float) -> str:
    """A number in full, the shortest text that reads back; a whole one as far as one reads it at a glance."""
    if isinstance(value, float):
        return repr(float(value)).removesuffix(".0")
    return str(value) if abs(value) < 10**20 else f"{Decimal(value):.5e}"


_BOUNDS = (("low", -math.inf), ("high", math.inf), ("above", -math.inf), ("below", math.inf))


def _meant(path: str, value: float) -> str:
    """A hint for common mistakes: an imbalance ratio for a factor, percent for a share."""
    if path == "imb_factor" and value > 1:
        return f"; did you mean {1 / value:g}?"
    if path in ("noise_ratio", "dataset.val_fraction") and 1 < value < 100:
        return f"; did you mean {value / 100:g}?"
    return ""
