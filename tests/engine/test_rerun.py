"""`rerun=true` trains a finished run again in its place, and loses nothing on the way; another length is announced."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.engine import posthoc
from sfa_bench.engine.changes import other_length
from sfa_bench.engine.session import Session
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.main import main
from sfa_bench.store.folder import RunFolder
from sfa_bench.sweep.plan import ended_since, plan

SMALL = ["dataset=synthetic", "dataset.size=60", "dataset.classes=4", "epochs=4", "warmup_epochs=1", "batch_size=8"]
SMALL += ["threads=1", "imb_factor=0.3", "checkpoint_seconds=0", "method=ce", "plugin=sfa"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code handles it."""


def train(runs, *words):
    """Run in this process. Returns its folder, its record and what was printed."""
    printed = io.StringIO()
    console = Console(file=printed, width=300)
    path = posthoc.start(compose([*SMALL, *words, f"runs_dir={runs}"]), "python run.py x", console)
    return path, json.loads((path / "run.json").read_text()), printed.getvalue()


def mark(path):
    """Change a figure of a finished run's record, by which it is told from the next one. Returns the record's bytes."""
    record = RunFolder(path).read_record()
    record["metrics"]["test/acc/final"] = -1.0
    RunFolder(path).write_record(record)
    return (path / "run.json").read_bytes()


def killing(patch, cls, name, when=lambda *arguments: True):
    method = getattr(cls, name)

    def killed(self, *arguments, **options):
        if when(*arguments):
            raise Killed
        return method(self, *arguments, **options)

    patch.setattr(cls, name, killed)


@pytest.fixture
def done(tmp_path):
    """A finished run: runs_dir, folder, record, the bytes of the record after it was marked."""
    path, record, _ = train(tmp_path)
    return tmp_path, path, record, mark(path)


@pytest.mark.parametrize("keep", ["final", "all", "none"])
def test_a_finished_run_is_trained_again_to_the_same_numbers(done, keep):
    runs, path, record, _ = done
    _, again, printed = train(runs, "rerun=true", f"keep_checkpoint={keep}")
    assert again["metrics"] == record["metrics"]
    assert "epoch 1/4" in printed
    assert f"its former record is {path}/run.json.old" in printed
    assert not (path / "run.json.old").exists()
    _, third, printed = train(runs, "rerun=true")  # also one whose checkpoint is of its last epoch
    assert third["metrics"] == record["metrics"]
    assert "epoch 1/4" in printed


def test_without_it_a_finished_run_is_left(done):
    runs, path, _, content = done
    printed = train(runs)[2]
    assert printed.startswith("already done")
    assert (path / "run.json").read_bytes() == content


def test_it_is_not_part_of_the_identity():
    assert run_hash(compose(["rerun=true"])) == run_hash(compose([]))


@pytest.mark.parametrize("flag", [[], ["rerun=true"]])
def test_a_rerun_that_was_cut_goes_on_as_one(done, flag, monkeypatch):
    runs, path, record, content = done
    with monkeypatch.context() as patch:
        killing(patch, Session, "_one_epoch", when=lambda e: e == 3)
        with pytest.raises(Killed):
            train(runs, "rerun=true")
    assert (path / "run.json.old").read_bytes() == content
    assert RunFolder(path).read_record()["state"] == "running"
    _, again, printed = train(runs, *flag)
    assert "going on after epoch 2 of 4" in printed
    assert again["metrics"] == record["metrics"]
    assert not (path / "run.json.old").exists()


def test_a_rerun_that_was_cut_before_its_first_record_begins_again(done, monkeypatch):
    runs, path, record, content = done
    with monkeypatch.context() as patch:
        killing(patch, RunFolder, "write_config")  # between the two records
        with pytest.raises(Killed):
            train(runs, "rerun=true")
    assert (path / "run.json").read_bytes() == (path / "run.json.old").read_bytes() == content
    assert not (path / "last.pt").exists()
    _, again, printed = train(runs)
    assert "epoch 1/4" in printed
    assert again["metrics"] == record["metrics"]


def test_a_rerun_that_was_cut_after_its_last_record_is_done(done, monkeypatch):
    runs, path, record, _ = done
    with monkeypatch.context() as patch:
        killing(patch, RunFolder, "end_again")
        with pytest.raises(Killed):
            train(runs, "rerun=true")
    assert (path / "run.json.old").exists()
    _, again, printed = train(runs)
    assert printed.startswith("already done")
    assert again["metrics"] == record["metrics"]
    assert not (path / "run.json.old").exists()


def test_a_rerun_that_fails_keeps_the_former_record_and_is_tried_again(done, monkeypatch):
    runs, path, record, content = done
    with monkeypatch.context() as patch:
        patch.setattr(Session, "_one_epoch", lambda self, e: (_ for _ in ()).throw(ValueError("out of luck")))
        with pytest.raises(RunError, match="out of luck"):
            train(runs, "rerun=true")
    assert (path / "run.json.old").read_bytes() == content
    assert train(runs)[1]["metrics"] == record["metrics"]


@pytest.mark.parametrize(
    "where",
    [
        "sfa_bench.engine.session.build_data",
        "sfa_bench.store.folder.RunFolder.begin_again",
        "sfa_bench.store.folder.RunFolder.reduce_checkpoint",  # the former record is kept, the checkpoint not yet gone
    ],
)
def test_a_rerun_that_fails_before_the_former_record_is_kept_leaves_it(done, monkeypatch, where):
    runs, path, record, content = done

    def fails(*arguments, **options):
        raise MemoryError("there is no room")

    with monkeypatch.context() as patch:
        patch.setattr(where, fails)
        with pytest.raises(RunError, match="there is no room"):
            train(runs, "rerun=true")
    assert (path / "run.json").read_bytes() == content
    assert "there is no room" in (path / "log.txt").read_text()
    _, again, printed = train(runs, "rerun=true")
    assert again["metrics"] == record["metrics"]
    assert "going on after" not in printed


def test_a_rerun_that_is_refused_touches_nothing(done):
    runs, path, _, content = done
    with pytest.raises(ConfigError, match="cannot be used here"):
        train(runs, "rerun=true", "device=mps")
    assert (path / "run.json").read_bytes() == content
    assert (path / "last.pt").exists()
    assert not (path / "run.json.old").exists()


def test_it_takes_no_warm_up_of_another_run(tmp_path):
    planned = plan([*SMALL, "plugin.beta=0.5,0.9", f"runs_dir={tmp_path}"])
    for folder in set(planned.warmups.values()):
        folder.mkdir(parents=True)
    train(tmp_path, "plugin.beta=0.5")
    _, shared, _ = train(tmp_path, "plugin.beta=0.9")
    assert shared["cost"]["shared"]["epochs"] == 1
    _, again, _ = train(tmp_path, "plugin.beta=0.9", "rerun=true")
    assert again["cost"]["shared"] is None
    assert again["metrics"] == shared["metrics"]


def test_a_classifier_is_fitted_again_and_the_run_below_it_is_left(tmp_path):
    path, record, _ = train(tmp_path, "classifier=ncm")
    base = next(tmp_path.glob("*/ce+sfa/*"))
    mark(path)
    content = mark(base)
    _, again, _ = train(tmp_path, "classifier=ncm", "rerun=true")
    assert again["metrics"]["test/acc/final"] == record["metrics"]["test/acc/final"]
    assert (base / "run.json").read_bytes() == content
    assert not (path / "run.json.old").exists()


def test_a_sweep_takes_what_is_done_up_again(done):
    runs, path, record, _ = done
    words = [*SMALL, f"runs_dir={runs}"]
    assert str(plan(words)) == "sweep of 1: 0 to run, 1 done"
    planned = plan([*words, "rerun=true"])
    assert str(planned) == "sweep of 1: 1 to run (1 done before), 0 done"
    assert not ended_since(planned, record["hash"], "done", path)
    train(runs, "rerun=true")
    assert ended_since(planned, record["hash"], "done", path)


def test_predictions_are_the_former_ones_until_the_end(done, monkeypatch):
    runs, path, _, _ = done
    before = RunFolder(path).read_arrays("predictions.npz")
    with monkeypatch.context() as patch:
        killing(patch, Session, "_one_epoch", when=lambda e: e == 3)
        with pytest.raises(Killed):
            train(runs, "rerun=true")
    assert all(np.array_equal(before[key], v) for key, v in RunFolder(path).read_arrays("predictions.npz").items())


def words(runs, *more):
    return compose([*SMALL, f"runs_dir={runs}", *more])


def test_another_length_than_a_finished_run_is_announced(done, capsys):
    runs, path, _, _ = done
    said = f"epochs=6 starts anew beside the finished run of 4 epochs in {path}: warm-up and schedules go by the length"
    assert other_length(words(runs, "epochs=6")).startswith(said)
    assert main([*SMALL, f"runs_dir={runs}", "epochs=6"]) == 0
    assert capsys.readouterr().out.startswith(said)
    assert other_length(words(runs, "epochs=6")) == ""  # it is there


@pytest.mark.parametrize(
    "more", [["lr=0.5"], ["replicate=1"], ["noise_ratio=0.1"], ["plugin.beta=0.5"], ["method=gce"]]
)
def test_a_run_that_differs_in_more_than_its_length_is_not_announced(done, more):
    assert other_length(words(done[0], "epochs=6", *more)) == ""


def test_an_unfinished_run_is_not_announced(done):
    runs, path, _, _ = done
    record = RunFolder(path).read_record()
    RunFolder(path).write_record(record | {"state": "interrupted"})
    assert other_length(words(runs, "epochs=6")) == ""
