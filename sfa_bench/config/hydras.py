"""Hydra as the suite uses it: where it composes, and what of its own options and keys acts here."""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sfa_bench.config.values import unknown_key
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError

# Inside the package where it is installed from a wheel, beside it in a checkout.
CONF = next(
    folder / "conf" for folder in Path(__file__).resolve().parents[1:3] if (folder / "conf" / "config.yaml").is_file()
)

# Hydra 1.3 behaves like 1.1 unless its own behaviour is asked for; from 1.4 on it warns of whoever asks.
BASE: dict[str, Any] = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}

_OPTIONS = {
    "config_path": "the suite's configuration stays; choices of your own come with --config-dir DIR",
    "config_name": "the suite's configuration stays; choices of your own come with --config-dir DIR",
    "experimental_rerun": "it reads a pickle, which can execute anything; the command of a run is in its run.json",
}
_FORMS = ("run", "multirun", "cfg", "info", "shell_completion")
_FLAGS = {"h": "help", "r": "run", "m": "multirun", "sc": "shell-completion"}  # by their short forms
_WITH_VALUE = {"p": "package", "cp": "config-path", "cn": "config-name", "cd": "config-dir"}
_INFO = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
_COMPLETION = ("install", "uninstall", "query")
_SHELLS = ("bash", "fish", "zsh")
_KEYS = {
    "hydra.sweeper": "sweeps of the suite have a sweeper of their own; set axes as KEY=V1,V2 or +sweep=NAME",
    "hydra.run": "a run's folder lies in runs_dir; set runs_dir=DIR",
    "hydra.searchpath": "choices of your own come with --config-dir DIR",
    "hydra.aliases": "a key has one name, its own",
    "hydra.runtime": "Hydra fills it in itself; leave it out",
    "hydra.overrides": "Hydra fills it in itself; leave it out",
    "hydra.launcher._target_": "a launcher is chosen by its name, hydra/launcher=NAME",
}


def option_parser() -> ArgumentParser:
    """A parser of Hydra's own options, which `check_options` then checks against what the suite supports."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--version", action="version", version=f"Hydra {hydra.__version__}")
    for letter, name in _FLAGS.items():
        parser.add_argument(f"--{name}", f"-{letter}", action="store_true")
    for letter, name in _WITH_VALUE.items():
        parser.add_argument(f"--{name}", f"-{letter}")
    for name in ("hydra-help", "resolve"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--experimental-rerun")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=_INFO)
    return parser


def check_options(options: Namespace) -> None:
    """Refuse options of Hydra that cannot act here, or not together. Raises ConfigError with the way out."""
    for name, reason in _OPTIONS.items():
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')}: {reason}")
    if len(forms := [f"--{name.replace('_', '-')}" for name in _FORMS if getattr(options, name)]) > 1:
        raise ConfigError(f"{' and '.join(forms)} do not go together; use one of them")
    for name in ("package", "resolve"):
        if getattr(options, name) and not (options.cfg or options.help):
            raise ConfigError(f"--{name} shows a configuration in another form; add --cfg job")
    if options.shell_completion:
        words = dict(word.split("=", 1) for word in options.overrides if "=" in word)
        asked = [words[name] for name in _COMPLETION if name in words]
        if len(asked) != 1 or asked[0] not in _SHELLS or ("query" in words and "COMP_LINE" not in os.environ):
            raise ConfigError(f"--shell-completion takes install=SHELL or uninstall=SHELL, of {', '.join(_SHELLS)}")


def is_hydras(key: str) -> bool:
    """Whether a key is one of Hydra's own."""
    return key == "hydra" or key.startswith(("hydra.", "hydra/", "hydra@"))


def check_key(override: Override, sweep: bool) -> None:
    """Refuse a key of Hydra's own that cannot act here, whatever its value."""
    key, text = override.key_or_group.replace("/", "."), override.input_line
    if override.is_sweep_override():
        raise ConfigError(f"{text}: Hydra's own keys take one value")
    if override.is_delete() or override.package is not None or "." not in key:
        raise ConfigError(f"{text}: Hydra's own keys are set as hydra.KEY=VALUE or hydra/GROUP=CHOICE")
    for begin, reason in _KEYS.items():
        if (key == begin or key.startswith(f"{begin}.")) and str(text) != "hydra/sweeper=sfa":
            raise ConfigError(f"{text}: {reason}")
    if key == "hydra.mode" and override.value() != ("MULTIRUN" if sweep else "RUN"):
        raise ConfigError(f"{text}: a sweep is started by {Door.here.sweep}, a run by {Door.here.run}")


def check_values(overrides: Sequence[str], conf: Path | None) -> None:
    """Refuse Hydra keys that do not exist, and values that they do not take.

    overrides: as on the command line; those of other keys are ignored.
    """
    hydras = [text for text in overrides if is_hydras(text.lstrip("+~"))]
    groups = [text for text in hydras if "/" in text.partition("=")[0]]
    if not hydras:
        return
    base = composed(conf, groups)
    known = [*_paths(OmegaConf.to_container(base.hydra), "hydra")]
    for text in (text for text in hydras if text not in groups):
        key = text.lstrip("+").partition("=")[0]
        if key not in known:
            _check_added(text, key, known, base.hydra.runtime.choices["hydra/launcher"])
        if isinstance(OmegaConf.select(base, key, throw_on_missing=False), DictConfig):
            group = key.replace(".", "/")
            raise ConfigError(f"{text}: {key} is a section; set {key}.KEY=VALUE, or {group}=CHOICE where it is a group")
        try:
            value = OmegaConf.select(composed(conf, [*groups, text]), key)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{text}: {str(error).splitlines()[0]}") from error
        if key == "hydra.verbose" and not isinstance(value, bool | str | Sequence):
            raise ConfigError(f"{text}: must be true, false, or names of loggers")
        if key == "hydra.launcher.n_jobs" and value == 0:
            raise ConfigError(f"{text}: must be at least 1, or -1 for as many as there are cores")


def _check_added(text: str, key: str, known: Sequence[str], launcher: str) -> None:
    """Refuse a key that does not exist, unless it is added with + below one that does."""
    parents = [key[:place] for place, char in enumerate(key) if char == "."][1:]
    if text.startswith("+") and any(parent in known for parent in parents):
        return
    if key.startswith("hydra.launcher."):
        there = [
            path.rpartition(".")[2] for path in known if path.count(".") == 2 and path.startswith("hydra.launcher.")
        ]
        keys = ", ".join(name for name in there if name != "_target_") or "none"
        raise ConfigError(f"{text}: the keys of hydra/launcher={launcher} are: {keys}")
    if key.startswith("hydra.job.env_set."):
        raise ConfigError(f"{text}: new keys are added with +: +{text}")
    raise unknown_key(key, known)


def _paths(node: Any, path: str) -> Iterator[str]:
    if path != "hydra":
        yield path
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from _paths(inner, f"{path}.{key!s}")


def composed(conf: Path | None, overrides: Sequence[str]) -> DictConfig:
    """What Hydra composes of these overrides, its own configuration included; conf: the user's folder.

    Raises ConfigError for a choice that does not exist and for a value that a key of Hydra's own does not take;
    Hydra's, OmegaConf's and YAML's own errors for the rest.
    """
    searched = [] if conf is None else [f"hydra.searchpath=[{quoted(f'file://{conf}')}]"]
    try:
        with _outside_of_any_job(), initialize_config_dir(str(CONF), **BASE):
            return compose("config", [*overrides, *searched], return_hydra_config=True)
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if not error.options:
            named = f"a list of defaults in {conf} names {error.missing_cfg_file}"
            raise ConfigError(f"{named}, and there is no such file") from error
        raise ConfigError(f"{group}={choice}: must be one of {', '.join(error.options or ())}") from error
    except HydraException as error:
        text = overrides[-1] if overrides else ""
        if is_hydras(text.lstrip("+")):
            reason = str(error.__cause__ or error).splitlines()[0] if "." in text else "Hydra has no such group"
            raise ConfigError(f"{text}: {reason}") from error
        raise


def quoted(text: str) -> str:
    """Quote any text for Hydra's grammar, in which a backslash is literal unless a quote follows."""
    return "'" + re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), text) + "'"


@contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """Hydra composes for one application at a time; in a job of a sweep that is the sweep."""
    instance = GlobalHydra.instance()
    sweeping, instance.hydra = instance.hydra, None
    try:
        yield
    finally:
        instance.hydra = sweeping
