"""`analysis.status clean`: what goes is no longer needed, and nothing else goes."""

import json
import shutil

import pytest

from analysis.status import main
from sfa_bench.store.claim import Claim
from sfa_bench.store.plans import PlannedRun, SweepPlan, write_plan


@pytest.fixture
def runs(ledger):
    """Of each state a run with its checkpoints, and a warm-up of each kind; returns the folders by name."""
    found = {name: ledger.add(50.0, method=name, state=name) for name in ("done", "interrupted", "failed")}
    found["all"] = ledger.add(50.0, method="all", keep_checkpoint="all")
    found["held"] = ledger.add(50.0, method="held")
    for path in found.values():
        for name in ("last.pt", "previous.pt", ".last.pt.1.ab.tmp", "metrics.jsonl", "notes.tmp"):
            (path / name).write_bytes(b"x" * 100)
    plan = [PlannedRun(found["done"].name, "", "a" * 12), PlannedRun(found["interrupted"].name, "", "b" * 12)]
    write_plan(ledger.root, SweepPlan("python run.py -m", tuple(plan)))
    for name in ("a" * 12, "b" * 12, "c" * 12):
        inner = ledger.root / ".warmup" / name / "d"
        inner.mkdir(parents=True)
        (inner / "last.pt").write_bytes(b"x" * 1000)
    found["warmups"] = ledger.root / ".warmup"
    return found


def files(root):
    return {path for path in root.rglob("*") if path.is_file()}


def removed(ledger, *words):
    before = files(ledger.root)
    assert main(["clean", str(ledger.root), *words]) == 0
    return before - files(ledger.root)


def test_what_can_be_made_again_or_is_of_no_use_goes(ledger, runs, capsys):
    claims = [Claim(runs["held"]), Claim(runs["warmups"] / ("c" * 12) / "d")]
    assert [claim.acquire() for claim in claims] == [None, None]
    try:
        gone = removed(ledger)
    finally:
        for claim in claims:
            claim.release()
    free = [runs[name] for name in ("done", "interrupted", "failed", "all")]
    assert gone == {
        runs["done"] / "previous.pt",
        *(path / ".last.pt.1.ab.tmp" for path in free),
        runs["warmups"] / ("a" * 12) / "d" / "last.pt",  # b: of a run to come; c: somebody is at it
    }
    out = capsys.readouterr().out
    assert "a shared warm-up of finished runs" in out
    assert out.endswith("removed 6, 0.0 MB\n")


def test_weights_of_finished_runs_go_only_where_that_is_asked_for(ledger, runs):
    removed(ledger)
    assert removed(ledger, "--weights") == {runs[name] / "last.pt" for name in ("done", "all", "held")}


def test_a_dry_run_removes_nothing(ledger, runs, capsys):
    assert removed(ledger, "--dry-run", "--weights") == set()
    assert "would remove 12" in capsys.readouterr().out


def test_checkpoints_of_a_run_that_is_done_under_another_name_go(ledger):
    done = ledger.add(50.0, method="ce")
    other = ledger.add(50.0, method="mine", state="interrupted")
    record = json.loads((other / "run.json").read_text()) | {"hash": done.name}
    (other / "run.json").write_text(json.dumps(record))
    (other / "last.pt").write_bytes(b"x")
    assert removed(ledger) == {other / "last.pt"}


def test_what_is_done_in_another_runs_folder_ends_nothing_here(ledger, tmp_path):
    here = ledger.add(50.0, method="ce", state="interrupted")
    (here / "last.pt").write_bytes(b"x")
    there = tmp_path / "elsewhere" / "digits" / "ce" / here.name
    shutil.copytree(here, there)
    record = json.loads((there / "run.json").read_text()) | {"state": "done"}
    (there / "run.json").write_text(json.dumps(record))
    assert main(["clean", str(ledger.root), str(ledger.root / "."), str(tmp_path / "elsewhere")]) == 0
    assert (here / "last.pt").exists()


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path, capsys):
    assert main(["clean", str(tmp_path / "no")]) == 2
    assert "there is no folder" in capsys.readouterr().err
