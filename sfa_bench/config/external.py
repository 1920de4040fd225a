"""Methods and selectors from outside the tree: a YAML with `_target_: module.Class` in the user's own conf folder.

The folder comes with `--config-dir`; the one above it is put on the import path. The class's signature is the schema
of the keys that the suite does not know itself.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sfa_bench.errors import ConfigError

# Groups that may bring a class, and the parameters that the engine fills in by itself.
BROUGHT = {"method": ("training",), "plugin": ("thresholds", "generator")}


def make_importable(config_dir: Path | None) -> None:
    """Let the modules beside the user's conf folder be imported, in this process."""
    if config_dir is not None and (parent := str(config_dir.resolve().parent)) not in sys.path:
        sys.path.insert(0, parent)


def own_options(config_dir: Path | None) -> dict[str, list[str]]:
    """`method.strength` → the choices that have it, for every key of a YAML with `_target_` in the user's folder."""
    found: dict[str, list[str]] = {}
    if config_dir is None:
        return found
    for group in BROUGHT:
        for path in sorted((config_dir / group).glob("*.yaml")):
            try:
                node: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            except yaml.YAMLError as error:
                raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
            node = node.get(group, node)
            if "_target_" in node:
                for key in node:
                    found.setdefault(f"{group}.{key}", []).append(path.stem)
    found.pop("method._target_", None)
    found.pop("plugin._target_", None)
    return found


def load(group: str, target: str) -> type:
    """The class behind `_target_`. Raises ConfigError where there is none, or it is no Method (no Selector)."""
    # Here, because only a run with a class of the user's own should wait for Torch while it is composed.
    from sfa_bench.methods.base import Method
    from sfa_bench.selectors.base import Selector

    kind = {"method": Method, "plugin": Selector}[group]
    module, _, name = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{group}._target_={target}: {error}; it is MODULE.CLASS, and the module lies beside the folder that "
            "--config-dir names"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, kind)):
        raise ConfigError(f"{group}._target_={target}: must be a subclass of {kind.__module__}.{kind.__name__}")
    return found


def check(group: str, target: str, arguments: Mapping[str, Any]) -> type:
    """The class, after its keyword arguments have been held against its signature."""
    found = load(group, target)
    parameters = inspect.signature(found).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return found
    wanted = {name: p for name, p in parameters.items() if name not in BROUGHT[group]}
    for name, value in arguments.items():
        if name not in wanted:
            known = ", ".join(wanted) or "nothing"
            raise ConfigError(f"{group}.{name}: {target} takes {known}")
        _check_type(f"{group}.{name}", value, wanted[name].annotation)
    for name, parameter in wanted.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise ConfigError(f"{group}.{name} has no value: {target} needs one; give it in the YAML or type it")
    return found


def _check_type(path: str, value: Any, annotation: Any) -> None:
    """Simple annotations (int, float, bool, str), also as text, are checked; others are the class's own affair."""
    names = {"int": int, "float": (int, float), "bool": bool, "str": str}
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    kind = names.get(name)
    if kind is None:
        return
    if not isinstance(value, kind) or (isinstance(value, bool) and name in ("int", "float")):  # type: ignore[arg-type]
        words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}[name]
        raise ConfigError(f"{path}={value}: must be {words}")
