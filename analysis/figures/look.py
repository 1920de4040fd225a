"""Style of all figures, and writing them to files: sizes of a paper, colours and marks for all readers, stable bytes.

Matplotlib's global settings and windows are not touched: figures are objects, drawn in `house_style`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.series import SPREADS

WIDTHS = {"column": 3.3, "text": 6.9}  # inches
# Metadata that would otherwise put a date or a host name into the file.
METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
RC: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.4,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "svg.hashsalt": "sfa-bench",
    "savefig.dpi": 300,
}


class Look(NamedTuple):
    """Colour (Okabe and Ito), line and marker of a series: any one of the three tells it apart."""

    colour: str
    line: Any
    marker: str


LOOKS = (
    Look("#0072B2", "-", "o"),
    Look("#D55E00", "--", "s"),
    Look("#009E73", "-.", "^"),
    Look("#CC79A7", ":", "D"),
    Look("#000000", (0, (5, 1)), "v"),
    Look("#E69F00", (0, (3, 1, 1, 1)), "P"),
    Look("#56B4E9", (0, (1, 1)), "X"),
    Look("#A89A00", (0, (6, 2, 1, 2, 1, 2)), "*"),  # the palette's yellow, darker: it is invisible on white
)


@contextmanager
def house_style() -> Iterator[None]:
    """Defaults of Matplotlib and of this suite, whatever the user's own matplotlibrc says; restored afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for key, setting in RC.items():
            matplotlib.rcParams[key] = setting  # type: ignore[literal-required, index, unused-ignore]
        yield


def canvas(width: str, height: float) -> Figure:
    """An empty figure of a paper's column or text width, height in inches."""
    figure = Figure(figsize=(WIDTHS[width], height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def rendered(figure: Figure, ending: str) -> bytes:
    """The file's content, equal for equal figures."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=ending, metadata=METADATA[ending])
    return buffer.getvalue()


def series_of(frame: pd.DataFrame, column: str = "series") -> list[tuple[str, pd.DataFrame, Look]]:
    """The parts of a frame with their looks, in the frame's order."""
    parts = frame.groupby(column, sort=False)
    return [(str(key), part, LOOKS[place % len(LOOKS)]) for place, (key, part) in enumerate(parts)]


def band(axes: Axes, x: Any, part: pd.DataFrame, look: Look, label: str, place: int) -> None:
    """A mean line with its band; markers at places of its own, so that lines on top of each other stay visible."""
    every = max(1, len(part) // 7)
    axes.fill_between(x, part["low"], part["high"], color=look.colour, alpha=0.18, linewidth=0)
    mark = (place * every // 4 % every, every)
    axes.plot(x, part["mean"], color=look.colour, linestyle=look.line, marker=look.marker, markevery=mark, label=label)


def errors(axes: Axes, x: Any, part: pd.DataFrame, look: Look, label: str, *, line: bool = True) -> None:
    """Points with error bars from low to high, joined by the series' line where they belong to one another."""
    bars = whiskers(part, "mean", "low", "high")
    style: Any = look.line if line else "none"
    axes.errorbar(
        x,
        part["mean"],
        bars,
        color=look.colour,
        linestyle=style,
        marker=look.marker,
        label=label,
        elinewidth=0.8,
        capsize=2,
    )


def whiskers(part: pd.DataFrame, middle: str, low: str, high: str) -> Any:
    """Distances [2, N] below and above the middle; none where low and high are undefined."""
    return [(part[middle] - part[low]).fillna(0).to_numpy(), (part[high] - part[middle]).fillna(0).to_numpy()]


def legend(figure: Figure, axes: Axes, title: str = "") -> None:
    """The legend below the axes, in as many columns as its texts leave room for."""
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels), default=0)
    columns = max(1, min(len(labels), int(figure.get_figwidth() * 17 / (longest + 8))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, title=title or None)


def spread_text(frame: pd.DataFrame, spread: str) -> str:
    """`mean ± standard deviation, n = 3`, for a legend."""
    least, most = int(frame["n"].min()), int(frame["n"].max())
    if most == 1:
        return "one run each"
    between = "mean " if spread == "std" else "mean, "
    return f"{between}{SPREADS[spread]}, n = {least}" + (f"–{most}" if most > least else "")


def shade_warm_up(axes: Axes, epochs: Sequence[int]) -> None:
    """A grey span over the warm-up; several where the series' differ, and said when not all have one.

    Args: epochs, the length of each series' warm-up, 0 for none.
    """
    ends = sorted(set(epochs) - {0})
    label = "warm-up" if min(epochs) else "warm-up, if any"
    for place, end in enumerate(ends):
        axes.axvspan(0.5, end + 0.5, color="0.5", alpha=0.15, linewidth=0, label=label if place == 0 else None)
