"""`logger=tensorboard` (explanation/runs.md §2): the same numbers as metrics.jsonl, also where a run was cut off."""

import builtins
import io
import json
import shlex

import pytest
from rich.console import Console

from sfa_bench.config.compose import compose
from sfa_bench.engine.event_files import EventFiles
from sfa_bench.engine.run import run
from sfa_bench.engine.session import Session
from sfa_bench.errors import ConfigError, RunError

SFA = ["epochs=5", "warmup_epochs=1", "imb_factor=0.05", "threads=1", "checkpoint_seconds=3600"]


def train(runs):
    typed = [*SFA, "logger=tensorboard", f"runs_dir={runs}"]
    return run(compose(typed), shlex.join(typed), Console(file=io.StringIO()))


def scalars(path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path / "tensorboard"))
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_the_events_are_the_lines_of_the_metrics_also_after_a_kill(tmp_path, monkeypatch):
    original = Session._one_epoch

    class Killed(BaseException):
        pass

    def one_epoch(self, e):
        if e == 4:  # the checkpoint is that of epoch 1: epochs 2 and 3 were logged and are made again
            monkeypatch.setattr(Session, "_one_epoch", original)
            raise Killed
        original(self, e)

    monkeypatch.setattr(Session, "_one_epoch", one_epoch)
    with pytest.raises(Killed):
        train(tmp_path)
    path = train(tmp_path)
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    found = scalars(path)
    assert found["test/acc"] == pytest.approx({row["epoch"]: row["test/acc"] for row in rows})
    expected = {row["epoch"]: row["selection"]["auc"] for row in rows if row["selection"]}
    assert found["selection/auc"] == pytest.approx(expected)
    assert len(expected) == 4


def test_a_missing_package_is_said_before_anything_is_trained(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "torch.utils.tensorboard":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'sfa_bench\[tensorboard\]', or logger=none"):
        train(tmp_path)
    assert not list(tmp_path.rglob("run.json"))


def test_an_epoch_whose_events_cannot_be_written_is_named_and_has_not_happened(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    original = EventFiles.epoch

    def fails(self, row):
        if row["epoch"] == 3:
            raise OSError("no space left")
        original(self, row)

    monkeypatch.setattr(EventFiles, "epoch", fails)
    with pytest.raises(RunError, match="no space left \\(epoch 3;"):
        train(tmp_path)
    (lines,) = tmp_path.rglob("metrics.jsonl")
    assert len(lines.read_text().splitlines()) == 2
