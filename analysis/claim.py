"""Is a claim supported? `python -m analysis.claim RUNS… "plugin=sfa > plugin=none" --over method,noise_ratio`.

Every run of the left side is paired with the one of the right side in the same cell (the same values of `--over`) and
of the same (seed, data_seed). `--ranks method,plugin` prints average ranks instead.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.best import HIGHER, NEITHER, NEVER
from analysis.bootstrap import DRAWS, FEWEST_DATA_SETS, Estimate, estimate, holm, needed, sign_flip, superiority
from analysis.columns import CHECKSUM, Run
from analysis.context import notes, own_files
from analysis.metrics import is_percent
from analysis.paired import Replicate, pairs, value, values
from analysis.runs import (
    SETTING,
    WHERE,
    check_alike,
    check_fields,
    check_metric,
    distinct,
    grouped_by,
    load,
    metric_name,
    not_counted,
    parse_pairs,
    select,
    words,
)
from analysis.values import Key
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError

FEWEST = 5  # fewest replicates for a supported claim
OVER = (*SETTING, CHECKSUM, "method", "plugin", "classifier")

Sides = tuple[dict[str, str], dict[str, str]]


@dataclass(frozen=True)
class JudgedClaim:
    """A claim and its evidence: `cells` maps the values of the `over` keys to ours − theirs by replicate.

    `sides` are the paired runs, `unpaired` counts the others; `notes`: what is undefined, mixed or out of date in both.
    """

    text: str
    over: tuple[str, ...]
    cells: Mapping[Key, Mapping[Replicate, float]]
    found: Estimate
    flipped: tuple[float, int] | None  # see `bootstrap.sign_flip`
    superiority: float
    balanced: bool  # whether that is the share of all pairs: cells have as many, and data sets as many cells
    sides: tuple[list[Run], list[Run]]
    unpaired: int
    notes: list[str]

    def verdict(self, p: float | None, margin: float) -> str:
        """`supported`, `not supported` or `underpowered`, where p is adjusted for the number of claims.

        Supported: at least five replicates, the interval above 0 and p < 0.05. Not supported: effects of `margin` or
        more are excluded. Underpowered: neither can be concluded with these replicates.
        """
        if self.found.interval is None or p is None:
            return "underpowered"
        low, high = self.found.interval
        if self.found.replicates >= FEWEST and low > 0 and p < 0.05:
            return "supported"
        return "not supported" if high < margin else "underpowered"


def parse_claim(text: str) -> Sides:
    """`plugin=sfa > plugin=none` -> ({"plugin": "sfa"}, {"plugin": "none"})."""
    parts = text.split(">")
    if len(parts) != 2 or not all(part.strip() for part in parts):
        raise ConfigError(f"{text!r} is not of the form 'KEY=VALUE[,KEY=VALUE…] > KEY=VALUE[,KEY=VALUE…]'")
    left, right = (parse_pairs(part) for part in parts)
    if several := [key for side in (left, right) for key, texts in side.items() if len(texts) > 1]:
        raise ConfigError(f"{text!r} gives {several[0]} several values; a side of a claim has one: make several claims")
    one, other = ({key: texts[0] for key, texts in side.items()} for side in (left, right))
    if one.keys() != other.keys():
        raise ConfigError(f"{text!r} names different keys on its sides; give both sides the same keys")
    return one, other


def judge(runs: Sequence[Run], text: str, over: Sequence[str] | None, metric: str, draws: int = DRAWS) -> JudgedClaim:
    """Pair the runs and estimate the difference. Raises ConfigError where runs cannot be paired or runs of a cell
    differ.
    """
    left, right = parse_claim(text)
    sides = tuple(select(runs, {key: [word] for key, word in side.items()}) for side in (left, right))
    fixed = set(left)
    if over is None:
        both = [*sides[0], *sides[1]]
        over = [k for k in OVER if k not in fixed and len(distinct(both, [k])) > 1]
    check_fields(runs, over)
    if clash := [key for key in over if key in fixed]:
        raise ConfigError(f"{clash[0]} is what the claim compares: leave it out of --over")
    ours, theirs = (grouped_by(side, over) for side in sides)
    for groups in (ours, theirs):
        check_alike(groups.values(), "cell", "--over")
    cells: dict[Key, dict[Replicate, float]] = {}
    by_data: dict[object, dict[Key, dict[Replicate, float]]] = {}
    paired: tuple[list[Run], list[Run]] = ([], [])
    unpaired = 0
    for cell in sorted(ours.keys() | theirs.keys()):
        matched = pairs(ours.get(cell, []), theirs.get(cell, []), metric, fixed)
        unpaired += len(matched.alone)
        if not matched.both:
            continue
        for side, members in zip(paired, zip(*matched.both.values(), strict=True), strict=True):
            side += members
        cells[cell] = {key: value(mine, metric) - value(other, metric) for key, (mine, other) in matched.both.items()}
        by_data.setdefault(ours[cell][0].field("dataset"), {})[cell] = cells[cell]
    if not cells:
        raise ConfigError(f"{text}: no two runs of the same cell, seed and data_seed have {metric}")
    found, flipped, above = estimate(by_data, draws), sign_flip(by_data), superiority(by_data)
    balanced = len({(len(of_data), len(cell)) for of_data in by_data.values() for cell in of_data.values()}) == 1
    said = _notes([*sides[0], *sides[1]], fixed, over, metric)
    return JudgedClaim(text, tuple(over), cells, found, flipped, above, balanced, paired, unpaired, said)


def _notes(runs: Sequence[Run], fixed: Collection[str], over: Sequence[str], metric: str) -> list[str]:
    """The table's sentences in the words of a claim."""
    words_of_claim = {
        "cells differ": "the sides or cells differ",
        "--rows, --cols": "--over",
        "are not in n": "are in no pair",
    }
    found = []
    for sentence in notes(runs, (*over, *fixed), [metric]):
        if "precision" in fixed and sentence.startswith("mixed precision"):  # it is what the claim compares
            continue
        for of_table, of_claim in words_of_claim.items():
            sentence = sentence.replace(of_table, of_claim)
        found.append(sentence)
    return found


def report(claim: JudgedClaim, metric: str, p: float | None, claims: int, margin: float) -> str:
    """The claim as a paragraph of Markdown."""
    unit, d = (" points", 2) if is_percent(metric) else ("", 4)
    effect, pairs = claim.found, sum(map(len, claim.cells.values()))
    between = "" if effect.interval is None else " [{:+.{d}f}, {:+.{d}f}]".format(*effect.interval, d=d)
    lines = [
        f"**{claim.text}: {claim.verdict(p, margin)}**",
        f"- {metric}: {effect.mean:+.{d}f}{unit}{between}, 95 % interval by a bootstrap over data set → data_seed → "
        f"seed; {pairs} pairs in {len(claim.cells)} cells, {effect.replicates} independent replicates in the smallest",
    ]
    if p is not None:
        lines.append(f"- p = {effect.p:.2g}" + (f", {p:.2g} by Holm over {claims} claims" if claims > 1 else ""))
    if claim.flipped is not None:
        exact, n = claim.flipped
        least = f", which can have none below {2.0 ** (1 - n):.2g}" if 2.0 ** (1 - n) > 0.05 else ""
        lines.append(f"- exact sign-flip p = {exact:.2g} over {n} label sets or seeds{least}")
    average = "" if claim.balanced else " on average over cells"
    lines.append(f"- better in {100 * claim.superiority:.0f} % of the pairs{average} (ties half)")
    against = {cell: float(np.mean([*c.values()])) for cell, c in claim.cells.items() if np.mean([*c.values()]) < 0}
    named = "; ".join(f"{_name(claim.over, cell)} {mean:+.{d}f}" for cell, mean in against.items())
    lines.append(f"- {len(against)} of {len(claim.cells)} cells go the other way" + (f": {named}" if named else ""))
    lines += [f"- {line}" for line in _sides(claim)]
    data_sets = len(distinct(claim.sides[0], ["dataset"]))
    if data_sets < FEWEST_DATA_SETS:
        lines.append(f"- {data_sets} data set(s): says nothing about others")
    if effect.replicates < FEWEST:
        lines.append(f"- fewer than {FEWEST} replicates: never called supported")
    count = needed(effect)
    if effect.error:
        text = "more than 1000" if count is None else str(count)
        lines.append(f"- an effect of this size needs {text} replicates (paired t test, 5 %, power 80 %)")
    if claim.unpaired:
        lines.append(f"- {claim.unpaired} runs without a partner are left out")
    lines += [f"- {sentence}" for sentence in claim.notes]
    return "\n".join(lines)


def _name(over: Sequence[str], cell: Key) -> str:
    return " ".join(f"{key}={value}" for key, value in zip(over, cell, strict=True)) or "the only cell"


def _sides(claim: JudgedClaim) -> list[str]:
    """Sentences on the cost of both sides and on what they were told."""
    lines = []
    for key, unit in (("cost/flops", "FLOPs"), ("cost/total_seconds", "s")):
        means = []
        for side in claim.sides:
            costs = values(side, key)
            means.append(float(np.mean(costs)) if costs else None)
        if means[0] is not None and means[1]:
            lines.append(
                f"compute: {means[0]:.3g} against {means[1]:.3g} {unit} a run ({means[0] / means[1]:.2f} times)"
            )
    told = [sorted({fact for run in side for fact in run.knows}) for side in claim.sides]
    lines += own_files(run for side in claim.sides for run in side)
    if any(told):
        lines.append("told: " + " against ".join(", ".join(facts) or "nothing" for facts in told))
    return lines


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command; its exit status is 0 for any verdict."""
    parser = Parser(prog=Door.here.tool("analysis.claim"), description="Is a claim supported by the runs?")
    parser.add_argument("runs", nargs="+", help="runs folders, and claims: 'plugin=sfa > plugin=none'")
    parser.add_argument("--over", help="keys whose values make a cell (default: the settings in which runs differ)")
    parser.add_argument("--metric", default="test/acc/final", help="one metric of which more is better")
    parser.add_argument("--where", **WHERE)
    parser.add_argument("--margin", type=float, help="smallest difference of interest (default: 1 point, or 0.01)")
    parser.add_argument("--ranks", help="average ranks of the values of these keys over data sets")
    parser.add_argument("-o", "--output", type=Path, help="with --ranks: a figure of who is told apart, .pdf or .png")
    options = parser.parse_args(arguments)
    texts = [word for word in options.runs if ">" in word]
    if not texts and not options.ranks:
        raise ConfigError("there is no claim; give one in quotes: 'plugin=sfa > plugin=none'")
    for option, given in (("--over", options.over), ("--margin", options.margin)):
        if given is not None and not texts:
            raise ConfigError(f"{option} has no effect without a claim: leave it out")
    if options.output and not options.ranks:
        raise ConfigError("-o has no effect without --ranks, whose figure it names: leave it out")
    folders = [Path(word) for word in options.runs if ">" not in word]
    if not folders:
        raise ConfigError(f"there is no runs folder among {' '.join(map(repr, texts))}: give one before the claims")
    runs, others = load(folders, options.where)
    metric = metric_name(runs, options.metric)
    check_metric(runs, metric)
    if not metric.startswith(HIGHER) or metric.startswith((*NEVER, *NEITHER)):
        raise ConfigError(f"{metric} has no better and worse, or is an oracle: claims are about other metrics")
    over = None if options.over is None else words(options.over)
    if texts:
        _print_claims([judge(runs, text, over, metric) for text in texts], metric, options.margin)
    if options.ranks:
        from analysis.ranks import draw, print_ranks, ranks  # pandas

        ranked = ranks(runs, words(options.ranks), metric)
        print_ranks(ranked)
        for sentence in own_files(runs):
            print(f"- {sentence}")
        if options.output:
            draw(ranked, options.output)
    for sentence in not_counted(others):
        print(f"\n{sentence}")


def _print_claims(claims: Sequence[JudgedClaim], metric: str, margin: float | None) -> None:
    if margin is None:
        margin = 1.0 if is_percent(metric) else 0.01
    tested = [claim.found.p for claim in claims if claim.found.p is not None]
    adjusted = iter(holm(tested))
    texts = []
    for claim in claims:
        p = None if claim.found.p is None else next(adjusted)
        texts.append(report(claim, metric, p, len(tested), margin))
    print("\n\n".join(texts))


if __name__ == "__main__":
    sys.exit(door(main))
