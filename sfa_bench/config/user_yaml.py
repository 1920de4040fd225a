"""Read a user's YAML with limits: without them a file of some hundred bytes could take all memory, or never end."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sfa_bench.errors import ConfigError

LARGEST = 1_000_000  # bytes
DEEPEST = 50  # levels
MOST_ALIASED = 10_000  # values that a file's aliases stand for, all together


class Broken(ConfigError):
    """A file that cannot be parsed, which is harmless while it is not chosen."""


def read(path: Path, loader: Any = yaml.SafeLoader) -> Any:
    """The plain data of a file; loader: a subclass of yaml.SafeLoader.

    Raises: ConfigError with file and line for what is not valid YAML, too large, too deep, expands too far, lies within
    itself, or names a key twice.
    """
    text = _text(path)
    try:
        _check(text, path)
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        place = _place(path, getattr(error, "problem_mark", None))
        raise Broken(f"{place} is not valid YAML: {_reason(error)}") from error
    except ValueError as error:  # a day that no month has, a number of thousands of digits
        raise Broken(f"{path} is not valid YAML: {error}") from error


def check_folder(conf: Path, groups: Sequence[str]) -> None:
    """Check every file of a user's folder that a composition could reach, before Hydra reads it without limits.

    A broken file is ignored: it may never be chosen. groups: folders of choices. Raises: ConfigError where a file
    is refused for what it would cost, or there is none.
    """
    waiting, seen = [".", *groups, "hydra"], set[str]()
    count = 0
    while waiting:
        if (name := waiting.pop()) in seen:
            continue
        seen.add(name)
        for path in _files(conf / name, deep=name != "."):
            with suppress(Broken):
                waiting += _named(read(path))
            count += name != "."
    if not count:
        raise ConfigError(f"--config-dir {conf}: holds no choice; it needs GROUP/NAME.yaml, as method/mine.yaml")


def check_exists(conf: Path) -> None:
    """Raises ConfigError where the user's folder does not exist or cannot be read."""
    if not conf.is_dir():
        there = "is a file, not a folder" if conf.exists() else "there is no such folder"
        raise ConfigError(f"--config-dir {conf}: {there}")
    try:
        os.scandir(conf).close()
    except OSError as error:
        raise ConfigError(f"--config-dir {conf}: cannot be read ({error.strerror})") from error


def _files(folder: Path, deep: bool) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, followlinks=True):
        if not deep or len(Path(place).relative_to(folder).parts) > DEEPEST:  # a link into itself would never end
            folders.clear()
        yield from (Path(place, name) for name in sorted(names) if name.endswith((".yaml", ".yml")))


def _named(content: Any) -> Iterator[str]:
    """Names in a file's `defaults` that may be folders."""
    listed = content.get("defaults") if isinstance(content, dict) else None
    for entry in listed if isinstance(listed, list) else ():
        words = [str(entry)] if not isinstance(entry, dict) else [f"{key}/{value}" for key, value in entry.items()]
        for word in words:
            yield from (part for part in re.split("[/@ ]", word) if part.strip("."))  # not the folder above


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path} is not a regular file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise ConfigError(f"{path} is too large: a YAML of choices has at most {LARGEST:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise Broken(f"{path}, line {line} is not valid YAML: byte {byte:#04x} is not UTF-8") from error


@dataclass
class _Node:
    """A collection that has begun and not yet ended. height: levels below it; before: values ahead of it."""

    anchor: str | None
    before: int
    keys: set[str] | None  # None: a list
    height: int = 0
    at_key: bool = field(default=True)


def _check(text: str, path: Path) -> None:
    """Refuse what would grow or be lost on loading. Works on the parser's events, whose number is that of the file's
    words.
    """
    # Values and levels that an anchor stands for; None: it has not ended.
    anchors: dict[str | None, tuple[int, int] | None] = {}
    nodes: list[_Node] = []
    values = aliased = 0
    twice: list[Broken] = []
    for event in yaml.parse(text, yaml.SafeLoader):  # as OmegaConf reads it
        height = 1
        if isinstance(event, yaml.AliasEvent):
            there = anchors.get(event.anchor, (1, 1))  # an unknown anchor is refused on loading
            if there is None:
                raise ConfigError(f"{_place(path, event.start_mark)}: *{event.anchor} stands for what it lies in")
            height, values, aliased = there[1], values + there[0], aliased + there[0]
            if aliased > MOST_ALIASED:
                raise ConfigError(f"{_place(path, event.start_mark)}: aliases stand for over {MOST_ALIASED:,} values")
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor:
                anchors[event.anchor] = (1, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            keys = set[str]() if isinstance(event, yaml.MappingStartEvent) else None
            nodes.append(_Node(event.anchor, values, keys))
            values += 1
            if event.anchor:
                anchors[event.anchor] = None
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = nodes.pop()
            height = ended.height + 1
            if ended.anchor:
                anchors[ended.anchor] = (values - ended.before, height)
        else:
            continue
        if len(nodes) + (height if isinstance(event, yaml.AliasEvent) else 0) > DEEPEST:
            raise ConfigError(f"{_place(path, event.start_mark)}: more than {DEEPEST} levels")
        whole = nodes and not isinstance(event, yaml.CollectionStartEvent)
        if whole and (key := _add(nodes[-1], event, height)) is not None:
            twice.append(Broken(f"{_place(path, event.start_mark)}: the key {key} occurs twice; keep one"))
    if twice:
        raise twice[0]


def _add(parent: _Node, event: Any, height: int) -> str | None:
    """Add a finished node to the one that contains it. Returns a duplicate key, whose first value would be lost."""
    parent.height = max(parent.height, height)
    if parent.keys is None:
        return None
    there = None
    if parent.at_key and isinstance(event, yaml.ScalarEvent):
        there = event.value if event.value in parent.keys else None
        parent.keys.add(event.value)
    parent.at_key = not parent.at_key
    return there


def _place(path: Path, mark: Any) -> str:
    return str(path) if mark is None else f"{path}, line {mark.line + 1}"


def _reason(error: yaml.YAMLError) -> str:
    reason = " ".join(str(getattr(error, "problem", None) or error).split())
    return f"{reason} (a tab? Indent with spaces)" if "cannot start any token" in reason else reason
