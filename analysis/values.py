"""Values of a configuration in tables: keys, sorting, display and parsing. Different values are never shown as
equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

NUMBER, TRUTH, TEXT, LIST, NULL, ABSENT = range(6)
MISSING = "–"
SAFE = 2**53  # beyond it different whole numbers are equal as floats, as in a browser or in a CSV of pandas


class Listed(str):
    """A list as JSON, so that it can be a key; as a `Value` it is not equal to any text."""

    __slots__ = ()


class Value(NamedTuple):
    """A recorded value with its kind: 1 and 1.0 are one number, which differs from `true` and from the text `1`.

    Values sort by kind, then by themselves. `str()` is the shortest text that `read` gives back.
    """

    kind: int
    plain: Any

    def __str__(self) -> str:
        if self.kind == NUMBER:
            return _digits(self.plain)
        if self.kind == TEXT:
            plain = str(self.plain)
            seen = plain == plain.strip(" \t") and not set("\n\r,") & set(plain) and plain not in ("", MISSING)
            return plain if seen and read(plain) == self else json.dumps(plain, ensure_ascii=False)
        if self.kind == LIST:
            return str(self.plain)
        return MISSING if self.kind == ABSENT else {None: "null", True: "true", False: "false"}[self.plain]


NO_VALUE = Value(ABSENT, None)  # of a run that has not such a key: a method without that option
Key = tuple[Value, ...]


def valued(plain: Any) -> Value:
    """The value of a leaf of a record."""
    if plain is None:
        return Value(NULL, None)
    if isinstance(plain, bool):
        return Value(TRUTH, plain)
    if isinstance(plain, (int, float)):
        return Value(NUMBER, plain)
    return Value(LIST if isinstance(plain, Listed) else TEXT, str(plain))


def show(plain: Any) -> str:
    """A leaf of a record as text that reads back to it."""
    return str(valued(plain))


def listed(values: Iterable[Value]) -> str:
    """Different values in order, separated by commas."""
    return ", ".join(map(str, sorted(set(values))))


def read(text: str) -> Value:
    """The value of a text on the command line: 0.1, 0.10 and 1e-1 are one number; `"1"` is a text."""
    if text in ("null", "true", "false"):
        return valued(json.loads(text))
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        return Value(NUMBER, value) if value == value else Value(TEXT, text)  # NaN is not a number that a run has
    if text.startswith(('"', "[")):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):  # quotes or a bracket of its own
            return Value(TEXT, text)
        return Value(TEXT, value) if isinstance(value, str) else valued(Listed(json.dumps(value)))
    return Value(TEXT, text)


def meant(values: Iterable[Value], text: str) -> Value | None:
    """The one of the values that a user's text stands for, None where there is none.

    A text that reads as something else (`dataset.name=1.10`) is meant without quotes where nothing else is.
    """
    there = set(values)
    return next((value for value in (read(text), Value(TEXT, text)) if value in there), None)


def matches(value: Value, text: str) -> bool:
    """Whether a value is what a user's text stands for."""
    return meant([value], text) is not None


def _digits(number: float) -> str:
    if isinstance(number, int):
        return str(number)
    return repr(float(number) + 0.0).removesuffix(".0")  # −0.0 is 0
