"""`sfa-bench SUBCOMMAND`: each does what `run.py` or a tool does, in any folder."""

import json
import subprocess
import sys

import pytest

from sfa_bench import cli, main
from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import requested
from sfa_bench.store.ledger import run_path


def typed(*words, cwd):
    return subprocess.run([sys.executable, "-m", "sfa_bench", *words], cwd=cwd, capture_output=True, text=True)


def test_every_subcommand_has_help(tmp_path):
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("raise RuntimeError('not the analysis that is meant')")
    code = """
import contextlib, io, json
from sfa_bench import cli

said = {}
for name in cli.COMMANDS:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            status = cli.main([name, "--help"])
        except SystemExit as ended:
            status = ended.code
    said[name] = status, out.getvalue()
print(json.dumps(said))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said.keys() == cli.COMMANDS.keys()
    for name, (status, text) in said.items():
        assert status in (0, None), name
        assert len(text) > 60, name
    done = typed("table", "--help", cwd=tmp_path)  # by the door of all
    assert (done.returncode, done.stderr) == (0, "")
    assert "--rows" in done.stdout


def test_what_it_does_not_know_is_refused_with_what_is_near(capsys):
    assert cli.main(["tabel", "runs"]) == 2
    assert capsys.readouterr().err == "refused: sfa-bench tabel: no such subcommand; did you mean table?\n"
    assert cli.main(["zzz"]) == 2
    assert "there are run, sweep, where, tune" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_alone_it_says_what_there_is(words, capsys):
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in cli.COMMANDS)


def test_run_and_sweep_are_run_pys(monkeypatch):
    seen = []
    monkeypatch.setattr(main, "main", lambda arguments: seen.append(arguments) or 7)
    assert [cli.main(["run", "epochs=2"]), cli.main(["sweep", "epochs=2,3"])] == [7, 7]
    assert seen == [["epochs=2"], ["-m", "epochs=2,3"]]


def answer(out):
    return dict(line.split(": ", 1) for line in out.splitlines())


def test_where_names_the_folder_and_the_state_that_is_recorded(tmp_path, capsys):
    words = ["plugin=none", "noise_ratio=0.30", f"runs_dir={tmp_path}/my runs"]
    assert cli.main(["where", *words]) == 0
    config = requested(words)
    folder = run_path(config.runs_dir, config.recorded_names, run_hash(config))
    assert answer(capsys.readouterr().out) == {"hash": run_hash(config), "folder": str(folder), "state": "new"}
    assert not (tmp_path / "my runs").exists()


def test_where_finds_a_run_that_is_done(tmp_path, capsys):
    words = ["dataset=digits", "method=ce", "plugin=none", "epochs=1", f"runs_dir={tmp_path}"]
    assert typed("run", *words, cwd=tmp_path).returncode == 0
    assert cli.main(["where", *words]) == 0
    found = answer(capsys.readouterr().out)
    with open(f"{found['folder']}/run.json") as file:
        record = json.load(file)
    assert (found["hash"], found["state"]) == (record["hash"], "done")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["epochs=0"], "epochs=0: allowed is 1 <= epochs"),
        (["epochs=2,3"], "epochs=2,3"),
        (["-m", "epochs=2"], "--multirun: where takes the words of one run"),
        (["methd=ce"], "methd"),
    ],
)
def test_where_refuses_what_is_no_run(words, reason, capsys):
    assert cli.main(["where", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("refused: ")
    assert reason in err
