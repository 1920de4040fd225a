"""The text of a table's cells: mean ± spread (n), or the paired difference to a base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.metrics import is_percent
from analysis.paired import mean_std, pairs, student, values
from analysis.runs import Cells, Run
from analysis.values import MISSING, NO_VALUE, Key, Value, meant


@dataclass
class CellWriter:
    """Writes the cells of one table; `versus` is empty where nothing is compared. Collects the hashes of runs that have
    no partner in `unpaired`.

    decimals: digits of percentages after the point, shares have one more; hide_n: leave n out of the cells that have as
    many runs as any, and where one has fewer `(2/3)` tells.
    """

    cells: Cells
    rows: Sequence[str]
    cols: Sequence[str]
    versus: Mapping[str, Sequence[str]]
    spread: str
    decimals: int = 2
    hide_n: bool = False
    unpaired: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.most = max(len({run.replicate for run in members}) for members in self.cells.values())
        keys = [dict(zip((*self.rows, *self.cols), (*r, *c), strict=True)) for r, c in self.cells]
        self.base = {key: meant([there[key] for there in keys], texts[0]) for key, texts in self.versus.items()}
        # The cells of the base by their other keys, with their place, and which of these keys each may lack.
        cells = enumerate(zip(keys, self.cells.values(), strict=True))
        self.bases = {self._others(k): (place, members) for place, (k, members) in cells if self._is_base(k)}
        self.lacking = {tuple(value == NO_VALUE for value in key) for key in self.bases}

    def text(self, r: Key, c: Key, metric: str) -> str:
        """The cell. Raises ConfigError where runs that would be a pair saw different labels."""
        members, base = self.cells.get((r, c), []), self._base(r, c)
        if base is None:
            numbers = values(members, metric)
            if not numbers:
                return MISSING
            mean, deviation = mean_std(numbers)
            wide = deviation * spread_factor(self.spread, len(numbers))
            around = f" ± {self._number(wide, metric)}" if len(numbers) > 1 else ""
            return f"{self._number(mean, metric)}{around}{self._n(len(numbers))}"
        paired = pairs(members, base, metric, self.versus)
        self.unpaired |= {run.hash for run in paired.alone}
        if not paired.both:
            return MISSING
        change = paired.difference(metric)
        ends = [] if change.interval is None else [self._number(end, metric, "+") for end in change.interval]
        interval = f" [{', '.join(ends)}]" if ends else ""
        return f"{self._number(change.mean, metric, '+')}{interval}{self._n(change.pairs)}"

    def _n(self, n: int) -> str:
        """(n), or (n/most) where other cells of the table have more replicates."""
        if n >= self.most:
            return "" if self.hide_n else f" ({n})"
        return f" ({n}/{self.most})"

    def _number(self, number: float, metric: str, sign: str = "") -> str:
        """Percent with `decimals`, the rest with one more; FLOPs and other large counts with four digits."""
        if abs(number) >= 1e5:
            return f"{number:{sign}.4g}"
        return f"{number:{sign}.{self.decimals + (not is_percent(metric))}f}"

    def _base(self, r: Key, c: Key) -> list[Run] | None:
        """The runs that this cell is compared with; None where the cell is itself the base, or nothing is compared."""
        here = dict(zip((*self.rows, *self.cols), (*r, *c), strict=True))
        if self._is_base(here):  # also where nothing is compared
            return None
        others = self._others(here)
        # The base may lack an option: plugin=none has no plugin.beta. Of several, take the one that lacks fewest.
        keys = {tuple(NO_VALUE if no else v for no, v in zip(lacks, others, strict=True)) for lacks in self.lacking}
        found = [(key.count(NO_VALUE), *self.bases[key]) for key in keys if key in self.bases]
        return min(found, key=lambda base: base[:2], default=(0, 0, []))[2]

    def _others(self, values: Mapping[str, Value]) -> Key:
        return tuple(value for key, value in values.items() if key not in self.versus)

    def _is_base(self, values: Mapping[str, Value]) -> bool:
        return all(values[key] == base for key, base in self.base.items())


def spread_factor(kind: str, n: int) -> float:
    """What makes of the sample standard deviation of n numbers the one (`std`), the standard error of their mean
    (`sem`), or the half-width of its 95 % t interval (`ci95`).
    """
    return 1.0 if kind == "std" else n**-0.5 * (student(n) if kind == "ci95" else 1.0)
