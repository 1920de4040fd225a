"""Figures by class: `groups`, accuracy against size; `separation` of clean from noisy labels; `confusion`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from analysis.figures.look import LOOKS, canvas, errors, legend, series_of, spread_text
from analysis.figures.series import Options, arrays, averaged, by_series, few, name, the_only
from analysis.runs import Run, reading
from sfa_bench.engine.metrics import scores
from sfa_bench.errors import ConfigError

BINS = 20  # of a distribution of probabilities
MANY_CLASSES = 20  # beyond it distributions are shown by group of classes, and the record has no full confusion
LETTERS = 40  # of class names side by side, beyond which they stand aslant
WRITTEN = 10  # classes up to which a matrix shows its numbers


# ---- groups


def groups(runs: Sequence[Run], options: Options) -> pd.DataFrame:
    """Accuracy of each class over replicates. Columns: series, class, size (its mean), mean, low, high, n.

    Raises: ConfigError when the runs have no accuracy per class or no such counts.
    """
    series = by_series(runs, options.by)
    few(name(options.by, key, options.names) for key in series)
    tidy = []
    for key, members in series.items():
        called = name(options.by, key, options.names)
        for run in members:
            accuracies, sizes = run.metrics.get("test/per_class"), run.record["data"].get(f"{options.counts}_counts")
            if not accuracies or not sizes:
                what = "accuracy per class" if not accuracies else f"{options.counts} class sizes"
                raise ConfigError(f"{run.path} has no {what}")
            with reading(run):
                pairs = list(zip(accuracies, sizes, strict=True))
            for label, (accuracy, size) in enumerate(pairs):
                tidy.append({"series": called, "class": label, "size": size, "value": accuracy})
    raw = pd.DataFrame(tidy)
    frame = averaged(raw, ["series", "class"], options.spread)
    sizes = raw.dropna(subset="value").groupby(["series", "class"], as_index=False, sort=False)["size"].mean()
    return frame.merge(sizes, on=["series", "class"], how="left")


def draw_groups(frame: pd.DataFrame, options: Options) -> Figure:
    """Points with error bars against class size on a logarithmic axis, joined from small to large."""
    figure = canvas(options.width, 2.9)
    axes = figure.subplots()
    axes.grid(True)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())  # 3 × 10¹ and 4 × 10¹ would lie on one another
    for series, part, look in series_of(frame):
        part = part.sort_values(["size", "class"])
        errors(axes, part["size"], part, look, series)
    axes.set(xlabel=f"class size in the training set ({options.counts} labels)", ylabel="test accuracy, class (%)")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -3), min(high, 103))  # a deviation may reach beyond what an accuracy can
    legend(figure, axes, spread_text(frame, options.spread))
    return figure


# ---- separation


def separation(runs: Sequence[Run], options: Options) -> pd.DataFrame:
    """Distribution of the clean probability by observed class, for clean and for noisy labels.

    Replicates and networks are pooled; samples whose clean label is unknown are left out. Columns: class (or group of
    classes beyond 20), kind (`clean` or `noisy`), low and high of the bin, share of the kind's samples in it, n.
    Raises: ConfigError without a selector, without known labels, or for more than one series.
    """
    members = the_only(runs, options.by, "separation")
    bins = np.linspace(0, 1, BINS + 1)
    counts: dict[tuple[Any, str], NDArray[np.int64]] = {}
    for run in members:
        saved = arrays(run)
        if "clean_probability" not in saved:
            raise ConfigError(f"{run.path} has no selector, so nothing separates clean from noisy labels")
        with reading(run):
            known = saved["clean_label"] >= 0
            if not known.any():
                raise ConfigError(f"the clean labels of {run.path} are unknown: its selection cannot be judged")
            observed = saved["observed_label"]
            clean = saved["clean_label"] == observed
            for label, classes in _classes(run).items():
                for kind, is_kind in (("clean", clean), ("noisy", ~clean)):
                    rows = known & is_kind & np.isin(observed, classes)
                    new = np.histogram(saved["clean_probability"][:, rows], bins)[0]
                    counts[label, kind] = counts[label, kind] + new if (label, kind) in counts else new
    frame = pd.DataFrame(
        {"class": label, "kind": kind, "low": bins[place], "high": bins[place + 1], "share": count / total, "n": total}
        for (label, kind), histogram in counts.items()
        if (total := int(histogram.sum()))
        for place, count in enumerate(histogram)
    )
    frame.attrs["classes"] = class_names(members)
    return frame


def class_names(runs: Sequence[Run]) -> list[str]:
    """The names of the classes that all of these runs have alike; empty where they have none."""
    each = [run.record["data"].get("classes") for run in runs]
    return each[0] if each[0] and all(names == each[0] for names in each) else []


def _named(axis: XAxis | YAxis, places: Sequence[float], labels: Sequence[Any], names: Sequence[str]) -> None:
    """Ticks at the classes: their names where these are known and there is room for each, else their numbers."""
    texts = [names[label] if isinstance(label, int) and label < len(names) else str(label) for label in labels]
    axis.set_ticks(list(places), texts)
    if isinstance(axis, XAxis) and sum(map(len, texts)) > LETTERS:
        axis.set_tick_params(rotation=45)
        for text in axis.get_ticklabels():
            text.set(ha="right", rotation_mode="anchor")


def _classes(run: Run) -> Mapping[Any, Sequence[int]]:
    count = len(run.record["data"]["observed_counts"])
    if count <= MANY_CLASSES:
        return {label: [label] for label in range(count)}
    return {group: run.record["data"]["groups"][group] for group in ("many", "medium", "few")}


def draw_separation(frame: pd.DataFrame, options: Options) -> Figure:
    """Two half-violins a class, clean on the left and noisy on the right, each scaled to its fullest bin."""
    figure = canvas(options.width, 2.6)
    axes = figure.subplots()
    labels = list(dict.fromkeys(frame["class"]))
    for kind, look, side, hatch in (("clean", LOOKS[0], -1, ""), ("noisy", LOOKS[1], 1, "//////")):
        for place, label in enumerate(labels):
            part = frame[(frame["class"] == label) & (frame["kind"] == kind)]
            if part.empty:
                continue
            axes.barh(
                part["low"],
                side * 0.44 * part["share"] / part["share"].max(),
                part["high"] - part["low"],
                left=place + side * 0.02,
                align="edge",
                color=look.colour,
                alpha=0.8,
                hatch=hatch,
                edgecolor="white",
                linewidth=0,
            )
    _named(axes.xaxis, range(len(labels)), labels, frame.attrs["classes"])
    axes.set(xlabel="observed label", ylabel="clean probability", ylim=(0, 1), xlim=(-0.6, len(labels) - 0.4))
    patches = [
        Patch(facecolor=LOOKS[0].colour, alpha=0.8, label="clean labels"),
        Patch(facecolor=LOOKS[1].colour, alpha=0.8, hatch="//////", edgecolor="white", label="noisy labels"),
    ]
    title = "share of the samples, each half scaled to its fullest bin"
    figure.legend(handles=patches, loc="outside lower center", ncols=2, title=title)
    return figure


# ---- confusion


def confusion(runs: Sequence[Run], options: Options) -> pd.DataFrame:
    """The noise (clean to observed labels) and the test predictions (true to predicted), pooled over replicates.

    Columns: panel (`noise` or `prediction`), row, column, count, share of the row; a row without samples has no share.
    The noise is missing where clean labels are unknown. Raises: ConfigError for more than one series, or without files.
    """
    members = the_only(runs, options.by, "confusion")
    matrices = [_noise(run) for run in members]
    noise = [matrix for matrix in matrices if matrix is not None]
    predicted = [_predictions(run) for run in members]
    panels: dict[str, NDArray] = {"prediction": np.sum(predicted, axis=0)}
    notes = ["the clean labels are unknown: the panel of the noise is left out"]
    if len(noise) == len(matrices):
        panels, notes = {"noise": np.sum(noise, axis=0), **panels}, []
    tidy = []
    for panel, matrix in panels.items():
        for row, column in np.ndindex(*matrix.shape):
            count, total = int(matrix[row, column]), int(matrix[row].sum())
            share = count / total if total else None
            tidy.append({"panel": panel, "row": row, "column": column, "count": count, "share": share})
    frame = pd.DataFrame(tidy).astype({"share": float})
    frame.attrs |= {"notes": notes, "classes": class_names(members)}
    return frame


def _noise(run: Run) -> NDArray | None:
    recorded = run.record["data"].get("confusion")
    if recorded is None:
        return None
    with reading(run):
        matrix = np.asarray(recorded)
        return matrix if matrix.ndim == 2 else arrays(run, "data.npz")["confusion"]  # the record has the diagonal only


def _predictions(run: Run) -> NDArray:
    saved = arrays(run)
    networks: dict[str, dict[str, NDArray]] = {}
    for key in sorted(key for key in saved if key.startswith("test_logits_")):
        network, head = key.removeprefix("test_logits_").split("_", 1)
        networks.setdefault(network, {})[head] = saved[key]
    with reading(run):
        how = "main" if run.external else run.field("eval.ensemble").plain
        labels, predicted = saved["test_label"], scores([*networks.values()], how).argmax(axis=1)
        classes = len(run.record["data"]["observed_counts"])
        return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def draw_confusion(frame: pd.DataFrame, options: Options) -> Figure:
    """A panel for the noise where it is known, and one for the predictions, in percent of the row."""
    names = list(dict.fromkeys(frame["panel"]))
    figure = canvas(options.width, 3.3)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    texts = {"noise": ("noise in the training labels", "observed label", "clean label")}
    texts["prediction"] = ("predictions on the test set", "predicted label", "true label")
    for axes, panel in zip(panels, names, strict=True):
        matrix = frame[frame["panel"] == panel].pivot(index="row", columns="column", values="share").to_numpy() * 100
        shown = axes.pcolormesh(matrix, cmap="Blues", vmin=0, vmax=100, edgecolor="face", linewidth=0.1)
        title, x, y = texts[panel]
        axes.set(title=title, xlabel=x, ylabel=y, aspect="equal")
        axes.invert_yaxis()
        axes.spines[:].set_visible(True)
        labels = range(0, len(matrix), max(1, -(-len(matrix) // 10)))
        for axis in (axes.xaxis, axes.yaxis):
            _named(axis, [label + 0.5 for label in labels], labels, frame.attrs["classes"])
        if len(matrix) <= WRITTEN:
            for (row, column), value in np.ndenumerate(matrix):
                if value >= 0.5:
                    colour = "white" if value > 55 else "black"
                    axes.text(column + 0.5, row + 0.5, f"{value:.0f}", ha="center", va="center", size=6, color=colour)
    figure.colorbar(shown, ax=list(panels), label="% of the row", shrink=0.8, pad=0.02)
    return figure
