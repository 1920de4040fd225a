"""What an option is: its default, its help line, and what may be set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SEEDS = 2**63  # what Torch's and NumPy's generators take, exclusive
LONGEST = 10**6  # epochs: beyond any training
MANY = 10**9  # samples, pixels, channels: beyond any data set and any machine
CORES = 4096  # beyond any machine
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
MAX_PIXELS = 89_478_485  # from which on Pillow warns; it opens no image with more than twice as many


def option(default: Any = None, help: str = "", **limits: Any) -> Any:
    """A field with its default, its help line and the limits that the checks apply.

    limits: `low`/`high` (inclusive), `above`/`below` (exclusive), `pattern` (of a string) and `form` (what it says),
    `auto` (null allowed and resolved later), `derived` (never set by a user), `fixed` (set by the choice of a group,
    not by itself) and `open` (but with some choices by a user), `wrong` (a function that says what is not right with a
    value, or None).
    """
    return field(default=default, metadata={"help": help, **limits})


def section(cls: type, help: str = "", **limits: Any) -> Any:
    """A nested group of options."""
    return field(default_factory=cls, metadata={"help": help, **limits})


def named_by_users(choices: Iterable[str]) -> tuple[str, ...]:
    """The names that can be set: all but `external`, which stands for what a user brings."""
    return tuple(name for name in choices if name != "external")


@dataclass(frozen=True, kw_only=True)
class Brought:
    """A section that a user's own class or function may fill: `module.NAME`, and the options of its signature."""

    target: str | None = option(None, derived=True)
    arguments: dict[str, Any] = field(default_factory=dict, metadata={"derived": True})
