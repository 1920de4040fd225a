"""The share of the gap between two rows that each row closes: `--gap FLOOR CEILING`, a column beside each
metric's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.best import HIGHER
from analysis.paired import by_replicate, check_labels, compares_data, student, value
from analysis.render import Table
from analysis.runs import Cells, Run, select
from analysis.values import MISSING, Key, listed, meant
from sfa_bench.errors import ConfigError

Row = Mapping[str, Sequence[str]]  # a row as `parse_pairs` reads it
CLOSED = "gap closed"


@dataclass(frozen=True)
class Share:
    """A ratio of means, 1 for all of the gap, and its 95 % interval (None for one replicate)."""

    part: float
    interval: tuple[float, float] | None


def share_closed(row: Sequence[float], floor: Sequence[float], ceiling: Sequence[float]) -> Share | None:
    """(mean of row − mean of floor) / (mean of ceiling − mean of floor), replicate by replicate in the same order.

    The interval is Fieller's (Some problems in interval estimation, J. R. Stat. Soc. B 16, 1954): every ratio r for
    which the paired t test does not reject that the mean of (row − floor) − r·(ceiling − floor) is 0, at 5 %.

    Returns: None where there is no gap to divide by: its own 95 % t interval contains 0, and Fieller's has no ends.
    """
    above, gap = np.subtract(row, floor), np.subtract(ceiling, floor)
    n, over, whole = len(gap), float(np.mean(above)), float(np.mean(gap))
    if n < 2:
        return Share(over / whole, None) if whole else None
    # (over − r·whole)² ≤ t²·variance of (over − r·whole) is a·r² − 2·b·r + c ≤ 0.
    (var_over, covariance), (_, var_whole) = np.cov(above, gap) * student(n) ** 2 / n
    a, b, c = whole**2 - var_whole, over * whole - covariance, over**2 - var_over
    if a <= 0:
        return None
    half = float(np.sqrt(max(b**2 - a * c, 0.0)))  # never below 0 but by rounding: over / whole is in the interval
    return Share(over / whole, (float(b - half) / a, float(b + half) / a))


@dataclass
class Gap:
    """The columns of one table's gap; `floor` and `ceiling` are rows. Collects the hashes of runs that share no
    replicate with both in `unpaired`, and where a ceiling lies below its floor in `inverted`.
    """

    cells: Cells
    floor: Key
    ceiling: Key
    asked: tuple[Row, Row]
    unpaired: set[str] = field(default_factory=set)
    inverted: list[str] = field(default_factory=list)

    def beside(self, table: Table, rows: Sequence[Key], names: Mapping[tuple[Key, str], str]) -> Table:
        """The table with a column after each of `names`; its first lines are `rows`, what follows is published."""
        head, lines, headings = [*table.head], [[*line] for line in table.lines], dict(table.headings)
        several = len({metric for _, metric in names}) > 1
        for (c, metric), name in names.items():
            closed = f"{name} {CLOSED}"
            texts = [self._text(r, c, metric, name) for r in rows]
            texts += [MISSING] * (len(lines) - len(texts))
            place = head.index(name) + 1
            for line, text in zip([head, *lines], [closed, *texts], strict=True):
                line.insert(place, text)
            levels = headings[name]
            headings[name] = heading = levels if len(levels) > len(c) else (*levels, metric)
            headings[closed] = (*heading[:-1], f"{heading[-1]} {CLOSED}" if several else CLOSED)
        notes = [*table.notes]
        if self.unpaired:
            count = len(self.unpaired)
            notes.append(f"{CLOSED}: without {count} runs that share no seed and data_seed with floor and ceiling")
        notes += [f"{CLOSED}: the ceiling is below the floor in {name}" for name in self.inverted]
        return replace(
            table, head=head, lines=lines, headings=headings, notes=notes, caption=f"{table.caption} {self._caption()}"
        )

    def _text(self, r: Key, c: Key, metric: str, name: str) -> str:
        """`37 % [25, 51]`, and `(3)` where the row has more replicates than are shared.

        Raises: ConfigError where runs of one replicate saw different labels, or are there twice.
        """
        row, floor, ceiling = (by_replicate(self.cells.get((k, c), []), metric) for k in (r, self.floor, self.ceiling))
        common = sorted(row.keys() & floor.keys() & ceiling.keys())
        if floor and ceiling:
            self.unpaired |= {row[key].hash for key in row.keys() - set(common)}
        if not common:
            return MISSING
        if not compares_data([key for side in self.asked for key in side]):
            for key in common:
                check_labels(row[key], floor[key])  # the ceiling's own row is checked against the floor
        low, high = ([value(side[key], metric) for key in common] for side in (floor, ceiling))
        closed = share_closed([value(row[key], metric) for key in common], low, high)
        if closed is None:
            return MISSING
        if r == self.ceiling and metric.startswith(HIGHER) and np.mean(high) < np.mean(low):
            self.inverted.append(name)
        ends = closed.interval if r not in (self.floor, self.ceiling) else None
        between = f" [{', '.join(str(round(100 * end)) for end in ends)}]" if ends else ""
        fewer = f" ({len(common)})" if len(common) < len(row) else ""  # than the mean beside it is of
        return f"{round(100 * closed.part)} %{between}{fewer}"

    def _caption(self) -> str:
        floor, ceiling = map(_typed, self.asked)
        return (
            f"{CLOSED[0].upper()}{CLOSED[1:]}: 100·(row − floor)/(ceiling − floor) of means [Fieller's 95 % interval], "
            f"paired over the replicates (seed, data_seed) that the three share, where floor is {floor} and ceiling "
            f"{ceiling}; – where they share none or the gap is not established (its 95 % t interval contains 0)."
        )


def find_gap(runs: Sequence[Run], cells: Cells, rows: Sequence[str], asked: tuple[Row, Row]) -> Gap:
    """The floor and the ceiling of the request. Raises ConfigError with a sentence where they are not one row each."""
    floor, ceiling = (_row(runs, cells, rows, *side) for side in zip(("floor", "ceiling"), asked, strict=True))
    if floor == ceiling:
        raise ConfigError(f"--gap's floor and ceiling are one row ({_typed(asked[0])}): name two rows")
    return Gap(cells, floor, ceiling, asked)


def _row(runs: Sequence[Run], cells: Cells, rows: Sequence[str], side: str, asked: Row) -> Key:
    for key, texts in asked.items():
        if len(texts) > 1:
            raise ConfigError(f"--gap's {side} gives {key} several values ({', '.join(texts)}): give it one")
        if key not in rows:
            raise ConfigError(f"--gap's {side} is a row, and {key} is in --cols: take it out of there or of --gap")
    there = dict.fromkeys(row for row, _ in cells)
    places = {rows.index(key): texts[0] for key, texts in asked.items()}
    wanted = {place: meant([row[place] for row in there], text) for place, text in places.items()}
    matching = [row for row in there if all(row[place] == value for place, value in wanted.items())]
    if not matching:
        select(runs, asked)  # refuses a value that no run has, or values that no run has together
    if len(matching) > 1:
        differ = {key: set(values) for key, *values in zip(rows, *matching, strict=True) if len(set(values)) > 1}
        named = ", ".join(f"{key} ({listed(values)})" for key, values in differ.items())
        raise ConfigError(
            f"--gap's {side} {_typed(asked)} is {len(matching)} rows, which differ in {named}: "
            f"add {','.join(f'{key}=VALUE' for key in differ)} to it"
        )
    return matching[0]


def _typed(asked: Row) -> str:
    return ",".join(f"{key}={','.join(texts)}" for key, texts in asked.items())
