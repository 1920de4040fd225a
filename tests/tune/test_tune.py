"""`sfa-bench tune` (guides/tuning.md): one budget for every method, killed and continued, and never a test sample."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from analysis.runs import load
from sfa_bench.config.compose import compose
from sfa_bench.data.sources import digits
from sfa_bench.engine.run import run as train
from sfa_bench.errors import ConfigError
from sfa_bench.store.ledger import records
from sfa_bench.tune.command import main
from sfa_bench.tune.runner import Runner
from sfa_bench.tune.study import Study

optuna = pytest.importorskip("optuna", reason="the extra `tune` is not installed")

SMALL = ["plugin=none", "epochs=6", "imb_factor=0.1", "noise_ratio=0.2", "threads=1", "dataset.val=noisy"]
HERE = [*SMALL, "isolate=false"]
LR = "lr=tag(log,interval(1e-3,1e-1))"


def journals(runs):
    """Folder of each study below a runs folder → (overrides, value, state) of its trials, read by Optuna; without
    those that are being asked for, or were when the process was killed.
    """
    found = {}
    for path in sorted(runs.glob(".tune/*/*/*/optuna.log")):
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
        trials = optuna.load_study(study_name="tune", storage=storage).trials
        asked = [t for t in trials if "words" in t.user_attrs]
        found[str(path.parent.relative_to(runs))] = [(t.user_attrs["words"], t.value, t.state.name) for t in asked]
    return found


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """Three methods, three trials each, without a stop."""
    runs = tmp_path_factory.mktemp("tuned") / "runs"
    assert main([LR, "method=ce,gce,elr", *HERE, f"runs_dir={runs}", "--trials", "3"]) == 0
    return runs


def test_every_method_gets_the_same_budget_and_a_killed_one_goes_on_as_if_it_had_not_stopped(
    tuned, tmp_path, monkeypatch, capsys
):
    expected = journals(tuned)
    assert sorted(folder.split("/")[2] for folder in expected) == ["ce", "elr", "gce"]
    assert all([state for _, _, state in trials] == ["COMPLETE"] * 3 for trials in expected.values())

    original, made = Runner.run, []

    def run(self, config, command):
        made.append(command)
        if len(made) == 5:  # the second trial of the second method has been asked for
            raise Killed
        return original(self, config, command)

    command = [LR, "method=ce,gce,elr", *HERE, f"runs_dir={tmp_path}", "--trials", "3"]
    monkeypatch.setattr(Runner, "run", run)
    with pytest.raises(Killed):
        main(command)
    assert sum(len(trials) for trials in journals(tmp_path).values()) == 5
    assert main(command) == 0
    assert journals(tmp_path) == expected
    assert len(made) == 5 + 5
    capsys.readouterr()
    assert main(command) == 0  # all is done: nothing is trained again
    assert len(made) == 10
    said = capsys.readouterr().out
    assert "tune: ce, gce, elr; 3 trials each, by val/acc on data_seed 1000" in said
    assert [line for line in said.splitlines() if "already" in line] == [
        f"{method} · 3 of 3 trials are there already" for method in ("ce", "gce", "elr")
    ]
    assert said.strip().splitlines()[-1].endswith("--trials 3 --report")


@pytest.mark.parametrize("step", ["suggest_float", "set_user_attr"])
def test_a_trial_that_was_being_asked_for_at_the_kill_is_asked_for_again(tuned, tmp_path, monkeypatch, capsys, step):
    original, made = getattr(optuna.trial.Trial, step), []

    def cut(self, *args, **options):
        made.append(step)
        if len(made) == 2:
            raise Killed
        return original(self, *args, **options)

    command = [LR, "method=ce", *HERE, f"runs_dir={tmp_path}", "--trials", "3"]
    monkeypatch.setattr(optuna.trial.Trial, step, cut)
    with pytest.raises(Killed):
        main(command)
    capsys.readouterr()
    assert main(command) == 0
    (found,) = journals(tmp_path).values()
    assert found == next(trials for folder, trials in journals(tuned).items() if "/ce/" in folder)
    said = capsys.readouterr().out
    assert "ce · 1 of 3 trials are there already" in said
    assert [line.split(" · ")[1] for line in said.splitlines() if "ce · trial" in line] == [
        "trial 2 of 3",
        "trial 3 of 3",
    ]
    (log,) = tmp_path.rglob("optuna.log")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    trials = optuna.load_study(study_name="tune", storage=storage).trials
    assert [t.state.name for t in trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_more_trials_go_on_and_fewer_take_the_first(tuned, tmp_path, capsys):
    command = [LR, "method=ce", *HERE, f"runs_dir={tmp_path}"]
    assert main([*command, "--trials", "2"]) == 0
    assert "already" not in capsys.readouterr().out
    assert main([*command, "--trials", "3"]) == 0
    assert "ce · 2 of 3 trials are there already" in capsys.readouterr().out
    (found,) = journals(tmp_path).values()
    assert found == next(trials for folder, trials in journals(tuned).items() if "/ce/" in folder)
    assert main([*command, "--trials", "1"]) == 0
    (first,) = tmp_path.rglob("chosen_1.json")
    assert json.loads(first.read_text())["words"] == found[0][0]


def test_a_trials_value_is_the_accuracy_on_the_validation_set_of_its_runs(tmp_path):
    assert main([LR, "method=ce", *HERE, f"runs_dir={tmp_path}", "--trials", "2", "--seeds", "1000,7"]) == 0
    ((folder, trials),) = journals(tmp_path).items()
    made = [record for _, record in records([tmp_path / folder / "runs"])]
    for words, value, _ in trials:
        lr = float(words[0].partition("=")[2])
        own = [r for r in made if r["config"]["lr"] == lr]
        assert sorted(r["config"]["data_seed"] for r in own) == [7, 1000]
        assert value == pytest.approx(np.mean([r["metrics"]["val/acc"] for r in own]))
        assert not any(v is not None for r in own for k, v in r["metrics"].items() if k.startswith("test"))
    (chosen,) = tmp_path.rglob("chosen_2.json")
    best = json.loads(chosen.read_text())
    assert best["value"] == max(value for _, value, _ in trials)
    assert best["data_seeds"] == [1000, 7]


class Unreadable:
    """A test set that fails whatever is done with it."""

    def __getattribute__(self, name):
        raise AssertionError(f"the test set was read: {name}")

    __getitem__ = __len__ = __iter__ = __array__ = __bool__ = __eq__ = __getattribute__


def test_tuning_never_reads_the_test_set(tuned, tmp_path, monkeypatch):
    original = digits.load

    def without_test(*arguments):
        source = original(*arguments)
        return replace(source, test_images=Unreadable(), test_labels=Unreadable())

    monkeypatch.setattr(digits, "load", without_test)
    assert main([LR, "method=ce", *HERE, f"runs_dir={tmp_path}", "--trials", "3"]) == 0
    (found,) = journals(tmp_path).values()
    assert found == next(trials for folder, trials in journals(tuned).items() if "/ce/" in folder)
    with pytest.raises(Exception, match="the test set was read"):  # as any other run reads it
        train(compose(["method=ce", *HERE, f"runs_dir={tmp_path}"]), "", Console(file=io.StringIO()))


def test_the_report_is_on_other_seeds_and_its_rows_say_tuned(tmp_path, capsys):
    command = ["lr=0.01,0.05", "method=ce,gce", *HERE, f"runs_dir={tmp_path}", "--trials", "2"]
    assert main([*command, "--report-seeds", "0,1", "--report"]) == 0
    said = capsys.readouterr().out
    assert "tuned, 2 trials" in said
    runs, _ = load([tmp_path])  # the trials are not among them
    assert len(runs) == 4
    for run in runs:
        method, lr = run.fields["method"], run.fields["lr"]
        (chosen,) = tmp_path.glob(f".tune/digits/{method}/*/chosen_2.json")
        assert json.loads(chosen.read_text())["values"] == {"lr": lr}
        assert run.fields["tuned.trials"] == 2
        assert run.fields["data_seed"] in (0, 1)
        assert run.metrics["test/acc/final"] is not None
        assert run.record["data"]["samples"]["test"] == 359
        assert run.record["data"]["samples"]["val"] == 0  # trained on all samples
        assert run.record["knows"] == []


def test_a_report_tells_that_its_values_were_chosen_on_clean_labels(tmp_path, capsys):
    words = [word for word in HERE if word != "dataset.val=noisy"]
    command = ["lr=0.01,0.05", "method=ce", *words, "dataset.val=clean_balanced", f"runs_dir={tmp_path}"]
    assert main([*command, "--trials", "1", "--report-seeds", "0", "--report"]) == 0
    assert "told clean_val" in capsys.readouterr().out
    ((run,), _) = load([tmp_path])
    assert run.record["knows"] == ["clean_val"]


def test_failed_trials_count_and_are_said(tmp_path, capsys):
    """1e30 gives a loss that is not finite."""
    command = ["lr=0.01,1e+30", "method=ce", *HERE, f"runs_dir={tmp_path}", "--trials", "4"]
    assert main(command) == 0
    ((_, trials),) = journals(tmp_path).items()
    assert len(trials) == 4
    failed = [words for words, _, state in trials if state == "FAIL"]
    assert failed
    assert all(words == ["lr=1e+30"] for words in failed)
    said = capsys.readouterr().out
    assert "lr=1e+30 · failed: " in said
    (chosen,) = tmp_path.rglob("chosen_4.json")
    assert json.loads(chosen.read_text())["failed"] == len(failed)
    assert json.loads(chosen.read_text())["values"] == {"lr": 0.01}


def test_killed_at_work_with_two_jobs_it_goes_on_to_the_same_number_of_trials(tmp_path):
    command = [sys.executable, "-m", "sfa_bench", "tune", LR, "method=ce", *SMALL, f"runs_dir={tmp_path}"]
    command += ["--trials", "5", "--jobs", "2"]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if "trial 2 of 5" in line or "trial 1 of 5" in line:
                while not any(state == "RUNNING" for trials in journals(tmp_path).values() for *_, state in trials):
                    time.sleep(0.01)  # both are between two trials
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    (before,) = journals(tmp_path).values()
    assert any(state == "RUNNING" for *_, state in before)
    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert again.returncode == 0, again.stderr
    (after,) = journals(tmp_path).values()
    assert [state for *_, state in after] == ["COMPLETE"] * 5
    assert [words for words, *_ in after][: len(before)] == [words for words, *_ in before]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--seeds", "1,2", "--report-seeds", "0,1"], "1 is among --report-seeds"),
        (["--seeds", "a"], "must be whole numbers with commas"),
        (["--seeds", "1,1"], "must be different whole numbers"),
        (["--seeds", "-1"], "whole numbers"),
        (["--trials", "0"], "--trials 0: must be a whole number from 1"),
        (["--jobs", "0"], "--jobs 0: must be a whole number from 1"),
        (["--jobs", "2"], "--jobs 2 with isolate=false"),
        (["--metric", "test/acc/final"], "must be of the validation set"),
        (["--trials", "many"], "invalid int value"),
        (["dataset.val=none"], "add dataset.val=noisy"),
    ],
)
def test_what_is_refused_leaves_no_trace(tmp_path, capsys, more, sentence):
    runs = tmp_path / "runs"
    assert main(["lr=0.01,0.02", "method=ce", *HERE, f"runs_dir={runs}", *more]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not runs.exists()


def test_a_figure_that_no_run_has_is_refused_with_those_there_are(tmp_path, capsys):
    words = ["lr=0.01,0.02", "method=ce", *HERE, f"runs_dir={tmp_path}", "--metric", "val/nothing"]
    assert main(words) == 2
    assert "a run has no such number; it has val/acc" in capsys.readouterr().err


def test_without_optuna_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sfa_bench.tune.command.find_spec", lambda name: None)
    assert main(["lr=0.01,0.02", "method=ce", *HERE, f"runs_dir={tmp_path / 'runs'}"]) == 2
    assert "pip install 'sfa_bench[tune]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_two_processes_do_not_count_the_same_trials(tmp_path, monkeypatch, capsys):
    words = ["lr=0.01,0.02", "method=ce", *HERE, f"runs_dir={tmp_path}", "--trials", "1"]
    within, original = [], Study._outcomes

    def outcomes(self, runner, values):
        within.append(main(words))
        return original(self, runner, values)

    monkeypatch.setattr(Study, "_outcomes", outcomes)
    assert main(words) == 0
    assert within == [2]
    assert "another process tunes this" in capsys.readouterr().err


CHOSEN = {"trials": 3, "val": "noisy", "values": {"lr": 0.05}, "names": {"method": "ce"}, "data_seeds": [1000]}


@pytest.mark.parametrize(
    ("changed", "words", "sentence"),
    [
        ({}, ["lr=0.06"], "has chosen lr=0.05, and this run has 0.06"),
        ({}, ["method=gce"], "was chosen for method=ce, not gce"),
        ({}, ["replicate=1000"], "was tuned on data_seed=1000: report on others"),
        ({"trials": "3"}, [], "is not a file that sfa-bench tune leaves"),
        (None, [], "is not a file that sfa-bench tune leaves"),
    ],
)
def test_a_mark_that_is_not_true_is_refused(tmp_path, changed, words, sentence):
    path = tmp_path / "chosen.json"
    path.write_text("[" * 100_000 if changed is None else json.dumps(CHOSEN | changed))
    given = {"method": "method=ce", "lr": "lr=0.05"} | {word.partition("=")[0]: word for word in words}
    with pytest.raises(ConfigError, match=sentence.replace("(", r"\(")):
        compose([*given.values(), "plugin=none", f"tuned.file={path}"])


def test_a_mark_that_is_true_is_in_the_hash_and_the_record(tmp_path):
    (tmp_path / "chosen.json").write_text(json.dumps(CHOSEN))
    (tmp_path / "more.json").write_text(json.dumps(CHOSEN | {"trials": 30}))
    words = ["method=ce", "plugin=none", "lr=0.05"]
    from sfa_bench.config.canonical import run_hash

    marked = [compose([*words, f"tuned.file={tmp_path / name}"]) for name in ("chosen.json", "more.json")]
    assert [config.to_plain()["tuned"]["trials"] for config in marked] == [3, 30]
    assert len({run_hash(config) for config in (compose(words), *marked)}) == 3
    with pytest.raises(ConfigError, match="cannot be read"):
        compose([*words, f"tuned.file={tmp_path / 'none.json'}"])
