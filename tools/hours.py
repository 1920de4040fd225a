"""The expected cost of a run: images forwarded, floating-point operations, hours.

A run's record counts a backward pass as two forward ones (`cost` of a record): its operations are those of one forward
times 3·trained + guessed + selected + evaluated images. How many of these an epoch has, by method, was measured on
finished runs (measured/cost.csv); operations of a forward (forward.csv) and per second (rate.csv) were measured too.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

from analysis.runs import Run, reading
from sfa_bench.errors import ConfigError
from tools.counterparts import ASSUMED

KINDS = ("trained", "guessed", "selected")
SELECTORS = {"dividemix": "loss_gmm", "rolt": "proto", "rolt_drw": "proto", "rolt_plus": "proto"}  # their own
SELECTORS |= {"dasc": "dacc", "dasc_release": "dacc", "unicon": "quota", "unicon_release": "quota"}
ESTIMATES = {"har"}  # learners that a run on half of the data comes before
WARMUP_VIEWS = {"dasc": 2}  # of each sample, where a learner's warm-up trains on more than one
TRAIN = {"cifar10": (50_000, 10), "cifar100": (50_000, 100), "webvision": (65_944, 50), "clothing1m": (1_000_000, 14)}
# Images evaluated every epoch: WebVision's and ImageNet's; Clothing1M's clean sets.
TESTED = {
    "cifar10": 10_000,
    "cifar100": 10_000,
    "webvision": 5_000,
    "clothing1m": 24_839,
}


@dataclass(frozen=True)
class Factor:
    """Images of each kind per epoch and training sample, once the warm-up is over."""

    trained: float
    guessed: float
    selected: float

    @property
    def forwards(self) -> float:
        return 3 * self.trained + self.guessed + self.selected


def long_tail(total: int, classes: int, imb_factor: float) -> int:
    """Samples of an exponential tail: Σ int(m·IF^(c/(K−1))) with m = total / K, as data.imbalance has it."""
    return sum(int(total / classes * imb_factor ** (c / (classes - 1))) for c in range(classes))


def samples(run: Run) -> int:
    """Training samples of a planned run on one of the published data sets."""
    total, classes = TRAIN[run.fields["dataset"]]
    exponential = run.fields["imbalance"] == "exp"
    return long_tail(total, classes, run.fields["imb_factor"]) if exponential else total


def before_selection(fields: Mapping[str, Any]) -> int:
    """Epochs before the first selection, as choices.methods.warmup_epochs has it."""
    selects_itself = fields["method.learner"] == "rolt" and fields["plugin.selector"] == "none"
    return 0 if selects_itself or fields["method.selector.name"] == "none" else int(fields["warmup_epochs"])


def kind(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Method and plug-in, with what else changes how many images are forwarded: with another selector than their own,
    other samples are selected.
    """
    default = (
        fields["plugin.selector"] if fields["plugin.selector"] != "none" else SELECTORS.get(fields["method"], "none")
    )
    selector = fields["method.selector.name"]
    other = "" if selector == default else f" {selector}"
    plus = " plus" if fields.get("method.plus") else ""
    labelled = " labelled" if fields.get("method.forward") == "labelled" and _splits(fields) else ""
    return f"{fields['method']}{plus}{labelled}{other}", str(fields["plugin"])


def _splits(fields: Mapping[str, Any]) -> bool:
    return bool(fields["method.learner"] == "dividemix")


def forwards(run: Run, factor: Factor, train: int, tested: int) -> float:
    """Images forwarded by a whole run, a trained one counted three times; `tested`: in every epoch.

    In the warm-up every network trains on all samples, or the draw of an epoch, once (DaSC's on two views). What the
    run of an estimate trains on is in its learner's factor, what it evaluates is not.
    """
    fields = run.fields
    epochs, first, networks = fields["epochs"], before_selection(fields), fields["method.networks"]
    plain = fields.get("dataset.warmup_draw") or train
    later = (fields.get("dataset.selection_draw") or train) if factor.selected else plain
    training = 3 * _in_warmup(fields) * plain + factor.forwards * (epochs - first) * later
    crt = fields["classifier.epochs"] * train if fields["classifier"] == "crt" else 0  # frozen features, once an epoch
    held_out = epochs * (train / 2 + tested) if fields["method.learner"] in ESTIMATES else 0
    return training + crt + networks * epochs * tested + held_out


def _in_warmup(fields: Mapping[str, Any]) -> int:
    """How often the networks together are shown a sample before the first selection."""
    views = WARMUP_VIEWS.get(fields["method.learner"], 1)
    return int(fields["method.networks"]) * views * before_selection(fields)


def flops(run: Run) -> float:
    """Expected operations of a planned run on one of the published data sets."""
    dataset = run.fields["dataset"]
    ratio = ASSUMED[dataset] if dataset in ASSUMED else run.fields["noise_ratio"]
    if run.fields["noise"] == "asymmetric" and dataset == "cifar10":
        ratio /= 2  # five of its ten classes have a similar class: at 0.4, a fifth of the labels are noisy
    forwarded = forwards(run, nearest(*kind(run.fields), ratio), samples(run), TESTED[dataset])
    return forwarded * per_forward()[dataset, run.fields["model"]]


# ---- what was measured


def _lines(name: str) -> list[dict[str, str]]:
    text = (Path(__file__).parent / "measured" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def per_forward() -> dict[tuple[str, str], int]:
    return {(line["dataset"], line["model"]): int(line["flops"]) for line in _lines("forward.csv")}


@cache
def rate() -> dict[str, str]:
    """The machine that was measured, what it did, and its operations per second."""
    return _lines("rate.csv")[0]


@cache
def checked() -> list[dict[str, str]]:
    """How expectations compare with finished runs."""
    return _lines("checked.csv")


@cache
def _factors() -> dict[tuple[str, str], dict[float, Factor]]:
    factors: dict[tuple[str, str], dict[float, Factor]] = defaultdict(dict)
    for line in _lines("cost.csv"):
        factors[line["method"], line["plugin"]][float(line["noise_ratio"])] = Factor(*(float(line[k]) for k in KINDS))
    return dict(factors)


def nearest(method: str, plugin: str, ratio: float) -> Factor:
    """The factor that was measured at the nearest noise ratio. Raises ConfigError where there is none."""
    by_ratio = _factors().get((method, plugin))
    if by_ratio is None:
        raise ConfigError(f"tools/measured/cost.csv has no line of {method} with {plugin}: run +sweep=digits_cost")
    return by_ratio[min(by_ratio, key=lambda measured: (abs(measured - ratio), measured))]


# ---- measuring


def factor_of(run: Run) -> Factor:
    """From what a finished run counted, its length and its number of training samples."""
    with reading(run):
        fields, first = run.fields, before_selection(run.fields)
        once = run.record["data"]["samples"]["train"]
        counted = run.record["cost"]["samples"]
        each = [counted["trained"] - _in_warmup(fields) * once, counted["guessed"], counted["selected"]]
        return Factor(*(count / (once * (fields["epochs"] - first)) for count in each))


def _own(runs: Sequence[Run]) -> list[Run]:
    """Without results of other people's code, which has counted nothing. Raises ConfigError where nothing is left."""
    own_runs = [run for run in runs if not run.external]
    if not own_runs:
        raise ConfigError("none of these runs is of the suite's own code: there is no cost to measure")
    return own_runs


def cost_csv(runs: Sequence[Run]) -> bytes:
    """cost.csv from finished runs: the means over those of a method, a plug-in and a noise ratio."""
    groups: dict[tuple[str, str, float], list[Factor]] = defaultdict(list)
    for run in _own(runs):
        groups[(*kind(run.fields), float(run.fields.get("noise_ratio", 0)))].append(factor_of(run))
    lines = []
    for (method, plugin, ratio), factors in sorted(groups.items()):
        line: dict[str, Any] = {"method": method, "plugin": plugin, "noise_ratio": ratio, "runs": len(factors)}
        lines.append(line | {k: f"{fmean(getattr(factor, k) for factor in factors):.4g}" for k in KINDS})
    return _as_csv(lines)


def checked_csv(runs: Sequence[Run]) -> bytes:
    """checked.csv from finished runs: expected over recorded operations and seconds, the median over the runs of a data
    set, a method and a plug-in; runs of methods without a factor are left out.
    """
    groups: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for run in _own(runs):
        with reading(run):
            if kind(run.fields) not in _factors():
                continue
            data, cost = run.record["data"]["samples"], run.record["cost"]
            tested = data["test"] + data["val"]
            expected = forwards(
                run, nearest(*kind(run.fields), run.fields.get("noise_ratio", 0.0)), data["train"], tested
            )
            expected *= cost["flops_per_forward"]
            seconds = expected / float(rate()["flops_per_second"]) / cost["total_seconds"]
            groups[(run.fields["dataset"], *kind(run.fields))].append((expected / cost["flops"], seconds))
    if not groups:
        raise ConfigError("none of these runs is of a method that tools/measured/cost.csv has a line of")
    return _as_csv(
        [
            {"dataset": dataset, "method": method, "plugin": plugin, "runs": len(pairs)}
            | {name: f"{median(pair[i] for pair in pairs):.3g}" for i, name in enumerate(("flops", "seconds"))}
            for (dataset, method, plugin), pairs in sorted(groups.items())
        ]
    )


def _as_csv(lines: Sequence[Mapping[str, Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue().encode()
