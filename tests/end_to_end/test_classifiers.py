"""A classifier on a run: trained first, or found finished, and never trained again."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sfa_bench.config.compose import compose
from sfa_bench.engine.posthoc import start

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["method=ce", "epochs=3", "warmup_epochs=1", "threads=1"]


def run(*typed, check=True):
    done = subprocess.run([sys.executable, ROOT / "run.py", *typed], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def records(folder):
    return {p.parent.parent.name: json.loads(p.read_text()) for p in folder.rglob("run.json")}


def test_the_run_below_is_trained_once_and_serves_every_classifier(tmp_path):
    where = f"runs_dir={tmp_path}"
    run(*SMALL, "plugin=sfa", "classifier=crt", "classifier.epochs=1", where)
    first = records(tmp_path)
    assert set(first) == {"ce+sfa", "ce+sfa+crt"}
    done = run(*SMALL, "plugin=sfa", "classifier=ncm", where)
    assert "already done" in done.stdout
    both = records(tmp_path)
    assert both["ce+sfa"] == first["ce+sfa"]
    fitted = both["ce+sfa+crt"]
    assert fitted["state"] == "done"
    assert fitted["config"]["classifier"]["name"] == "crt"
    assert fitted["cost"]["base"] == both["ce+sfa"]["hash"] != fitted["hash"]
    assert fitted["metrics"]["test/acc/joint"] == both["ce+sfa"]["metrics"]["test/acc/last"]
    assert fitted["metrics"]["test/acc/final"] != both["ce+sfa+ncm"]["metrics"]["test/acc/final"]
    before = (tmp_path / "digits" / "ce+sfa+crt" / fitted["hash"] / "predictions.npz").stat().st_mtime_ns
    assert "already done" in run(*fitted["command"].split()[2:]).stdout
    assert (tmp_path / "digits" / "ce+sfa+crt" / fitted["hash"] / "predictions.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize("tau", ["null", "0.3"])
def test_the_whole_curve_of_tau_is_said_and_kept(tmp_path, tau):
    typed = ["method=ce", "plugin=none", "epochs=1", "threads=1", "classifier=tau_norm", f"classifier.tau={tau}"]
    printed = io.StringIO()
    path = start(compose([*typed, f"runs_dir={tmp_path}"]), "run.py", Console(file=printed, width=999))
    (row,) = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    found = row["classifier"]["network_1"]
    assert [float(tau) for tau in found["curve"]] == pytest.approx([i / 10 for i in range(21)])
    assert found["tau"] == (0.3 if tau == "0.3" else float(max(found["curve"], key=found["curve"].get)))
    said = " ".join(f"{float(power):g}:{accuracy:.1f}" for power, accuracy in found["curve"].items())
    for text in (printed.getvalue(), (path / "log.txt").read_text()):
        assert f"network 1: tau {found['tau']:g}, accuracy by tau {said}" in text


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["method=ldam", "classifier=lws"], "needs a linear classifier"),
        (["method=ce", "classifier=crt", "keep_checkpoint=none"], "leave keep_checkpoint=none out"),
        (["method=ce", "classifier.lr=1"], "no effect with classifier=joint"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_training(tmp_path, typed, sentence):
    done = run(*typed, "plugin=none", f"runs_dir={tmp_path}/runs", check=False)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_run_whose_weights_are_gone_says_so(tmp_path):
    where = f"runs_dir={tmp_path}"
    run(*SMALL, "plugin=none", "keep_checkpoint=none", where)
    done = run(*SMALL, "plugin=none", "classifier=ncm", where, check=False)
    assert done.returncode == 1
    assert "are gone (keep_checkpoint=none, or analysis.status clean" in done.stderr
