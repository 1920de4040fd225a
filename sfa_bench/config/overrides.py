"""Overrides, parsed by Hydra's grammar and checked against conf/ and the schema before Hydra composes anything."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
)
from hydra.errors import HydraException

from sfa_bench.config import user_yaml
from sfa_bench.config.external import own_options
from sfa_bench.config.hydras import CONF, check_key, is_hydras
from sfa_bench.config.schema import CHOSEN
from sfa_bench.config.source_text import TypedFloat, TypedInt, length, parse, values
from sfa_bench.config.values import brief, check_value, nearest, options, show, takes_text, unknown_key
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError

MOST_RUNS = 2_000_000  # of a sweep
NULL = "'${oc.decode:null}'"  # stands for null in Hydra's choice(…), which takes none
APPENDED = ("preset", "sweep")  # groups that are not in the defaults list: +preset=NAME

# Names in the releases -> what to set here.
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
class CheckedOverride:
    """One checked override with one value. `text` is the override for Hydra; `group`: it chooses a group, so Hydra
    composes by it.
    """

    key: str
    value: Any
    text: str
    group: bool


def choices(group: str, config_dir: Path | None = None) -> tuple[str, ...]:
    """The choices of a group: its YAML files, in the suite and in the user's own conf folder, without shared parts
    (`_NAME`).
    """
    names = [p.stem for conf in folders(config_dir) for p in (conf / group).glob("*.yaml") if p.stem[0] != "_"]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(
            f"{config_dir}/{group}: {', '.join(twice)} exists in the suite already; give yours another name"
        )
    return tuple(sorted(names))


def folders(config_dir: Path | None) -> tuple[Path, ...]:
    """The conf folders to look in. Raises ConfigError when the user's folder does not exist."""
    if config_dir is None:
        return (CONF,)
    user_yaml.check_exists(config_dir)
    return (CONF, config_dir)


def check_conf(config_dir: Path | None) -> None:
    """Refuse a user's own folder that does not exist, holds no choice, or holds one that could not be composed."""
    if config_dir is not None:
        user_yaml.check_exists(config_dir)
        user_yaml.check_folder(config_dir, (*CHOSEN, *APPENDED))


def choice_file(group: str, choice: str, config_dir: Path | None = None) -> Path:
    """The YAML of a choice that exists."""
    return next(path for conf in folders(config_dir) if (path := conf / group / f"{choice}.yaml").exists())


def check_overrides(
    overrides: Sequence[str], config_dir: Path | None = None, *, sweep: bool = False
) -> list[CheckedOverride]:
    """Refuse unknown keys, unknown choices, and values of another type or range. Several values for a key are allowed
    in a sweep only.

    Returns: the overrides of one run (in a sweep: one entry per value), without those of Hydra itself.
    Raises: ConfigError with key, value, what is allowed and what to set.
    """
    check_conf(config_dir)
    parsed = _parse(overrides)
    if sweep:
        refuse_too_many(math.prod(_count(override, config_dir) for override in parsed))
    return list(itertools.chain.from_iterable(_check(o, config_dir, sweep) for o in parsed))


def split_sweep(overrides: Sequence[str], config_dir: Path | None = None) -> list[list[str]]:
    """The jobs of a sweep, each as its list of overrides; the last key varies fastest."""
    refuse_too_many(combinations(overrides, config_dir))
    return [[override.text for override in job] for job in itertools.product(*axes(overrides, config_dir))]


def axes(overrides: Sequence[str], config_dir: Path | None = None) -> list[list[CheckedOverride]]:
    """The checked values of each override of a sweep; its jobs are their product, the last one varying fastest."""
    check_conf(config_dir)
    return [
        _check(override, config_dir, sweep=True)
        or [CheckedOverride(key, text, f"{key}={text}", group=True) for _, text in _values(override, config_dir)]
        for override in _parse(overrides)
        for key in [override.get_key_element()]
    ]


def combinations(overrides: Sequence[str], config_dir: Path | None = None) -> int:
    """The number of jobs of a sweep, without listing them."""
    return math.prod(_count(override, config_dir) for override in _parse(overrides))


def refuse_too_many(count: int, what: str = "a sweep") -> None:
    """Raises: ConfigError for a sweep that is too large, before any of it is listed."""
    if count > MOST_RUNS:
        shown = f"{count:,}" if count < 10**15 else "more than 10^15"
        raise ConfigError(
            f"{what} of {shown} combinations: at most {MOST_RUNS:,} are allowed; split it, or give fewer values"
        )


def as_axes(overrides: Sequence[str]) -> list[str]:
    """A sweep's overrides as Hydra takes them: single values of a group's options as axes of one value, and texts that
    look like numbers in quotes.

    Hydra holds any other value against the choices that are the default where the sweep varies them, and these may not
    have the key: `-m method=ce,gce method.loss.q=0.5`.
    """
    texts = []
    for override in _parse(overrides):
        key, text = override.get_key_element(), str(override.input_line)
        group, dot, _ = override.key_or_group.partition(".")
        if not override.is_sweep_override() and not is_hydras(override.key_or_group):
            ((value, shown),) = _values(override, None)
            shown = NULL if value is None and dot else _kept(override.key_or_group, value, shown)
            text = f"{key}=choice({shown})" if group in CHOSEN and dot else f"{key}={shown}"
        texts.append(text)
    return texts


def last_of_each(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Keep the last override of each key, as in any command line that a script appends to. Returns these, and a
    sentence for each override that was dropped. Raises: ConfigError for what cannot be parsed.
    """
    kept: dict[str, str] = {}
    notes = []
    for number, override in enumerate(_parse(overrides)):
        key, text = override.key_or_group, str(override.input_line)
        if is_hydras(key):  # Hydra's keys have rules of their own
            key = f"{key} {number}"
        elif (before := kept.pop(key, None)) not in (None, text):
            notes.append(f"{key} is set twice: {_short(text)} counts, {_short(before)} does not")
        kept[key] = text
    return [*kept.values()], notes


def _parse(overrides: Sequence[str]) -> list[Override]:
    parsed = []
    for text in overrides:
        try:
            parsed.append(parse(text))
            if not parsed[-1].key_or_group:
                raise ConfigError(f"cannot read {_short(text)}: write KEY=VALUE ({_help()})")
            if parsed[-1].type.name == "EXTEND_LIST":  # which Hydra has from 1.4 on
                raise ConfigError(f"cannot read {_short(text)}: give the whole list, KEY=[A,B]")
            if any(isinstance(part, Sweep | Glob) for part in _parts(parsed[-1].value())):
                raise ConfigError(
                    f"cannot read {_short(text)}: range(…), choice(…) and glob(…) stand alone, not in a list"
                )
        except RecursionError as error:
            raise ConfigError(f"cannot read {_short(text)}: too many levels of brackets") from error
        except HydraException as error:
            raise ConfigError(f"cannot read {_short(text)}: {_advice(text, error)}") from error
    return parsed


def _parts(value: Any) -> Iterator[Any]:
    """The elements of a list, a mapping or a choice of values."""
    inner = value.list if isinstance(value, ChoiceSweep) else value.values() if isinstance(value, dict) else value
    for part in inner if isinstance(value, ChoiceSweep | dict | list) else ():
        yield part
        yield from _parts(part)


def _help() -> str:
    return f"{Door.here.run} --help lists the keys"


def _short(text: str) -> str:
    """The override as written, cut to one line."""
    return repr(brief(text))


def _advice(text: str, error: HydraException) -> str:
    """What to write instead of what Hydra's grammar cannot read."""
    key, equal, value = text.partition("=")
    if not equal:
        return f"write KEY=VALUE, without spaces around = ({_help()})"
    if "while evaluating" in str(error):  # range(a,b), choice() …: a function of the grammar and its error
        return brief(" ".join(str(error.__cause__ or error).split()))
    if key != key.strip() or "\n" in text:
        return "write KEY=VALUE, without spaces around = and without line breaks"
    if missing := _glued(value):
        return f'is a space missing before {missing}? Else put it in quotes: "{key}={_quoted(value)}"'
    if not value or len(value) > 80:
        return "put it in quotes, inside those of the shell: write \"KEY='VALUE'\""
    return f'put it in quotes, inside those of the shell: write "{key}={_quoted(value)}"'


def _glued(value: str) -> str | None:
    """The next setting where it stands at the end of a value without a space before it: `0.2method=ce`."""
    known = {*CHOSEN, *options()}
    for word in re.finditer(r"([A-Za-z_][\w.]*)=", value):
        keys = [word[1][start:] for start in range(len(word[1])) if word[1][start:] in known]
        if keys:
            return brief(f"{keys[0]}={value[word.end() :]}")
    return None


def _check(override: Override, conf: Path | None, sweep: bool) -> list[CheckedOverride]:
    key, line = override.key_or_group, brief(str(override.input_line))
    if is_hydras(key):
        check_key(override, sweep)
        return []
    known = options()
    users_options = own_options(conf)
    groups = [*CHOSEN, *APPENDED]
    if key not in known and key not in groups and key not in users_options:
        raise unknown_key(key, [*groups, *users_options, *(k for k in known if k not in CHOSEN)])
    if override.is_delete():
        raise ConfigError(f"~{key}: keys cannot be removed; give it a value, or leave it out for its default")
    if override.package is not None:
        raise ConfigError(f"{key}@{override.package}: packages cannot be changed; set {key}=VALUE")
    if (override.is_add() or override.is_force_add()) and key not in APPENDED:
        raise ConfigError(f"{line}: {key} exists already; write it without +")
    if key in APPENDED and not override.is_add():
        raise ConfigError(f"{line}: a {key} is added; set +{key}=NAME")
    several = override.is_sweep_override()
    if several:
        refuse_too_many(_count(override, conf), f"{line}: a sweep")
    if not sweep and (several or key == "sweep"):  # perhaps a tool whose own -m is Python's
        what = "several values make" if several else "a sweep file makes"
        raise ConfigError(
            f"{line}: {what} a sweep, and this is one run; a sweep is started by {Door.here.sweep} {line}"
        )
    checked = []
    for value, text in _values(override, conf):
        if key in groups:
            text, value = (_quoted(text), text) if isinstance(value, TypedInt | TypedFloat) else (text, value)
            _check_choice(key, value, conf)
        elif key not in known:
            pass  # checked by the class that takes it, once it is known which one was chosen
        elif is_dataclass(known[key][0]):
            raise ConfigError(f"{key}={brief(text)}: {key} is a section; set {key}.KEY=VALUE")
        elif known[key][1].get("fixed") and not known[key][1].get("open"):  # or left open by some choices
            raise ConfigError(fixed(key, text))
        elif key not in users_options and not (
            isinstance(value, str) and "${" in value
        ):  # those are checked once resolved
            text, value = _kept(key, value, text), check_value(key, value)
        checked.append(CheckedOverride(key, value, f"{override.get_key_element()}={text}", key in groups))
    return checked


def _values(override: Override, conf: Path | None) -> list[tuple[Any, str]]:
    """(value, text) of an override: one pair, or those of a sweep."""
    raw = override.value()
    if not override.is_sweep_override():
        return [(raw, override.get_value_element_as_str())]
    if isinstance(raw, Glob):
        return [(name, name) for name in raw.filter(list(choices(override.key_or_group, conf)))]
    if isinstance(raw, RangeSweep):
        return [(_element(value)[0], str(value)) for value in values(raw)]
    return [_element(element) for element in override.sweep_iterator()]


def _element(raw: Any) -> tuple[Any, str]:
    """(value, text) of one element of a list of values. Hydra removes the quotes of texts in choice(…)."""
    text = Transformer.str(raw)
    if raw == NULL.strip("'"):
        return None, "null"
    if not isinstance(raw, str):
        return parse(f"k={text}").value(), text
    try:
        same = parse(f"k={text}").value() == raw
    except HydraException:
        same = False
    return raw, text if same else _quoted(raw)


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _kept(key: str, value: Any, text: str) -> str:
    """The text of a value, quoted where the key takes a text and Hydra would read a number."""
    numeric = isinstance(value, TypedInt | TypedFloat) and key in options() and takes_text(key)
    return _quoted(str(value)) if numeric else text


def _count(override: Override, conf: Path | None) -> int:
    """The number of values of an override. Raises: ConfigError where there is none, or they are infinite."""
    raw, line = override.value(), brief(str(override.input_line))
    if isinstance(raw, IntervalSweep):
        raise ConfigError(f"{line}: an interval has infinitely many values; list them, or use range(a,b,step)")
    if isinstance(raw, RangeSweep):
        try:
            count = length(raw)
        except HydraException as error:
            raise ConfigError(f"{line}: {error}") from error
        if count == 0:
            raise ConfigError(f"{line}: there is no value in this range, which excludes its end; range(0,1) is 0")
        return count
    if isinstance(raw, Glob):
        if not (names := raw.filter(list(choices(override.key_or_group, conf)))):
            raise ConfigError(f"{line}: no choice of {override.key_or_group} matches")
        return len(names)
    return len(raw.list) if isinstance(raw, ChoiceSweep) else 1


def _check_choice(group: str, value: Any, conf: Path | None) -> None:
    names = choices(group, conf)
    if isinstance(value, str) and value in names:
        path = choice_file(group, value, conf)
        if conf in path.parents and not isinstance(user_yaml.read(path) or {}, dict):
            raise ConfigError(f"{path}: must hold lines of KEY: VALUE")
        return
    shown = brief(show(value))
    meant = OTHER_NAMES.get((group, str(value)))
    if meant is None and isinstance(value, str) and (near := nearest(value, names)):
        meant = f"{'+' if group in APPENDED else ''}{group}={near}"
    hint = f"; did you mean {meant}?" if meant else ""
    raise ConfigError(f"{group}={shown}: must be one of {', '.join(names)}{hint}")


def fixed(key: str, text: str) -> str:
    """The refusal of an option that its group's choice brings."""
    group, leaf = key.split(".", 1)
    way = f"{group}={text}" if leaf == "name" else f"{group}=CHOICE"
    return f"{key}={text}: it is fixed by the choice of {group}; set {way}"
