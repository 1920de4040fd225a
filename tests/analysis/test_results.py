"""What is kept of a sweep, and that what the repository keeps is of its sweeps as they stand."""

import json

import pandas as pd
import pytest

from analysis import table
from analysis.results import main

CONTENTS = """
gains:
  title: What it brings
  about: Two plug-ins.
  sweep: +sweep=gains
  files:
    table.md: table --rows method,plugin
    claims.md: claim "plugin=sfa > plugin=none"
    gain.png: plot gain --width column
"""
ENVIRONMENT = {"device_name": "a machine", "threads": 1, "commit": "0123456789abcdef", "modified": False}
ENVIRONMENT |= {"versions": {"python": "3.11.7", "torch": "2.14.1", "numpy": "2.4.6"}, "precision": "fp32"}


@pytest.fixture
def kept(ledger, tmp_path):
    for replicate, (plain, sfa) in enumerate([(50.0, 61.0), (52.0, 60.5)]):
        for plugin, accuracy in (("none", plain), ("sfa", sfa)):
            cost = {"total_seconds": 1800.0, "shared": {"seconds": 360.0} if plugin == "sfa" else None}
            path = ledger.add(accuracy, plugin=plugin, replicate=replicate, environment=ENVIRONMENT, cost=cost)
            record = json.loads((path / "run.json").read_text())
            record["command"] = f"python run.py plugin={plugin} 'runs_dir={tmp_path}/my runs' replicate={replicate}"
            (path / "run.json").write_text(json.dumps(record))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "contents.yaml").write_text(CONTENTS)
    return tmp_path / "results"


def make(kept, ledger, name="gains"):
    return main([name, str(ledger.root), "-o", str(kept)])


def test_a_folder_holds_what_its_commands_print_and_every_run(kept, ledger, capsys):
    assert make(kept, ledger) == 0
    assert f"4 runs in {kept / 'gains'}" in capsys.readouterr().out
    names = {"README.md", "runs.csv", "table.md", "claims.md", "gain.png"}
    assert {path.name for path in (kept / "gains").iterdir()} == names
    table.main([str(ledger.root), "--rows", "method,plugin"])
    assert (kept / "gains" / "table.md").read_text() == capsys.readouterr().out
    assert "underpowered" in (kept / "gains" / "claims.md").read_text()
    assert (kept / "gains" / "gain.png").read_bytes().startswith(b"\x89PNG")
    runs = pd.read_csv(kept / "gains" / "runs.csv", dtype={"hash": str})
    assert sorted(runs["test/acc/final"]) == [50.0, 52.0, 60.5, 61.0]
    assert set(runs["command"]) == {f"python run.py plugin={p} replicate={r}" for p in ("none", "sfa") for r in (0, 1)}


def test_the_page_says_how_to_make_it_again_how_long_it_took_and_on_what(kept, ledger):
    make(kept, ledger)
    page = (kept / "gains" / "README.md").read_text()
    assert "python run.py -m +sweep=gains runs_dir=runs/gains hydra/launcher=joblib\n" in page
    assert "python -m analysis.results gains runs/gains\n" in page
    assert "python -m analysis.plot gain runs/gains --width column -o gain.png\n" in page
    assert 'python -m analysis.claim runs/gains "plugin=sfa > plugin=none" > claims.md\n' in page
    assert "4 runs, 1.8 hours of them in all (warm-ups that runs share counted once, 0.2 hours saved)" in page
    assert "- 4 runs: a machine, 1 thread(s), python 3.11.7, torch 2.14.1, numpy 2.4.6; commit 0123456789ab\n" in page
    assert "Difference in test/acc/final" in page  # the figure's caption


def test_what_varies_is_in_the_csv_and_the_rest_on_the_page(kept, ledger):
    make(kept, ledger)
    runs = pd.read_csv(kept / "gains" / "runs.csv")
    assert {"plugin", "seed"} <= set(runs)
    assert not {"dataset", "epochs", "folder"} & set(runs)
    page = (kept / "gains" / "README.md").read_text()
    assert "`epochs=60`" in page
    assert "`dataset=digits`" in page


def test_no_path_of_the_machine_is_kept(kept, ledger, tmp_path):
    make(kept, ledger)
    for path in (kept / "gains").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_runs_that_are_not_finished_are_said(kept, ledger):
    ledger.add(None, state="failed", replicate=9)
    make(kept, ledger)
    assert "Not finished and not counted: 1 failed." in (kept / "gains" / "README.md").read_text()


def test_a_file_that_is_no_longer_asked_for_goes(kept, ledger):
    make(kept, ledger)
    (kept / "contents.yaml").write_text(CONTENTS.replace("    gain.png: plot gain --width column\n", ""))
    make(kept, ledger)
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
def test_a_command_that_cannot_be_run_changes_nothing(kept, ledger, capsys, line, sentence):
    make(kept, ledger)
    before = {path.name: path.read_bytes() for path in (kept / "gains").iterdir()}
    (kept / "contents.yaml").write_text(CONTENTS.replace("table --rows method,plugin", line))
    ledger.add(70.0, replicate=5)
    assert make(kept, ledger) == 2
    assert sentence in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (kept / "gains").iterdir()} == before


@pytest.mark.parametrize("text", ["- a list", "a: [", ""])
def test_contents_that_are_none_are_refused(kept, ledger, capsys, text):
    (kept / "contents.yaml").write_text(text)
    assert make(kept, ledger) == 2
    assert "contents.yaml" in capsys.readouterr().err


def test_an_unknown_name_is_refused_with_the_nearest(kept, ledger, capsys):
    assert make(kept, ledger, "gain") == 2
    assert "contents.yaml has no gain; did you mean gains?" in capsys.readouterr().err
