"""Choices from outside the tree: a YAML with `_target_: module.NAME` in the user's own conf folder.

The folder is given by `--config-dir`; its parent is put on the import path. The signature of the class or function is
the schema of its options: the keys of the YAML that the suite does not use itself.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from sfa_bench.choices import code
from sfa_bench.config import user_yaml
from sfa_bench.config.source_text import bare
from sfa_bench.config.values import NO, alternatives_of, brief, describe, fit, show
from sfa_bench.errors import ConfigError, RunError

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


@dataclass(frozen=True)
class ExternalKind:
    """What a user's own choice of a group is.

    base: `module.Class` that it must be a subclass of; None: it is a function. given: positional arguments that the
    engine passes; every other parameter of a class, and every keyword-only one of a function, is an option. kept: keys
    that the suite keeps for itself. path: path of its section of the configuration; named: the key there that names the
    choice, `external` for a user's own.
    """

    path: str
    base: str | None
    given: tuple[str, ...]
    kept: tuple[str, ...] = ()
    named: str = "name"

    @property
    def wanted(self) -> str:
        """A description for messages."""
        return f"a function of ({', '.join(self.given)})" if self.base is None else f"a subclass of {self.base}"


BROUGHT = {
    "method": ExternalKind(
        "method", "sfa_bench.methods.base.Method", ("training",), ("selector", "revision"), "learner"
    ),
    "plugin": ExternalKind(
        "plugin",
        "sfa_bench.selectors.base.Selector",
        ("thresholds",),
        ("head", "main_subset", "p_threshold", "abc", "gmm", "revision"),
        "selector",
    ),
    "loss": ExternalKind("method.loss", None, ("logits", "labels", "class_counts"), ("revision",)),
    "noise": ExternalKind(
        "noise", None, ("labels", "num_classes", "rate", "rng", "images"), ("assumed_rate", "revision")
    ),
    "model": ExternalKind("model", "torch.nn.Module", ("in_channels", "image_size"), ("revision",)),
    "dataset": ExternalKind(
        *("dataset", None, ("data_dir",)),
        ("name", "normalise", "augment", "generator", "val", "val_fraction", "fold", "shots", "revision"),
        "source",
    ),
}
FILLED_IN = ("generator",)  # parameters of a selector that the engine fills in, beside the first
KNOWN = ("rate", "type", "clean_labels", "clean_val", "pretraining")


def make_importable(config_dir: Path | None) -> None:
    """Make the modules beside the user's conf folder importable in this process."""
    if config_dir is not None and (parent := str(config_dir.resolve().parent)) not in sys.path:
        keep_analysis()
        sys.path.insert(0, parent)


def keep_analysis() -> None:
    """Import the suite's `analysis` first, so that no other folder of this name on the import path shadows it."""
    folder = Path(__file__).resolve().parents[2] / "analysis"
    if "analysis" not in sys.modules:
        path = folder / "__init__.py"
        spec = importlib.util.spec_from_file_location("analysis", path, submodule_search_locations=[str(folder)])
        assert spec is not None
        assert spec.loader is not None
        sys.modules["analysis"] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)


def own_options(config_dir: Path | None) -> dict[str, list[str]]:
    """`method.strength` → the choices that have it, for every key of a YAML with `_target_` in the user's folder."""
    choices_having: dict[str, list[str]] = {}
    if config_dir is None:
        return choices_having
    for group in BROUGHT:
        for path in sorted((config_dir / group).glob("*.yaml")):
            node: Any = None
            with suppress(user_yaml.Broken):  # refused when it is chosen
                node = user_yaml.read(path)
            if isinstance(node, dict):
                node = node.get(group, node)
            if isinstance(node, dict) and "_target_" in node:
                for key in node:
                    choices_having.setdefault(f"{group}.{key}", []).append(path.stem)
    return {key: having for key, having in choices_having.items() if not key.endswith("._target_")}


def brought(config: RunConfig, group: str) -> Any:
    """The section of the configuration that a group's choice fills: with `target` and `arguments`."""
    section: Any = config
    for part in BROUGHT[group].path.split("."):
        section = getattr(section, part)
    return section


def load(group: str, target: str) -> Any:
    """The class or function behind `_target_`. Raises ConfigError where there is none, or it is of another kind."""
    kind = BROUGHT[group]
    module, _, name = str(target).rpartition(".")
    form = "MODULE.FUNCTION" if kind.base is None else "MODULE.CLASS"
    if not module:
        raise ConfigError(f"{group}._target_={target}: must be {form}")
    try:
        loaded = getattr(importlib.import_module(module), name)
    except Exception as error:  # a user's file may raise anything while it is imported
        if isinstance(error, (ModuleNotFoundError, AttributeError)) and str(error).count(module):
            raise ConfigError(
                f"{group}._target_={target}: {error}; it is {form}, and the module lies beside the folder that "
                "--config-dir names"
            ) from error
        raise ConfigError(f"{group}._target_={target} cannot be imported: {describe_error(error)}") from error
    if kind.base is None:
        fits = callable(loaded) and not inspect.isclass(loaded) and _takes(loaded, len(kind.given))
    else:  # loaded here, because only a run with a class of the user's own should wait for Torch while it is composed
        fits = inspect.isclass(loaded) and issubclass(loaded, code.load(kind.base))
    if not fits:
        raise ConfigError(f"{group}._target_={target}: must be {kind.wanted}")
    if strange := set(getattr(loaded, "knows", ())) - set(KNOWN):
        raise ConfigError(f"{target}.knows={', '.join(map(str, strange))}: must be among {', '.join(KNOWN)}")
    return loaded


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many positional arguments and options alone."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    return len(required) <= count <= len(positional) or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def describe_error(error: BaseException) -> str:
    """Type and message of an error in one line, with its file and line."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({last.filename}, line {last.lineno})"


def check(group: str, target: str, arguments: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class or function, and its options in the types of its signature, with the plain ones of its defaults added.

    So a record says all that acted, and a run's hash changes with a default in the user's file.
    """
    loaded = load(group, target)
    try:
        parameters = inspect.signature(loaded, eval_str=True).parameters
    except NameError:  # annotations that exist for type checkers only
        parameters = inspect.signature(loaded).parameters
    wanted = {
        name: p
        for name, p in list(parameters.items())[len(BROUGHT[group].given) :]
        if name not in FILLED_IN and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    complete = {}
    for name, value in arguments.items():
        if name not in wanted and not takes_all:
            known = ", ".join(wanted) or "nothing"
            raise ConfigError(f"{group}.{name}: {target} takes {known}")
        fitted = _fitted(f"{group}.{name}", value, wanted[name].annotation) if name in wanted else value
        complete[name] = bare(fitted)
    for name, parameter in wanted.items():
        if name in arguments:
            continue
        if parameter.default is parameter.empty:
            raise ConfigError(
                f"{group}.{name} has no value: {target} needs one; give it in the YAML or on the command line"
            )
        if isinstance(parameter.default, bool | int | float | str | None):
            complete[name] = parameter.default
    try:
        json.dumps(complete, allow_nan=False, default=str)
    except ValueError:
        raise ConfigError(f"{group}: the options of {target} must be finite numbers, defaults included") from None
    return loaded, complete


def _fitted(path: str, value: Any, annotation: Any) -> Any:
    """The value converted to a simple type (numbers, texts, true and false, null, words); other types are left as they
    are.
    """
    for kind in alternatives_of(annotation):
        words = get_origin(kind) is Literal and all(isinstance(word, str) for word in get_args(kind))
        if kind not in (int, float, bool, str, NoneType) and not words:
            return value
    if (fitted := fit(annotation, value)) is NO:
        raise ConfigError(f"{path}={brief(show(value))}: must be {describe(annotation)}")
    return fitted


def make(group: str, target: str, *given: Any, **arguments: Any) -> Any:
    """An instance. Raises ConfigError where the class refuses an option by ValueError, RunError for other errors."""
    try:
        return load(group, target)(*given, **arguments)
    except (ConfigError, RunError):
        raise
    except ValueError as error:
        raise ConfigError(f"{target}: {' '.join(str(error).split())}") from error
    except Exception as error:
        raise RunError(f"{target} cannot be made: {describe_error(error)}") from error


def sources(config: RunConfig, groups: Iterable[str] = BROUGHT) -> dict[str, str]:
    """SHA-256 of each file that defines a user's own choice of these groups, by `module.NAME`."""
    digests = {}
    for group in groups:
        if (target := brought(config, group).target) is not None:
            brought_by_user = inspect.unwrap(load(group, target))  # of a decorated function, the user's file
            try:
                path = inspect.getsourcefile(brought_by_user)
            except TypeError:  # a callable object: the file of its class
                path = importlib.import_module(target.rpartition(".")[0]).__file__
            digests[target] = hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()
    return digests
