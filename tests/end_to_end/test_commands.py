"""The commands of explanation/runs.md §1 as a user types them: what they print and their exit status."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sfa_bench.main import main

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["method=ce", "plugin=none", "epochs=2", "threads=1"]


def command(*arguments, cwd=ROOT):
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("imb_factor=100", "did you mean 0.01?"),
        ("noise_ratio=40", "0.4"),
        ("noize=joint", "did you mean noise"),
        ("+beta=2", "unknown key beta"),
        ("plugin=sfb", "did you mean plugin=sfa?"),
        ("epochs=ten", "epochs=ten"),
        ("warmup_epochs=60", "set warmup_epochs below 60"),
        ("method=ce,dividemix", "-m"),
        ("recipe=native", "recipe=matched"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(typed, hint, capsys, tmp_path):
    assert main([typed, f"runs_dir={tmp_path}/runs"]) == 2
    message = capsys.readouterr().err
    assert hint in message
    assert "Traceback" not in message
    assert len(message.strip().splitlines()) <= 2
    assert not (tmp_path / "runs").exists()


def test_questions_are_answered_without_torch(tmp_path):
    code = (
        "import sys; from sfa_bench.main import main; status = [main(['--help']), main(['--cfg', 'job']), "
        "main(['imb_factor=100'])]; assert status == [0, 0, 2], status; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_cfg_job_prints_the_resolved_configuration(capsys):
    assert main(["--cfg", "job", "dataset=fashion_mnist", "epochs=20"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["epochs"], shown["warmup_epochs"], shown["model"]["width"]) == (20, 4, 16)


def test_one_run_from_another_folder_leaves_only_its_runs(tmp_path):
    status, output, errors = command(*QUICK, cwd=tmp_path)
    assert status == 0, errors
    assert "ce · digits exp 0.1 · joint 0.4 · replicate 0" in output
    assert "final (mean of the last epochs)" in output
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]
    (path,) = (tmp_path / "runs").glob("digits/ce/*/run.json")
    assert json.loads(path.read_text())["command"].startswith("python run.py method=ce plugin=none")


def test_a_sweep_runs_what_is_missing_once_and_reports_the_rest(tmp_path):
    sweep = ["-m", *QUICK, "replicate=0,0,1", "lr=0.02,1e30", f"runs_dir={tmp_path}/runs"]
    status, output, errors = command(*sweep, cwd=tmp_path)
    assert status == 1
    assert "sweep of 6: 4 to run, 0 done, 2 asked for twice" in output
    assert "2 of 4 runs done" in output
    assert re.search(r"\| lr +\| test/acc/final +\|\n.*\n\| 0.02 +\| [\d.]+ ± [\d.]+ \(2\) \|", output)
    assert errors.count("failed: ") == 2
    assert "again: python run.py method=ce" in errors
    assert {p.name for p in tmp_path.iterdir()} == {"runs"}
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {".hydra", ".sweeps", "digits"}

    status, output, _ = command("-m", *QUICK, "replicate=0,1", f"runs_dir={tmp_path}/runs", cwd=tmp_path)
    assert status == 0
    assert "sweep of 2: 0 to run, 2 done" in output


def test_a_parallel_sweep_lists_what_does_not_go_together_and_runs_the_rest(tmp_path):
    sweep = ["method=ce,rolt_plus", "plugin=sfa", "epochs=2", "warmup_epochs=1", "replicate=0,1"]
    status, output, errors = command("-m", *sweep, "hydra/launcher=joblib", f"runs_dir={tmp_path}/runs")
    assert status == 0, errors
    assert "sweep of 4: 2 to run, 0 done, 2 not valid" in output
    assert output.count("not valid: method=rolt_plus") == 2
    name = r"ce \+ sfa · replicate [01] · \d+\.\d %"
    assert len(re.findall(rf"^\[1/2\] {name} · \d+ (s|min) left$", output, re.MULTILINE)) == 1
    assert len(re.findall(rf"^\[2/2\] {name}$", output, re.MULTILINE)) == 1
    assert [path.suffix for path in (tmp_path / "runs/.sweeps").iterdir()] == [".json"]  # what counted them is gone
    records = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("*/*/*/run.json")]
    assert [record["state"] for record in records] == ["done", "done"]
    # Two workers share the cores.
    assert {record["environment"]["threads"] for record in records} == {max(1, len(os.sched_getaffinity(0)) // 2)}


def test_a_sweep_with_a_value_that_exists_nowhere_trains_nothing(tmp_path):
    status, _, errors = command("-m", "method=ce,dividemx", f"runs_dir={tmp_path}/runs", cwd=tmp_path)
    assert status == 2
    assert "did you mean method=dividemix?" in errors
    assert not (tmp_path / "runs").exists()
