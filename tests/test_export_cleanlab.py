"""What is exported for cleanlab, with cleanlab's own functions, and against what runs saved."""

import io
import shutil

import numpy as np
import pytest
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from rich.console import Console

from sfa_bench.cli import main
from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.engine.build import build_method
from sfa_bench.engine.run import run
from sfa_bench.store.record import command

CE = ["method=ce", "plugin=none", "imb_factor=0.2", "epochs=6", "threads=1"]
SFA = ["method=dividemix", "plugin=sfa", "imb_factor=0.02", "epochs=3", "warmup_epochs=1", "threads=1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Words → the folder of that run, trained when it is first asked for."""
    root, paths = tmp_path_factory.mktemp("runs"), {}

    def get(*words):
        if words not in paths:
            overrides = [*words, f"runs_dir={root}/{len(paths)}"]
            paths[words] = run(compose(overrides), command(overrides), Console(file=io.StringIO()))
        return paths[words]

    return get


def exported(folder):
    return {file.stem: np.load(file, allow_pickle=False) for file in folder.glob("*.npy")}


def test_the_runs_of_all_folds_give_what_cleanlab_finds_errors_by(trained, tmp_path, capsys):
    paths = [trained(*CE, f"dataset.fold={i}/3") for i in (1, 2, 3)]
    assert main(["export", "--format", "cleanlab", *map(str, paths), "-o", str(tmp_path / "out")]) == 0
    assert "out-of-sample" in capsys.readouterr().out
    arrays = exported(tmp_path / "out")
    data = build(compose(CE))
    order = np.argsort(data.index)
    assert arrays["index"].tolist() == data.index[order].tolist()
    assert arrays["labels"].tolist() == data.view.observed_labels.numpy()[order].tolist()
    for path in paths:
        with np.load(path / "predictions.npz") as saved:
            rows = np.searchsorted(arrays["index"], saved["held_out_index"])
            np.testing.assert_allclose(arrays["pred_probs"][rows], saved["held_out_probability"][0], atol=2e-3)
    np.testing.assert_allclose(arrays["pred_probs"].sum(axis=1), 1)
    noisy = (data.clean_labels != data.view.observed_labels.numpy())[order]
    issues = find_label_issues(arrays["labels"], arrays["pred_probs"], n_jobs=1)
    quality = get_label_quality_scores(arrays["labels"], arrays["pred_probs"])
    assert noisy[issues].mean() > noisy.mean() + 0.15
    worst = np.argsort(quality)[: noisy.sum()]
    assert noisy[worst].mean() > noisy.mean() + 0.15


def test_several_runs_give_their_mean_in_sample(trained, tmp_path, capsys):
    paths = [trained(*SFA), trained(*SFA, "seed=1")]
    assert main(["export", "--format", "cleanlab", *map(str, paths), "-o", str(tmp_path)]) == 0
    assert "in-sample" in capsys.readouterr().out
    saved = [dict(np.load(path / "predictions.npz")) for path in paths]
    expected = np.mean([arrays["train_probability"].astype(float).mean(axis=0) for arrays in saved], axis=0)
    np.testing.assert_allclose(exported(tmp_path)["pred_probs"], expected, atol=2e-3)
    assert exported(tmp_path)["labels"].tolist() == saved[0]["observed_label"].tolist()


def test_features_are_those_of_the_saved_networks(trained, tmp_path):
    path = trained(*SFA)
    assert main(["export", "--format", "cleanlab", str(path), "-o", str(tmp_path), "--features"]) == 0
    found = exported(tmp_path)["features"]
    config = compose(SFA)
    method = build_method(config, build(config), [torch.device("cpu")])
    method.load_trained(torch.load(path / "last.pt", weights_only=True)["method"])
    expected = [method.probe(k, 3).features for k in range(2)]  # rounded to half precision
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), rtol=2e-3, atol=1e-3)


def test_what_cannot_be_exported_is_refused_in_a_sentence(trained, tmp_path, capsys):
    def sentence(*words):
        assert main(["export", *map(str, words), "-o", str(tmp_path / "out.csv")]) == 2
        return capsys.readouterr().err

    one, two = trained(*CE, "dataset.fold=1/3"), trained(*CE, "dataset.fold=2/3")
    assert "name the runs of all folds" in sentence("--format", "cleanlab", one, two)
    three = trained(*CE, "dataset.fold=3/3")
    assert "takes one run without dataset.fold" in sentence("--format", "cleanlab", one, two, three, "--features")
    assert "--features goes with --format cleanlab" in sentence(one, "--features")
    assert "there is no such folder" in sentence("--format", "cleanlab", tmp_path / "none")
    bare = tmp_path / "bare"
    shutil.copytree(trained(*SFA), bare)
    for file in bare.glob("*.pt"):
        file.unlink()
    assert "the weights of" in sentence("--format", "cleanlab", bare, "--features")
    assert not (tmp_path / "out.csv").exists()


def test_a_table_is_the_usual_one(trained, tmp_path):
    assert main(["export", str(trained(*SFA)), "-o", str(tmp_path / "runs.csv")]) == 0
    assert (tmp_path / "runs.csv").read_text().startswith("folder,hash,command,")
