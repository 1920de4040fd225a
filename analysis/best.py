"""Mark the best and second best cells of a column, among comparable runs only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.columns import CHECKSUM, Run
from analysis.metrics import SECOND
from analysis.paired import Replicate, by_replicate, mean_std, paired_difference, values
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


def marks(column: Sequence[Sequence[Run]], metric: str) -> dict[int, Mark]:
    """Marks by position in the column of cells. A cell without comparable ones has none, nor does a metric without a
    better direction.

    Comparable are cells of one recipe, changed alike, on the same data (data set, tail, noise); a method that sees
    clean labels is left out. Cells that share fewer than three replicates with the best cannot be told from it by an
    interval: then only an equal mean is a tie.
    """
    if not metric.startswith(HIGHER) or metric.startswith((*NEVER, *NEITHER)):
        return {}
    compared = (
        position
        for position, members in enumerate(column)
        if values(members, metric) and not any("clean_labels" in run.knows for run in members)
    )
    marked: dict[int, Mark] = {}

    def protocol(at: int) -> tuple[object, ...]:
        run = column[at][0]
        return run.key(("recipe", CHECKSUM, *DATA)), run.changed

    for positions in grouped(compared, protocol).values():
        if len(positions) < 2:
            continue
        means = {position: mean_std(values(column[position], metric))[0] for position in positions}
        best = max(means, key=lambda position: means[position])
        best_runs = _replicates(column[best], metric)
        tied = {p for p in positions if means[p] == means[best] or _tied(column[p], best_runs, metric)}
        marked |= dict.fromkeys(tied, "best")
        rest = {position: mean for position, mean in means.items() if position not in tied}
        second = max(rest.values(), default=0.0)
        marked |= {position: "second" for position, mean in rest.items() if mean == second}
    return marked


def untested(column: Sequence[Sequence[Run]], metric: str) -> bool:
    """Whether a cell of a marked column has too few runs for an interval to tell it from the best."""
    return any(0 < len(values(members, metric)) < FEWEST for members in column)


def _replicates(members: Sequence[Run], metric: str) -> dict[Replicate, Run]:
    """The runs that have the metric, by replicate; none where the cell holds a replicate twice (in two precisions,
    which a note says): it has no pairs, and the table is shown.
    """
    alone = len({run.replicate for run in members}) == len(members)
    return by_replicate(members, metric) if alone else {}


def _tied(members: Sequence[Run], best_runs: Mapping[Replicate, Run], metric: str) -> bool:
    """Whether the paired interval contains 0; runs are a pair where they saw the same labels."""
    our_runs = _replicates(members, metric)
    common = [key for key in our_runs.keys() & best_runs.keys() if our_runs[key].labels == best_runs[key].labels]
    if len(common) < FEWEST:
        return False
    ours, theirs = (values((side[key] for key in common), metric) for side in (our_runs, best_runs))
    change = paired_difference(ours, theirs)
    assert change.interval is not None  # two pairs at least
    return change.interval[0] <= 0 <= change.interval[1]
