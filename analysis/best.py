"""Mark the best and second best cells of a column, among comparable runs only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.columns import CHECKSUM, Run
from analysis.metrics import SECOND
from analysis.paired import Replicate, mean_std, paired_difference, values
from analysis.render import Mark
from analysis.runs import DATA, grouped

HIGHER = (
    *(f"{test}/{kind}" for test in ("test", SECOND) for kind in ("acc", "macro_f1", "top5")),
    *("val/acc", "val/macro_f1", "selection/"),
)
NEVER = (
    "test/acc/best",
    f"{SECOND}/acc/best",
    "val/acc/best",
    "test/acc/bayes",
    "selection/auc_bayes",
)  # oracles, bounds
NEITHER = (
    *("selection/counts", "selection/imbalance_ratio", "selection/classes_drawn", "selection/inverted"),
    *("selection/fallbacks", "selection/memorised", "selection/tv_to_clean_prior"),
)
ALONE = "bold is the highest mean alone where cells share fewer than 3 runs: no interval tells the others from it"
FEWEST = 3  # fewest pairs for an interval: with two it would be 12.7 standard errors wide
NOTE = (
    "Bold: the best of a column, and those whose paired 95 % interval to it contains 0; underlined: the best of the "
    "others; only within one recipe and on the same data, without methods that see clean labels."
)

Measured = Mapping[Replicate, tuple[str | None, float]]  # of each run the fingerprint of its labels, and a metric


def marks(column: Sequence[Sequence[Run]], metric: str) -> dict[int, Mark]:
    """Marks by position in the column of cells. A cell without comparable ones has none, nor does a metric without a
    better direction.

    Comparable are cells of one recipe, changed alike, on the same data (data set, tail, noise); a method that sees
    clean labels is left out. Cells that share fewer than three replicates with the best cannot be told from it by an
    interval: then only an equal mean is a tie.
    """
    if not metric.startswith(HIGHER) or metric.startswith((*NEVER, *NEITHER)):
        return {}
    numbers = {position: values(members, metric) for position, members in enumerate(column)}
    compared = (
        position
        for position, members in enumerate(column)
        if numbers[position] and not any("clean_labels" in run.knows for run in members)
    )
    marked: dict[int, Mark] = {}

    def protocol(at: int) -> tuple[object, ...]:
        run = column[at][0]
        return run.key(("recipe", CHECKSUM, *DATA)), run.changed

    for positions in grouped(compared, protocol).values():
        if len(positions) < 2:
            continue
        means = {position: mean_std(numbers[position])[0] for position in positions}
        best = max(means, key=lambda position: means[position])
        best_runs = _replicates(column[best], metric)
        tied = {p for p in positions if means[p] == means[best] or _tied(_replicates(column[p], metric), best_runs)}
        marked |= dict.fromkeys(tied, "best")
        rest = {position: mean for position, mean in means.items() if position not in tied}
        second = max(rest.values(), default=0.0)
        marked |= {position: "second" for position, mean in rest.items() if mean == second}
    return marked


def untested(column: Sequence[Sequence[Run]], metric: str) -> bool:
    """Whether a cell of a marked column has too few runs for an interval to tell it from the best."""
    return any(0 < len(values(members, metric)) < FEWEST for members in column)


def _replicates(members: Sequence[Run], metric: str) -> Measured:
    """The labels and the metric of the runs that have it, by replicate; none where the cell holds a replicate twice (in
    two precisions, which a note says): it has no pairs, and the table is shown.
    """
    if len({run.replicate for run in members}) < len(members):
        return {}
    return {run.replicate: (run.labels, value) for run in members if (value := run.number(metric)) is not None}


def _tied(ours: Measured, best: Measured) -> bool:
    """Whether the paired interval contains 0; runs are a pair where they saw the same labels."""
    common = ((ours[key], best[key]) for key in ours if key in best)
    pairs = [(value, other) for (labels, value), (their_labels, other) in common if labels == their_labels]
    if len(pairs) < FEWEST:
        return False
    change = paired_difference(*zip(*pairs, strict=True))
    assert change.interval is not None  # two pairs at least
    return change.interval[0] <= 0 <= change.interval[1]
