"""Exported label sets: what pandas and NumPy read from them is what a run of the same configuration trains on."""

import csv
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sfa_bench.choices.noises import NoiseConfig
from sfa_bench.choices.sources import DatasetConfig
from sfa_bench.config.compose import compose
from sfa_bench.config.schema import ImbalanceConfig
from sfa_bench.data import build
from sfa_bench.data.images import Framing, ImageFiles
from sfa_bench.data.tools import export as exporting
from sfa_bench.data.tools.command import main
from sfa_bench.data.tools.fake import make_fake
from sfa_bench.data.types import EvaluationSet
from sfa_bench.store.fingerprint import fingerprint

TYPED = ["dataset=digits", "noise=symmetric", "noise_ratio=0.3", "imbalance=step", "data_seed=5"]


@pytest.mark.parametrize("extra", [[], ["dataset.generator=legacy"], ["noise=instance"], ["dataset.val=noisy"]])
def test_a_csv_holds_the_labels_that_a_run_trains_on(tmp_path, extra, capsys):
    file = tmp_path / "labels.csv"
    assert main(["export", *TYPED, *extra, "-o", str(file)]) == 0
    shown = capsys.readouterr().out
    table = pd.read_csv(file)
    data = build(compose([*TYPED, *extra]))
    assert list(table) == ["index", "label", "clean_label", "split"]
    assert table["index"].tolist() == data.index.tolist()
    assert table["label"].tolist() == data.view.observed_labels.tolist()
    assert table["clean_label"].tolist() == data.clean_labels.tolist()
    assert set(table["split"]) == {"train"}
    about = json.loads(file.with_suffix(".json").read_text())
    assert about["fingerprints"] == data.fingerprints
    assert about["fingerprints"]["observed_labels"] == fingerprint(table["label"].to_numpy())
    assert about["overrides"] == [*TYPED, *extra]
    assert (about["data_seed"], about["samples"]) == (5, len(table))
    assert about["noise_rate"] == np.mean(table["label"] != table["clean_label"])
    assert about["versions"]["sfa_bench"]
    assert about["classes"] == (None if data.class_names is None else list(data.class_names))
    assert ("held out for validation are not among them" in shown) == (extra == ["dataset.val=noisy"])


def test_an_npz_holds_the_same_without_pickles(tmp_path):
    assert main(["export", *TYPED, "-o", str(tmp_path / "a.npz")]) == 0
    assert main(["export", *TYPED, "-o", str(tmp_path / "a.csv")]) == 0
    table = pd.read_csv(tmp_path / "a.csv")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].tolist() == table[name].tolist() for name in table)
        assert arrays["label"].dtype == np.int64
        assert json.loads(arrays["metadata"].item()) == json.loads((tmp_path / "a.json").read_text())


def test_unknown_clean_labels_are_empty_or_minus_one(tmp_path):
    make_fake("arrays", tmp_path / "d")
    with np.load(tmp_path / "d/data.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "y_train_clean"}
    np.savez(tmp_path / "mine.npz", **kept)
    typed = ["dataset=arrays", "dataset.name=mine", f"data_dir={tmp_path}/mine.npz"]
    for ending in ("csv", "npz"):
        assert main(["export", *typed, "-o", str(tmp_path / f"out.{ending}")]) == 0
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["clean_label"].isna().all()
    assert table["label"].tolist() == kept["y_train"][table["index"]].tolist()
    assert sorted(table["index"]) == list(range(200))
    with np.load(tmp_path / "out.npz") as arrays:
        assert set(arrays["clean_label"].tolist()) == {-1}
    assert json.loads((tmp_path / "out.json").read_text())["noise_rate"] is None


def files_of(root, names):
    names = np.array([name.encode() for name in names])
    return ImageFiles(root, names, *np.zeros((2, len(names)), dtype=np.int64), Framing(40, 32))


@pytest.fixture
def of_files(tmp_path):
    """Data of image files below tmp_path/d, with a validation set whose labels may be wrong, and their config."""
    base = build(compose(["dataset=digits", "imb_factor=0.01", "noise_ratio=0"]))
    kept = 6
    train = files_of(tmp_path / "d", [f"images/0/{n},{n}.jpg" for n in range(kept)])
    view = replace(base.view, images=train, observed_labels=torch.tensor([0, 1, 2, 0, 1, 2]), num_classes=3)
    test = EvaluationSet(files_of(tmp_path / "d", ["t/é.jpg", "t/b.jpg"]), torch.tensor([1, 2]))
    val = EvaluationSet(files_of(tmp_path / "d", ["v.jpg"]), torch.tensor([0]))
    data = replace(
        base,
        view=view,
        index=np.arange(kept) * 2,
        clean_labels=np.array([0, 1, 2, 2, 1, 0]),
        test=test,
        val=val,
    )
    config = compose(["dataset=digits"])
    dataset = DatasetConfig(name="own", source="folder", val="noisy")
    none = {"noise": NoiseConfig(name="none"), "imbalance": ImbalanceConfig("none")}
    return data, replace(config, dataset=dataset, data_dir=str(tmp_path / "d"), **none)


def test_files_are_named_with_all_splits_as_a_csv_of_ones_own(tmp_path, of_files):
    data, config = of_files
    exporting.export(data, config, ["dataset=folder"], tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert list(table) == ["path", "index", "label", "clean_label", "split"]
    assert table["path"].tolist() == [*(f"images/0/{n},{n}.jpg" for n in range(6)), "v.jpg", "t/é.jpg", "t/b.jpg"]
    assert table["split"].tolist() == ["train"] * 6 + ["val"] + ["test"] * 2
    assert table["label"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert table["clean_label"].tolist() == ["0", "1", "2", "2", "1", "0", "", "1", "2"]
    assert table["index"].tolist() == [0, 2, 4, 6, 8, 10, -1, -1, -1]
    about = json.loads((tmp_path / "out.json").read_text())
    assert (about["noise"], about["noise_ratio"], about["imb_factor"]) == ("none", None, None)
    assert set(about["columns"]) == set(table)


def test_paths_are_relative_to_the_folder_of_a_csv_and_of_data_dir(tmp_path, of_files):
    data, config = of_files
    of_csv = replace(config, dataset=replace(config.dataset, source="csv"), data_dir=str(tmp_path / "list.csv"))
    table = exporting.columns(data, of_csv)
    assert table["path"][0] == "d/images/0/0,0.jpg"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("labels.txt", "export writes a .csv (with a .json beside it) or an .npz"),
        ("there.csv", "there.json would be overwritten"),
        ("no/such/folder.npz", "there is no folder"),
    ],
)
def test_where_nothing_can_be_written_is_said_before_data_are_read(tmp_path, monkeypatch, capsys, name, sentence):
    (tmp_path / "there.json").write_text("mine")
    monkeypatch.setattr("sfa_bench.data.tools.command.build", lambda config: pytest.fail("read the data"))
    assert main(["export", *TYPED, "-o", str(tmp_path / name)]) == 2
    assert sentence in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]


def test_a_full_or_closed_disk_is_a_failure_not_a_refusal(tmp_path, monkeypatch, capsys):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "write_bytes", full)
    assert main(["export", *TYPED, "-o", str(tmp_path / "a.csv")]) == 1
    assert capsys.readouterr().err.startswith("failed: could not write")


def test_no_path_is_a_formula_and_a_run_reads_the_same_files(tmp_path):
    names = ["=1+1.png", "+a.png", "-b.png", "@c.png", "d.png", "e.png"]
    for i, name in enumerate(names):
        Image.fromarray(np.full((24, 24, 3), 40 * i, np.uint8)).save(tmp_path / name)
    rows = [f"{name},{i % 2},{'test' if i > 3 else 'train'}" for i, name in enumerate(names)]
    (tmp_path / "a.csv").write_text("\n".join(["path,label,split", *rows, ""]))
    typed = ["dataset=csv", "dataset.name=mine", "dataset.resize=16", "dataset.crop=16"]
    assert main(["export", *typed, f"data_dir={tmp_path}/a.csv", "-o", str(tmp_path / "b.csv")]) == 0
    with open(tmp_path / "b.csv", newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert sorted(paths) == sorted(["./=1+1.png", "./+a.png", "./-b.png", "./@c.png", "d.png", "e.png"])
    first, again = (build(compose([*typed, "model=convnet", f"data_dir={tmp_path}/{name}.csv"])) for name in ("a", "b"))
    order = np.argsort(first.view.images.names), np.argsort(again.view.images.names)
    assert first.view.images.names[order[0]].tolist() == again.view.images.names[order[1]].tolist()
    assert first.view.observed_labels[order[0]].tolist() == again.view.observed_labels[order[1]].tolist()
