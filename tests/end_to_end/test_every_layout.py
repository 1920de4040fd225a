"""Every data set that comes in files trains, and goes on after a kill, on the small copies that make-fake writes."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sfa_bench.config.compose import compose
from sfa_bench.data.sources.mlbench import TABLES
from sfa_bench.data.tools.fake import make_fake
from sfa_bench.engine.run import run
from sfa_bench.engine.session import Session

ROOT = Path(__file__).resolve().parents[2]
IN_FILES = ("webvision", "clothing1m", "folder", "csv")
IN_MEMORY = ("fashion_mnist", "cifar10", "cifar100", "cifar10n", "cifar100n", "arrays", "mnist5k", "glyphs", "elpv")
VECTORS = ("letter", "shuttle", "satellite", "features")
SMALL = ["epochs=2", "warmup_epochs=1", "batch_size=16", "threads=1", "model=convnet", "model.width=4"]
METHODS = {
    "ce": ["method=ce", "plugin=none"],
    "dividemix": ["method=dividemix", "plugin=none"],
    "dividemix+sfa": ["method=dividemix", "plugin=sfa"],
}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code handles it."""


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    """Data set → the overrides that train on its small copy, which is written when it is first asked for."""
    made = {}

    def fake(name):
        if name in TABLES:
            pytest.importorskip("rdata", reason="the Python package rdata, which writes R's files, is not installed")
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            side = {"side": 40} if name in IN_FILES else {}
            words = make_fake(name, folder / "data", size=8 if name == "clothing1m" else 4, **side)
            made[name] = [word for word in words if not word.startswith(("model", "epochs"))]
        if name == "clothing1m":
            return [*made[name], "dataset.warmup_draw=60", "dataset.selection_draw=40"]
        return made[name]

    return fake


def train(runs, words):
    path = run(compose([*SMALL, *words, f"runs_dir={runs}"]), "", Console(file=io.StringIO()))
    record = json.loads((path / "run.json").read_text())
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    with np.load(path / "predictions.npz") as arrays:
        return record, rows, {name: arrays[name].tobytes() for name in arrays.files}


def kill_in_epoch_two(monkeypatch):
    original = Session._one_epoch

    def one_epoch(self, e):
        if e == 2:
            monkeypatch.setattr(Session, "_one_epoch", original)
            raise Killed
        original(self, e)

    monkeypatch.setattr(Session, "_one_epoch", one_epoch)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*IN_FILES, *IN_MEMORY, *VECTORS])
def test_two_epochs_and_going_on_after_a_kill(fakes, tmp_path, monkeypatch, name, method):
    words = [*fakes(name), *METHODS[method]]
    from_cache, from_files = ([], [])
    if name in IN_FILES:
        from_cache, from_files = ["dataset.workers=1"], ["dataset.cache=off", "dataset.workers=0"]
    straight = train(tmp_path / "straight", [*words, *from_cache])
    assert straight[0]["state"] == "done"
    assert len(straight[1]) == 2
    kill_in_epoch_two(monkeypatch)
    resumed = [*words, *from_files, "checkpoint_seconds=0"]
    with pytest.raises(Killed):
        train(tmp_path / "killed", resumed)
    again = train(tmp_path / "killed", resumed)
    assert again[0]["hash"] == straight[0]["hash"]
    assert again[0]["metrics"] == straight[0]["metrics"]
    assert again[1:] == straight[1:]


def test_webvision_is_tested_on_two_sets_with_top_five(fakes, tmp_path):
    record, rows, arrays = train(tmp_path, [*fakes("webvision"), *METHODS["ce"]])
    for part in ("test", "test_imagenet"):
        assert 0 <= record["metrics"][f"{part}/acc/final"] <= record["metrics"][f"{part}/top5"] <= 100
        assert record["metrics"][f"{part}/acc/last"] == rows[-1][f"{part}/acc"]
        assert len(record["metrics"][f"{part}/per_class"]) == 50
    assert record["data"]["samples"] == {"train": 200, "test": 50, "val": 0, "test_imagenet": 50}
    assert {"test_label", "test_imagenet_label", "test_logits_1_main", "test_imagenet_logits_1_main"} <= arrays.keys()
    assert record["data"]["noise_rate"] is None  # nobody knows it
    assert record["knows"] == []


def test_the_ranks_of_the_natural_sizes_shape_an_extra_imbalance(fakes, tmp_path):
    words = [*fakes("webvision"), *METHODS["ce"], "imbalance=exp", "imb_factor=0.25"]
    counts = train(tmp_path, words)[0]["data"]["observed_counts"]
    # Every class has four; of equal ones the lower comes first.
    assert counts == [int(4 * 0.25 ** (c / 49)) for c in range(50)]


def test_clothing1m_draws_balanced_samples_and_its_validation_set_chooses(fakes, tmp_path):
    record, rows, arrays = train(tmp_path, [*fakes("clothing1m"), *METHODS["dividemix+sfa"], "epochs=3"])
    assert record["knows"] == ["clean_val"]
    probability = np.frombuffer(arrays["clean_probability"], dtype=np.float32).reshape(2, -1)
    selected = np.frombuffer(arrays["selected"], dtype=bool).reshape(2, -1)
    labels = np.frombuffer(arrays["observed_label"], dtype=np.int64)
    for k in (0, 1):
        drawn = ~np.isnan(probability[k])
        assert not selected[k][~drawn].any()
        counts = np.bincount(labels[drawn], minlength=14)
        expected = np.minimum(np.bincount(labels, minlength=14), 3)  # 40/14, rounded up
        assert drawn.sum() == min(40, expected.sum())
        assert (counts <= expected).all()
    assert (np.isnan(probability[0]) != np.isnan(probability[1])).any()  # each network has a draw of its own
    epochs = record["metrics"]["val/epochs"]
    assert len(epochs) == 2
    assert all(1 <= e <= 3 for e in epochs)
    assert rows[0]["phase"] == "warm-up"
    assert 0 <= record["metrics"]["test/acc/at_best_val"] <= 100
    assert 0 <= record["metrics"]["val/acc"] <= record["metrics"]["val/acc/best"] <= 100
    assert "val/epoch" not in record["metrics"]  # each network has its own


@pytest.mark.parametrize("name", ["webvision", "clothing1m"])
def test_two_networks_on_two_devices_have_the_numbers_of_one(fakes, tmp_path, name):
    words = [*fakes(name), *METHODS["dividemix+sfa"]]
    one = train(tmp_path / "one", [*words, "device=cpu"])
    two = train(tmp_path / "two", [*words, "device=[cpu,cpu:0]"])
    assert two[0]["environment"]["device"] == ["cpu", "cpu:0"]
    assert two[0]["hash"] == one[0]["hash"]
    assert two[1:] == one[1:]


def test_part_dependent_noise_falls_on_image_files_too(fakes, tmp_path):
    words = [*fakes("folder"), *METHODS["ce"], "noise=instance", "noise_ratio=0.4"]
    record = train(tmp_path / "a", words)[0]
    assert 0.1 < record["data"]["noise_rate"] < 0.7
    assert train(tmp_path / "b", [*words, "dataset.cache=off"])[0]["data"] == record["data"]


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_stop_with_workers_at_work_saves_the_epoch_and_leaves_no_process(fakes, tmp_path):
    words = [*fakes("folder"), *METHODS["ce"], *SMALL, "epochs=200", "dataset.workers=2", f"runs_dir={tmp_path}"]
    command = [sys.executable, "-u", "run.py", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    for line in process.stdout:
        if line.startswith("epoch 3/"):
            break
    workers = children(process.pid)
    assert len(workers) >= 2
    os.killpg(process.pid, signal.SIGTERM)  # as a cluster does: the workers get it too
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "interrupted by SIGTERM after epoch" in output
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_finished_command_with_workers_ends_at_once(fakes, tmp_path):
    words = [*fakes("csv"), *METHODS["ce"], *SMALL, "dataset.workers=2", f"runs_dir={tmp_path}"]
    process = subprocess.Popen([sys.executable, "run.py", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    printed = [line for line in process.stdout if line]  # the workers hold the pipe open too, until they end
    assert process.wait(timeout=20) == 0
    assert any(line.startswith("done: ") for line in printed)
