"""The labels that are most probably wrong, against loops in plain Python on what runs saved."""

import csv
import io
import shutil

import numpy as np
import pytest
import small_images
from rich.console import Console

from sfa_bench.cli import main as program
from sfa_bench.config.compose import compose
from sfa_bench.engine.run import run
from sfa_bench.errors import ConfigError
from sfa_bench.store.record import command
from sfa_bench.suspects import COLUMNS, FinishedRun, main, open_all, suspects

TINY = ["imb_factor=0.02", "epochs=3", "warmup_epochs=1", "threads=1"]
RUNS = {
    "sfa": [*TINY, "method=dividemix", "plugin=sfa"],
    "again": [*TINY, "method=dividemix", "plugin=sfa", "seed=1"],
    "other labels": [*TINY, "method=dividemix", "plugin=sfa", "replicate=1"],
    "probed": [*TINY, "method=dividemix", "plugin=sfa", "record.probes=1"],
    "alone": [*TINY, "method=ce", "plugin=none"],
    "not kept": [*TINY, "method=ce", "plugin=none", "record.train_probability=false"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """name -> the folder of that run, trained when it is first asked for."""
    root, paths = tmp_path_factory.mktemp("runs"), {}

    def get(name):
        if name not in paths:
            overrides = [*RUNS.get(name, name), f"runs_dir={root}/{len(paths)}"]
            paths[name] = run(compose(overrides), command(overrides, None), Console(file=io.StringIO()))
        return paths[name]

    return get


def by_hand(*paths):
    """The rows of the table: position, given, suggested, clean probability and whether it was selected, worst first."""
    saved = [dict(np.load(path / "predictions.npz")) for path in paths]
    for path, arrays in zip(paths, saved, strict=True):  # of three epochs the second selects first, the third is last
        arrays["epochs"] = [dict(np.load(file)) for file in path.glob("probes/epoch_0002.npz")]
    rows = []
    for i, given in enumerate(saved[0]["observed_label"].tolist()):
        clean, classes, selected = [], [], []
        for arrays in saved:
            each = [float(p[i][given]) for p in arrays["train_probability"]]
            if "clean_probability" in arrays:
                each = [float(w[i]) for w in arrays["clean_probability"]]
                for probe in arrays["epochs"]:
                    each += [float(w[i]) for w in probe["clean_probability"]]
                selected.append(any(mask[i] for mask in arrays["selected"]))
            clean.append(sum(each) / len(each))
            classes.append(np.mean([p[i].astype(float) for p in arrays["train_probability"]], axis=0))
        mean = np.mean(classes, axis=0)
        keep = sum(selected) >= len(selected) / 2 if selected else None
        rows.append((round(sum(clean) / len(clean), 6), mean[given], i, given, int(mean.argmax()), mean.max(), keep))
    return sorted(rows)


@pytest.mark.parametrize("names", [("sfa",), ("probed",), ("alone",), ("sfa", "again"), ("sfa", "again", "alone")])
def test_samples_are_ranked_by_their_mean_clean_probability(trained, names):
    paths = [trained(name) for name in names]
    table = suspects([FinishedRun.open(path) for path in paths])
    expected = by_hand(*paths)
    index = np.load(paths[0] / "predictions.npz")["index"]
    assert tuple(table) == COLUMNS
    assert list(table["rank"]) == list(range(1, len(expected) + 1))
    assert list(table["index"]) == [index[i] for _, _, i, *_ in expected]
    assert list(table["given"]) == [str(given) for _, _, _, given, *_ in expected]
    assert list(table["suggested"]) == [str(best) for _, _, _, _, best, *_ in expected]
    assert list(table["clean_probability"]) == pytest.approx([row[0] for row in expected], abs=1e-6)
    assert list(table["suggested_probability"]) == pytest.approx([row[5] for row in expected])
    if expected[0][6] is not None:
        assert list(table["selected"]) == [row[6] for row in expected]
    else:
        assert table["selected"].isna().all()
    sizes = table["given"].value_counts()
    assert list(table["class_size"]) == [sizes[given] for given in table["given"]]
    for _, rows in table.groupby("given"):
        assert list(rows["rank_in_class"]) == list(range(1, len(rows) + 1))


def test_a_keep_list_is_no_evidence(trained, tmp_path):
    """Else all that it keeps, decided on or not, would count as certainly clean when suspects are listed again."""
    index = np.load(trained("alone") / "predictions.npz")["index"]
    file = tmp_path / "keep.csv"
    file.write_text("index,keep\n" + "".join(f"{i},{int(n > 5)}\n" for n, i in enumerate(index)))
    words = [*RUNS["alone"], "method.selector.name=file", f"method.selector.file={file}", f"runs_dir={tmp_path}/runs"]
    listed = run(compose(words), command(words, None), Console(file=io.StringIO()))
    arrays = dict(np.load(listed / "predictions.npz"))
    assert set(np.unique(arrays["clean_probability"])) == {0, 1}
    opened = FinishedRun.open(listed)
    own = [float(row[label]) for row, label in zip(arrays["train_probability"][0], opened.given, strict=True)]
    assert opened.clean_probability.tolist() == pytest.approx(own)
    assert opened.selected.tolist() == arrays["selected"][0].tolist()


def test_probes_hold_the_clean_probability_of_their_epoch(trained):
    path = trained("probed")
    names = ("predictions", "probes/epoch_0002", "probes/epoch_0003")
    arrays, first, last = (dict(np.load(path / f"{name}.npz")) for name in names)
    assert np.array_equal(last["clean_probability"], arrays["clean_probability"])
    assert not np.array_equal(first["clean_probability"], arrays["clean_probability"])
    assert first["selected"][first["clean_probability"] > 0.5].all()  # the threshold that training selected by


def test_of_the_runs_of_all_folds_each_sample_has_what_others_said_of_it(trained):
    paths = [trained((*RUNS["alone"], f"dataset.fold={i}/3")) for i in (1, 2, 3)]
    said = {}
    for path in paths:
        with np.load(path / "predictions.npz") as arrays:
            for i, label, *each in zip(
                arrays["held_out_index"].tolist(),
                arrays["held_out_label"].tolist(),
                *arrays["held_out_probability"],
                strict=True,
            ):
                assert i not in said
                said[i] = label, np.mean(np.array(each, dtype=float), axis=0)
    table = suspects(open_all(paths))
    assert len(table) == len(said)
    assert list(table["clean_probability"]) == pytest.approx(sorted(p[label] for label, p in said.values()))
    for row in table.to_dict("records"):
        label, probability = said[row["index"]]
        assert row["given"] == str(label)
        assert row["suggested_probability"] == pytest.approx(probability.max())
    with pytest.raises(ConfigError, match=r"left out by no run .dataset.fold=1/3, 3/3.: name the runs of all folds"):
        open_all([paths[0], paths[2]])
    with pytest.raises(ConfigError, match=r"has no dataset.fold, as others of these runs do"):
        open_all([*paths, trained("alone")])


def read(file):
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_the_csv_holds_what_is_below_the_threshold_and_the_first_of_each_class(trained, tmp_path, capsys):
    path, file = trained("sfa"), tmp_path / "suspects.csv"
    table = suspects([FinishedRun.open(path)])
    assert program(["suspects", str(path), "-o", str(file), "--threshold", "0.3"]) == 0
    rows = read(file)
    assert [int(row["index"]) for row in rows] == list(table["index"][table["clean_probability"] < 0.3])
    assert f"{len(rows):,} of {len(table):,} labels are suspect, by 1 run(s)" in capsys.readouterr().out
    assert main([str(path), "-o", str(file), "--threshold", "1", "--per-class", "2"]) == 0
    rows = read(file)
    assert {row["given"] for row in rows} == set(table["given"][table["clean_probability"] < 1])
    assert all(int(row["rank_in_class"]) <= 2 for row in rows)
    assert [float(row["clean_probability"]) for row in rows] == sorted(float(row["clean_probability"]) for row in rows)
    assert {row["selected"] for row in rows} <= {"true", "false"}


def test_image_files_are_named_by_their_path_and_classes_by_their_name(trained, tmp_path):
    for part in ("train", "test"):
        for name in ("=ant", "bee"):  # the first would be a formula
            small_images.write(tmp_path / "mine" / part / name, 8)
    data = ["dataset=folder", "dataset.name=mine", f"data_dir={tmp_path}/mine", "dataset.resize=12", "dataset.crop=8"]
    own = [*data, "method=ce", "plugin=none", "epochs=1", "batch_size=4", "threads=1", "dataset.workers=0"]
    path, file = trained(tuple(own)), tmp_path / "suspects.csv"
    assert main([str(path), "-o", str(file), "--threshold", "1"]) == 0
    rows = read(file)
    assert {row["given"] for row in rows} == {"'=ant", "bee"}
    for row in rows:
        assert (tmp_path / "mine" / row["path"]).is_file()
        assert row["path"].split("/")[1] == row["given"].removeprefix("'")
    shutil.rmtree(tmp_path / "mine")
    assert main([str(path), "-o", str(file), "--threshold", "1"]) == 0  # and says that paths are left out
    assert {row["path"] for row in read(file)} == {""}


def test_what_cannot_be_asked_for_is_refused_in_a_sentence(trained, tmp_path, capsys):
    def sentence(*arguments):
        assert main([*map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "there is no such folder" in sentence(tmp_path / "none")
    assert "no run is named" in sentence(tmp_path)
    assert "give a number above 0 and up to 1" in sentence(trained("sfa"), "--threshold", "0")
    assert "give a number of samples, 1 or more" in sentence(trained("sfa"), "--per-class", "0")
    assert "other samples or labels" in sentence(trained("sfa"), trained("other labels"))
    assert "record.train_probability=true and another runs_dir" in sentence(trained("not kept"))
    broken = tmp_path / "broken"
    shutil.copytree(trained("alone"), broken)
    (broken / "predictions.npz").write_bytes(b"PK")
    assert "cannot be read" in sentence(broken)
