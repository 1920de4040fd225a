"""Runs and sweeps from Python: what they return and raise, and that the process is as it was."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

import sfa_bench
from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.engine.signals import StopAtStep
from sfa_bench.main import main
from sfa_bench.methods.base import Method

SMALL = {"method": "ce", "plugin": "none", "epochs": 2, "threads": 1, "quiet": True}


def test_importing_it_loads_nothing_heavy():
    code = "import sys, sfa_bench; print({'torch', 'hydra', 'pandas', 'numpy'} & set(sys.modules), sfa_bench.testing)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("set() <module 'sfa_bench.testing'")


def test_a_run_is_that_of_the_command_line(tmp_path):
    run = sfa_bench.run(runs_dir=tmp_path / "a b=[1]", noise_ratio=0.2, **SMALL)
    assert main(["method=ce", "plugin=none", "epochs=2", "noise_ratio=0.2", "threads=1", f"runs_dir={tmp_path}/c"]) == 0
    (path,) = tmp_path.glob("c/*/*/*/run.json")
    record = json.loads(path.read_text())
    assert (run.hash, run.state, run.metrics) == (record["hash"], "done", record["metrics"])
    assert run.path == tmp_path / "a b=[1]" / path.parent.relative_to(tmp_path / "c")
    assert run.config["noise_ratio"] == 0.2
    assert run.config["runs_dir"] == f"{tmp_path}/a b=[1]"


def test_a_finished_run_is_found(tmp_path, monkeypatch, capsys):
    first = sfa_bench.run(runs_dir=tmp_path, **SMALL)
    monkeypatch.setattr(Method, "plain_batches", None)  # with which nothing can be trained
    assert sfa_bench.run(runs_dir=tmp_path, **SMALL).metrics == first.metrics
    assert capsys.readouterr() == ("", "")


def test_the_process_is_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mine", "--own"])
    torch.set_num_threads(2)
    handler = signal.signal(signal.SIGTERM, lambda number, frame: None)
    state = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    before = [(lib["filepath"], lib["num_threads"]) for lib in threadpool_info()]
    try:
        mine = signal.getsignal(signal.SIGTERM)
        sfa_bench.run(runs_dir=tmp_path, **SMALL)
        assert torch.get_num_threads() == 2
        assert [(lib["filepath"], lib["num_threads"]) for lib in threadpool_info()][: len(before)] == before
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert StopAtStep.ends_process
    assert sys.argv == ["mine", "--own"]
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]


def test_it_runs_outside_of_the_main_thread(tmp_path):
    runs = []
    for replicate in (0, 1):
        job = threading.Thread(
            target=lambda r: runs.append(sfa_bench.run(runs_dir=tmp_path, replicate=r, **SMALL)), args=(replicate,)
        )
        job.start()
        job.join()
    assert sorted(run.config["seed"] for run in runs) == [0, 1]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"noise_rate": 0.2}, "unknown key noise_rate; did you mean noise_ratio?"),
        ({"noise_ratio": 20}, "did you mean 0.2?"),
        ({"method": ["ce"]}, "must be one of"),
        ({"method": "ce,gce"}, "several values make a sweep"),
        ({"method": "ce", "plugin.beta": 0.5, "plugin": "none"}, "plugin.beta has no effect with plugin=none"),
    ],
)
def test_what_the_command_line_refuses_is_a_config_error(keys, sentence, tmp_path):
    with pytest.raises(sfa_bench.ConfigError) as refused:
        sfa_bench.run(runs_dir=tmp_path, quiet=True, **keys)
    assert sentence in str(refused.value)
    assert not any(tmp_path.iterdir())


def test_a_run_that_fails_is_a_run_error_and_recorded(tmp_path):
    with pytest.raises(sfa_bench.RunError, match="not finite"):
        sfa_bench.run(runs_dir=tmp_path, lr=1e12, **SMALL)
    (run,) = sfa_bench.load(tmp_path)
    assert run.state == "failed"
    assert run.metrics == {}
    with pytest.raises(sfa_bench.ConfigError, match=r"predictions.npz cannot be read: the run is failed"):
        run.predictions  # noqa: B018


def interrupting(monkeypatch, at, times=1):
    """Send SIGINT to this process before the epoch `at`, as Ctrl-C and a notebook's stop button do."""
    from sfa_bench.methods.single import Single

    train = Single.epoch

    def epoch(self, e):
        if e == at:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return train(self, e)

    monkeypatch.setattr(Single, "epoch", epoch)


@pytest.mark.parametrize(("times", "state"), [(1, "interrupted"), (2, "running")])
def test_an_interrupted_run_goes_on_to_the_same_bits(times, state, tmp_path, monkeypatch):
    whole = sfa_bench.run(runs_dir=tmp_path / "whole", **{**SMALL, "epochs": 4})
    keys = {**SMALL, "epochs": 4, "runs_dir": tmp_path / "cut", "checkpoint_seconds": 0}
    with monkeypatch.context() as patch:
        interrupting(patch, at=3, times=times)
        with pytest.raises(KeyboardInterrupt):
            sfa_bench.run(**keys)
    (cut,) = sfa_bench.load(tmp_path / "cut")
    assert cut.state == state
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(cut.epochs) == 2
    again = sfa_bench.run(**keys)
    assert again.metrics == whole.metrics
    assert all(np.array_equal(again.predictions[key], values) for key, values in whole.predictions.items())


def test_a_sweep_does_what_is_missing_in_the_order_of_its_axes(tmp_path, capsys):
    done = sfa_bench.run(runs_dir=tmp_path, replicate=1, noise_ratio=0.2, **SMALL)
    keys = SMALL | {"method": ["ce", "gce"], "quiet": False}
    runs = sfa_bench.sweep(runs_dir=tmp_path, replicate="range(0,2)", noise_ratio=[0.2], **keys)
    words = [f"method={m} plugin=none epochs=2 replicate={r} noise_ratio=0.2" for r in (0, 1) for m in ("ce", "gce")]
    assert [run.hash for run in runs] == [run_hash(compose(text.split())) for text in words]
    assert runs[2].path == done.path
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "sweep of 4: 3 to run, 1 done"
    assert [line.split(" · ")[0] for line in out[1:]] == ["[1/3] ce", "[2/3] gce", "[3/3] gce"]
    assert (tmp_path / ".sweeps").is_dir()


def test_a_sweep_names_what_failed_after_the_rest_is_done(tmp_path):
    with pytest.raises(sfa_bench.RunError, match=r"1 of 2 runs are not done: .* lr=1000000000000.0 .*not finite"):
        sfa_bench.sweep(runs_dir=tmp_path, lr=[1e12, 0.02], **SMALL)
    assert sorted(run.state for run in sfa_bench.load(tmp_path)) == ["done", "failed"]


def test_runs_that_begin_with_the_same_epochs_share_them(tmp_path):
    keys = {"warmup_epochs": 1, "epochs": 2, "threads": 1, "quiet": True, "plugin.beta": [0.5, 0.9]}
    first, second = sfa_bench.sweep(runs_dir=tmp_path, **keys)
    assert second.record["cost"]["shared"]["run"] == first.hash


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"method": "elr", "plugin": ["sfa", "ibc"]}, "no combination of this sweep makes sense, so nothing was run: "),
        ({"method": ["ce", "gec"]}, "method=gec: must be one of"),
        ({"hydra/launcher": "joblib"}, "hydra/launcher: launchers are for the command"),
        ({"seed": "range(0,3000000)"}, "at most 2,000,000 are allowed"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(keys, sentence, tmp_path):
    with pytest.raises(sfa_bench.ConfigError) as refused:
        sfa_bench.sweep(runs_dir=tmp_path, **keys)
    assert sentence in str(refused.value)


def test_a_choice_of_ones_own_comes_with_its_folder(tmp_path):
    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "its_own.py").write_text(
        "import torch.nn.functional as F\n\n\ndef soft(logits, labels, class_counts, *, by: float = 1.0):\n"
        "    return F.cross_entropy(logits / by, labels, reduction='none')\n"
    )
    (tmp_path / "conf/loss/soft.yaml").write_text("_target_: its_own.soft\nby: 2.0\n")
    keys = SMALL | {"loss": "soft", "loss.by": 1.5, "epochs": 1}
    run = sfa_bench.run(config_dir=tmp_path / "conf", runs_dir=tmp_path / "runs", **keys)
    assert run.config["method"]["loss"]["by"] == 1.5
    assert f"--config-dir {tmp_path}/conf" in run.record["command"]


def test_the_package_of_sweeps_is_still_a_package():
    import sfa_bench.sweep.plan as imported

    assert sfa_bench.sweep.plan is imported
    assert "run after run" in sfa_bench.sweep.__doc__
