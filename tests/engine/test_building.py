"""Whatever fails while data or networks are built is a sentence and, where the run had begun, a record."""

import io
import json
import re
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from sfa_bench import memory
from sfa_bench.config.compose import compose
from sfa_bench.data.tools.command import main as data_main
from sfa_bench.engine.build import build_method
from sfa_bench.engine.run import run
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.main import main

CE = ["method=ce", "plugin=none", "epochs=2", "threads=1"]


def train(runs, *typed):
    return run(compose([*typed, f"runs_dir={runs}"]), "python run.py", Console(file=io.StringIO()))


def records(runs):
    return [json.loads(path.read_text()) for path in runs.glob("*/*/*/run.json")]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["dataset=synthetic", "dataset.dim=10000000"], "dataset.size=500, dataset.dim=10000000 would take 961"),
        (["dataset=synthetic", "dataset.classes=100000000"], "dataset.classes=100000000, dataset.size=500"),
        (["dataset=synthetic", "dataset.submodes=1000000000"], "dataset.dim=32 would take"),
        (["model.width=1000000000"], "model.width=1000000000: no network can be that large"),
        (["model.width=10000000000000000000000"], "allowed is 1 <= model.width <= 1000000000"),
        (["model.width=300000"], "networks with model.width=300000 would take"),
        (["dataset=synthetic", "model.width=300000", "dataset.dim=500"], "model.width=300000 and dataset.dim=500"),
    ],
)
def test_sizes_that_no_memory_holds_are_refused_before_it_is_asked_for(tmp_path, capsys, typed, sentence):
    tracemalloc.start()
    status = main([*CE, *typed, f"runs_dir={tmp_path}"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    said = capsys.readouterr().err
    assert (status, said.count("\n")) == (2, 1)
    assert sentence in said
    assert peak < 1e9
    assert records(tmp_path) == []


def test_what_a_network_needs_is_counted_without_it(monkeypatch):
    """cnn of width 16 on digits: its weights, gradients and momentum, twice for two networks."""
    config = compose(["method=dividemix", "plugin=none", "epochs=12", "model.width=24"])
    asked = []
    monkeypatch.setattr(memory, "require", lambda needed, what, way_out: asked.append((needed, what)))
    from sfa_bench.data import build

    data = build(config)
    state = torch.random.get_rng_state()
    method = build_method(config, data, [torch.device("cpu")])
    assert torch.random.get_rng_state().equal(state)
    weights = sum(p.numel() for network in method.networks for p in network.parameters())
    assert asked[-1] == (3 * 4 * weights, "networks with model.width=24")


def test_images_scaled_to_more_than_the_memory_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "total", lambda: 10**9)
    data_main(["make-fake", "folder", str(tmp_path / "d"), "--side", "24"])
    typed = ["dataset=folder", "dataset.name=mine", f"data_dir={tmp_path}/d", "model=convnet"]
    typed += ["dataset.resize=32768", "dataset.crop=16"]
    assert main([*CE, *typed, f"runs_dir={tmp_path}/runs"]) == 2
    assert "an image scaled to dataset.resize=32768 pixels would take" in capsys.readouterr().err


ERRORS = [
    MemoryError("Unable to allocate 5 TiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] can't allocate memory\nframe #0: 0x7f"),
    OverflowError("int too big to convert"),
    torch.OutOfMemoryError("out of memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("place", "typed", "sentence"),
    [
        ("sfa_bench.engine.session.build_data", [], "the data could not be built: {}: {} (what data_dir=data holds"),
        (
            "sfa_bench.engine.session.build_data",
            ["dataset=synthetic"],
            "the data could not be built: {}: {} (dataset.classes, dataset.size, dataset.test_size and dataset.dim set",
        ),
        (
            "sfa_bench.engine.session.build_method",
            [],
            "the networks could not be built: {}: {} (model=convnet and model.width=16 set their size)",
        ),
    ],
)
def test_any_other_failure_is_a_failed_run(tmp_path, monkeypatch, capsys, error, place, typed, sentence):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(place, fail)
    assert main([*CE, *typed, f"runs_dir={tmp_path}"]) == 1
    said = capsys.readouterr().err
    sentence = sentence.format(type(error).__name__, str(error).splitlines()[0])
    assert said.startswith(f"failed: {sentence}")
    assert said.endswith("; the traceback is in " + str(next(tmp_path.glob("*/*/*/log.txt"))) + "\n")
    assert "Traceback" not in said
    (record,) = records(tmp_path)
    assert record["state"] == "failed"
    assert record["error"]["type"] == type(error).__name__
    assert record["error"]["message"].startswith(sentence)
    (log,) = tmp_path.glob("*/*/*/log.txt")
    assert "Traceback" in log.read_text()
    monkeypatch.undo()
    assert main([*CE, *typed, f"runs_dir={tmp_path}"]) == 0
    assert [record["state"] for record in records(tmp_path)] == ["done"]


def test_a_failure_that_has_nothing_to_do_with_size_names_no_keys(tmp_path, monkeypatch, capsys):
    def fail(*args, **options):
        raise KeyError("colour")

    monkeypatch.setattr("sfa_bench.engine.session.build_method", fail)
    assert main([*CE, f"runs_dir={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("failed: the networks could not be built: KeyError: 'colour'; the traceback is in ")


def test_a_run_that_cannot_be_built_again_still_knows_its_data(tmp_path, monkeypatch):
    def stop(*args, **options):
        raise MemoryError

    arrays = {"x_train": np.zeros((40, 9, 9), np.uint8), "x_test": np.zeros((8, 9, 9), np.uint8)}
    arrays |= {"y_train": np.arange(40) % 2, "y_test": np.arange(8) % 2}
    np.savez(tmp_path / "a.npz", **arrays)
    typed = [*CE, "dataset=arrays", "dataset.name=mine", f"data_dir={tmp_path}/a.npz"]
    with monkeypatch.context() as patch:
        patch.setattr("sfa_bench.engine.session.Session._one_epoch", stop)
        with pytest.raises(RunError):
            train(tmp_path / "runs", *typed)
    with monkeypatch.context() as patch:
        patch.setattr("sfa_bench.engine.session.build_method", stop)
        with pytest.raises(RunError, match="the networks could not be built: MemoryError"):
            train(tmp_path / "runs", *typed)
    (record,) = records(tmp_path / "runs")
    assert record["data"]["fingerprints"]["images"]
    np.savez(tmp_path / "a.npz", **arrays | {"x_train": np.ones((40, 9, 9), np.uint8)})
    with pytest.raises(ConfigError, match="this run was made on other data"):
        train(tmp_path / "runs", *typed)


def test_the_data_tools_say_a_lack_of_memory_in_a_sentence(monkeypatch, capsys):
    def fail(*args, **options):
        raise MemoryError("Unable to allocate 5 TiB")

    monkeypatch.setattr("sfa_bench.data.tools.describe.build", fail)
    assert data_main(["describe", "dataset=digits"]) == 1
    assert capsys.readouterr().err == "failed: there is not enough memory: Unable to allocate 5 TiB\n"


def test_an_image_that_claims_too_many_pixels_is_refused_or_left_out(tmp_path, capsys):
    data_main(["make-fake", "folder", str(tmp_path / "d"), "--side", "24"])
    first = sorted((tmp_path / "d/train").iterdir())[0]
    Image.new("L", (300, 300)).save(first / "large.png")
    typed = [
        "dataset=folder",
        "dataset.name=mine",
        f"data_dir={tmp_path}/d",
        "model=convnet",
        "dataset.max_pixels=89999",
    ]
    typed += ["dataset.resize=16", "dataset.crop=16", "dataset.workers=0", f"runs_dir={tmp_path}/runs", *CE]
    assert main(typed) == 2
    said = capsys.readouterr().err
    claim = r"large\.png: its header claims 300×300 pixels, and dataset\.max_pixels=89999 is the limit"
    assert re.fullmatch(rf"refused: 1 of \d+ train images cannot be read, first .*{claim}.*on_bad_image=skip\n", said)
    assert main([*typed, "dataset.on_bad_image=skip"]) == 0
    (record,) = records(tmp_path / "runs")
    assert record["data"]["skipped"] == [f"train: train/{first.name}/large.png"]
    capsys.readouterr()
    assert data_main(["check", "folder", *typed[2:7], "--images"]) == 2
    assert "300×300 pixels" in capsys.readouterr().out
