"""`analysis.status`: what the disk says of runs and sweeps (explanation/runs.md §6)."""

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor as Pool
from pathlib import Path

import pytest
from rich.console import Console

import sfa_bench
from analysis.status import live_table, main, status
from sfa_bench.store.claim import Claim
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.plans import PlannedRun, SweepPlan, read_plans, write_plan

ROOT = Path(sfa_bench.__file__).parents[1]


def begun(ledger, state, epochs_done, *, seconds=2.0, error=None, **other):
    path = ledger.add(0.0, state=state, epochs=10, **other)
    record = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(record | {"error": error}))
    for epoch in range(1, epochs_done + 1):
        RunFolder(path).append_metrics({"epoch": epoch, "seconds": seconds})
    return path


def said(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_every_state_is_counted_and_what_is_not_done_is_named(ledger, capsys):
    ledger.add(50.0, cost={"total_seconds": 30.0})
    running = begun(ledger, "running", 4, method="ce")
    failed = begun(ledger, "failed", 1, method="mae", error={"type": "RunError", "message": "the loss is nan"})
    begun(ledger, "interrupted", 9, method="gce")
    claim = Claim(running)
    assert claim.acquire() is None
    try:
        exit, out, _ = said(capsys, ledger.root)
    finally:
        claim.release()
    assert exit == 0
    assert out.startswith("1 done, 1 running, 1 interrupted, 1 failed; ")
    assert f"running: {running}, epoch 4 of 10, 0 min 12 s left" in out
    assert f"failed: {failed}, epoch 1 of 10: RunError: the loss is nan\n  again: python run.py" in out
    # 6 epochs of the running one, 1 of the interrupted one, 9 of the failed one, at 2 s, by one process
    assert "about 0 min 32 s left" in out


def test_a_running_run_whose_process_is_gone_is_stale(ledger):
    path = begun(ledger, "running", 3)
    program = "import os, pathlib, sys\nfrom sfa_bench.store.claim import Claim\n"
    program += "Claim(pathlib.Path(sys.argv[1])).acquire()"
    killed = subprocess.run([sys.executable, "-c", f"{program}; os._exit(9)", str(path)], cwd=ROOT)
    assert killed.returncode == 9
    found = status([ledger.root])
    assert [run.state for run in found.unfinished] == ["stale"]
    assert found.states == {"stale": 1}


def test_what_a_sweep_asked_for_and_nobody_began_is_missing(ledger, capsys):
    done = ledger.add(50.0, cost={"total_seconds": 30.0}).name
    runs = tuple(PlannedRun(hash, f"python run.py n={hash}") for hash in (done, "a" * 12, "b" * 12))
    write_plan(ledger.root, SweepPlan("python run.py -m …", runs))
    write_plan(ledger.root, SweepPlan("python run.py -m again", runs[1:]))
    _, out, _ = said(capsys, ledger.root, "--json")
    found = json.loads(out)
    assert found["missing"] == ["python run.py n=" + "a" * 12, "python run.py n=" + "b" * 12]
    assert {(sweep["done"], sweep["asked"]) for sweep in found["sweeps"]} == {(1, 3), (0, 2)}
    assert found["seconds_left"] == 60.0  # two like the finished one
    _, out, _ = said(capsys, ledger.root)
    assert "sweep 1 of 3 done: python run.py -m …" in out
    assert "missing: python run.py n=aaaaaaaaaaaa" in out


def test_time_left_is_that_of_like_runs_and_unknown_without_any(ledger):
    ledger.add(50.0, method="ce", cost={"total_seconds": 10.0})
    ledger.add(50.0, method="dividemix", cost={"total_seconds": 100.0})
    begun(ledger, "interrupted", 0, method="ce", replicate=1)
    assert status([ledger.root]).seconds_left == 10.0
    begun(ledger, "interrupted", 0, method="mae")
    assert status([ledger.root]).seconds_left == 10.0 + 55.0


def test_nothing_known_is_no_time(ledger):
    begun(ledger, "interrupted", 0)
    assert status([ledger.root]).seconds_left is None


def test_the_bytes_are_those_of_all_files(ledger):
    path = ledger.add(50.0)
    (path / "last.pt").write_bytes(b"x" * 5000)
    total = sum(file.stat().st_size for file in ledger.root.rglob("*") if file.is_file())
    assert status([ledger.root]).bytes_used == total > 5000


def test_a_second_process_counts_the_bytes_of_a_folder_with_an_index(many, monkeypatch):
    (many / ".index").mkdir(exist_ok=True)
    (many / ".index" / "derived.npz").write_bytes(b"not counted")
    files = [path for path in many.rglob("*") if path.is_file() and ".index" not in path.parts]
    total = sum(path.stat().st_size for path in files)
    processes = []
    monkeypatch.setattr(
        "analysis.status.ProcessPoolExecutor", lambda count: processes.append(Pool(count)) or processes[0]
    )
    assert status([many]).bytes_used == total
    assert len(processes) == (os.cpu_count() > 1)


def test_nothing_there_is_a_sentence(tmp_path, capsys):
    assert said(capsys, tmp_path / "no") == (2, "", f"refused: there is no folder {tmp_path / 'no'}\n")
    assert said(capsys, tmp_path) == (2, "", f"refused: there is neither a run nor a sweep in {tmp_path}\n")


def test_the_board_has_a_bar_for_every_sweep_and_every_run_that_is_not_done(ledger):
    done = ledger.add(50.0, cost={"total_seconds": 30.0})
    begun(ledger, "failed", 3, method="mae", error={"type": "RunError", "message": "the loss is [nan]"})
    begun(ledger, "running", 5, method="ce")
    runs = tuple(PlannedRun(hash, "python run.py") for hash in (done.name, "a" * 12))
    write_plan(ledger.root, SweepPlan("python run.py -m method=ce,mae", runs))
    console = Console(width=160, file=io.StringIO())
    console.print(live_table(status([ledger.root])))
    text = console.file.getvalue()
    assert "1 done, 1 stale, 1 failed, 1 missing" in text
    (sweep,) = [line for line in text.splitlines() if "method=ce,mae" in line]
    assert "1/2" in sweep
    assert sweep.count("━") == 8  # of 16
    (stale, failed) = [line for line in text.splitlines() if "/10" in line]
    assert stale.split()[:3] == ["stale", next(p for p in stale.split() if "/ce/" in p), "5/10"]
    assert "0 min 10 s" in stale
    assert "its process is gone" in stale
    assert "RunError: the loss is [nan]" in failed


def test_watching_ends_when_all_is_done(ledger, capsys):
    ledger.add(50.0)
    assert said(capsys, ledger.root, "--watch", "0.2")[0] == 0


@pytest.mark.parametrize("content", ["", "[]", '{"command": "x"}', '{"command": "x", "runs": [{}]}'])
def test_a_broken_plan_is_left_out(tmp_path, content, caplog):
    write_plan(tmp_path, SweepPlan("whole", (PlannedRun("a", "b"),)))
    (tmp_path / ".sweeps" / "0.json").write_text(content)
    assert [plan.command for plan in read_plans(tmp_path)] == ["whole"]
    assert "is left out" in caplog.text


def test_the_same_sweep_is_one_plan_whatever_its_order(tmp_path):
    runs = (PlannedRun("a", "1"), PlannedRun("b", "2"))
    assert write_plan(tmp_path, SweepPlan("x", runs)) == write_plan(tmp_path, SweepPlan("y", runs[::-1]))
    write_plan(tmp_path, SweepPlan("z", runs[:1]))
    assert len(os.listdir(tmp_path / ".sweeps")) == 2


def test_a_sweep_leaves_its_plan_and_status_finds_its_runs(tmp_path):
    typed = ["-m", "method=ce", "plugin=none", "epochs=2", "threads=1", "replicate=0,1", "imb_factor=0.05"]
    runs = f"runs_dir={tmp_path / 'runs'}"
    subprocess.run([sys.executable, "run.py", *typed, runs], cwd=ROOT, check=True, capture_output=True)
    found = status([tmp_path / "runs"])
    (sweep,) = found.sweeps
    assert (sweep.asked, sweep.done, found.missing) == (2, 2, [])
    assert found.states == {"done": 2}
    (plan,) = read_plans(tmp_path / "runs")
    assert {run.hash for run in plan.runs} == {path.parent.name for path in (tmp_path / "runs").glob("*/*/*/run.json")}
