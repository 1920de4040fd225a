"""Records and messages name the command by which the suite was started, and what they name can be given again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sfa_bench import cli
from sfa_bench.config.help import help_text
from sfa_bench.doors import Door
from sfa_bench.main import main
from sfa_bench.store.plans import read_plans
from sfa_bench.store.record import command

ROOT = Path(__file__).resolve().parents[1]
WORDS = "method=ce plugin=none epochs=1 replicate=3"
# Commands of a run and of a sweep, by the program that they are subcommands of.
DOORS = {
    None: ("python run.py", "python run.py -m"),
    "sfa-bench": ("sfa-bench run", "sfa-bench sweep"),
    "python -m sfa_bench": ("python -m sfa_bench run", "python -m sfa_bench sweep"),
}


@pytest.fixture(params=DOORS, ids=lambda program: program or "run.py")
def door(request, monkeypatch):
    monkeypatch.setattr(Door, "here", Door.here if request.param is None else Door.of(request.param))
    return DOORS[request.param]


@pytest.fixture
def shell(tmp_path):
    """A folder with run.py and a shell that finds `python` and what pip installs as `sfa-bench`."""
    bin = tmp_path / "bin"
    bin.mkdir()
    scripts = {
        "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        "sfa-bench": f"#!{sys.executable}\nimport sys\nfrom sfa_bench.cli import console\nsys.exit(console())\n",
    }
    for name, text in scripts.items():
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    (tmp_path / "run.py").symlink_to(ROOT / "run.py")
    environment = os.environ | {"PATH": f"{bin}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(line):
        done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize(("run", "sweep"), DOORS.values(), ids=[program or "run.py" for program in DOORS])
def test_the_recorded_command_of_a_job_of_a_sweep_makes_the_run_again(run, sweep, shell, tmp_path):
    status, _, errors = shell(f"{sweep} {WORDS}")
    assert (status, errors) == (0, "")
    (path,) = tmp_path.glob("runs/*/*/*/run.json")
    record = json.loads(path.read_text())
    assert record["command"] == f"{run} {WORDS}"
    (plan,) = read_plans(tmp_path / "runs")
    assert (plan.command, [one.command for one in plan.runs]) == (f"{sweep} {WORDS}", [f"{run} {WORDS}"])
    status, _, errors = shell(f"{record['command']} runs_dir=again")
    assert (status, errors) == (0, "")
    again = json.loads((tmp_path / "again" / path.relative_to(tmp_path / "runs")).read_text())
    assert (again["hash"], again["metrics"]) == (record["hash"], record["metrics"])
    assert again["command"] == f"{run} {WORDS} runs_dir=again"
    status, output, _ = shell(plan.command)
    assert (status, "0 to run, 1 done" in output) == (0, True)


def test_a_command_names_the_door_and_quotes_for_the_shell(door, tmp_path):
    run, sweep = door
    assert command([]) == run
    assert command(["data_dir='a b'"]) == f"""{run} 'data_dir='"'"'a b'"'"''"""
    assert command(["seed=0,1"], tmp_path, sweep=True) == f"{sweep} --config-dir {tmp_path} seed=0,1"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["qqq=1"], "unknown key qqq; {run} --help lists them"),
        (["=1"], "cannot read '=1': write KEY=VALUE ({run} --help lists the keys)"),
        (["epochs"], "cannot read 'epochs': write KEY=VALUE, without spaces around = ({run} --help lists the keys)"),
        (
            ["seed=0,1"],
            "seed=0,1: several values make a sweep, and this is one run; a sweep is started by {sweep} seed=0,1",
        ),
        (["hydra.mode=MULTIRUN"], "hydra.mode=MULTIRUN: a sweep is started by {sweep}, a run by {run}"),
        (["--cfg"], "argument --cfg/-c: expected one argument; {run} --help says what there is"),
    ],
)
def test_a_refusal_names_the_door(words, sentence, door, capsys):
    assert main(words) == 2
    run, sweep = door
    assert capsys.readouterr().err == f"refused: {sentence.format(run=run, sweep=sweep)}\n"


MODULES = {
    "table": "analysis.table",
    "data": "sfa_bench.data",
    "replay": "sfa_bench.replay",
    "speed": "sfa_bench.speed",
}


@pytest.mark.parametrize(("name", "module"), MODULES.items())
def test_the_help_of_a_tool_names_its_command(name, module, door, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    program = Door.here.program
    expected = f"python -m {module}" if program is None else f"{program} {name}"
    assert capsys.readouterr().out.startswith(f"usage: {expected} ")


def test_help_shows_examples_that_can_be_given_there(door):
    run, sweep = door
    lines = help_text().splitlines()
    assert sum(line.startswith(f"  {run} ") for line in lines) >= 4
    assert sum(line.startswith(f"  {sweep} method=") for line in lines) == 1


@pytest.mark.parametrize(("files", "run"), [(["run.py"], "python run.py"), ([], "sfa-bench run")])
def test_without_an_entry_point_a_checkout_has_run_py_and_an_installed_suite_its_command(files, run, tmp_path):
    (tmp_path / "sfa_bench").mkdir()
    for name in ("__init__.py", *files):
        (tmp_path / "sfa_bench" / name if name.startswith("_") else tmp_path / name).touch()
    shutil.copy(ROOT / "sfa_bench/doors.py", tmp_path / "sfa_bench")
    code = "from sfa_bench.doors import Door; print(Door.here.run)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{run}\n"
