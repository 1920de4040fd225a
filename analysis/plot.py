"""Figures of finished runs, ready for a paper: `python -m analysis.plot KIND RUNS… [-o NAME] [--where …] [--by …] …`.

Kinds: curves, groups, selection, separation, confusion, sensitivity, gain, cost, relation. Writes NAME.pdf and NAME.png
(or the one file that -o names), prints their paths, a caption, and notes for the reader of the figure.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.context import SETTINGS, WHICH, caption, notes, own_files
from analysis.figures import classes, epochs, relation, settings
from analysis.figures.look import METADATA, WIDTHS, house_style, rendered
from analysis.figures.series import SPREADS, Options, with_epochs
from analysis.names import Names, built_in, read_names
from analysis.runs import (
    RUNS,
    WHERE,
    Cells,
    Run,
    cells_of,
    distinct,
    load,
    metric_name,
    not_counted,
    parse_pairs,
    words,
)
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.config.values import nearest
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import write_file

METRIC = "test/acc/final"
COSTS = ("flops", "total_seconds", "steps")


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure: the functions for its numbers and its drawing, its caption, and its options."""

    numbers: Callable[[Sequence[Run], Options], pd.DataFrame]
    draw: Callable[[pd.DataFrame, Options], Figure]
    shows: str  # in words, for the caption
    takes: Mapping[str, Any]  # option -> its default here
    by_epoch: bool = False
    scalar: bool = False  # of metrics in the record, whose missing values are noted
    every_setting: bool = False  # a row of its own for every setting, so that none is mixed


SERIES: dict[str, Any] = {"by": ("method", "plugin"), "spread": "std"}
COLUMN: dict[str, Any] = {**SERIES, "width": "column"}
KINDS = {
    "curves": FigureKind(
        *(epochs.curves, epochs.draw_curves, "{metric} by epoch, {spread} over replicates"),
        takes={**COLUMN, "metric": "test/acc"},
        by_epoch=True,
    ),
    "groups": FigureKind(
        *(classes.groups, classes.draw_groups, "Test accuracy of each class by its size, {spread} over replicates"),
        takes={**COLUMN, "counts": "observed"},
    ),
    "selection": FigureKind(
        *(epochs.selection, epochs.draw_selection, "Quality of the selections by epoch, {spread} over replicates"),
        takes={**SERIES, "width": "text"},
        by_epoch=True,
    ),
    "separation": FigureKind(
        *(classes.separation, classes.draw_separation, "Clean probability of the training samples at the end"),
        takes={"by": SERIES["by"], "width": "text"},
    ),
    "confusion": FigureKind(
        *(classes.confusion, classes.draw_confusion, "Labels of the training samples, and predictions of the ensemble"),
        takes={"by": SERIES["by"], "width": "text"},
    ),
    "sensitivity": FigureKind(
        *(settings.sensitivity, settings.draw_sensitivity, "{metric} by {over}, {spread} over replicates"),
        takes={**COLUMN, "metric": METRIC, "over": ""},
        scalar=True,
    ),
    "gain": FigureKind(
        *(settings.gain, settings.draw_gain),
        "Difference in {metric}, paired by seed and data_seed, 95 % t interval of the mean; clearly: without 0",
        takes={"by": ("method",), "metric": METRIC, "of": Options().of, "versus": Options().versus, "width": "text"},
        scalar=True,
        every_setting=True,
    ),
    "cost": FigureKind(
        *(settings.cost, settings.draw_cost, "{metric} by cost/{cost}, {spread} over replicates"),
        takes={**COLUMN, "metric": METRIC, "cost": "flops"},
        scalar=True,
    ),
    "relation": FigureKind(
        *(relation.relation, relation.draw_relation, "{metric} of each run by its {x}"),
        takes={"by": ("plugin",), "width": "column", "metric": METRIC, "x": Options().x},
        scalar=True,
        every_setting=True,
    ),
}


def make(
    kind: str, runs: Sequence[Run], endings: Sequence[str], names: Names | None = None, **chosen: Any
) -> tuple[dict[str, bytes], list[str]]:
    """A figure as files, by ending, and the text below it: its caption, then notes.

    Args: `names`, the built-in ones where there are no other; `chosen` are further fields of Options. Raises:
    ConfigError with a sentence when the figure would mislead, or when there is nothing to draw.
    """
    if kind not in KINDS:
        near = nearest(kind, KINDS)
        raise ConfigError(
            f"there is no figure {kind}" + (f"; did you mean {near}?" if near else f": {', '.join(KINDS)}")
        )
    k = KINDS[kind]
    if foreign := sorted(chosen.keys() - k.takes.keys()):
        raise ConfigError(f"{kind} takes no --{foreign[0]}; it takes " + ", ".join(f"--{option}" for option in k.takes))
    options = Options(**{**k.takes, **chosen}, names=names or built_in())
    runs, left_out = with_epochs(runs) if k.by_epoch else (list(runs), [])
    for key in options.by:
        options.names.check(key, [value for (value,) in distinct(runs, [key])])
    numbers = k.numbers(runs, options)
    with house_style():
        figure = k.draw(numbers, options)
        files = {ending: rendered(figure, ending) for ending in endings}
    return files, [_caption(k, runs, options), *left_out, *numbers.attrs.get("notes", []), *_notes(k, runs, options)]


def _caption(k: FigureKind, runs: Sequence[Run], options: Options) -> str:
    """What is shown, and the table's own words on labels and constant settings."""
    metric = f"{options.metric} ({WHICH[options.metric]})" if options.metric in WHICH else options.metric
    spread = {"std": "mean ", "range": "mean, "}[options.spread] + SPREADS[options.spread]
    shows = k.shows.format(metric=metric, spread=spread, over=options.over, cost=options.cost, x=options.x)
    _, _, rest = caption(runs, _cells(runs, options), options.by, (), {}).partition("(n runs). ")
    return f"{shows}. {rest}"


def _notes(k: FigureKind, runs: Sequence[Run], options: Options) -> list[str]:
    metrics = [options.metric] if k.scalar else []
    keys = (*options.by, options.over, *(SETTINGS if k.every_setting else ()))
    sentences = [*notes(runs, keys, metrics), *own_files(runs)]
    return [
        sentence.replace("cells differ", "series differ").replace("--rows, --cols", "--by") for sentence in sentences
    ]


def _cells(runs: Sequence[Run], options: Options) -> Cells:
    return cells_of(runs, options.by, [options.over])


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    chosen = {key: value for key, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    kind, output = chosen.pop("kind"), chosen.pop("output", None)
    runs, others = load(chosen.pop("runs"), chosen.pop("where"))
    for axis in chosen.keys() & {"metric", "x"} if not (kind in KINDS and KINDS[kind].by_epoch) else ():
        chosen[axis] = metric_name(runs, chosen[axis])
    for side in chosen.keys() & {"of", "versus"}:
        chosen[side] = parse_pairs(chosen[side])
    names = read_names(chosen.pop("names")) if "names" in chosen else None
    paths = _paths(Path(kind) if output is None else output)
    files, sentences = make(kind, runs, list(paths), names, **chosen)
    for ending, path in paths.items():
        write_file(path, files[ending])
    print(*paths.values(), *sentences, *not_counted(others), sep="\n")


def _parser() -> Parser:
    parser = Parser(prog=Door.here.tool("analysis.plot"), description="Figure of finished runs.")
    keys = "names (method, plugin, dataset, model …) or configuration paths (plugin.beta), separated by commas"
    pairs = "KEY=VALUE[,KEY=VALUE…]"
    parser.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("runs", **RUNS)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="NAME", help="NAME.pdf and NAME.png, or one with an ending"
    )
    parser.add_argument("--where", **WHERE)
    parser.add_argument(
        "--by",
        type=lambda text: tuple(words(text)),
        help=f"a series per value of these {keys} (default: method,plugin)",
    )
    parser.add_argument("--metric", help="curves: of an epoch, e.g. selection/auc; others: as in a table")
    parser.add_argument("--spread", choices=SPREADS, help="band and bars: standard deviation (default), or min and max")
    parser.add_argument("--counts", choices=("observed", "clean"), help="groups: labels that a class's size counts")
    parser.add_argument("--over", metavar="KEY", help="sensitivity: the key that varies")
    parser.add_argument("--cost", choices=COSTS, help="cost: what it is counted in (default: flops)")
    parser.add_argument("--x", help="relation: the metric across (default: selection/auc)")
    parser.add_argument("--of", metavar="KEY=VALUE", help=f"gain: what is judged, {pairs} (default: plugin=sfa)")
    parser.add_argument("--versus", metavar="KEY=VALUE", help=f"gain: its base, {pairs} (default: plugin=none)")
    of_papers = "a YAML file with names of methods, plug-ins, metrics …, above the built-in ones"
    parser.add_argument("--names", type=Path, metavar="FILE", help=of_papers)
    parser.add_argument("--width", choices=WIDTHS, help="a paper's column (3.3 in) or its text (6.9 in)")
    return parser


def _paths(name: Path) -> dict[str, Path]:
    """Ending -> file. Raises ConfigError for an ending that cannot be written; `beta=0.9` has none."""
    ending = name.suffix.removeprefix(".").lower()
    if ending in METADATA:
        return {ending: name}
    if ending.isalpha():
        raise ConfigError(f"-o takes a name without an ending, or one in .pdf, .png or .svg, not .{ending}")
    return {ending: name.with_name(f"{name.name}.{ending}") for ending in ("pdf", "png")}


if __name__ == "__main__":
    sys.exit(door(main))
