"""What `Run` and `Runs` say is what the files hold."""

import json

import numpy as np
import pandas as pd
import pytest

import sfa_bench
from sfa_bench.store.archives import load_arrays

FIRST = ["index", "path", "observed_label", "clean_label", "observed_class", "clean_class"]
FIRST += ["clean_probability", "selected"]
KEYS = {"epochs": 2, "warmup_epochs": 1, "threads": 1, "quiet": True}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of two networks that select, and one of one network that does not."""
    folder = tmp_path_factory.mktemp("runs")
    return sfa_bench.run(runs_dir=folder, **KEYS), sfa_bench.run(runs_dir=folder, method="ce", plugin="none", **KEYS)


def test_samples_of_two_networks(runs):
    run, frame = runs[0], runs[0].samples
    assert list(frame.columns) == [*FIRST, *(f"{c}_{k}" for k in (1, 2) for c in ("clean_probability", "selected"))]
    with np.load(run.path / "predictions.npz") as arrays:
        assert frame["index"].tolist() == arrays["index"].tolist()
        assert frame["observed_class"].tolist() == [str(k) for k in arrays["observed_label"]]
        assert frame["clean_label"].tolist() == arrays["clean_label"].tolist()
        a, b = arrays["clean_probability"].astype(float)
        assert np.allclose(frame["clean_probability"], (a + b) / 2)
        assert np.array_equal(frame["clean_probability_2"], b)
        assert frame["selected"].tolist() == (arrays["selected"][0] | arrays["selected"][1]).tolist()
        assert frame["selected_1"].tolist() == arrays["selected"][0].tolist()
    assert frame["path"].isna().all()
    assert (frame["clean_label"] != frame["observed_label"]).mean() == run.record["data"]["noise_rate"]


def test_samples_without_a_selector_say_that_there_is_no_selection(runs):
    frame = runs[1].samples
    assert list(frame.columns) == FIRST
    assert frame[["clean_probability", "selected"]].isna().all(axis=None)


def test_samples_have_paths_and_names_of_classes_and_unknown_clean_labels_are_missing(small_images, tmp_path):
    run = sfa_bench.run(
        **{"dataset.name": "mine", "dataset.resize": 12, "dataset.crop": 8, "dataset.workers": 0},
        dataset="folder",
        data_dir=small_images,
        method="ce",
        plugin="none",
        model="convnet",
        epochs=1,
        batch_size=4,
        threads=1,
        quiet=True,
        runs_dir=tmp_path,
    )
    frame = run.samples
    assert set(frame["observed_class"]) == {"ant", "bee"}
    for row in frame.itertuples():
        assert row.path.split("/")[:2] == ["train", row.observed_class]
        assert (small_images / row.path).is_file()
    assert (frame["clean_label"] == -1).all()
    assert frame["clean_class"].isna().all()


def test_the_probability_of_samples_that_one_network_judged_is_its_own():
    from sfa_bench.api.runs import _selected

    arrays = {
        "observed_label": np.zeros(3, dtype=int),
        "clean_probability": np.array([[0.5, np.nan, np.nan], [0.25, 0.75, np.nan]]),
        "selected": np.array([[True, False, False], [False, True, False]]),
    }
    frame = pd.DataFrame(_selected(arrays))
    assert frame["clean_probability"].tolist()[:2] == [0.375, 0.75]
    assert np.isnan(frame["clean_probability"][2])
    assert frame["selected"].tolist() == [True, True, False]


def test_epochs_are_the_lines_of_the_run_with_the_selection_in_columns(runs):
    lines = [json.loads(line) for line in (runs[0].path / "metrics.jsonl").read_text().splitlines()]
    frame = runs[0].epochs
    assert frame["epoch"].tolist() == [1, 2]
    assert frame["test/acc"].tolist() == [line["test/acc"] for line in lines]
    assert np.isnan(frame["selection/precision"][0])
    assert frame["selection/precision"][1] == lines[1]["selection"]["precision"]
    assert "selection" not in frame
    assert len(runs[1].epochs) == 2


def test_predictions_are_the_arrays(runs):
    arrays = load_arrays(runs[0].path / "predictions.npz")
    assert runs[0].predictions.keys() == arrays.keys()
    assert np.array_equal(runs[0].predictions["test_logits_1_main"], arrays["test_logits_1_main"])


def test_a_folder_with_a_record_is_a_run_and_any_other_is_runs(runs):
    path = runs[0].path
    assert isinstance(sfa_bench.load(path), sfa_bench.Run)
    assert sfa_bench.load(str(path / "run.json")).hash == runs[0].hash
    found = sfa_bench.load(path.parent)
    assert isinstance(found, sfa_bench.Runs)
    assert [run.hash for run in found] == [runs[0].hash]
    assert {run.hash for run in sfa_bench.load(path.parents[2])} == {run.hash for run in runs}


def test_runs_are_a_sequence_and_a_table(runs):
    found = sfa_bench.load(runs[0].path.parents[2])
    assert isinstance(found[:1], sfa_bench.Runs)
    assert repr(found) == "<Runs: 2 done>"
    frame = found.frame()
    assert frame["hash"].tolist() == [run.hash for run in found]
    assert frame["state"].tolist() == ["done", "done"]
    assert frame["noise_ratio"].tolist() == [0.4, 0.4]
    assert frame["test/acc/final"].tolist() == [run.metrics["test/acc/final"] for run in found]
    assert len(sfa_bench.Runs([]).frame()) == 0


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(sfa_bench.ConfigError, match="there is no such folder"):
        sfa_bench.load(tmp_path / "none")
    assert len(sfa_bench.load(tmp_path)) == 0
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(sfa_bench.ConfigError, match=r"run.json cannot be read: it is not complete JSON"):
        sfa_bench.load(tmp_path)
