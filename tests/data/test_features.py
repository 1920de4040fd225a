"""Feature vectors from a file, and methods that need images on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sfa_bench.choices import methods
from sfa_bench.choices.sources import SOURCES
from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.data.loader import loader_for
from sfa_bench.engine.build import build_method
from sfa_bench.engine.changes import refuse_other_data
from sfa_bench.engine.report import describe_data
from sfa_bench.errors import ConfigError, DataError


def content(**replaced):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.normal(size=(30, 6)),
        "y_train": np.arange(30) % 3,
        "x_test": rng.normal(size=(9, 6)).astype(np.float32),
        "y_test": np.arange(9) % 3,
    }
    return {name: array for name, array in (arrays | replaced).items() if array is not None}


@pytest.fixture
def config(tmp_path):
    def make(arrays, *typed):
        np.savez(tmp_path / "mine.npz", **arrays)
        return compose(["dataset=features", "dataset.name=mine", f"data_dir={tmp_path}/mine.npz", *typed])

    return make


def test_features_and_labels_are_taken_as_they_are(config):
    arrays = content()
    data = build(config(arrays))
    assert data.view.images.dtype == torch.float32
    assert np.array_equal(data.view.images.numpy(), arrays["x_train"][data.index].astype(np.float32))
    assert np.array_equal(data.test.images.numpy(), arrays["x_test"])
    assert data.view.observed_labels.tolist() == arrays["y_train"][data.index].tolist()
    assert (data.noise_rate, data.class_names, data.view.class_embeddings) == (None, None, None)
    loader = loader_for(data.view, data.view.transform)
    everything = torch.arange(30)
    view = loader.train_view(everything, torch.Generator().manual_seed(0))
    assert torch.equal(view, loader.test_view(everything))


def test_clean_labels_names_and_embeddings_are_optional(config):
    embeddings = np.random.default_rng(1).normal(size=(3, 4))
    truth = np.arange(30) % 3
    noisy = np.where(np.arange(30) < 6, (truth + 1) % 3, truth)
    names = np.array(["a", "b", "c"])
    arrays = content(y_train=noisy, y_train_clean=truth, class_names=names, class_embeddings=embeddings)
    run = config(arrays)
    data = build(run)
    assert data.noise_rate == 6 / 30
    assert data.class_names == ("a", "b", "c")
    assert np.allclose(data.view.class_embeddings.numpy(), embeddings, atol=1e-6)
    assert describe_data(run, data)["class_embeddings"] == [3, 4]
    without = build(config(content(y_train=noisy, y_train_clean=truth)))
    assert describe_data(run, without)["class_embeddings"] is None
    assert data.fingerprints.items() - without.fingerprints.items() == {
        ("class_embeddings", data.fingerprints["class_embeddings"])
    }
    other = build(config(arrays | {"class_embeddings": -embeddings}))
    assert other.fingerprints["class_embeddings"] != data.fingerprints["class_embeddings"]
    for changed in (without, other):
        record = {"data": {"fingerprints": data.fingerprints}, "environment": {}}
        with pytest.raises(ConfigError, match=r"other data \(different: class_embeddings\)"):
            refuse_other_data(run, record, changed.fingerprints)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (
            {"x_train": np.zeros((30, 6), np.uint8)},
            r"x_train of .* must be finite floats \[N, D\], not uint8 \[30, 6\]",
        ),
        ({"x_train": np.zeros((30, 6, 1))}, r"must be finite floats \[N, D\]"),
        ({"x_train": np.full((30, 6), np.inf)}, "must be finite floats"),
        ({"x_train": np.full((30, 6), 1e300)}, "must be finite floats"),  # not finite as float32
        ({"x_test": np.zeros((9, 5))}, "x_train has 6 features, x_test 5"),
        ({"x_test": None}, "has no x_test"),
        ({"y_train": np.arange(30) % 2 * 2}, "class 1 has no training image"),
        ({"class_names": np.array(["a", "b"])}, "has 2 class_names for 3 classes"),
        ({"class_names": np.arange(3)}, r"class_names of .* must be texts \[K\], not int64 \[3\]"),
        ({"class_embeddings": np.zeros((2, 4))}, r"a row for each of 3 classes, not float64 \[2, 4\]"),
        ({"class_embeddings": np.zeros(3)}, "class_embeddings of .* must be finite floats"),
        ({"class_embeddings": np.full((3, 4), np.nan)}, "class_embeddings of .* must be finite floats"),
    ],
)
def test_wrong_arrays_are_named(config, replaced, message):
    with pytest.raises(DataError, match=message):
        build(config(content(**replaced)))


def test_another_file_is_named_by_its_choice(tmp_path):
    with pytest.raises(DataError, match=r"dataset=features reads one .npz file"):
        build(compose(["dataset=features", "dataset.name=mine", f"data_dir={tmp_path}"]))


def needs_images(monkeypatch, learner):
    described = replace(methods.LEARNERS[learner], images="compares views of images")
    monkeypatch.setattr(methods, "LEARNERS", {**methods.LEARNERS, learner: described})


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.vectors])
def test_a_method_that_needs_images_is_refused_on_vectors_by_its_name(monkeypatch, name):
    words = [f"dataset={name}", "dataset.name=mine"] if SOURCES[name].own else [f"dataset={name}"]
    assert compose(words).names["method"] == "dividemix"
    needs_images(monkeypatch, "dividemix")
    sentence = f"method=dividemix compares views of images, and dataset={name} has vectors: choose a data set of images"
    with pytest.raises(ConfigError, match=sentence):
        compose(words)
    assert compose([*words, "method=ce"])
    assert compose(["dataset=digits"])


def test_a_method_that_needs_images_is_refused_where_only_the_data_show_that_they_are_vectors(config, monkeypatch):
    run = config(content(), "epochs=2", "warmup_epochs=1")
    data = build(run)
    assert build_method(run, data, [torch.device("cpu")])
    needs_images(monkeypatch, "dividemix")
    with pytest.raises(ConfigError, match="method=dividemix compares views of images"):
        build_method(run, data, [torch.device("cpu")])
