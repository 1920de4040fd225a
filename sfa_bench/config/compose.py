"""From overrides on the command line to a RunConfig: check, compose with Hydra, convert, resolve, validate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sfa_bench.choices.losses import REPLACED
from sfa_bench.config.canonical import own_arguments
from sfa_bench.config.choice_files import choice_values
from sfa_bench.config.effect import idle, no_effect
from sfa_bench.config.external import BROUGHT, check, make_importable
from sfa_bench.config.hydras import check_values, composed
from sfa_bench.config.overrides import CONF, CheckedOverride, check_overrides, choices, fixed
from sfa_bench.config.recipes import resolve
from sfa_bench.config.schema import CHOSEN, GROUPS, SEED_KEYS, RunConfig, replaced
from sfa_bench.config.source_text import bare, parse
from sfa_bench.config.tuned import tuning_of
from sfa_bench.config.unseen import UNSEEN
from sfa_bench.config.validate import select, validate
from sfa_bench.config.values import check_value, convert, options, takes_text
from sfa_bench.errors import ConfigError

OPEN = "???"  # a value that a choice leaves to the command line


def compose(overrides: Sequence[str], config_dir: Path | None = None) -> RunConfig:
    """The resolved configuration of one run. Raises ConfigError where it is not valid.

    config_dir: the user's own conf folder beside the suite's.
    """
    return compose_checked(*_checked(overrides, config_dir))


def requested(overrides: Sequence[str], config_dir: Path | None = None) -> RunConfig:
    """`compose` for a single run that a user asks for: also refuses options that cannot act."""
    checked, conf = _checked(overrides, config_dir)
    config = compose_checked(checked, conf)
    for option in idle(config, checked):
        raise no_effect(option, config)
    return config


def _checked(overrides: Sequence[str], config_dir: Path | None) -> tuple[list[CheckedOverride], Path | None]:
    conf = None if config_dir is None else config_dir.resolve()
    make_importable(conf)
    checked = check_overrides(overrides, conf)
    check_values(overrides, conf)
    return checked, conf


def compose_checked(checked: Sequence[CheckedOverride], conf: Path | None = None) -> RunConfig:
    """`compose` for overrides that are already parsed and checked, as in a sweep; `conf` is resolved and importable."""
    plain, names = plain_config(checked, conf)
    return _valid(plain, names, _given(checked))


def compose_seedless(
    checked: Sequence[CheckedOverride], conf: Path | None = None
) -> tuple[RunConfig, dict[str, str | int]] | None:
    """What a run has in common with those that differ from it only in the values of `replicate`, `seed` and
    `data_seed` among its overrides.

    Returns: its configuration, with these three unseen; and for each of them the key of the override that sets it, or
    its value where none does. None where anything else depends on a seed. Raises as `compose_checked`, and LookedError
    where the validity of the run depends on a seed.
    """
    plain, names = _uninterpolated(checked, conf)
    if not all(path in SEED_KEYS or _ENVIRONMENT.fullmatch(text) for _, _, path, text in _open(plain)):
        return None
    given = _given(checked)
    sources: dict[str, str | int] = {}
    for key in SEED_KEYS:
        if (source := _source(key, plain, given)) is None:
            return None
        sources[key] = source
    return _valid(_interpolated(plain), names, given, **dict.fromkeys(SEED_KEYS, UNSEEN)), sources


def _source(key: str, plain: Mapping[str, Any], given: frozenset[str]) -> str | int | None:
    """The key of the override that a seed has its value from, or its value; None where it is neither."""
    for _ in SEED_KEYS:
        value = plain[key]
        if type(value) is int:
            return key if key in given else value
        match = _WHOLE.fullmatch(value) if isinstance(value, str) else None
        if match is None or match[1] not in SEED_KEYS:
            return None
        key = match[1]
    return None  # they refer to each other


def _given(checked: Sequence[CheckedOverride]) -> frozenset[str]:
    return frozenset(t.key for t in checked if not t.group)


def _valid(plain: dict[str, Any], names: dict[str, str], given: frozenset[str], **unseen: Any) -> RunConfig:
    """The resolved and valid configuration of plain data; unseen: root keys whose values are to take no part in it."""
    del names["loss"]  # the method has its name
    for group in GROUPS:
        if not isinstance(plain.get(group), dict):
            raise ConfigError(f"{group}={names[group]}: its YAML leaves no values of {group}; has it a line @package?")
    if "_target_" in plain["dataset"]:
        plain["dataset"].setdefault("name", names["dataset"])
    if plain["dataset"].get("name") in (None, OPEN):
        raise ConfigError(f"dataset={names['dataset']} needs dataset.name=NAME, the identity of your data in tables")
    if plain["model"].get("name") == OPEN:
        raise ConfigError(f"model={names['model']} needs model.name=NAME, a name that {names['model']} has")
    brought = {group: _take_out(at(plain, kind.path), kind.kept) for group, kind in BROUGHT.items()}
    run = convert(RunConfig, plain, names=names)
    if unseen:
        run = replace(run, **unseen)
    run = _with_own(run, brought)
    given -= own_arguments(run).keys()  # one may have the name of a key of the suite
    run = resolve(select(run, given))
    validate(run, given)
    return run if run.tuned.file is None else replaced(run, "tuned", **tuning_of(run))


def plain_config(checked: Sequence[CheckedOverride], conf: Path | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """What Hydra composes of these overrides, as plain data with interpolations resolved, and the choices made.

    Hydra composes each combination of choices once; values are applied to plain data, in a hundredth of its time.
    """
    plain, names = _uninterpolated(checked, conf)
    return _interpolated(plain), names


def _uninterpolated(checked: Sequence[CheckedOverride], conf: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """`plain_config` before its interpolations are resolved."""
    chosen = tuple(t.text for t in checked if t.group)
    composed, names = _composed(conf, chosen)
    if "_target_" in composed.get("dataset", {}):  # a user's own data: labels and class sizes are taken as they are
        usual, groups = _composed(None, ())[1], {t.key for t in checked if t.group}
        # unless the command, its YAML or a preset sets them
        left = [g for g in ("noise", "imbalance") if g not in groups and names[g] == usual[g]]
        composed, names = _composed(conf, (*(f"{g}=none" for g in left), *chosen))
    plain, names = _copied(composed), dict(names)
    _put_loss(plain, names, conf)
    for t in (t for t in checked if not t.group):
        *parents, leaf = (f"method.{t.key}" if t.key.startswith("loss.") else t.key).split(".")
        node = plain
        for parent in parents:
            node = node.get(parent, {})
        users_own = "_target_" in node
        if leaf not in node and not (users_own and leaf in _kept(t.key)):
            raise _not_an_option(t, names, conf)
        if not users_own and t.key in options() and options()[t.key][1].get("open") and node[leaf] != OPEN:
            raise _not_open(t, conf)
        value = list(t.value) if isinstance(t.value, tuple) else t.value
        # The signature of the user's own class says whether an option is a number or a text.
        node[leaf] = value if users_own and leaf not in _kept(t.key) else bare(value)
    return plain, names


def _put_loss(plain: dict[str, Any], names: dict[str, str], conf: Path | None) -> None:
    """Put a chosen loss in the place of cross-entropy, and name the method after it (`ce_drw`: NAME_drw)."""
    loss, values, method = names["loss"], plain.pop("loss", None), names["method"]
    if loss == "auto":
        return
    if (plain["method"].get("loss") or {}).get("name") != REPLACED or not method.startswith(REPLACED):
        able = ", ".join(name for name in choices("method") if name.startswith(REPLACED))
        raise ConfigError(
            f"loss={loss} with method={method}, which has its own: leave loss out, or choose {able}",
            invalid_combination=True,
        )
    plain["method"]["loss"] = values
    names["method"] = loss + method.removeprefix(REPLACED)
    if values and "_target_" in values and names["method"] in choices("method", conf):
        raise ConfigError(f"loss={loss}: there is a method called {names['method']}; give your loss another name")


@lru_cache(maxsize=4096)  # a sweep whose seeds vary slowest comes back to each of its combinations
def _composed(conf: Path | None, overrides: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """Hydra's composition of the chosen groups as plain data with unresolved interpolations, and the choices made.

    Hydra composes one combination of these groups. In others that set nothing outside of their own groups, the sections
    of this one are replaced.
    """
    chosen = dict(text.partition("=")[::2] for text in overrides)
    usual = _FIRST.setdefault((conf, frozenset(chosen)), overrides)
    if usual != overrides and (sections := _sections(conf, chosen)) is not None:
        if _sections(conf, dict(text.partition("=")[::2] for text in usual)) is not None:
            plain, names = _composed(conf, usual)
            return {**plain, **sections}, {group: chosen.get(group, name) for group, name in names.items()}
        _FIRST[conf, frozenset(chosen)] = overrides
    return _by_hydra(conf, overrides)


_FIRST: dict[tuple[Path | None, frozenset[str]], tuple[str, ...]] = {}  # the combination that Hydra composes


def _sections(conf: Path | None, chosen: Mapping[str, str]) -> dict[str, dict[str, Any]] | None:
    """The values of each choice; None where one is more than that."""
    sections = {}
    for group, choice in chosen.items():
        values = choice_values(group, choice, conf) if group in CHOSEN else None
        if values is None:
            return None
        sections[group] = values
    return sections


def _by_hydra(conf: Path | None, overrides: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        config = composed(conf, overrides)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, RecursionError):
            reason = "a list of defaults leads back to itself"
        raise ConfigError(f"the configuration in {conf or CONF} cannot be composed: {reason}") from error
    chosen = config.hydra.runtime.choices
    names = {g: str(chosen[g]) for g in (*CHOSEN, "preset") if g in chosen}
    plain: Any = OmegaConf.to_container(config, resolve=False)
    del plain["hydra"]
    return plain, names


def values_of(group: str, choice: str, conf: Path | None = None) -> dict[str, Any]:
    """The values that a choice brings to its group, those of its parts included. Raises: ConfigError."""
    values: dict[str, Any] = _composed(conf, (f"{group}={choice}",))[0].get(group) or {}
    return values


def _copied(node: Any) -> Any:
    """A deep copy of nested plain data."""
    if isinstance(node, dict):
        return {key: _copied(value) if isinstance(value, (dict, list)) else value for key, value in node.items()}
    return [_copied(value) for value in node] if isinstance(node, list) else node


_ENVIRONMENT = re.compile(r"\$\{oc\.env:\w+(,[^${}]*)?\}")
_WHOLE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")


def _interpolated(plain: dict[str, Any]) -> dict[str, Any]:
    """Resolve every interpolation in place: `${key}` by looking it up, any other by OmegaConf."""
    resolved: dict[str, Any] = {}
    for node, key, path, source in list(_open(plain)):
        seen: Any = source
        for _ in range(8):  # a longer chain, or a circle, is left to OmegaConf
            match = _WHOLE.fullmatch(seen) if isinstance(seen, str) else None
            if match is None:
                break
            seen = at(plain, match[1])
        if seen is None or isinstance(seen, (dict, list)) or seen == "???" or (isinstance(seen, str) and "${" in seen):
            resolved = resolved or _by_omegaconf(plain)
            seen = at(resolved, path)
        node[key] = _in_type(path, source, seen)
    return plain


def _by_omegaconf(plain: dict[str, Any]) -> dict[str, Any]:
    config = OmegaConf.create(bare(plain))
    for _, _, path, source in _open(plain):
        try:
            OmegaConf.select(config, path, throw_on_missing=True)
        except RecursionError as error:
            raise ConfigError(f"{path}={source}: this interpolation refers to itself; set a value") from error
        except OmegaConfBaseException as error:
            why = str(error).splitlines()[0].removeprefix("KeyError raised while resolving interpolation: ")
            raise ConfigError(f"{path}={source}: cannot be resolved: {why}") from error
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    return dict(resolved)


def _in_type(path: str, source: str, value: Any) -> Any:
    """The value of an interpolation in the type of its key: an environment variable is always a text, even 3."""
    if path not in options():
        return value  # of a list, which is checked as one, or of a class of the user's own
    if takes_text(path) and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and not takes_text(path):
        with suppress(HydraException, RecursionError):
            read = parse(f"k={value}")
            value = value if read.is_sweep_override() else bare(read.value())
    try:
        check_value(path, value)
    except ConfigError as error:
        raise ConfigError(f"{error} (it comes from {path}={source})") from error
    return value


def _open(node: dict[str, Any] | list[Any], prefix: str = "") -> Iterator[tuple[Any, Any, str, str]]:
    """(container, key, path, text) of every interpolation."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, (dict, list)):
            yield from _open(value, f"{prefix}{key}.")
        elif isinstance(value, str) and "${" in value:
            yield node, key, f"{prefix}{key}", value


def at(plain: Any, path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    for part in path.split("."):
        if isinstance(plain, list) and part.isdecimal():
            plain = plain[int(part)]
        else:
            plain = plain.get(part) if isinstance(plain, dict) else None
    return plain


def _kept(key: str) -> tuple[str, ...]:
    """The keys of an option's group that the suite keeps for itself, whatever a class of the user's own takes."""
    kind = BROUGHT.get(key.split(".")[0])
    return () if kind is None else kind.kept


def _take_out(values: Any, kept: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """Remove a user's own class with its arguments from the plain configuration and return it; None where there is
    none.
    """
    target = values.pop("_target_", None) if isinstance(values, dict) else None
    if target is None:
        return None
    return str(target), {key: values.pop(key) for key in list(values) if key not in kept}


def _with_own(run: RunConfig, targets: dict[str, tuple[str, dict[str, Any]] | None]) -> RunConfig:
    """The configuration with the user's own classes in its sections."""
    for group, target_and_options in targets.items():
        if target_and_options is None:
            continue
        target, given_options = target_and_options
        loaded, arguments = check(group, target, given_options)
        section: dict[str, Any] = {"target": target, "arguments": arguments, BROUGHT[group].named: "external"}
        if group == "method":
            section["networks"] = arguments.get("networks", loaded.networks_used)
        run = replaced(run, BROUGHT[group].path, **section)
    return run


def _has(values: dict[str, Any], path: str) -> bool:
    name, _, rest = path.partition(".")
    return name in values and (not rest or _has(values[name], rest))


def _not_open(t: CheckedOverride, conf: Path | None) -> ConfigError:
    """The refusal of a name that is fixed by the choice made, but not by every choice of its group."""
    group, leaf = t.key.split(".")
    if t.value in choices(group, conf):
        return ConfigError(fixed(t.key, str(t.value)), invalid_combination=True)
    leaving = [choice for choice in choices(group) if values_of(group, choice, conf).get(leaf) == OPEN]
    ways = " or ".join(f"{group}={choice} {t.text}" for choice in leaving)
    return ConfigError(f"{t.text}: it is fixed by the choice of {group}; set {ways}", invalid_combination=True)


def _not_an_option(t: CheckedOverride, names: dict[str, str], conf: Path | None) -> ConfigError:
    """The refusal of a key that exists, but not with this choice of its group."""
    group, inner = t.key.split(".", 1)
    having = []
    for choice in choices(group, conf):
        with suppress(ConfigError):  # of a user's own file
            if _has(values_of(group, choice, conf), inner):
                having.append(choice)
    return ConfigError(
        f"{t.key} has no effect with {group}={names[group]}: it belongs to {group}={' or '.join(having)}",
        invalid_combination=True,
    )
