"""Other people's predictions become a record only when they are of our labels (explanation/runs.md §4)."""

import io
import json
import os
import tracemalloc
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from analysis.ingest import main, of_run
from analysis.members import Wanted, read_members
from analysis.runs import load
from analysis.table import make_table
from sfa_bench.errors import ConfigError
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
        (["--method", "x" * 101], "a name has letters"),
        (["--seed", "-1"], "--seed -1: a seed is a whole number from 0 to 2^63 - 1"),
        (["--seed", str(2**63)], "a seed is a whole number"),
        (["--like", "/nowhere"], "there is no folder /nowhere"),
    ],
)
def test_bad_arguments_are_refused(ours, theirs, tmp_path, capsys, more, sentence):
    assert ingest(tmp_path, ours[0], theirs, *more) == 2
    assert sentence in capsys.readouterr().err


# ---- malformed files: by what is in them, then by their bytes

NONSENSE = {
    "half labels": ({"observed_label": lambda a: a + 0.5}, "observed_label must be 200 integers from 0 to 3"),
    "labels that are no number": ({"observed_label": lambda a: a * np.nan}, "observed_label must be 200 integers"),
    "labels beyond the classes": ({"observed_label": lambda a: a + 1}, "observed_label must be 200 integers"),
    "labels below the classes": ({"observed_label": lambda a: a - 1}, "observed_label must be 200 integers"),
    "complex labels": ({"observed_label": lambda a: a + 0j}, "integers from 0 to 3, not complex128 [200]"),
    "labels as text": ({"observed_label": lambda a: a.astype(str)}, "integers from 0 to 3, not <U21 [200]"),
    "a column of labels": ({"observed_label": lambda a: a[:, None]}, "integers from 0 to 3, not int64 [200, 1]"),
    "one label": ({"observed_label": lambda a: a[0]}, "integers from 0 to 3, not int64 []"),
    "no labels": ({"observed_label": lambda a: a[:0]}, "not int64 [0] (0 labels, ours 200)"),
    "dates": ({"observed_label": lambda a: a.astype("M8[s]")}, "not datetime64[s] [200]"),
    "objects": ({"observed_label": lambda a: a.astype(object)}, "observed_label holds Python objects"),
    "structures": (
        {"observed_label": lambda a: a.view([("a", "i4"), ("b", "i4")])},
        "not [('a', '<i4'), ('b', '<i4')]",
    ),
    "complex logits": (
        {"test_logits": lambda a: a + 1j},
        "must be finite numbers [100, 4] of at most 1e+100, not complex",
    ),
    "logits that are true": (
        {"test_logits": lambda a: a > 0},
        "must be finite numbers [100, 4] of at most 1e+100, not bool",
    ),
    "infinite logits": ({"test_logits": lambda a: a * np.inf}, "must be finite numbers [100, 4]"),
    "logits whose difference is infinite": ({"test_logits": lambda a: a * 1e307}, "finite numbers [100, 4] of at most"),
    "logits of two networks": ({"test_logits": lambda a: np.stack([a, a])}, "not float64 [2, 100, 4]"),
    "half predictions": ({"test_logits": None, "test_prediction": np.full(M, 0.5)}, "must be 100 integers from 0 to 3"),
    "negative predictions": (
        {"test_logits": None, "test_prediction": np.full(M, -1)},
        "must be 100 integers from 0 to 3",
    ),
    "too few predictions": ({"test_logits": None, "test_prediction": np.zeros(M - 1, int)}, "100 integers from 0 to 3"),
    "half positions": ({"index": np.arange(N) + 0.5}, "index must be 200 integers"),
    "negative positions": ({"index": -np.arange(N)}, "index holds other training samples"),
    "one position for all": ({"index": np.zeros(N, int)}, "index holds other training samples"),
    "too few positions": ({"index": np.arange(N - 1)}, "index must be 200 integers, not int64 [199]"),
    "probabilities above one": ({"clean_probability": np.full(N, 1.5)}, "must be 200 numbers from 0 to 1"),
    "probabilities below zero": ({"clean_probability": np.full(N, -0.1)}, "must be 200 numbers from 0 to 1"),
    "unknown probabilities": ({"clean_probability": np.full(N, np.nan)}, "must be 200 numbers from 0 to 1"),
    "probabilities of two networks": ({"clean_probability": np.zeros((2, N))}, "not float64 [2, 200]"),
    "sevens": ({"clean_probability": np.zeros(N), "selected": np.full(N, 7)}, "selected must be 200 truth values"),
    "sevens alone": ({"selected": np.full(N, 7)}, "selected must be 200 truth values"),
    "yes and no": ({"selected": np.full(N, "yes")}, "selected must be 200 truth values, not <U3 [200]"),
    "too few truth values": ({"selected": np.zeros(N - 1, bool)}, "selected must be 200 truth values, not bool [199]"),
    "test labels as text": ({"test_label": np.full(M, "a")}, "test_label must be 100 integers from 0 to 3"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_in_one_sentence(ledger, ours, theirs, tmp_path, capsys, case):
    changes, sentence = NONSENSE[case]
    arrays = {name: change(theirs[name]) if callable(change) else change for name, change in changes.items()}
    assert ingest(tmp_path, ours[0], changed(theirs, **arrays)) == 2
    err = capsys.readouterr().err
    assert err.startswith("refused: ")
    assert err.count("\n") == 1
    assert sentence in err
    assert len(ledger.read()) == 1


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text, version=(1, 0)):
    """An array's file with this header and nothing behind it."""
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text


def zipped(members, **options):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", **options) as archive:
        warnings.simplefilter("ignore")  # of duplicate names
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


GOOD = npy(np.zeros(N, np.int64))
LABEL = "observed_label.npy"
HUGE = b"{'descr': '<i8', 'fortran_order': False, 'shape': (10000000000000,), }"
PACKED = {"compression": zipfile.ZIP_DEFLATED}
BYTES = {
    "nothing": (b"", "is not an .npz of plain arrays"),
    "text": (b"no", "is not an .npz of plain arrays"),
    "one array": (GOOD, "is one array; ingest takes an .npz with names"),
    "a cut archive": (zipped([(LABEL, GOOD)])[:-30], "is not an .npz of plain arrays"),
    "a flipped bit": (flipped(zipped([(LABEL, GOOD)]), 300), "is not an .npz of plain arrays"),
    "a flipped bit in what is packed": (
        flipped(zipped([(LABEL, GOOD)], **PACKED), 70),
        "is not an .npz of plain arrays",
    ),
    "a name twice": (zipped([(LABEL, GOOD), (LABEL, GOOD)]), "has observed_label 2 times"),
    "a name with and without ending": (zipped([(LABEL, GOOD), ("observed_label", GOOD)]), "has observed_label 2 times"),
    "a member that is no array": (zipped([(LABEL, b"hello")]), "is not an .npz of plain arrays"),
    "an empty member": (zipped([(LABEL, b"")]), "is not an .npz of plain arrays"),
    "an array that is cut": (zipped([(LABEL, GOOD[:-8])]), "observed_label has not the 1600 bytes"),
    "an array with more behind it": (zipped([(LABEL, GOOD + b"more")]), "observed_label has not the 1600 bytes"),
    "an array that unpacks to far more": (zipped([(LABEL, GOOD + bytes(2**20))], **PACKED), "has not the 1600 bytes"),
    "a header that claims 80 TB": (zipped([(LABEL, header(HUGE))]), "not int64 [10000000000000]"),
    "a header that is too long": (zipped([(LABEL, header(b" " * 20000, (2, 0)))]), "is not an .npz of plain arrays"),
    "a header of a later version": (zipped([(LABEL, header(HUGE, (3, 0)))]), "a header of version (3, 0)"),
    "a header of brackets": (zipped([(LABEL, header(b"(" * 9000))]), "is not an .npz of plain arrays"),
    "a header of lists": (zipped([(LABEL, header(b"{[]: 1}"))]), "is not an .npz of plain arrays"),
    "a header with a type that is none": (
        zipped([(LABEL, header(b"{'descr': 'x9', 'fortran_order': False, 'shape': (200,), }"))]),
        "is not an .npz of plain arrays",
    ),
    "a header with a negative shape": (
        zipped([(LABEL, header(b"{'descr': '<i8', 'fortran_order': False, 'shape': (-200,), }"))]),
        "not int64 [-200]",
    ),
    "a method of packing that is unknown": (
        zipped([(LABEL, GOOD)]).replace(
            b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x63\x00"
        ),
        "is not an .npz of plain arrays",
    ),
    "encrypted": (
        zipped([(LABEL, GOOD)]).replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
        "is not an .npz of plain arrays",
    ),
}


@pytest.mark.parametrize("case", BYTES)
def test_a_malformed_file_is_refused_in_one_sentence(ours, tmp_path, capsys, case):
    content, sentence = BYTES[case]
    (tmp_path / "bad.npz").write_bytes(content)
    assert main([str(tmp_path / "bad.npz"), "--like", str(ours[0]), "--method", "x"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("refused: ")
    assert err.count("\n") == 1
    assert sentence in err


def test_what_is_no_file_is_refused_and_not_waited_for(ours, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.npz")
    for name, sentence in (("pipe.npz", "is not a regular file"), ("none.npz", "there is no file")):
        assert main([str(tmp_path / name), "--like", str(ours[0]), "--method", "x"]) == 2
        assert sentence in capsys.readouterr().err


def test_members_that_nobody_asked_for_stay_packed(ledger, ours, theirs, tmp_path):
    """One of them is broken, one would execute, one is large: none is looked at, and the record is the same without."""
    assert ingest(tmp_path, ours[0], theirs) == 0
    with zipfile.ZipFile(tmp_path / "theirs.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("broken.npy", b"no array")
        archive.writestr("pickled.npy", npy(np.array([print], dtype=object)))
        archive.writestr("large.npy", npy(np.zeros(2**20)))
    wanted = of_run(load([ours[0]])[0][0]).wanted
    tracemalloc.start()
    assert read_members(tmp_path / "theirs.npz", wanted).keys() == theirs.keys()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20  # the large one alone has eight times that
    assert main([str(tmp_path / "theirs.npz"), "--like", str(ours[0]), "--method", "their_code"]) == 0
    the_record(ledger)


def test_what_claims_more_than_it_may_is_refused_before_it_is_unpacked(tmp_path):
    wanted = {"observed_label": Wanted((N,), "i", "labels")}
    for content in (zipped([(LABEL, GOOD + bytes(2**24))], **PACKED), zipped([(LABEL, header(HUGE))])):
        (tmp_path / "bad.npz").write_bytes(content)
        tracemalloc.start()
        with pytest.raises(ConfigError):
            read_members(tmp_path / "bad.npz", wanted)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**20


@pytest.mark.parametrize("kind", ["<i4", ">i8", "<u1", "<f4"])
def test_whole_numbers_of_every_type_are_labels(ledger, ours, theirs, tmp_path, kind):
    assert ingest(tmp_path, ours[0], theirs | {"observed_label": theirs["observed_label"].astype(kind)}) == 0
    the_record(ledger)


def test_logits_in_columns_are_the_same_logits(ledger, ours, theirs, tmp_path):
    assert ingest(tmp_path, ours[0], theirs | {"test_logits": np.asfortranarray(theirs["test_logits"])}) == 0
    predicted = theirs["test_logits"].argmax(axis=1)
    expected = 100 * accuracy_score(ours[1]["test_label"], predicted)
    assert the_record(ledger)["metrics"]["test/acc/final"] == pytest.approx(expected)


@pytest.mark.parametrize("kind", [bool, np.int64, np.float64])
def test_what_was_taken_counts_without_a_probability_but_orders_nothing(ledger, ours, theirs, tmp_path, kind):
    selected = np.random.default_rng(4).random(N) < 0.5
    assert ingest(tmp_path, ours[0], theirs | {"selected": selected.astype(kind)}) == 0
    clean = ours[1]["observed_label"] == ours[1]["clean_label"]
    found = the_record(ledger)["selection"]
    assert found["precision"] == pytest.approx(clean[selected].mean())
    assert found["recall"] == pytest.approx(selected[clean].mean())
    assert [found[key] for key in ("auc", "ap", "auc_score", "auc/few")] == [None] * 4


def test_a_run_that_cannot_be_compared_with_is_refused(ours, theirs, tmp_path, capsys):
    path, arrays = ours
    for content in (None, b"no archive", zipped([("test_label.npy", npy(arrays["test_label"]))])):
        (path / "predictions.npz").unlink()
        if content is not None:
            (path / "predictions.npz").write_bytes(content)
        assert ingest(tmp_path, path, theirs) == 2
        assert "its record or predictions.npz cannot be used" in capsys.readouterr().err
        (path / "predictions.npz").touch()
    RunFolder(path).write_arrays("predictions.npz", arrays | {"test_label": arrays["test_label"] + K})
    assert ingest(tmp_path, path, theirs) == 2
    assert "do not fit together" in capsys.readouterr().err


def test_a_file_that_would_execute_is_refused(ours, tmp_path, capsys):
    np.savez(tmp_path / "pickled.npz", observed_label=np.array([print], dtype=object))
    (tmp_path / "text.npz").write_text("no")
    for name in ("pickled", "text"):
        assert main([str(tmp_path / f"{name}.npz"), "--like", str(ours[0]), "--method", "x"]) == 2
        assert "is not an .npz of plain arrays" in capsys.readouterr().err
