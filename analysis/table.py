"""Paper-style table of finished runs: `python -m analysis.table RUNS… --rows method,plugin --cols noise_ratio`.

Cells show mean ± sample standard deviation (n) over replicates, or what `--spread` asks for; with
`--versus plugin=none` every other cell shows its difference to the base, paired by (seed, data_seed), with the 95 % t
interval of the mean difference.
"""

from __future__ import annotations

import argparse
import html
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.context import SPREADS, caption, notes
from analysis.runs import (
    MISSING,
    Cells,
    Key,
    Run,
    check_fields,
    check_metric,
    counted,
    differing,
    load,
    matches,
    order,
    parse_pairs,
    select,
    show,
)
from sfa_bench.errors import ConfigError

DATA_KEYS = ("dataset", "imbalance", "imb_factor", "noise", "noise_ratio", "data_seed")


@dataclass(frozen=True)
class Table:
    """A table as text: `frame` has a column for each row key and one for each (column, metric)."""

    frame: pd.DataFrame
    caption: str
    notes: list[str]

    def to(self, format: str) -> str:
        """The table as `md`, `latex`, `html` or `csv`."""
        return {"md": self.to_markdown, "latex": self.to_latex, "html": self.to_html, "csv": self.to_csv}[format]()

    def to_csv(self) -> str:
        """The cells as shown, without caption and notes; `analysis.export` has every number in full."""
        return self.frame.to_csv(index=False, lineterminator="\n").rstrip("\n")

    def to_html(self) -> str:
        """A `<figure>` with caption and notes, to be put into a page."""
        body = self.frame.to_html(index=False, border=0, justify="left")
        said = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        below = f"\n<ul>{said}</ul>" if said else ""
        return f"<figure>\n<figcaption>{html.escape(self.caption)}</figcaption>\n{body}{below}\n</figure>"

    def to_latex(self) -> str:
        """A `table` for a document that loads booktabs: caption above, notes below, one column a line of the frame."""
        lines = [" & ".join(map(_latex, line)) + r" \\" for line in self.frame.itertuples(index=False, name=None)]
        head = " & ".join(map(_latex, map(str, self.frame.columns))) + r" \\"
        said = [rf"\par\footnotesize {_latex(note)}." for note in self.notes]
        return "\n".join(
            [
                *(r"\begin{table}", r"\centering", rf"\caption{{{_latex(self.caption)}}}", r"\smallskip"),
                rf"\begin{{tabular}}{{{'l' * len(self.frame.columns)}}}",
                *(r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", *said, r"\end{table}"),
            ]
        )

    def to_markdown(self) -> str:
        """Markdown with the caption above and the notes below."""
        escaped = self.frame.map(_escape).rename(columns=_escape)
        body = escaped.to_markdown(index=False, disable_numparse=True)
        below = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join(part for part in (self.caption, body, below) if part)


@dataclass(frozen=True)
class Difference:
    """Mean paired difference in the metric's unit, its 95 % interval (None below two pairs) and the number of pairs."""

    mean: float
    interval: tuple[float, float] | None
    pairs: int


def paired_difference(values: Sequence[float], base: Sequence[float]) -> Difference:
    """Mean of values − base, pair by pair, with the t interval of 95 %."""
    differences = np.subtract(values, base)
    n, mean = len(differences), float(np.mean(differences))
    if n < 2:
        return Difference(mean, None, n)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / np.sqrt(n))
    return Difference(mean, (mean - half, mean + half), n)


def make_table(
    runs: Sequence[Run],
    rows: Sequence[str],
    cols: Sequence[str] = (),
    metrics: Sequence[str] = ("test/acc/final",),
    versus: Mapping[str, Sequence[str]] | None = None,
    spread: str = "std",
) -> Table:
    """The table of these runs. Raises ConfigError with a sentence when it would mislead or cannot be made."""
    versus = versus or {}
    if any(len(values) != 1 for values in versus.values()):
        raise ConfigError("--versus compares with one base: KEY=VALUE[,KEY=VALUE…]")
    rows = [*rows, *(key for key in versus if key not in rows and key not in cols)]
    check_fields(runs, [*rows, *cols])
    for metric in metrics:
        check_metric(runs, metric)
    if versus:
        select(runs, versus)  # refuses a base that does not exist
    cells = _cells(runs, rows, cols)
    row_keys = sorted({r for r, _ in cells}, key=lambda key: [order(value) for value in key])
    col_keys = sorted({c for _, c in cells}, key=lambda key: [order(value) for value in key])
    unpaired: set[str] = set()
    lines = []
    for r in row_keys:
        line = dict(zip(rows, map(show, r), strict=True))
        for c in col_keys:
            base = _base(cells, r, c, rows, cols, versus)
            for metric in metrics:
                text = _cell(cells.get((r, c), []), base, metric, unpaired, versus, spread)
                line[_heading(c, cols, metric, metrics)] = text
        lines.append(line)
    said = list(notes(runs, cells, (*rows, *cols), metrics))
    if unpaired:
        said.append(f"{len(unpaired)} runs without a partner of the same seed and data_seed are not in the differences")
    return Table(pd.DataFrame(lines), caption(runs, cells, (*rows, *cols), metrics, versus, spread), said)


def _cells(runs: Sequence[Run], rows: Sequence[str], cols: Sequence[str]) -> Cells:
    cells: Cells = defaultdict(list)
    for run in runs:
        cells[tuple(map(run.field, rows)), tuple(map(run.field, cols))].append(run)
    for members in cells.values():
        if differ := list(differing(members)):
            key = differ[0]
            values = ", ".join(show(v) for v in sorted({run.field(key) for run in members}, key=order))
            raise ConfigError(f"runs of one cell differ in {key} ({values}): add {key} to --rows, --cols or --where")
    return dict(cells)


def _base(
    cells: Cells, r: Key, c: Key, rows: Sequence[str], cols: Sequence[str], versus: Mapping[str, Sequence[str]]
) -> list[Run] | None:
    """The runs that this cell is compared with; None where the cell is itself the base, or nothing is compared."""

    def is_base(values: Mapping[str, Any]) -> bool:
        return all(matches(values[key], texts[0]) for key, texts in versus.items())

    here = dict(zip((*rows, *cols), (*r, *c), strict=True))
    if is_base(here):  # also where nothing is compared
        return None
    for (r2, c2), members in cells.items():
        there = dict(zip((*rows, *cols), (*r2, *c2), strict=True))
        if is_base(there) and all(there[key] == here[key] for key in here if key not in versus):
            return members
    return []


def _cell(
    members: Sequence[Run],
    base: Sequence[Run] | None,
    metric: str,
    unpaired: set[str],
    versus: Mapping[str, Sequence[str]],
    spread: str,
) -> str:
    decimals = 2 if metric.startswith("test") else 3
    if base is None:
        values = _values(members, metric)
        if not values:
            return MISSING
        around = f" ± {_spread(values, spread):.{decimals}f}" if len(values) > 1 else ""
        return f"{np.mean(values):.{decimals}f}{around} ({len(values)})"
    ours, theirs = _by_replicate(members, metric), _by_replicate(base, metric)
    common = sorted(ours.keys() & theirs.keys())
    unpaired |= {run.hash for key in ours.keys() ^ theirs.keys() for run in [ours.get(key) or theirs[key]]}
    if not common:
        return MISSING
    if not any(key.split(".")[0] in DATA_KEYS for key in versus):
        for key in common:
            if ours[key].labels != theirs[key].labels:
                raise ConfigError(
                    f"{ours[key].path} and {theirs[key].path} are a pair by seed and data_seed but saw different labels"
                )
    found = paired_difference([_value(ours[k], metric) for k in common], [_value(theirs[k], metric) for k in common])
    interval = "" if found.interval is None else " [{:+.{d}f}, {:+.{d}f}]".format(*found.interval, d=decimals)
    return f"{found.mean:+.{decimals}f}{interval} ({found.pairs})"


def _spread(values: Sequence[float], kind: str) -> float:
    n = len(values)
    deviation = float(np.std(values, ddof=1))
    factor = {"std": 1.0, "sem": n**-0.5, "ci95": float(stats.t.ppf(0.975, n - 1)) * n**-0.5}
    return deviation * factor[kind]


def _value(run: Run, metric: str) -> float:
    return float(run.metrics[metric])


def _values(members: Sequence[Run], metric: str) -> list[float]:
    return [_value(run, metric) for run in members if run.metrics.get(metric) is not None]


def _by_replicate(members: Sequence[Run], metric: str) -> dict[Key, Run]:
    found: dict[Key, Run] = {}
    for run in members:
        if run.metrics.get(metric) is None:
            continue
        if run.replicate in found:
            raise ConfigError(f"{found[run.replicate].path} and {run.path} are the same replicate: pairs are ambiguous")
        found[run.replicate] = run
    return found


def _heading(c: Key, cols: Sequence[str], metric: str, metrics: Sequence[str]) -> str:
    parts = [f"{key}={show(value)}" for key, value in zip(cols, c, strict=True)]
    return " ".join([*parts, *([metric] if len(metrics) > 1 or not cols else [])])


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


_LATEX = {character: "\\" + character for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a line break, LaTeX would take it for the break's own argument
    "±": r"$\pm$",
    "−": "$-$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
    "τ": r"$\tau$",
    "β": r"$\beta$",
    "–": "--",
}


def _latex(text: str) -> str:
    return re.sub(r"[&%$#_{}\\~^<>|\[±−·≤τβ–]", lambda found: _LATEX[found[0]], text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 with a sentence when nothing can be shown."""
    parser = argparse.ArgumentParser(prog="python -m analysis.table", description="Table of finished runs.")
    keys = "names (method, plugin, dataset, model …) or configuration paths (plugin.beta), separated by commas"
    parser.add_argument("runs", nargs="+", type=Path, help="runs folders, or folders of single runs")
    parser.add_argument("--rows", default="method,plugin", help=f"{keys} (default: method,plugin)")
    parser.add_argument("--cols", default="", help=keys)
    parser.add_argument("--metric", default="test/acc/final", help="one or more, e.g. test/acc/tail,selection/auc")
    parser.add_argument("--where", default="", help="only these runs: KEY=VALUE[,VALUE…][,KEY=VALUE…]")
    parser.add_argument("--versus", default="", help="show paired differences to a base: KEY=VALUE[,KEY=VALUE…]")
    parser.add_argument("--spread", choices=SPREADS, default="std", help="what ± shows (default: std)")
    formats = ("md", "latex", "html", "csv")
    parser.add_argument("--format", choices=formats, default="md", help="Markdown (default), LaTeX with booktabs …")
    options = parser.parse_args(arguments)
    try:
        runs, others = load(options.runs)
        if options.where:
            runs = select(runs, parse_pairs(options.where))
        versus = parse_pairs(options.versus) if options.versus else None
        rows, cols, metrics = (_words(text) for text in (options.rows, options.cols, options.metric))
        table = make_table(runs, rows, cols, metrics, versus, options.spread)
    except ConfigError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    if others:
        table.notes.append(f"not finished and not counted: {counted(others)}")
    print(table.to(options.format))
    return 0


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


if __name__ == "__main__":
    sys.exit(main())
