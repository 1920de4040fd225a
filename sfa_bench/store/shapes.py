"""The shapes of a record's sections that readers rely on (explanation/runs.md §4); other keys may hold any
plain value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

LARGEST = 1e100  # largest result: its squares and sums stay finite

Shape = Callable[[Any], bool]


def text(value: Any) -> bool:
    return isinstance(value, str)


def whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST < value < LARGEST  # a boolean is not a number


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def choice(value: Any) -> bool:
    """The name of a choice, which may be in a subfolder of its group."""
    return isinstance(value, str) and not value.startswith("/") and "\0" not in value and ".." not in value.split("/")


def optional(shape: Shape) -> Shape:
    return lambda value: value is None or shape(value)


def either(*shapes: Shape) -> Shape:
    return lambda value: any(shape(value) for shape in shapes)


def listing(shape: Shape) -> Shape:
    return lambda value: isinstance(value, list) and all(map(shape, value))


def mapping(shape: Shape) -> Shape:
    return lambda value: isinstance(value, dict) and all(map(shape, value.values()))


def section(**keys: Shape) -> Shape:
    """A mapping whose keys have these shapes; a key that is null or missing is unknown."""
    shapes = {key: optional(shape) for key, shape in keys.items()}
    return lambda value: (
        isinstance(value, dict) and all(key not in value or shape(value[key]) for key, shape in shapes.items())
    )


def metric(value: Any) -> bool:
    """A figure, unknown, or a list of figures."""
    return not isinstance(value, dict) and result(value)


def result(value: Any) -> bool:
    """The same, or a mapping of them."""
    return _figures([value], texts=False)


def cost(value: Any) -> bool:
    """As `result`, but texts are allowed, too."""
    return _figures([value], texts=True)


def _figures(parts: Iterable[Any], texts: bool) -> bool:
    """One loop, since most values of a record are seen here."""
    for part in parts:
        kind = type(part)
        if kind is float or kind is int:
            if not -LARGEST < part < LARGEST:
                return False
        elif kind is dict or kind is list:
            if not _figures(part.values() if kind is dict else part, texts):
                return False
        elif part is not None and not (texts and kind is str):
            return False
    return True


SHAPES: Mapping[str, tuple[Shape, str]] = {
    "hash": (lambda value: text(value) and value != "", "text"),
    "config": (section(epochs=whole), "a mapping with a whole number of epochs"),
    "names": (mapping(choice), "a mapping of names"),
    "command": (text, "text"),
    "data": (
        section(
            name=text,
            fingerprints=mapping(optional(text)),
            samples=mapping(number),
            observed_counts=listing(number),
            clean_counts=listing(number),
            groups=mapping(listing(whole)),
            confusion=listing(either(listing(number), number)),
            noise_rate=number,
            bayes=mapping(optional(number)),
            skipped=listing(text),
            class_embeddings=listing(whole),
            drawn_with=mapping(text),
        ),
        "a mapping of what the data are",
    ),
    "metrics": (optional(mapping(metric)), "a mapping of numbers"),
    "selection": (optional(mapping(result)), "a mapping of numbers"),
    "knows": (listing(text), "a list of texts"),
    "cost": (
        optional(lambda value: section(total_seconds=number)(value) and cost(value)),
        "a mapping of numbers",
    ),
    "environment": (
        section(
            versions=mapping(optional(text)),
            own_code=mapping(text),
            commit=text,
            modified=flag,
            device=either(text, listing(text)),
            device_name=text,
            instructions=text,
            threads=whole,
            precision=text,
        ),
        "a mapping of what the machine is",
    ),
    "error": (optional(section(type=text, message=text)), "null or a mapping of texts"),
}


def misfit(record: Mapping[str, Any]) -> str | None:
    """A sentence about the first section of another shape; None where all are as expected."""
    for key, (shape, what) in SHAPES.items():
        if not shape(record[key]):
            return f"its {key} is not {what}"
    return None
