"""Every published number with the command that runs it here: `python -m tools.reproduction [RUNS…] -o PAGE.md`.

A number of each published method and setting, its source, our counterpart with its command and expected cost, and ours
where RUNS have it. `--cost-from RUNS` and `--check RUNS` write what the expectation rests on and how it holds
(tools/measured/cost.csv and checked.csv) from finished runs.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from analysis.cells import CellWriter
from analysis.reported import DATASETS, Number, belongs, differences, numbers, source
from analysis.runs import Run, differing, load
from analysis.values import MISSING
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import write_file
from tools import hours
from tools.counterparts import REFUSED, WEIGHTS, command, doubt, ours, planned, words

NEEDS = {"cifar10": "the data", "cifar100": "the data", "webvision": "the data and a GPU"}
NEEDS["clothing1m"] = NEEDS["webvision"]
TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "webvision": "mini-WebVision", "clothing1m": "Clothing1M"}
HEAD = ("published", "source", "metric", "value", "our counterpart", "ours", "PFLOP a run", "hours a run", "notes")
WHICH = {"best epoch": "best", "mean of last 10 epochs": "last10"}
SELECTOR = "method.selector.name"
SHOWN = 6  # fields in which runs differ from the command
Words = tuple[str, ...]


class Page:
    """Collects the notes that rows refer to by number."""

    def __init__(self, runs: Sequence[Run], flops_per_second: float | None = None):
        self.runs = [run for run in runs if not run.external]
        self.per_second = flops_per_second or float(hours.rate()["flops_per_second"])
        self.typed = flops_per_second is not None
        self.noted: dict[str, int] = {}

    def text(self) -> str:
        groups: dict[str, dict[str, list[Number]]] = {name: defaultdict(list) for name in TITLES}
        for number in sorted(numbers(), key=_order):
            groups[number.where["dataset"]][setting(number)].append(number)
        body: list[str] = []
        for dataset, settings in groups.items():
            body.append(f"## {TITLES[dataset]}\n")
            for title, published in settings.items():
                body += self._section(title, published)
        notes = [f"{place}. {sentence}" for sentence, place in self.noted.items()]
        return "\n".join([*self._introduction(), *body, "## Notes\n", *notes, ""])

    def _introduction(self) -> list[str]:
        asked = dict.fromkeys(overrides for number in numbers() if (overrides := words(number)))
        # The classifiers of one trained run are fitted on it, and it is trained once.
        trained = dict.fromkeys(tuple(w for w in overrides if not w.startswith("classifier=")) for overrides in asked)
        total = sum(hours.flops(planned(overrides)) for overrides in trained)
        rate = hours.rate()
        machine = "a rate that was given" if self.typed else f"{rate['machine']}, measured on {rate['date']}"
        condition = "" if self.typed else f", {rate['condition']}: {rate['work']}"
        return [
            "# Published numbers and how to run them\n",
            "Written by `python -m tools.reproduction -o PAGE.md`; with folders of finished runs it "
            "shows them under *ours*: mean ± sample standard deviation (number of runs).\n",
            f"{_counted()} *matched* is the suite's recipe, *native* the original's own. No row is claimed to be the "
            "same protocol: what differs, or is not known, is in the notes.\n",
            f"**Cost.** {len(asked)} commands of three runs each: {total * 3:.3g} operations, "
            f"{_hours(3 * total / self.per_second / 3600)} hours at {self.per_second:.3g} operations/s ({machine}"
            f"{condition}). A GPU was not measured: divide the operations by its rate, or write the page with "
            "`--flops-per-second RATE`. Operations are those that a record counts (`cost/flops`): a backward pass is "
            "two forward passes; images that each method forwards in an epoch are measured on digits (`python run.py "
            "-m +sweep=digits_cost`, tools/measured/cost.csv), at the nearest noise ratio, and on web data at the "
            "rate that the literature assumes. How many samples are selected, and so what DivideMix and its kin cost, "
            "depends on the data. Reading images, mixtures and storage are not in it.\n",
            f"{_checks()}\n",
            f"Of commands that end in `{WEIGHTS}`, FILE is torchvision's ResNet-50 with ImageNet weights. `data_dir=` "
            "says where the data lie. Commands of `classifier=` find the run of cross-entropy where it is done, and "
            "train it else.\n",
        ]

    def _section(self, title: str, published: Sequence[Number]) -> list[str]:
        lines = [f"### {title}\n", f"| {' | '.join(HEAD)} |", "|:--" * 6 + "|--:|--:|:--|"]
        lines += [f"| {' | '.join(self._row(number))} |" for number in published]
        commands = dict.fromkeys(command(overrides) for number in published if (overrides := words(number)))
        return [*lines, "", *(["```", *commands, "```", ""] if commands else [])]

    def _row(self, number: Number) -> list[str]:
        overrides, metric = words(number), metric_of(number)
        name = number.line["method"]
        row = [name, source(number), f"`{metric}`", number.text]
        if overrides is None:
            why = "not in this setting" if name in REFUSED else "not in the suite"
            notes = [number.line["note"], *([REFUSED[name]] if name in REFUSED else [])]
            return [*row, f"{MISSING}: {why}", MISSING, MISSING, MISSING, self._notes(notes)]
        method, plan = ours(number), planned(overrides)
        assert method is not None
        value, members = self._ours(number, plan, metric)
        recipe = plan.fields["recipe"]
        differ = [*differences(number, members or [plan]), *([doubt(number)] if doubt(number) else [])]
        differ += ["recipe=matched, the suite's schedule and not the original's"] if recipe == "matched" else []
        notes = [*(f"differs: {sentence}" for sentence in differ), number.line["note"]]
        notes += [method.why] if method.why else []
        if number.where["dataset"] == "clothing1m":
            notes.append("`test/acc/at_best_val` of the same run is at the epoch that the clean validation set picks")
        cost = hours.flops(plan)
        names = [hours.kind(plan.fields)[0] if _selects_otherwise(overrides) else plan.fields["method"]]
        names += [plan.fields["plugin"]]
        names += [plan.fields["classifier"]] if plan.fields["classifier"] != "joint" else []
        amount = [f"{cost / 1e15:.3g}", _hours(cost / self.per_second / 3600)]
        return [*row, f"{' + '.join(map(str, names))}, {recipe}", value, *amount, self._notes(notes)]

    def _ours(self, number: Number, plan: Run, metric: str) -> tuple[str, list[Run]]:
        """The cell of our runs, those that are the command's own before others, and which they are."""
        cells: dict[tuple[str, ...], list[Run]] = defaultdict(list)
        for run in self.runs:
            same = all(run.fields.get(key, "joint") == plan.fields[key] for key in ("method", "plugin", "classifier"))
            # With another selector it is another published method.
            same = same and run.fields.get(SELECTOR, plan.fields[SELECTOR]) == plan.fields[SELECTOR]
            if same and belongs(number, [run], (), {}):
                cells[departures(run, plan)].append(run)
        if not cells:
            return f"not run: needs {NEEDS[number.where['dataset']]}", []
        chosen = [()] if () in cells else sorted(cells)
        texts = []
        for differ in chosen:
            text = CellWriter({((), ()): cells[differ]}, (), (), {}, "std").text((), (), metric)
            more = [f"and {len(differ) - SHOWN} more"] if len(differ) > SHOWN else []
            texts.append(text + (f", differs: {', '.join([*differ[:SHOWN], *more])}" if differ else ""))
        return "; ".join(texts), [run for differ in chosen for run in cells[differ]]

    def _notes(self, sentences: Sequence[str]) -> str:
        places = {self.noted.setdefault(sentence, len(self.noted) + 1) for sentence in sentences}
        return ", ".join(map(str, sorted(places)))


def departures(run: Run, plan: Run) -> tuple[str, ...]:
    """`key=value` of what a run has otherwise than the command; names of choices first."""
    departing = []
    for key in differing([run, plan]):
        own_weights = key == "model.pretrained" and run.fields[key] and plan.fields[key]
        implied = key.startswith("recipe.effective.") or key.removesuffix(".name") in plan.record["names"]
        if not own_weights and (key in plan.record["names"] or not implied):
            departing.append(f"{key}={run.field(key)}")
    return tuple(departing)


def metric_of(number: Number) -> str:
    """The metric of ours that is of the same kind."""
    if not number.metric.endswith("/acc"):
        return number.metric
    return f"{number.metric}/{WHICH.get(number.line['metric'].partition(', ')[2], 'final')}"


def setting(number: Number) -> str:
    """`joint noise 0.4, exponential tail 0.1`: noise with its ratio, and imbalance with its factor."""
    line = number.line
    if line["noise"] == "natural":
        return "labels as they come"
    tail = f"exponential tail {line['imb_factor']}" if line["imbalance"] == "exp" else "balanced"
    law = {"symmetric_incl": "symmetric noise that includes the true class,", "joint": "joint noise"}
    return f"{law.get(line['noise'], line['noise'] + ' noise')} {line['noise_ratio']}, {tail}"


def _order(number: Number) -> tuple[object, ...]:
    """By data set, imbalance, noise; within a setting as the file has them."""
    line = number.line
    factor = -float(line["imb_factor"] or 1)
    return list(DATASETS).index(line["dataset"]), line["noise"], factor, float(line["noise_ratio"] or 0)


def _counted() -> str:
    """How many published numbers have a counterpart, and why the others have none."""
    without = [number.line["method"] for number in numbers() if ours(number) is None]
    refused = sum(name in REFUSED for name in without)
    return (
        f"{len(numbers()) - len(without)} of {len(numbers())} published numbers have a counterpart here. They stand as "
        f"they were found; of the others {len(without) - refused} are of methods that the suite has not, and {refused} "
        f"of methods ({', '.join(sorted(REFUSED))}) that it has, but refuses in the setting of the number."
    )


def _selects_otherwise(typed: Words) -> bool:
    """Whether the published method is one of ours with another selector."""
    return any(word.startswith(f"{SELECTOR}=") for word in typed)


def _hours(count: float) -> str:
    return f"{count:,.0f}" if count >= 100 else f"{count:.2g}"


def _checks() -> str:
    """How the expectation compared with finished runs, in sentences."""
    ratios, lasted, apart = [], defaultdict(list), 0.0
    for line in hours.checked():
        plugin = "" if line["plugin"] == "none" else f" + {line['plugin']}"
        ratios.append(
            f"{line['method']}{plugin} on {line['dataset']} {line['flops']} and {line['seconds']} ({line['runs']})"
        )
        lasted[line["dataset"]].append(1 / float(line["seconds"]))
        apart = max(apart, abs(float(line["flops"]) - 1))
    few = []
    if "digits" in lasted:
        few.append(
            f"Runs on digits took {min(lasted['digits']):.0f} to {max(lasted['digits']):.0f} times as long as "
            "expected: their network is four thousand times smaller than the rate's, and the fixed cost of a step and "
            "of a selection rules."
        )
    if "cifar10" in lasted:
        few.append(
            "The run on CIFAR-10, of 600 generated images and two epochs, at the lowest priority beside more other "
            f"work than when the rate was measured, took {lasted['cifar10'][0]:.1f} times as long."
        )
    return " ".join(
        [
            "**Checked on finished runs** (`--check`): expected over recorded operations, and expected over recorded "
            f"seconds (medians; number of runs): {'; '.join(ratios)}. What a single network forwards is known to the "
            "image; what DivideMix selects, and so forwards, is other in these settings than where it was measured "
            f"(operations up to {apart:.0%} apart).",
            *few,
            "So take operations as counted, hours as an order of magnitude.",
        ]
    )


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(prog="python -m tools.reproduction", description="Published numbers and how to run them.")
    parser.add_argument("runs", nargs="*", type=Path, help="runs folders, or folders of single runs")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the page, or with the last two options a csv")
    parser.add_argument("--flops-per-second", type=float, help="of your machine; default: what was measured")
    measuring = parser.add_mutually_exclusive_group()
    measuring.add_argument("--cost-from", nargs="+", type=Path, metavar="RUNS", help="write measured/cost.csv")
    measuring.add_argument("--check", nargs="+", type=Path, metavar="RUNS", help="write measured/checked.csv")
    options = parser.parse_args(arguments)
    content, summary = _content(options)
    write_file(options.output, content)
    print(f"{summary} in {options.output}")


def _content(options: argparse.Namespace) -> tuple[bytes, str]:
    """The file that the options ask for, and what it holds in a few words."""
    rate = options.flops_per_second
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigError(f"--flops-per-second {rate:g} is not a rate; give a number above 0, as 1e13")
    measured = options.cost_from or options.check
    if measured and (options.runs or rate is not None):
        raise ConfigError("--cost-from and --check take their own RUNS: leave the other runs and the rate out")
    if measured:
        runs = load(measured)[0]
        return (hours.cost_csv if options.cost_from else hours.checked_csv)(runs), f"{len(runs)} runs"
    runs = load(options.runs)[0] if options.runs else []
    return Page(runs, rate).text().encode(), f"{len(numbers())} published numbers"


if __name__ == "__main__":
    sys.exit(door(main))
