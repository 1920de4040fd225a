"""Hydra's own options and keys: each works as Hydra documents it, or is refused in one sentence with the way out."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import ROOT, finished, records

from sfa_bench.config.compose import compose
from sfa_bench.config.hydras import quoted
from sfa_bench.errors import ConfigError
from sfa_bench.main import main


@pytest.fixture(autouse=True)
def handlers_as_before():
    """Hydra, asked in this process, gives the root logger a handler whose stream ends with the test."""
    before = list(logging.root.handlers)
    yield
    for handler in [one for one in logging.root.handlers if one not in before]:
        logging.root.removeHandler(handler)


REFUSED = [
    ("--config-path conf", "--config-dir DIR"),
    ("--config-path /", "--config-dir DIR"),
    ("--config-name other", "--config-dir DIR"),
    ("--experimental-rerun job.pickle", "run.json"),
    ("--hydra-help x=y", "unknown key x"),
    ("--hydra-help foo", "write KEY=VALUE"),
    ("--info config x=y", "unknown key x"),
    ("--info bogus", "defaults-tree"),
    ("--cfg bogus", "invalid choice: 'bogus' (choose from "),
    ("--cfg hydra x=y", "unknown key x"),
    ("--cfg all method=cee", "did you mean method=ce?"),
    ("--cfg hydra --package hydra.nothing", "hydra.nothing"),
    ("--cfg job --package nothing", "--package nothing"),
    ("--package method", "add --cfg job"),
    ("--resolve", "add --cfg job"),
    ("-m --cfg job seed=0,1", "--multirun and --cfg do not go together"),
    ("-r -m", "--run and --multirun do not go together"),
    ("--shell-completion", "install=SHELL"),
    ("--shell-completion install=csh", "bash, fish, zsh"),
    ("--shell-completion query=bash", "install=SHELL"),
    ("--bogus", "--bogus: there is no such option"),
    ("-x", "-x: there is no such option"),
    ("seed=1 --noise_ratio=0.2 epochs=1", "--noise_ratio=0.2: there is no such option; a key is set without dashes"),
    ("--multirun=3", "--multirun"),
    ("--config-dir", "expected one argument"),
    ("hydra/sweeper=basic", "a sweeper of their own"),
    ("-m hydra/sweeper=basic", "a sweeper of their own"),
    ("-m hydra.sweeper.params.seed=1", "a sweeper of their own"),
    ("-m hydra.sweeper.params.seed=1,2", "take one value"),
    ("-m hydra/launcher=joblib,basic", "take one value"),
    ("hydra.mode=MULTIRUN", "a sweep is started by python run.py -m, a run by python run.py"),
    ("-m hydra.mode=RUN", "a run by python run.py"),
    ("hydra.run.dir=here", "set runs_dir=DIR"),
    ("-m hydra.run.dir=here", "set runs_dir=DIR"),
    ("-m hydra.searchpath=[file:///nowhere]", "--config-dir DIR"),
    ("-m hydra.runtime.cwd=/", "leave it out"),
    ("-m hydra.launcher._target_=os.system", "hydra/launcher=NAME"),
    ("-m hydra.launcher=joblib", "hydra/launcher=CHOICE"),
    ("hydra.launcher=joblib", "hydra/launcher=CHOICE"),
    ("-m hydra/launcher=jolib", "must be one of basic, joblib"),
    ("-m hydra/launcher=joblib hydra.launcher.njobs=2", "hydra/launcher=joblib are: n_jobs"),
    ("-m hydra/launcher=joblib hydra.launcher.n_jobs=two", "'two'"),
    ("-m hydra/launcher=joblib hydra.launcher.n_jobs=0", "at least 1"),
    ("-m hydra.launcher.n_jobs=2", "hydra/launcher=basic are: none"),
    ("-m hydra.job.nam=x", "did you mean hydra.job.name?"),
    ("-m hydra.job.chdir=maybe", "not a valid bool"),
    ("-m hydra.job.env_set.X=1", "+hydra.job.env_set.X=1"),
    ("-m hydra.verbose=${seed}", "must be true, false"),
    ("-m hydra.verbose=${nothing}", "'nothing' not found"),
    ("-m +hydra.callbacks.x._target_=nothing.Nothing", "nothing.Nothing"),
    ("-m hydra.sweep.dir=/dev/null/x", "hydra.sweep.dir=/dev/null/x cannot be made"),
    ("-m hydra/launcher=joblib hydra.launcher[n_jobs]=2", "hydra.launcher[n_jobs]"),  # read by Hydra 1.4 alone
    ("-m +hydra.aliases.e=epochs", "a key has one name"),
    ("device=extend_list(cpu)", "extend_list"),
    ("device[0]=cpu", "device[0]"),
    ("+hydra.foo=1", "unknown key hydra.foo"),
    ("hydra/foo=1", "Hydra has no such group"),
    ("~hydra.run", "hydra.KEY=VALUE"),
    ("hydra=1", "hydra.KEY=VALUE"),
    ("-m hydra/launcher@hydra.sweeper=joblib", "hydra/GROUP=CHOICE"),
]


@pytest.mark.parametrize(("typed", "hint"), REFUSED)
def test_what_cannot_act_is_refused_in_a_sentence_and_leaves_nothing(typed, hint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["run.py"])
    monkeypatch.delenv("COMP_LINE", raising=False)
    assert main(typed.split()) == 2
    said = capsys.readouterr().err
    assert hint in said
    assert len(said.splitlines()) == 1
    left = {path.name for path in tmp_path.iterdir()} - {"runs"}  # with the plan of a sweep that could be composed
    assert left == set()


def test_questions_to_hydra_are_answered(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["run.py"])
    answers = {
        "--cfg job --package method.selector method=dividemix plugin=none": "name: loss_gmm",
        "--cfg job --package noise_ratio --resolve": "0.4\n",
        "--cfg hydra --package hydra.job": "# @package hydra.job",
        "--info defaults method=ce": "method/ce",
        "--shell-completion install=bash": "complete",
    }
    for typed, answer in answers.items():
        assert main(typed.split()) == 0
        assert answer in capsys.readouterr().out
    assert main(["--hydra-help"]) == 0
    assert [*tmp_path.iterdir()] == []


def test_a_single_run_takes_what_is_left_on_the_line_of_a_sweep():
    plain = compose(["method=ce", "plugin=none"])
    left = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.job.chdir=true", "+hydra.job.env_set.A=1"]
    assert compose([*left, "method=ce", "plugin=none"]) == plain
    with pytest.raises(ConfigError, match="'two'"):
        compose(["method=ce", *left, "hydra.launcher.n_jobs=two"])


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab '\"\\[],={}:$/%.é", min_size=1))
def test_a_quoted_text_is_read_as_it_was(text):
    assert OverridesParser.create().parse_overrides([f"+x={quoted(text)}"])[0].value() == text


@pytest.mark.parametrize("name", ["my conf, v2", "a[1]", "q'uote", "back\\", "eq=x"])
def test_a_folder_of_the_users_own_may_have_any_name(tmp_path, name):
    (tmp_path / name / "method").mkdir(parents=True)
    (tmp_path / name / "method/mine.yaml").write_text((ROOT / "conf/method/ce.yaml").read_text(encoding="utf-8"))
    assert compose(["method=mine", "plugin=none"], tmp_path / name).names["method"] == "mine"


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_relative_paths_are_those_of_the_folder_where_a_sweep_was_typed(tmp_path, launcher):
    """Hydra's `chdir` takes each job to another folder."""
    (tmp_path / "here/conf/noise").mkdir(parents=True)
    (tmp_path / "here/half.csv").write_text("0.5,0.5,0\n0,0.5,0.5\n0.5,0,0.5\n")
    noise = yaml.safe_load((ROOT / "conf/noise/matrix.yaml").read_text()) | {"file": "half.csv"}
    (tmp_path / "here/conf/noise/half.yaml").write_text(yaml.safe_dump(noise))
    words = ["--config-dir", "conf", "noise=half", "dataset.classes=3", "epochs=1", "replicate=0,1"]
    words += ["hydra.job.chdir=true", f"hydra/launcher={launcher}", "runs_dir=../runs"]
    status, output, errors = finished(*words, runs=tmp_path / "here/runs")
    assert status == 0, errors
    assert "2 of 2 runs done" in output
    assert {path.name for path in tmp_path.iterdir()} == {"here", "runs"}
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"conf", "half.csv"}
    for folder, record in records(tmp_path / "runs").values():
        assert record["config"]["noise"]["file"] == "half.csv"  # as typed
        again = record["command"].split()[2:]
        where = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "--cfg", "job", *again],
            cwd=tmp_path / "here",
            capture_output=True,
            text=True,
        )
        assert yaml.safe_load(where.stdout)["runs_dir"] == "../runs"
        assert Path(tmp_path / "here", "../runs").resolve() in folder.resolve().parents
