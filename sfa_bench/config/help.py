"""The text of `--help`, made from the schema and the first comment of every YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from sfa_bench.choices.options import CORES
from sfa_bench.config.compose import values_of
from sfa_bench.config.overrides import APPENDED, CONF, check_conf, choice_file, choices
from sfa_bench.config.schema import CHOSEN, GROUPS, RunConfig
from sfa_bench.config.values import describe, options, range_text, show
from sfa_bench.doors import Door

INTRO = "sfa-bench trains and compares methods for long-tailed data with noisy labels."
ENDS = """\
The same command continues what is unfinished and skips what is done. Exit status: 0 done, 1 a run failed,
2 refused before training, 130/143 interrupted.
"""
OUTRO = "A key that does not exist, an invalid value or a combination that makes no sense is refused with the way out."


def help_text(config_dir: Path | None = None) -> str:
    """The help text: groups with their choices, keys of a run, options of the groups."""
    conf = config_dir
    check_conf(conf)
    parts = [
        INTRO,
        "",
        *_examples(),
        "",
        ENDS,
        "Groups (GROUP=CHOICE; * = default)",
        *_groups(conf),
        "",
        "Keys (KEY=VALUE)",
        *_lines(keys(RunConfig)),
    ]
    for group in GROUPS:
        lines = list(_lines(keys_of(group)))
        if lines:
            parts += ["", f"Options of {group}", *lines]
    return "\n".join([*parts, "", OUTRO])


def _examples() -> Iterator[str]:
    run, sweep, table = Door.here.run, Door.here.sweep, Door.here.tool("analysis.table")
    examples = {
        run: "SFA on DivideMix, on a data set that needs no download",
        f"{run} dataset=cifar10 noise_ratio=0.5 imb_factor=0.01": "",
        f"{sweep} method=ce,dividemix plugin=none,sfa replicate=0,1,2": "every combination",
        f"{run} +preset=release_sfa_cifar dataset=cifar10": "a published script, switch by switch",
        f"{run} --cfg job KEY=VALUE ...": "print the configuration, train nothing",
        f"{table} runs --rows method,plugin --cols noise_ratio": "mean and spread of what was run",
    }
    width = max(map(len, examples))
    yield from (f"  {example:<{width}}  {what}".rstrip() for example, what in examples.items())


def default_choices() -> dict[str, str]:
    """Group → its default choice in conf/config.yaml."""
    listed = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return {key: value for entry in listed if isinstance(entry, dict) for key, value in entry.items()}


def _groups(conf: Path | None) -> Iterator[str]:
    default = default_choices()
    for group in (*CHOSEN, *APPENDED):
        yield f"  {'+' if group in APPENDED else ''}{group}"
        for choice in choices(group, conf):
            mark = "*" if default.get(group) == choice else " "
            yield f"   {mark} {choice:<20} {first_comment(choice_file(group, choice, conf))}"


def first_comment(path: Path) -> str:
    """The first comment of a YAML file that is not Hydra's package directive."""
    comments = (line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# "))
    return next((c for c in comments if not c.startswith("@")), "")


def keys(
    cls: Any, prefix: str = "", chosen: dict[str, Any] | None = None
) -> Iterator[tuple[str, Any, Any, Mapping[str, Any]]]:
    """Path, default (of the default choice, where its values are given), type and metadata of what can be set."""
    defaults: dict[str, Any] = {f.name: f.default for f in fields(cls)} | (chosen or {})
    for name, (kind, limits) in options(cls).items():
        if "." in name or limits.get("fixed") or (not prefix and name in GROUPS):
            continue
        if is_dataclass(kind):
            yield from keys(kind, f"{prefix}{name}.", defaults[name] if chosen and name in chosen else None)
        else:
            # Upper bounds beyond any use are not shown.
            short = {key: value for key, value in limits.items() if key not in ("high", "below") or value < CORES}
            yield prefix + name, defaults[name], kind, short


def keys_of(group: str) -> Iterator[tuple[str, Any, Any, Mapping[str, Any]]]:
    """`keys` of a group's options."""
    return keys(options()[group][0], f"{group}.", values_of(group, default_choices()[group]))


def _lines(entries: Iterator[tuple[str, Any, Any, Mapping[str, Any]]]) -> Iterator[str]:
    for path, default, kind, limits in entries:
        yield f"  {path:<32} {show(default):<11} {limits['help']}{_allowed(kind, limits)}"


def _allowed(kind: Any, limits: Mapping[str, Any]) -> str:
    words = describe(kind)
    if (ranged := range_text("value", limits)) != "value":
        return f" ({ranged})"
    few = words.startswith("one of ") and words.count(",") < 8
    return f" ({words.removeprefix('one of ')})" if few else ""
