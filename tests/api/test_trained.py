"""A saved model predicts what the run recorded, from images as people have them, and is evaluated on other data."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import sfa_bench
from sfa_bench.cli import main
from sfa_bench.store.digest import check_json

KEYS = {"epochs": 3, "warmup_epochs": 1, "threads": 1, "quiet": True}


def held_out():
    """Every fifth digit: the test images as bytes, and their labels."""
    digits = load_digits()
    test = np.arange(len(digits.images)) % 5 == 4
    return np.rint(digits.images[test] * 255 / 16).astype(np.uint8), digits.target[test]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return sfa_bench.run(runs_dir=tmp_path_factory.mktemp("runs"), **KEYS)


def test_a_model_gives_the_recorded_logits_of_the_test_images(run):
    images, labels = held_out()
    model, recorded = run.model(), run.predictions
    logits = model.logits(images)
    for k in (1, 2):
        for head in ("main", "abc"):
            assert np.array_equal(logits[k - 1][head], recorded[f"test_logits_{k}_{head}"])
    total = sum(recorded[f"test_logits_{k}_{head}"].astype(float) for k in (1, 2) for head in ("main", "abc"))
    odds = np.exp(total / 4)
    assert np.allclose(model.predict_proba(images), odds / odds.sum(axis=1, keepdims=True))
    assert np.allclose(model(images).exp().sum(dim=1), 1)
    assert 100 * (model.predict(images) == labels).mean() == pytest.approx(run.metrics["test/acc/last"], abs=1e-9)
    assert model.classes == [str(k) for k in range(10)]


def test_a_model_with_an_average_of_its_weights_is_that_average(tmp_path):
    run = sfa_bench.run(method="ce", plugin="none", runs_dir=tmp_path, **{**KEYS, "epochs": 2, "recipe.ema": 0.9})
    assert np.array_equal(run.model().logits(held_out()[0])[0]["main"], run.predictions["test_logits_1_main"])


def test_the_same_images_in_other_forms_are_the_same(run):
    images, _ = held_out()
    model = run.model()
    expected = model.predict(images)
    assert np.array_equal(model.predict(images[..., None]), expected)
    assert np.array_equal(model.predict(torch.from_numpy(images)), expected)
    assert np.array_equal(model.predict(torch.from_numpy(images)[:, None]), expected)
    assert model.predict(images[7]).tolist() == [expected[7]]
    assert model.predict(images[7][..., None]).tolist() == [expected[7]]
    assert model.predict(images[:8]).tolist() == expected[:8].tolist()  # as many as an image has rows


def test_the_preprocessing_is_that_of_the_training_set(run):
    digits = load_digits()
    train = np.rint(digits.images * 255 / 16)[np.arange(len(digits.images)) % 5 != 4] / 255
    images, _ = held_out()
    model = run.model()
    batch = model.preprocess(images[:3])
    assert np.allclose(batch[:, 0], (images[:3] / 255 - train.mean()) / train.std(), atol=1e-5)
    with torch.no_grad():
        assert np.allclose(model.networks[0](batch).main, model.logits(images[:3])[0]["main"], atol=1e-5)
    assert not model.networks[0].training


def test_a_model_needs_no_data(tmp_path):
    rng = np.random.default_rng(0)
    data = {"x_train": rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8), "y_train": np.arange(40) % 3}
    data |= {"x_test": data["x_train"][:9], "y_test": data["y_train"][:9]}
    np.savez(tmp_path / "mine.npz", **data)
    keys = KEYS | {"dataset": "arrays", "dataset.name": "mine", "data_dir": tmp_path / "mine.npz", "batch_size": 8}
    run = sfa_bench.run(runs_dir=tmp_path / "runs", **keys)
    shutil.move(tmp_path / "mine.npz", tmp_path / "gone.npz")
    assert np.array_equal(run.model().logits(data["x_test"])[1]["abc"], run.predictions["test_logits_2_abc"])
    moved = shutil.move(run.path, tmp_path / "elsewhere")
    assert run.model  # the object still is
    assert len(sfa_bench.load(moved).model().predict(data["x_test"][0])) == 1
    with pytest.raises(sfa_bench.ConfigError, match=r"data_dir=.*mine.npz"):
        sfa_bench.load(moved).evaluate()


def test_a_record_without_the_form_of_its_images_reads_the_data(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "old")
    record = json.loads((tmp_path / "old/run.json").read_text())
    del record["data"]["input"], record["digest"]
    (tmp_path / "old/run.json").write_text(json.dumps(record))
    images, _ = held_out()
    assert np.array_equal(sfa_bench.load(tmp_path / "old").model().predict(images), run.model().predict(images))


@pytest.mark.parametrize("method", ["elr", "coteaching", "rolt", "har", "unicon"])
def test_models_of_other_methods(method, tmp_path):
    keys = KEYS | {"method": method, "plugin": "none", "method.plus": True} if method == "elr" else KEYS
    keys = keys if method == "elr" else KEYS | {"method": method, "plugin": "sfa" if method == "unicon" else "none"}
    run = sfa_bench.run(runs_dir=tmp_path, **keys)
    images, _ = held_out()
    for k, heads in enumerate(run.model().logits(images), start=1):
        assert np.array_equal(heads["main"], run.predictions[f"test_logits_{k}_main"])


@pytest.mark.parametrize("classifier", ["crt", "lws", "tau_norm", "ncm", "logit_adjust"])
def test_a_decoupled_classifier_answers_in_the_place_of_the_heads(classifier, run):
    images, _ = held_out()
    fitted = sfa_bench.run(runs_dir=run.path.parents[2], classifier=classifier, **KEYS)
    logits = fitted.model().logits(images)
    assert [list(heads) for heads in logits] == [["main"], ["main"]]
    assert np.array_equal(logits[1]["main"], fitted.predictions["test_logits_2_main"])


@pytest.fixture(scope="module")
def of_files(small_images, tmp_path_factory):
    return sfa_bench.run(
        **{"dataset.name": "mine", "dataset.resize": 12, "dataset.crop": 8, "dataset.workers": 0, "epochs": 2},
        batch_size=4,
        threads=1,
        quiet=True,
        runs_dir=tmp_path_factory.mktemp("files"),
        dataset="folder",
        data_dir=small_images,
        method="ce",
        plugin="none",
        model="convnet",
    )


def test_a_model_of_image_files_takes_paths_and_arrays(of_files, small_images):
    paths = sorted((small_images / "test").rglob("*.png"))
    model = of_files.model()
    expected = of_files.predictions["test_logits_1_main"]
    assert np.array_equal(model.logits(paths)[0]["main"], expected)
    assert model.predict(str(paths[0])).tolist() == [expected[0].argmax()]
    images = [np.asarray(Image.open(path)) for path in paths]
    assert np.array_equal(model.logits(images)[0]["main"], expected)
    assert np.array_equal(model.logits(np.stack(images))[0]["main"], expected)
    assert model.predict(images[0]).tolist() == [expected[0].argmax()]
    assert model.classes == ["ant", "bee"]


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((2, 8, 8)), "these are float64 [2, 8, 8]: give images uint8 [M, 8, 8]"),
        (np.zeros((2, 7, 8), dtype=np.uint8), "these are uint8 [2, 7, 8]"),
        (np.zeros((2, 8, 8, 3), dtype=np.uint8), "these are uint8 [2, 8, 8, 3]"),
        ("a.png", "this model was trained on arrays, not on image files"),
    ],
)
def test_what_is_not_of_the_models_kind_is_refused_with_what_is(run, images, sentence):
    with pytest.raises(sfa_bench.ConfigError) as refused:
        run.model().predict(images)
    assert sentence in str(refused.value)


def test_a_missing_file_is_named(of_files):
    with pytest.raises(sfa_bench.ConfigError, match=r"nowhere.png cannot be read: No such file"):
        of_files.model().predict(["/nowhere.png"])


def test_without_saved_weights_there_is_no_model(tmp_path):
    run = sfa_bench.run(runs_dir=tmp_path, keep_checkpoint="none", **KEYS | {"method": "ce", "plugin": "none"})
    for act in (run.model, run.evaluate):
        with pytest.raises(sfa_bench.ConfigError, match=r"has no saved model \(keep_checkpoint=none.*rerun=true"):
            act()


# ---- evaluate


def test_a_run_evaluated_on_its_own_test_set_has_the_figures_of_its_last_epoch(run):
    figures = run.evaluate()
    assert figures["test/acc/last"] == figures["test/acc/final"] == run.metrics["test/acc/last"]
    last = run.epochs.iloc[-1]
    for key in ("test/acc/many", "test/acc/few", "test/acc/worst", "test/macro_f1", "test/ece", "test/acc/abc"):
        assert figures[key] == last[key]
    assert not any(key.endswith(("/best", "_val")) for key in figures)
    assert len(run.evaluate(**{"eval.ensemble": "main"})) == len(figures)
    assert run.evaluate(**{"eval.ensemble": "main"})["test/acc/last"] == last["test/acc/main"]


def other_digits(path, **changes):
    """An .npz of the digits' own test images with their labels shifted by one in a tenth of them."""
    images, labels = held_out()
    shifted = np.where(np.arange(len(labels)) % 10 == 0, (labels + 1) % 10, labels)
    arrays = {"x_train": images[:20], "y_train": np.arange(20) % 10, "x_test": images, "y_test": shifted}
    np.savez(path, **(arrays | changes))
    return path


def test_other_data_are_scored_by_hand(run, tmp_path, capsys):
    path = other_digits(tmp_path / "other.npz")
    record = (run.path / "run.json").read_bytes()
    words = ["dataset=arrays", "dataset.name=other", f"data_dir={path}"]
    assert main(["evaluate", str(run.path), *words]) == 0
    out = capsys.readouterr().out
    images, _ = held_out()
    with np.load(path) as arrays:
        expected = 100 * float((run.model().predict(images) == arrays["y_test"]).mean())
    content = (run.path / "evaluations/other.json").read_bytes()
    check_json(content)
    result = json.loads(content)
    assert result["metrics"]["test/acc/final"] == pytest.approx(expected, abs=1e-9)
    assert (result["run"], result["overrides"], result["data"]["samples"]) == (run.hash, words, 359)
    assert re.search(rf"last epoch +│ +{expected:.2f}", out)
    assert "mean of the last epochs" not in out
    assert "evaluations/other.json" in out
    assert (run.path / "run.json").read_bytes() == record
    keys = {"dataset": "arrays", "dataset.name": "other", "data_dir": path}
    assert run.evaluate(name="again", **keys) == result["metrics"]
    assert (run.path / "evaluations/again.json").is_file()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"y_train": np.arange(20) % 9, "y_test": np.arange(359) % 9}, "other has 9 classes, and the run has 10"),
        (
            {"x_train": np.zeros((20, 9, 8), np.uint8), "x_test": np.zeros((359, 9, 8), np.uint8)},
            "are images of 9×8 pixels with 1 channel, and the run was trained on images of 8×8 pixels with 1 channel",
        ),
        (
            {"x_train": np.zeros((20, 8, 8, 3), np.uint8), "x_test": np.zeros((359, 8, 8, 3), np.uint8)},
            "with 3 channels, and the run was trained on images of 8×8 pixels with 1 channel",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused_in_a_sentence(changes, sentence, run, tmp_path, capsys):
    path = other_digits(tmp_path / "other.npz", **changes)
    assert main(["evaluate", str(run.path), "dataset=arrays", "dataset.name=other", f"data_dir={path}"]) == 2
    assert sentence in capsys.readouterr().err


def test_other_names_of_classes_are_refused(of_files, small_images, tmp_path, capsys):
    shutil.copytree(small_images, tmp_path / "cats")
    for part in ("train", "test"):
        (tmp_path / "cats" / part / "bee").rename(tmp_path / "cats" / part / "cat")
    assert main(["evaluate", str(of_files.path), f"data_dir={small_images}"]) == 0
    assert main(["evaluate", str(of_files.path), f"data_dir={tmp_path}/cats"]) == 2
    assert "mine has other classes than the run: number 1 is cat, and it was bee" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["epochs=3"], "epochs=3: the model is the run's own; evaluate takes dataset, dataset.KEY, data_dir"),
        (["method=ce"], "method=ce: the model is the run's own"),
        (["dataset.val=noisy"], "dataset.val=noisy acts on training alone"),
        (["dataset.shots.basis=observed"], "acts on training alone"),
        (["dataset.augment=trivial"], "dataset.augment=trivial acts on training alone"),
        (["dataset.fold=1/3"], "dataset.fold=1/3 acts on training alone"),
        (["dataset=digist"], "did you mean dataset=digits?"),
        (["data_seed=0,1"], "data_seed=0,1"),
        (["--name", "a/b"], "name=a/b: must be letters"),
        (["device=mps"], "device=mps cannot be used here"),
    ],
)
def test_what_evaluate_does_not_take_is_refused(words, sentence, run, capsys):
    assert main(["evaluate", str(run.path), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err
