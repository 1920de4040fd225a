"""What is kept of a sweep, and that what the repository keeps is of its sweeps as they stand."""

import json

import pandas as pd
import pytest

from analysis import table
from tests.helpers.ledger_scale import write_planned
from tools.results import main

CONTENTS = """
gains:
  title: What it brings
  about: Two plug-ins.
  sweep: method=ce plugin=none,sfa replicate=0,1,2
  files:
    table.md: table --rows method,plugin
    claims.md: claim "plugin=sfa > plugin=none"
    gain.png: plot gain --width column
"""
ENVIRONMENT = {"device_name": "a machine", "threads": 1, "commit": "0123456789abcdef", "modified": False}
ENVIRONMENT |= {"versions": {"python": "3.11.7", "torch": "2.14.1", "numpy": "2.4.6"}, "precision": "fp32"}
DONE = ["method=ce", "plugin=none,sfa", "replicate=0,1"]


@pytest.fixture
def runs(tmp_path):
    """Four of the six runs that the sweep asks for."""
    root = tmp_path / "my runs"
    write_planned([*DONE, f"runs_dir='{root}'"])
    for path in root.glob("*/*/*/run.json"):
        record = json.loads(path.read_text())
        sfa = record["names"]["plugin"] == "sfa"
        record["environment"] = ENVIRONMENT
        record["cost"] |= {"total_seconds": 1800.0, "shared": {"seconds": 360.0} if sfa else None}
        path.write_text(json.dumps(record))
    return root


@pytest.fixture
def kept(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "contents.yaml").write_text(CONTENTS)
    return tmp_path / "results"


def make(kept, runs, name="gains"):
    return main([name, str(runs), "-o", str(kept)])


def test_a_folder_holds_what_its_commands_print_and_every_run(kept, runs, capsys):
    assert make(kept, runs) == 0
    assert f"4 runs in {kept / 'gains'}" in capsys.readouterr().out
    names = {"README.md", "runs.csv", "table.md", "claims.md", "gain.png"}
    assert {path.name for path in (kept / "gains").iterdir()} == names
    table.main([str(runs), "--rows", "method,plugin"])
    assert (kept / "gains" / "table.md").read_text() == capsys.readouterr().out
    assert "underpowered" in (kept / "gains" / "claims.md").read_text()
    assert (kept / "gains" / "gain.png").read_bytes().startswith(b"\x89PNG")
    frame = pd.read_csv(kept / "gains" / "runs.csv", dtype={"hash": str})
    records = [json.loads(path.read_text()) for path in runs.glob("*/*/*/run.json")]
    expected = {record["hash"]: record["metrics"]["test/acc/final"] for record in records}
    assert dict(zip(frame["hash"], frame["test/acc/final"], strict=True)) == expected  # to the last digit
    typed = {f"python run.py method=ce plugin={p} replicate={r}" for p in ("none", "sfa") for r in (0, 1)}
    assert set(frame["command"]) == typed


def test_the_page_says_how_to_make_it_again_how_long_it_took_and_on_what(kept, runs):
    make(kept, runs)
    page = (kept / "gains" / "README.md").read_text()
    assert (
        "python run.py -m method=ce plugin=none,sfa replicate=0,1,2 runs_dir=runs/gains hydra/launcher=joblib\n" in page
    )
    assert "python -m tools.results gains runs/gains\n" in page
    assert "python -m analysis.plot gain runs/gains --width column -o gain.png\n" in page
    assert 'python -m analysis.claim runs/gains "plugin=sfa > plugin=none" > claims.md\n' in page
    assert "4 runs of the 6 that the sweep asks for, 1.8 hours of them in all (warm-ups" in page
    assert "counted once, 0.2 hours saved), one core each" in page
    assert "- 4 runs: a machine, 1 thread(s), python 3.11.7, torch 2.14.1, numpy 2.4.6; commit 0123456789ab\n" in page
    assert "Difference in test/acc/final" in page  # the figure's caption


def test_what_a_classifier_was_fitted_on_is_counted_once(kept, runs):
    """Its record has the cost of the run below it too, and of what that one shared."""
    base = next(runs.glob("*/ce/*/run.json")).parent.name
    for path in runs.glob("*/*/*/run.json"):
        record = json.loads(path.read_text())
        if record["names"]["plugin"] == "sfa":
            record["cost"] |= {"classifier_seconds": 180.0, "base": base, "total_seconds": 1980.0, "shared": None}
            path.write_text(json.dumps(record))
    make(kept, runs)
    # two of 1,800 s alone, and two fits of 180 s
    assert "sweep asks for, 1.1 hours of them in all, one core each" in (kept / "gains" / "README.md").read_text()


def test_what_varies_is_in_the_csv_and_the_rest_on_the_page(kept, runs):
    make(kept, runs)
    frame = pd.read_csv(kept / "gains" / "runs.csv")
    assert {"plugin", "seed"} <= set(frame)
    assert not {"dataset", "epochs", "folder"} & set(frame)
    page = (kept / "gains" / "README.md").read_text()
    assert "`epochs=60`" in page
    assert "`dataset=digits`" in page


def test_no_path_of_the_machine_is_kept(kept, runs, tmp_path):
    make(kept, runs)
    for path in (kept / "gains").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_runs_of_several_folders_keep_no_path_either(kept, runs, tmp_path):
    other = tmp_path / "elsewhere"
    write_planned(["method=ce", "plugin=none", "replicate=2", f"runs_dir={other}", f"data_dir={tmp_path}"])
    for path in other.glob("*/*/*/run.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"environment": ENVIRONMENT}))
    assert main(["gains", str(runs), str(other), "-o", str(kept)]) == 0
    for path in (kept / "gains").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_processors_of_one_name_are_told_apart_by_their_instructions(kept, runs):
    for number, path in enumerate(sorted(runs.glob("*/*/*/run.json"))):
        record = json.loads(path.read_text())
        record["environment"] |= {"instructions": "AVX512" if number == 0 else "AVX2"}
        path.write_text(json.dumps(record))
    assert make(kept, runs) == 0
    page = (kept / "gains" / "README.md").read_text()
    assert "- 3 runs: a machine (AVX2), 1 thread(s), python" in page
    assert "- 1 runs: a machine (AVX512), 1 thread(s), python" in page


def test_runs_of_code_outside_a_checkout_and_on_several_threads_are_said_to_be(kept, runs):
    for path in runs.glob("*/*/*/run.json"):
        record = json.loads(path.read_text())
        record["environment"] |= {"commit": None, "modified": None, "threads": 4}
        path.write_text(json.dumps(record))
    assert make(kept, runs) == 0
    page = (kept / "gains" / "README.md").read_text()
    assert "a machine, 4 thread(s), python 3.11.7, torch 2.14.1, numpy 2.4.6; commit unknown\n" in page
    assert "one core each" not in page


def test_runs_of_another_sweep_are_refused(kept, runs, capsys):
    write_planned(["method=elr", "plugin=none", f"runs_dir='{runs}'"])
    assert make(kept, runs) == 2
    assert "1 runs" in (err := capsys.readouterr().err)
    assert "are not of the sweep method=ce plugin=none,sfa replicate=0,1,2: give a folder with its own runs" in err


def test_runs_that_classifiers_were_fitted_on_belong_to_their_sweep(kept, runs):
    """Whoever runs such a sweep has them in its folder."""
    (kept / "contents.yaml").write_text(CONTENTS.replace("plugin=none,sfa", "plugin=none,sfa classifier=logit_adjust"))
    assert make(kept, runs) == 0


def test_a_file_that_is_no_longer_asked_for_goes(kept, runs):
    make(kept, runs)
    (kept / "contents.yaml").write_text(CONTENTS.replace("    gain.png: plot gain --width column\n", ""))
    make(kept, runs)
    assert not (kept / "gains" / "gain.png").exists()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("table --rows metod", "no run has a key metod"),
        ("table --colour red", "unrecognized arguments: --colour red"),
        ("plot gain", "table.md: plot gain: -o takes a name without an ending"),
        ("report", "report makes no file of results"),
    ],
)
def test_a_command_that_cannot_be_run_changes_nothing(kept, runs, capsys, line, sentence):
    make(kept, runs)
    before = {path.name: path.read_bytes() for path in (kept / "gains").iterdir()}
    (kept / "contents.yaml").write_text(CONTENTS.replace("table --rows method,plugin", line))
    assert make(kept, runs) == 2
    assert sentence in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (kept / "gains").iterdir()} == before


@pytest.mark.parametrize("text", ["- a list", "a: [", ""])
def test_contents_that_are_none_are_refused(kept, runs, capsys, text):
    (kept / "contents.yaml").write_text(text)
    assert make(kept, runs) == 2
    assert "contents.yaml" in capsys.readouterr().err


def test_an_unknown_name_is_refused_with_the_nearest(kept, runs, capsys):
    assert make(kept, runs, "gain") == 2
    assert "contents.yaml has no gain; did you mean gains?" in capsys.readouterr().err
