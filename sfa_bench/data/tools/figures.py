"""Figures of one training set: class sizes before and after, and the confusion matrix of the noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from analysis.figures.look import LOOKS, canvas, house_style, rendered
from sfa_bench.data.tools.describe import Description
from sfa_bench.data.tools.terminal import MANY_CLASSES

DECADE = 10  # class sizes that differ by more are drawn on a logarithmic axis


def draw(description: Description) -> dict[str, dict[str, bytes]]:
    """`counts` and, where clean labels are known, `confusion`: file contents by ending."""
    with house_style():
        figures = {"counts": counts(description)}
        if description.data.confusion is not None:
            figures["confusion"] = confusion(description.data.confusion)
        return {name: {e: rendered(figure, e) for e in ("svg", "png")} for name, figure in figures.items()}


def counts(description: Description) -> Figure:
    """Samples of each class: in the files as a line, clean and observed labels as marks."""
    data, before = description.data, description.before
    num_classes = len(before)
    figure = canvas("text", 2.6)
    axes = figure.subplots()
    axes.grid(True, axis="y")
    place = np.arange(num_classes)
    axes.stairs(before, np.arange(num_classes + 1) - 0.5, baseline=None, color="0.6", label="in the files")
    size = 5 if num_classes <= MANY_CLASSES else 2.5
    marks = [("observed labels", data.observed_counts, LOOKS[1])]
    if data.clean_counts is not None:
        marks.insert(0, ("clean labels", data.clean_counts, LOOKS[0]))
    for name, values, look in marks:
        fill = "none" if look is LOOKS[1] else look.colour  # hollow: where both are equal, both are seen
        style: dict[str, Any] = {"color": look.colour, "markerfacecolor": fill, "markersize": size, "clip_on": False}
        axes.plot(place, values, look.marker, label=name, **style)
    every = np.concatenate([before, *(values for _, values, _ in marks)])
    if every.min() > 0 and every.max() > DECADE * every.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.set_ylim(bottom=0)
    if num_classes <= MANY_CLASSES:
        axes.set_xticks(place)
    axes.set(xlabel="class", ylabel="training samples", xlim=(-0.7, num_classes - 0.3))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def confusion(table: np.ndarray) -> Figure:
    """Row clean, column observed, each row in percent; with the numbers where there is room for them.

    Colours follow the square root: on a linear scale everything but the diagonal would be one pale shade.
    """
    num_classes = len(table)
    totals = table.sum(axis=1, keepdims=True)
    share = 100 * np.divide(table, totals, out=np.zeros(table.shape), where=totals > 0)
    figure = canvas("text", 6.0)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    if num_classes <= MANY_CLASSES:
        axes.set_xticks(range(num_classes))
        axes.set_yticks(range(num_classes))
        for row in range(num_classes):
            for column in range(num_classes):
                value = share[row, column]
                if value > 0:
                    text = f"{value:.1f}" if 0.05 <= value < 9.95 else f"{value:.0f}" if value >= 1 else "<.1"
                    colour = "white" if value > 35 else "black"
                    axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(11, integer=True))
    axes.set(xlabel="observed label", ylabel="clean label")
    figure.colorbar(image, ax=axes, label="of the clean class (%)", shrink=0.7, ticks=[0, 1, 5, 10, 25, 50, 100])
    return figure
