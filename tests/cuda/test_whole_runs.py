"""A whole run is as good as on the CPU: accuracy and selection lie within the spread of the CPU's replicates."""

import csv
import math
import statistics
from concurrent.futures import ThreadPoolExecutor

import pytest
from proof import ROOT, records, run

KEPT = ROOT / "results" / "digits_all" / "runs.csv"  # five replicates of each, made on a CPU
WHOLE = {"ce": ("method=ce", "plugin=none"), "dividemix + sfa": ("method=dividemix", "plugin=sfa")}
DATA = ("dataset=digits", "noise=joint", "noise_ratio=0.5", "imb_factor=0.1", "threads=1")
FIGURES = ("test/acc/final", "selection/auc")  # of a run without a selection there is no second


def on_the_cpu(words, figure):
    """What the kept runs of this method have."""
    method, plugin = (word.partition("=")[2] for word in words)
    wanted = {"method": method, "plugin": plugin, "noise": "joint", "noise_ratio": "0.5"}
    with open(KEPT, newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row[key] == value for key, value in wanted.items())]
    return [float(row[figure]) for row in rows if row["method.selector.name"] != "oracle" and row[figure]]


def value(record, figure):
    part, _, key = figure.partition("/")
    return record["metrics"][figure] if part == "test" else (record["selection"] or {}).get(key)


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_run_is_as_good_as_on_the_cpu(name, device, rehearse, measured, tmp_path):
    # In the rehearsal one short run: that it is counted, not that it is as good.
    words, replicates = [*DATA, *WHOLE[name], f"device={device.type}"], (0, 1, 2)
    if rehearse:
        words, replicates = [*words, "epochs=10"], (0,)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda r: run(*words, f"replicate={r}", runs=tmp_path), replicates))
    done = [record for _, record in records(tmp_path)]
    assert [record["state"] for record in done] == ["done"] * len(replicates)
    for figure in FIGURES[: 2 if "sfa" in name else 1]:
        ours, theirs = [value(record, figure) for record in done], on_the_cpu(WHOLE[name], figure)
        assert len(theirs) == 5
        measured(**{figure: ours, f"{figure} on the CPU": theirs})
        # The means of n and 5 replicates of the same thing are further apart than this in 3 of 1,000 cases.
        apart = 3 * statistics.stdev(theirs) * math.sqrt(1 / len(ours) + 1 / len(theirs))
        assert rehearse or abs(statistics.mean(ours) - statistics.mean(theirs)) <= apart, figure
