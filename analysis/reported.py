"""Published numbers beside ours: found by the setting of a column, never averaged with ours, with notes on their
protocol.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from analysis.runs import Cells, Run
from analysis.values import NO_VALUE, Key, Value, listed, matches, read, valued

DATASETS = {
    "CIFAR-10": ("cifar10", "test"),
    "CIFAR-100": ("cifar100", "test"),
    "Clothing1M": ("clothing1m", "test"),
    "WebVision-50 (WebVision val)": ("webvision", "test"),
    "WebVision-50 (ILSVRC12 val)": ("webvision", "test_imagenet"),
}
# Two definitions of one noise model stand side by side, with a footnote.
NOISES = {"joint": "joint", "symmetric_incl": "symmetric", "asymmetric": "asymmetric"}
MODELS = {"ResNet-32": "resnet32", "PreAct ResNet-18": "preact_resnet18"}
OURS = ("final", "last", "last10", "best")  # accuracies of ours that a published one may stand beside


@dataclass(frozen=True)
class Number:
    """One published number: `where` has the data keys that apply, `metric` is `test/acc`, `test/top5` …"""

    line: Mapping[str, str]
    where: Mapping[str, str]
    metric: str

    @property
    def text(self) -> str:
        around = f" ± {self.line['std']}" if self.line["std"] else ""
        return f"{float(self.line['value']):.2f}{around}"

    @property
    def label(self) -> str:
        """Method, paper, and which epoch where that is not the plain test accuracy."""
        which = self.line["metric"].partition(", ")[2]
        return f"{self.line['method']} [{self.line['paper']}]" + (f", {which}" if which else "")


@dataclass
class Line:
    """A table's line of published numbers: cells by (column, metric), and a sentence on their protocol."""

    row: Key
    cells: dict[tuple[Key, str], str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


@cache
def numbers() -> tuple[Number, ...]:
    """All published numbers of the package's `reported.csv`."""
    text = (resources.files("analysis.published") / "reported.csv").read_text(encoding="utf-8")
    entries = []
    for line in csv.DictReader(text.splitlines()):
        dataset, split = DATASETS[line["dataset"]]
        # Natural labels without added noise; an artificial long tail of such a data set is another setting.
        where = {"dataset": dataset, "noise": "none", "imbalance": "none"}
        if line["noise"] != "natural":
            where |= {"noise": NOISES[line["noise"]], "noise_ratio": line["noise_ratio"]}
            where |= {"imbalance": line["imbalance"]} | (
                {"imb_factor": line["imb_factor"]} if line["imbalance"] != "none" else {}
            )
        metric = f"{split}/top5" if "top-5" in line["metric"] else f"{split}/acc"
        entries.append(Number(line, where, metric))
    return tuple(entries)


def published(cells: Cells, rows: Sequence[str], cols: Sequence[str], metrics: Sequence[str]) -> list[Line]:
    """The lines that stand beside these cells, by method and paper.

    A number belongs to a column when the column's key says so, or all runs in the column are of its setting; a data key
    among the rows takes the number's own value.
    """
    lines: dict[Key, Line] = {}
    for c in dict.fromkeys(c for _, c in cells):
        runs = [run for (_, column), members in cells.items() if column == c for run in members]
        for number in numbers():
            if not belongs(number, runs, rows, dict(zip(cols, c, strict=True))):
                continue
            texts = (number.label if key == "method" else number.where.get(key) for key in rows)
            row = tuple(NO_VALUE if text is None else read(text) for text in texts)
            for metric in metrics:
                split, name = metric.split("/", 1)
                if number.metric == (f"{split}/acc" if name.removeprefix("acc/") in OURS else metric):
                    line = lines.setdefault(row, Line(row))
                    line.cells[c, metric] = number.text
                    if (sentence := _protocol(number, runs)) not in line.said:
                        line.said.append(sentence)
    return sorted(lines.values(), key=lambda line: line.row)


def belongs(number: Number, runs: Sequence[Run], rows: Sequence[str], column: Mapping[str, Value]) -> bool:
    """Whether these runs, of a column with this key, are all of the number's setting; `rows` may differ from it."""
    if any(run.own_files for run in runs):
        return False
    for key, text in number.where.items():
        if key in column:
            if not matches(column[key], text):
                return False
        elif key not in rows and not all(matches(run.field(key), text) for run in runs):
            return False
    return True


def _protocol(number: Number, runs: Sequence[Run]) -> str:
    """Source and differences: noise model, backbone, epochs."""
    return "; ".join([source(number), *differences(number, runs), number.line["note"]])


def source(number: Number) -> str:
    """Paper, table and where the number was read."""
    return ", ".join(part for part in (number.line[key] for key in ("paper", "table", "source")) if part)


def differences(number: Number, runs: Sequence[Run]) -> list[str]:
    """Differences of the protocol from these runs, and unknown parts of it."""
    line, sentences = number.line, []
    if line["noise"] == "symmetric_incl" and not all(run.field("noise.include_self").plain for run in runs):
        sentences.append("other noise model (symmetric noise that includes the true class)")
    models = {run.field("model") for run in runs}
    if models != {valued(MODELS.get(line["backbone"]))}:
        sentences.append(f"backbone {line['backbone']}, ours {listed(models)}")
    sentences.append(f"epochs not given, ours {listed(run.field('epochs') for run in runs)}")
    if which := line["metric"].partition(", ")[2]:
        sentences.append(which)
    return sentences
