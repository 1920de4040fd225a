"""`logger=…` (guides/loggers.md): each package reads back the lines of metrics.jsonl, each epoch once, also after a
kill.
"""

import io
import json
import shlex
import struct
import sys

import pytest
from rich.console import Console

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.engine.run import run
from sfa_bench.engine.session import Session
from sfa_bench.errors import ConfigError
from sfa_bench.sweep.plan import plan

CE = ["method=ce", "plugin=none", "epochs=4", "imb_factor=0.05", "threads=1", "checkpoint_seconds=3600"]
SFA = ["epochs=4", "warmup_epochs=1", "imb_factor=0.05", "threads=1", "checkpoint_seconds=3600"]


class Killed(BaseException):
    pass


def train(runs, logger, words=CE):
    typed = [*words, f"logger={logger}", f"runs_dir={runs}"]
    return run(compose(typed), shlex.join(typed), Console(file=io.StringIO()))


def train_killed(runs, logger, monkeypatch, words=CE):
    """Killed before epoch 4 with the checkpoint of epoch 1, so that epochs 2 and 3 are trained twice."""
    original = Session._one_epoch

    def one_epoch(self, e):
        if e == 4:
            monkeypatch.setattr(Session, "_one_epoch", original)
            raise Killed
        original(self, e)

    monkeypatch.setattr(Session, "_one_epoch", one_epoch)
    with pytest.raises(Killed):
        train(runs, logger, words)
    return train(runs, logger, words)


def rows_of(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def records_in(content):
    """The records of a `.wandb` file, in LevelDB's log format: blocks of 32 KiB with (checksum, length, type, part)."""
    position, whole = 7, b""  # after the file's own header
    while position < len(content):
        if 32768 - position % 32768 < 7:  # no room for another header in this block
            position += 32768 - position % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def wandb_steps(path):
    """(step, numbers) in all files of the package, and the summary."""
    from wandb.proto.wandb_internal_pb2 import Record

    steps, summary = [], {}
    for file in sorted((path / "wandb").glob("offline-run-*/*.wandb")):
        for content in records_in(file.read_bytes()):
            record = Record()
            record.ParseFromString(content)
            if record.WhichOneof("record_type") == "history":
                items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                steps.append((record.history.step.num, {key: json.loads(value) for key, value in items.items()}))
            if record.WhichOneof("record_type") == "summary":
                summary |= {u.key or "/".join(u.nested_key): json.loads(u.value_json) for u in record.summary.update}
    return steps, summary


def test_wandb_offline_has_each_epoch_once_also_after_a_kill(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = train_killed(tmp_path, "wandb", monkeypatch, SFA)
    steps, summary = wandb_steps(path)
    rows = rows_of(path)
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    for (_, numbers), row in zip(steps, rows, strict=True):
        assert numbers["test/acc"] == row["test/acc"]
        assert numbers["test/acc/few"] == row["test/acc/few"]
        assert numbers.get("selection/auc") == (row["selection"] or {}).get("auc")
    assert summary["test/acc/final"] == json.loads((path / "run.json").read_text())["metrics"]["test/acc/final"]


def test_wandb_without_an_account_is_refused_before_training(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    import wandb

    wandb.teardown()  # it keeps the settings of a process
    try:
        with pytest.raises(ConfigError, match="WANDB_MODE=offline"):
            train(tmp_path, "wandb")
    finally:
        wandb.teardown()
    assert not list(tmp_path.rglob("run.json"))


def test_mlflow_in_sqlite_has_each_epoch_once_also_after_a_kill(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = train_killed(tmp_path, "mlflow", monkeypatch, SFA)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (logged,) = client.search_runs([client.get_experiment_by_name("sfa_bench").experiment_id])
    rows, record = rows_of(path), json.loads((path / "run.json").read_text())
    assert logged.info.status == "FINISHED"
    assert logged.data.tags["sfa_bench.hash"] == record["hash"]
    assert logged.data.params["plugin.samples"] == str(record["config"]["plugin"]["samples"])
    for name in ("test/acc", "test/acc/many", "seconds"):
        history = [(m.step, m.value) for m in client.get_metric_history(logged.info.run_id, name)]
        assert [step for step, _ in history] == [1, 2, 3, 4]
        if name != "seconds":  # epochs 2 and 3 were trained again, in another time
            assert [value for _, value in history] == [row[name] for row in rows]
    auc = client.get_metric_history(logged.info.run_id, "selection/auc")
    assert [m.value for m in auc] == [row["selection"]["auc"] for row in rows if row["selection"]]
    assert logged.data.metrics["test/acc/final"] == record["metrics"]["test/acc/final"]


def test_names_that_mlflow_refuses_are_rewritten(tmp_path):
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    from mlflow import MlflowClient

    from sfa_bench.engine.mlflow_runs import MlflowRuns

    folder = tmp_path / "digits" / "ce" / "0123"
    folder.mkdir(parents=True)
    logger = MlflowRuns(folder)
    logger.open({"names": {}, "hash": "0123", "config": {"lr": 0.1}}, [])
    logger.epoch({"epoch": 1, "seconds": 1.0, "selection": None, "loss (head 1)": 0.5, "größe/ü": 2})
    (marker,) = folder.glob("mlflow_run.txt")
    kept = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(marker.read_text().strip()).data.metrics
    assert kept == {"seconds": 1.0, "loss _head 1_": 0.5, "gr__e/_": 2.0}


def test_mlflow_in_a_plain_folder_is_refused_before_training(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlruns"))
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(ConfigError, match=r"sqlite:///FILE\.db") as refused:
        train(tmp_path, "mlflow")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_said_before_anything_is_trained(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)  # Python's own way to say that there is none
    with pytest.raises(ConfigError, match=rf"pip install 'sfa_bench\[{name}\]', or logger=none"):
        train(tmp_path, name)
    assert not list(tmp_path.rglob("run.json"))


OWN = """
class Lines:
    told = []

    def __init__(self, folder):
        if folder.name == "refused":
            raise ValueError("not here")
        self.told.append(("made", folder.name))

    def open(self, record, rows):
        self.told.append(("open", record["hash"], [row["epoch"] for row in rows]))

    def epoch(self, row):
        self.told.append(("epoch", row["epoch"], row["test/acc"]))

    def close(self, record):
        self.told.append(("close", record["state"], record["metrics"].get("test/acc/last")))
        raise OSError("the line is dead")


class Half:
    def __init__(self, folder):
        pass

    def epoch(self, row):
        pass
"""


def test_a_class_of_ones_own_is_told_everything_and_cannot_spoil_the_end(tmp_path, monkeypatch):
    (tmp_path / "own_lines.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import own_lines

    path = train_killed(tmp_path / "runs", "own_lines.Lines", monkeypatch, SFA)
    rows, told = rows_of(path), own_lines.Lines.told
    second = told.index(("made", path.name), 1)
    accuracies = [row["test/acc"] for row in rows]
    assert told[second:] == [
        ("made", path.name),
        ("open", path.name, [1]),
        *(("epoch", e, accuracies[e - 1]) for e in (2, 3, 4)),
        ("close", "done", accuracies[-1]),
    ]
    assert "the line is dead" in (path / "log.txt").read_text()
    with pytest.raises(ConfigError, match="no open and no close"):
        train(tmp_path / "other", "own_lines.Half")
    with pytest.raises(ConfigError, match=r"logger=own_lines\.Nothing"):
        train(tmp_path / "other", "own_lines.Nothing")
    with pytest.raises(ConfigError, match=r"logger=no_such_module\.Lines: .*MODULE\.CLASS on the import path"):
        train(tmp_path / "other", "no_such_module.Lines")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("wandv", "did you mean wandb?"),
        ("[tensorboard,mlflo]", "did you mean mlflow?"),
        ("[none,wandb]", "none stands alone"),
        ("[wandb,wandb]", "wandb is there twice"),
        ("[]", "logger="),
        ("3", "must be none, or one or a list of tensorboard wandb mlflow"),
        ("a..b", "must be none"),
        ("null", "logger"),
    ],
)
def test_what_is_no_logger_is_refused_also_for_a_whole_sweep(value, sentence):
    for compose_it in (compose, plan):
        with pytest.raises(ConfigError) as refused:
            compose_it([f"logger={value}"])
        assert sentence in str(refused.value)
        assert not refused.value.invalid_combination


def test_loggers_are_no_part_of_a_run(tmp_path):
    hashes = {run_hash(compose([f"logger={v}"])) for v in ("none", "wandb", "[tensorboard,mlflow]", "a.B")}
    assert len(hashes) == 1
    planned = plan(["logger=[tensorboard,mlflow]", f"runs_dir={tmp_path}"])
    assert len(planned.missing) == 1
