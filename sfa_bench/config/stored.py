"""A resolved configuration as plain JSON and back, so that it is composed and checked in one process only.

Only values that differ from the schema's defaults are written. Reading goes through the same schema, which refuses
unknown keys, other types and values out of range; nothing that is read is called or imported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, get_origin, get_type_hints

from sfa_bench.config.schema import SEED_KEYS, RunConfig
from sfa_bench.config.values import NO, brief, check_value, fit, options, show
from sfa_bench.errors import ConfigError

BROUGHT_NAMES = (
    *("method.learner", "method.selector.name", "method.loss.name"),
    *("noise.name", "model.name", "dataset.source"),
)
MAPPING = "mapping"  # marks one as a list of pairs: JSON's keys are texts, those of a user's own option may be numbers


_to_json_text = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode  # made once: a sweep may have a million


def to_json(config: RunConfig) -> str:
    """The values that differ from the schema's, nested as the schema is, in one line of ASCII."""
    return _to_json_text(_different(config))


def with_seeds(text: str, seeds: Sequence[int]) -> str:
    """`to_json` of a configuration with these values of `SEED_KEYS`, from that with 0 for each, their default."""
    given = (f'"{key}":{seed},' for key, seed in zip(SEED_KEYS, seeds, strict=True) if seed)
    return f"{{{''.join(given)}{text[1:]}"


def from_stored(stored: Any) -> RunConfig:
    """The configuration that `to_json` was given, from its parsed text. Raises ConfigError for anything else."""
    try:
        config: RunConfig = _read(RunConfig, stored)
    except (TypeError, ValueError) as error:  # a marked mapping that is not a list of pairs
        raise ConfigError(f"it is not a configuration ({error})") from error
    if config.recipe.effective is None:
        raise ConfigError("it is not resolved")
    if config.model.unknown:
        raise ConfigError(config.model.unknown)
    return config


@cache
def _fields(cls: Any) -> dict[str, tuple[Any, Any]]:
    """Name → type and default value (MISSING: there is none) of each field."""
    kinds = get_type_hints(cls)
    return {
        f.name: (kinds[f.name], f.default if f.default_factory is MISSING else f.default_factory()) for f in fields(cls)
    }


def _different(section: Any) -> dict[str, Any]:
    cls: Any = type(section)
    usual_of = _fields(cls)
    differing: dict[str, Any] = {}
    for name, value in vars(section).items():
        usual, kind = usual_of[name][1], type(value)
        if value is usual:
            continue
        if value is None or kind in (int, float, str, bool, dict, list, tuple):
            if kind is not type(usual) or value != usual:
                differing[name] = _listed(value)
        elif different := _different(value):
            differing[name] = different
    return differing


def _read(cls: Any, stored: Any, prefix: str = "") -> Any:
    if not isinstance(stored, dict):
        raise _refused(prefix.removesuffix("."), stored)
    known, made = _fields(cls), {}
    for name, value in stored.items():
        if name not in known:
            raise ConfigError(f"{prefix}{brief(name)} is not a key of a configuration")
        kind = known[name][0]
        made[name] = (
            _read(kind, value, f"{prefix}{name}.") if is_dataclass(kind) else _value(f"{prefix}{name}", kind, value)
        )
    for name, (_, usual) in known.items():
        if usual is MISSING and name not in made:
            raise ConfigError(f"{prefix}{name} has no value")
    return cls(**made)


def _value(path: str, kind: Any, value: Any) -> Any:
    if get_origin(kind) is dict:  # names; and arguments, which the signature of the class has checked
        if not isinstance(value, dict) or (path == "names" and not all(isinstance(v, str) for v in value.values())):
            raise _refused(path, value)
        return _unlisted(value)
    if value == "external" and path in BROUGHT_NAMES:  # which cannot be set, but stands for what a user brings
        return value
    if path in options() and path != "method.networks":  # of which a class of the user's own may have more than two
        return check_value(path, value)
    if (fitted := fit(kind, value)) is NO:
        raise _refused(path, value)
    return fitted


def _refused(path: str, value: Any) -> ConfigError:
    return ConfigError(f"{path}={brief(show(value))} is not a value of a configuration")


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        if MAPPING not in value and all(isinstance(key, str) for key in value):
            return {key: _listed(item) for key, item in value.items()}
        return {MAPPING: [[key, _listed(item)] for key, item in value.items()]}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _unlisted(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {MAPPING}:
            return {key: _unlisted(item) for key, item in value[MAPPING]}
        return {key: _unlisted(item) for key, item in value.items()}
    return [_unlisted(item) for item in value] if isinstance(value, list) else value
