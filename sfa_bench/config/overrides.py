"""What is typed, read with Hydra's grammar and checked against conf/ and the schema before Hydra composes anything."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import OverrideParseException

from sfa_bench.config import user_yaml
from sfa_bench.config.external import own_options
from sfa_bench.config.hydras import CONF, check_key, is_hydras
from sfa_bench.config.schema import GROUPS
from sfa_bench.config.values import check_value, nearest, options, unknown_key
from sfa_bench.errors import ConfigError

APPENDED = ("preset", "sweep")  # groups that are not in the defaults list: +preset=NAME

# What the releases and spec/ call a thing -> what is typed here.
OTHER_NAMES = {
    ("noise", "imb"): "noise=joint",
    ("noise", "sym"): "noise=symmetric",
    ("noise", "sym_incl"): "noise=symmetric noise.include_self=true",
    ("noise", "unif"): "noise=symmetric noise.include_self=true",
    ("noise", "joint_incl"): "noise=joint noise.include_self=true",
    ("noise", "asym"): "noise=asymmetric",
    ("noise", "asym_block5"): "noise=asymmetric noise.map=block5",
    ("method", "sfa"): "method=dividemix plugin=sfa",
    ("method", "erm"): "method=ce",
    ("method", "rolt+"): "method=rolt_plus",
}


@dataclass(frozen=True)
class Typed:
    """One checked override with one value. `text` is the override as Hydra reads it; `group`: Hydra composes by it."""

    key: str
    value: Any
    text: str
    group: bool


def choices(group: str, config_dir: Path | None = None) -> tuple[str, ...]:
    """The choices of a group: its YAML files, here and in the user's own conf folder."""
    found = [p.stem for conf in folders(config_dir) for p in (conf / group).glob("*.yaml")]
    if twice := {name for name in found if found.count(name) > 1}:
        raise ConfigError(f"{config_dir}/{group}: {', '.join(twice)} exists in the suite already; call yours otherwise")
    return tuple(sorted(found))


def folders(config_dir: Path | None) -> tuple[Path, ...]:
    """Where choices come from. Raises ConfigError when the user's folder does not exist."""
    if config_dir is None:
        return (CONF,)
    user_yaml.check_exists(config_dir)
    return (CONF, config_dir)


def check_conf(config_dir: Path | None) -> None:
    """Refuse a folder of the user's own that is none, holds no choice, or one that could not be composed."""
    if config_dir is not None:
        user_yaml.check_exists(config_dir)
        user_yaml.check_folder(config_dir, (*GROUPS, *APPENDED))


def choice_file(group: str, choice: str, config_dir: Path | None = None) -> Path:
    """The YAML of a choice that exists."""
    return next(path for conf in folders(config_dir) if (path := conf / group / f"{choice}.yaml").exists())


def check_overrides(overrides: Sequence[str], config_dir: Path | None = None, *, sweep: bool = False) -> list[Typed]:
    """Refuse what exists nowhere: keys, choices, types, ranges. Several values for a key are read in a sweep only.

    Returns: the overrides of one run (in a sweep: one entry per value), without those of Hydra itself.
    Raises: ConfigError with key, value, what is allowed and what to type.
    """
    check_conf(config_dir)
    return list(itertools.chain.from_iterable(_check(o, config_dir, sweep) for o in _parse(overrides)))


def split_sweep(overrides: Sequence[str], config_dir: Path | None = None) -> list[list[str]]:
    """The jobs of a sweep, each as its list of overrides; the last key varies fastest."""
    return [[typed.text for typed in job] for job in itertools.product(*axes(overrides, config_dir))]


def axes(overrides: Sequence[str], config_dir: Path | None = None) -> list[list[Typed]]:
    """The checked values of each override of a sweep; its jobs are their product, the last one varying fastest."""
    check_conf(config_dir)
    return [
        _check(override, config_dir, sweep=True)
        or [Typed(key, text, f"{key}={text}", group=True) for _, text in _values(override, config_dir)]
        for override in _parse(overrides)
        for key in [override.get_key_element()]
    ]


def as_axes(overrides: Sequence[str]) -> list[str]:
    """A sweep's overrides with single values of a group's options as axes of one value.

    Hydra holds any other value against the choices that are the default where the sweep varies them, and these may not
    have the key: `-m method=ce,gce method.loss.q=0.5`.
    """
    found = []
    for override in _parse(overrides):
        text = str(override.input_line)
        group, dot, _ = override.key_or_group.partition(".")
        if group in GROUPS and dot and not override.is_sweep_override():
            text = f"{override.get_key_element()}=choice({override.get_value_element_as_str()})"
        found.append(text)
    return found


def _parse(overrides: Sequence[str]) -> list[Override]:
    parsed = []
    for text in overrides:
        try:
            parsed += OverridesParser.create().parse_overrides([text])
        except OverrideParseException as error:
            hint = "put it in quotes" if "=" in text else "type KEY=VALUE"
            raise ConfigError(f"cannot read {text!r}: {hint} (python run.py --help lists the keys)") from error
    return parsed


def _check(override: Override, conf: Path | None, sweep: bool) -> list[Typed]:
    key = override.key_or_group
    if is_hydras(key):
        check_key(override, sweep)
        return []
    known = options()
    own = own_options(conf)
    groups = [*GROUPS, *APPENDED]
    if key not in known and key not in groups and key not in own:
        raise unknown_key(key, [*groups, *own, *(k for k in known if k not in GROUPS)])
    if override.is_delete():
        raise ConfigError(f"~{key}: keys cannot be removed; give it a value, or leave it out for its default")
    if override.package is not None:
        raise ConfigError(f"{key}@{override.package}: packages cannot be changed; type {key}=VALUE")
    if (override.is_add() or override.is_force_add()) and key not in APPENDED:
        raise ConfigError(f"{override.input_line}: {key} exists already; type it without +")
    if key in APPENDED and not override.is_add():
        raise ConfigError(f"{override.input_line}: a {key} is added; type +{key}=NAME")
    several = override.is_sweep_override()
    if key == "sweep" and not sweep:
        raise ConfigError(f"{override.input_line}: a sweep file makes a sweep; put -m first: python run.py -m …")
    if several and not sweep:
        raise ConfigError(
            f"{override.input_line}: several values make a sweep; put -m first: python run.py -m {override.input_line}"
        )
    checked = []
    for value, text in _values(override, conf):
        if key in groups:
            _check_choice(key, value, conf)
        elif key not in known:
            pass  # the class whose argument it is checks it, once it is known which one was chosen
        elif is_dataclass(known[key][0]):
            raise ConfigError(f"{key}={text}: {key} is a section; type {key}.KEY=VALUE")
        elif known[key][1].get("fixed"):
            raise ConfigError(_fixed(key, text))
        elif key not in own and not (isinstance(value, str) and "${" in value):  # those are checked once resolved
            value = check_value(key, value)
        checked.append(Typed(key, value, f"{override.get_key_element()}={text}", key in groups))
    return checked


def _values(override: Override, conf: Path | None) -> list[tuple[Any, str]]:
    """The values of an override with their texts: one, or those of a sweep."""
    if not override.is_sweep_override():
        return [(override.value(), override.get_value_element_as_str())]
    raw = override.value()
    if isinstance(raw, Glob):
        names = raw.filter(list(choices(override.key_or_group, conf)))
        if not names:
            raise ConfigError(f"{override.input_line}: no choice of {override.key_or_group} matches")
        return [(name, name) for name in names]
    if isinstance(raw, IntervalSweep):
        raise ConfigError(
            f"{override.input_line}: an interval has no end of values; list them, or type range(a,b,step)"
        )
    texts = list(override.sweep_string_iterator())
    key = override.get_key_element()
    return [(_parse([f"{key}={text}"])[0].value(), text) for text in texts]


def _check_choice(group: str, value: Any, conf: Path | None) -> None:
    names = choices(group, conf)
    if isinstance(value, str) and value in names:
        path = choice_file(group, value, conf)
        if conf in path.parents and not isinstance(user_yaml.read(path) or {}, dict):
            raise ConfigError(f"{path}: must hold lines of KEY: VALUE")
        return
    shown = "null" if value is None else value
    meant = OTHER_NAMES.get((group, str(value)))
    if meant is None and isinstance(value, str) and (near := nearest(value, names)):
        meant = f"{'+' if group in APPENDED else ''}{group}={near}"
    hint = f"; did you mean {meant}?" if meant else ""
    raise ConfigError(f"{group}={shown}: must be one of {', '.join(names)}{hint}")


def _fixed(key: str, text: str) -> str:
    group, leaf = key.split(".", 1)
    way = f"{group}={text}" if leaf == "name" else f"{group}=CHOICE"
    return f"{key}={text}: it comes with the choice of {group}; type {way}"
