"""Other people's predictions become a record only when they are of our labels (design.md §4)."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from analysis.ingest import main
from analysis.runs import load
from analysis.table import make_table
from sfa_bench.store.fingerprint import fingerprint
from sfa_bench.store.folder import RunFolder

N, M, K = 200, 100, 4


@pytest.fixture
def ours(ledger):
    """Folder and arrays of a run of ours."""
    generator = np.random.default_rng(0)
    arrays = {
        "test_label": np.arange(M) % K,
        "index": np.sort(generator.choice(1000, N, replace=False)),
        "observed_label": generator.integers(0, K, N),
        "clean_label": generator.integers(0, K, N),
    }
    path = ledger.add(70.0, labels=fingerprint(arrays["observed_label"]))
    record = json.loads((path / "run.json").read_text())
    record["data"]["groups"] = {"many": [0], "medium": [1], "few": [2, 3], "head": [0], "mid": [1, 2], "tail": [3]}
    record["metrics"]["test/per_class"] = [70.0] * K
    (path / "run.json").write_text(json.dumps(record))
    RunFolder(path).write_arrays("predictions.npz", arrays)
    return path, arrays


@pytest.fixture
def theirs(ours):
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(M, K)) + 2 * np.eye(K)[ours[1]["test_label"]]
    return {"observed_label": ours[1]["observed_label"], "test_logits": logits}


def ingest(tmp_path, like, arrays, *more):
    np.savez(tmp_path / "theirs.npz", **arrays)
    return main([str(tmp_path / "theirs.npz"), "--like", str(like), "--method", "their_code", *more])


def the_record(ledger):
    (record,) = [record for record in ledger.read() if record["names"]["method"] == "their_code"]
    return record


def test_the_record_has_the_figures_of_scikit_learn_and_is_marked(ledger, ours, theirs, tmp_path, capsys):
    assert ingest(tmp_path, ours[0], theirs, "--knows", "rate", "--note", "from afar") == 0
    record, truth = the_record(ledger), ours[1]["test_label"]
    predicted = theirs["test_logits"].argmax(axis=1)
    assert record["metrics"]["test/acc/final"] == pytest.approx(100 * accuracy_score(truth, predicted))
    assert record["metrics"]["test/macro_f1"] == pytest.approx(100 * f1_score(truth, predicted, average="macro"))
    by_class = pd.Series(predicted == truth).groupby(truth).mean() * 100
    assert record["metrics"]["test/acc/few"] == pytest.approx(by_class[[2, 3]].mean())
    assert record["metrics"]["test/acc/best"] is None
    assert record["environment"]["external"]["note"] == "from afar"
    assert (record["knows"], record["state"]) == (["rate"], "done")
    assert record["config"]["data_seed"] == 0
    found = make_table(load([ledger.root])[0], ["method"])
    assert list(found.frame["method"]) == ["dividemix", "their_code"]
    assert found.blocks == {1}
    assert found.marks == {}  # alone among its like
    assert any("external" in note for note, lines in found.row_notes if lines == {1})


def test_another_order_is_brought_into_ours_by_index(ledger, ours, theirs, tmp_path):
    order = np.random.default_rng(2).permutation(N)
    probability = np.random.default_rng(3).random(N)
    arrays = theirs | {"clean_probability": probability, "index": ours[1]["index"]}
    arrays |= {key: arrays[key][order] for key in ("observed_label", "clean_probability", "index")}
    assert ingest(tmp_path, ours[0], arrays) == 0
    clean = ours[1]["observed_label"] == ours[1]["clean_label"]
    assert the_record(ledger)["selection"]["auc"] == pytest.approx(roc_auc_score(clean, probability))
    observed = ours[1]["observed_label"]
    by_class = [roc_auc_score(clean[observed == k], probability[observed == k]) for k in range(K)]
    assert the_record(ledger)["selection"]["auc_score"] == pytest.approx(np.mean(by_class))
    assert the_record(ledger)["selection"]["precision"] == pytest.approx(clean[probability > 0.5].mean())


def test_predictions_alone_have_no_calibration(ledger, ours, theirs, tmp_path):
    logits = theirs.pop("test_logits")
    assert ingest(tmp_path, ours[0], theirs | {"test_prediction": logits.argmax(axis=1)}) == 0
    metrics = the_record(ledger)["metrics"]
    assert metrics["test/acc/final"] == pytest.approx(100 * (logits.argmax(axis=1) == ours[1]["test_label"]).mean())
    assert metrics["test/ece"] is None


def test_the_same_file_twice_is_one_record(ledger, ours, theirs, tmp_path):
    assert ingest(tmp_path, ours[0], theirs) == ingest(tmp_path, ours[0], theirs) == 0
    the_record(ledger)
    assert ingest(tmp_path, ours[0], theirs, "--seed", "5") == 0
    assert len(ledger.read()) == 3


def changed(arrays, **changes):
    return {key: value for key, value in {**arrays, **changes}.items() if value is not None}


WRONG = [
    ({"observed_label": np.zeros(N, dtype=np.int64)}, "differ): the code was trained on other labels"),
    ({"observed_label": np.zeros(7, dtype=np.int64)}, "(7 labels, ours 200)"),
    ({"observed_label": None}, "the file has no observed_label"),
    ({"index": np.arange(N)}, "index holds other training samples"),
    ({"test_label": np.zeros(M)}, "test_label differs from the run's test set"),
    ({"test_logits": np.zeros((M, K + 1))}, f"test_logits must be finite numbers [{M}, {K}]"),
    ({"test_logits": np.full((M, K), np.nan)}, "test_logits must be finite numbers"),
    ({"test_logits": None}, "neither test_logits nor test_prediction"),
    ({"test_logits": None, "test_prediction": np.full(M, K)}, f"{M} integers from 0 to {K - 1}"),
    ({"clean_probability": np.full(N, 2.0)}, f"clean_probability must be {N} numbers from 0 to 1"),
    ({"clean_probability": np.zeros(N), "selected": np.zeros(3)}, f"selected must be {N} truth values"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG)
def test_what_is_not_of_this_data_is_refused(ledger, ours, theirs, tmp_path, capsys, changes, sentence):
    assert ingest(tmp_path, ours[0], changed(theirs, **changes)) == 2
    err = capsys.readouterr().err
    assert err.startswith("refused: ")
    assert sentence in err
    assert len(ledger.read()) == 1


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--method", "ce"], "is a method of the suite; give other code another name: ce_original"),
        (["--method", "../x"], "a name has letters"),
        (["--knows", "everything"], "--knows everything: there is rate, type"),
        (["--like", "/nowhere"], "there is no folder /nowhere"),
    ],
)
def test_bad_arguments_are_refused(ours, theirs, tmp_path, capsys, more, sentence):
    assert ingest(tmp_path, ours[0], theirs, *more) == 2
    assert sentence in capsys.readouterr().err


def test_a_file_that_would_execute_is_refused(ours, tmp_path, capsys):
    np.savez(tmp_path / "pickled.npz", observed_label=np.array([print], dtype=object))
    (tmp_path / "text.npz").write_text("no")
    for name in ("pickled", "text"):
        assert main([str(tmp_path / f"{name}.npz"), "--like", str(ours[0]), "--method", "x"]) == 2
        assert "is no .npz of plain arrays" in capsys.readouterr().err
