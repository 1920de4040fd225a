r"""How wide a LaTeX table will be, and what makes it fit a page with two columns.

Widths are estimated in points of ten-point type, from the widths of Computer Modern's characters; a table that is close
to the edge is taken to be too wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

COLUMN, TEXT = 236.0, 495.0  # points of a column and of both, of the narrowest of the usual styles
SEPARATION, NARROW = 12.0, 6.0  # between two columns: \tabcolsep as it is, and as it is set below
SMALL = 0.85  # \footnotesize
SMALLER = (r"\footnotesize", r"\setlength{\tabcolsep}{3pt}")
# Widths in points, by characters; others are taken to be as wide as the widest letters.
_WIDTHS = {2.8: "iljI.,;:'|!() []", 3.9: "frst-–/J{}", 5.0: "0123456789acegkvxyz", 5.6: "bdhnopqu*"}
_WIDTHS[7.8] = "mwABCDEFGHKLNOPQRSTUVXYZ±+−=<>"
WIDTH = {character: width for width, characters in _WIDTHS.items() for character in characters}
WIDEST = 10.3
BOLD = 1.15


@dataclass(frozen=True)
class Fit:
    """How a table is set: its environment, commands that make it smaller, and comments above it for its reader."""

    environment: str
    smaller: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def fitted(columns: Sequence[Sequence[str]], head: Sequence[Sequence[tuple[str, int]]]) -> Fit:
    """The largest setting in which a table fits one column of the page, else both.

    Args: columns, the texts of each column's cells; head, the heading's levels as (text, number of columns).
    """
    widths = [max(map(width, column), default=0.0) * BOLD for column in columns]
    for level in reversed(head):  # a heading that is wider than its columns widens the last of them
        first = 0
        for text, n in level:
            widths[first + n - 1] += max(0.0, width(text) - sum(widths[first : first + n]) - (n - 1) * NARROW)
            first += n
    plain = sum(widths) + SEPARATION * len(widths)
    small = SMALL * sum(widths) + NARROW * len(widths)
    for environment, room in (("table", COLUMN), ("table*", TEXT)):
        if plain <= room:
            return Fit(environment)
        if small <= room:
            return Fit(environment, SMALLER)
    return Fit("table*", SMALLER, tuple(_advice(small)))


def width(text: str) -> float:
    """Points of a text in ten-point type."""
    return sum(WIDTH.get(character, WIDEST) for character in text)


def _advice(points: float) -> Iterable[str]:
    inches = points / 72.27
    yield f"% About {inches:.1f} inches wide, and the text of a page is {TEXT / 72.27:.1f}. To make it fit: --hide-n,"
    yield "% --decimals 1, a key of --cols as one of --rows, fewer columns with --where, or sidewaystable (rotating)."
