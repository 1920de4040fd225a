"""From decisions back to labels, against what the decisions say one by one."""

import csv
import io

import digit_folder
import numpy as np
import pytest
from rich.console import Console

from sfa_bench.cli import main as program
from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.engine.run import run
from sfa_bench.store.record import command

FRAMING = ["dataset.resize=32", "dataset.crop=32", "dataset.cache=off", "dataset.workers=0"]
TINY = ["method=ce", "plugin=none", "epochs=1", "threads=1", "model.width=2"]
HEADER = ("index", "path", "given", "suggested", "decision", "label")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with images and a run on them."""
    home = tmp_path_factory.mktemp("home")
    digit_folder.write(home / "mine", a_class=6, rare=4)
    words = ["dataset=folder", "dataset.name=mine", f"data_dir={home}/mine", *FRAMING, *TINY, f"runs_dir={home}/runs"]
    path = run(compose(words), command(words), Console(file=io.StringIO()))
    return home, path, build(compose(words))


def decide(file, data, decisions):
    """Write decisions: position in the data → (decision, label)."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(HEADER)
        for row, (decision, label) in decisions.items():
            given = data.class_names[int(data.view.observed_labels[row])]
            writer.writerow([data.index[row], data.view.images.names[row].decode(), given, "two", decision, label])


def read(file):
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_corrected_labels_are_what_dataset_csv_trains_on(home, capsys):
    folder, path, data = home
    given = [data.class_names[k] for k in data.view.observed_labels.tolist()]
    first = {0: ("accept", "two"), 3: ("drop", ""), 5: ("reject", given[5])}
    decide(folder / "first.csv", data, first)
    decide(folder / "second.csv", data, {5: ("reject", given[5]), 9: ("relabel", "nine")})
    out, kept = folder / "mine" / "corrected.csv", folder / "keep.csv"
    decided = [str(folder / name) for name in ("first.csv", "second.csv")]
    assert program(["relabel", str(path), *decided, "-o", str(out), "--keep-list", str(kept)]) == 0
    said = f"of {len(given)} training labels 2 are changed and 1 dropped; 1 were confirmed"
    assert said in capsys.readouterr().out
    after = build(compose(["dataset=csv", "dataset.name=again", f"data_dir={out}", *FRAMING, *TINY]))
    expected = dict(zip(data.view.images.names.tolist(), given, strict=True))
    expected[data.view.images.names[0]] = "two"
    expected[data.view.images.names[9]] = "nine"
    del expected[data.view.images.names[3]]
    found = [after.class_names[k] for k in after.view.observed_labels.tolist()]
    assert dict(zip(after.view.images.names.tolist(), found, strict=True)) == expected
    assert after.test.labels.tolist() == data.test.labels.tolist()
    keep = {int(row["index"]): row["keep"] for row in read(kept)}
    left_out = {int(data.index[row]) for row in (0, 3, 9)}
    assert keep == {i: "0" if i in left_out else "1" for i in data.index.tolist()}
    selector = ["method.selector.name=file", f"method.selector.file={kept}"]
    words = ["dataset=folder", "dataset.name=mine", f"data_dir={folder}/mine", *FRAMING, *TINY, *selector]
    words = [*words, "epochs=2", "warmup_epochs=1", f"runs_dir={folder}/kept"]
    with np.load(run(compose(words), command(words), Console(file=io.StringIO())) / "predictions.npz") as arrays:
        assert set(arrays["index"][~arrays["selected"][0]].tolist()) == left_out


def test_the_file_may_lie_in_a_folder_above_the_images_and_nowhere_else(home, capsys):
    folder, path, data = home
    decide(folder / "one.csv", data, {0: ("drop", "")})
    assert program(["relabel", str(path), str(folder / "one.csv"), "-o", str(folder / "above.csv")]) == 0
    assert all((folder / row["path"]).is_file() for row in read(folder / "above.csv"))
    (folder / "beside").mkdir()
    out = folder / "beside" / "corrected.csv"
    assert program(["relabel", str(path), str(folder / "one.csv"), "-o", str(out)]) == 2
    assert "its paths would leave its folder" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("9999,x,one,two,accept,two", "has index 9999, which no training sample of this run has"),
        ("a,x,one,two,accept,two", "has index 'a': it must be a whole number"),
        ("{index},x,{given},two,accept,ten", "has label 'ten': the classes are eight, five"),
        ("{index},x,{given},two,maybe,two", "has decision 'maybe': there are accept, relabel, reject, drop"),
        ("{index},x,{other},two,accept,two", "was decided on the label '{other}', and sample {index} has '{given}'"),
        ("{index},x,{given},two,drop,\n{index},x,{given},two,accept,two", "decides otherwise on sample {index} than"),
        ("{index},x,{given},two,drop", "more or fewer cells than the header"),
    ],
)
def test_decisions_that_do_not_fit_are_refused_by_their_line(home, capsys, line, sentence):
    folder, path, data = home
    given = data.class_names[int(data.view.observed_labels[0])]
    values = {"index": int(data.index[0]), "given": given, "other": "one" if given != "one" else "two"}
    file, out = folder / "bad.csv", folder / "mine" / "never.csv"
    file.write_text(",".join(HEADER) + "\n" + line.format(**values) + "\n", encoding="utf-8")
    assert program(["relabel", str(path), str(file), "-o", str(out)]) == 2
    refusal = capsys.readouterr().err
    assert sentence.format(**values) in refusal
    assert "line " in refusal
    assert not out.exists()
