"""No run that the repository keeps becomes another run: each row of results/*/runs.csv, asked for by its command."""

import csv
import shlex
from pathlib import Path

import pytest

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import requested

ROOT = Path(__file__).resolve().parents[2] / "results"
FOLDERS = sorted(path.parent.name for path in ROOT.glob("*/runs.csv"))
# Runs whose results have changed since they were kept: the words that their commands have in common -> why.
MOVED: dict[tuple[str, ...], str] = {
    ("dataset=digits", "method=ngce", "noise=symmetric"): "they had 1 where the original scales this loss by 10",
}


def rows(folder):
    with (ROOT / folder / "runs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def moved(words):
    return [common for common in MOVED if set(common) <= set(words)]


def test_there_are_runs_to_hold_the_hashes_to():
    assert sum(len(rows(folder)) for folder in FOLDERS) >= 1924


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_kept_command_still_means_its_run(folder):
    others = []
    for row in rows(folder):
        python, script, *words = shlex.split(row["command"])
        assert (python, script) == ("python", "run.py")
        if (run_hash(requested(words)) == row["hash"]) is bool(moved(words)):
            others.append(row["command"])
    assert not others


def test_every_known_move_is_of_a_kept_run():
    commands = [shlex.split(row["command"]) for folder in FOLDERS for row in rows(folder)]
    assert all(any(set(common) <= set(words) for words in commands) for common in MOVED)
