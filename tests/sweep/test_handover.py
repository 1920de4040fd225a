"""A sweep composes and checks each setting once, in the process that plans it; its jobs read what that has written."""

import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict

import pytest
from processes import ROOT, SMALL, records, start

from sfa_bench.errors import ConfigError
from sfa_bench.store.plans import FOLDER
from sfa_bench.sweep.handover import read_run, write_runs
from sfa_bench.sweep.plan import plan

# Python imports it first of all: a line for each call, with the process that made it.
COUNTING = """
import functools, os
def count(module, name, what):
    called = getattr(module, name)
    @functools.wraps(called)
    def counted(*given, **named):
        with open(os.environ["COUNTED"], "a") as file:
            file.write(f"{os.getpid()} {what(*given)}\\n")
        return called(*given, **named)
    setattr(module, name, counted)
from sfa_bench.config import validate, hydras
count(validate, "validate", lambda *_: "validate")
count(hydras, "composed", lambda *_: "hydra")
from sfa_bench.config import overrides
count(overrides, "_check", lambda override, *_: f"check:{override.input_line}")
from sfa_bench.config import compose
count(compose, "compose_checked", lambda *_: "compose")
count(compose, "compose_seedless", lambda *_: "compose")
"""
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def calls_by_process(tmp_path, command):
    (tmp_path / "sitecustomize.py").write_text(COUNTING)
    path = os.pathsep.join(filter(None, [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"PYTHONPATH": path, "COUNTED": str(tmp_path / "counted"), "OMP_NUM_THREADS": "1"}
    process = command(environment)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    found = defaultdict(Counter)
    for line in (tmp_path / "counted").read_text().splitlines():
        pid, _, what = line.partition(" ")
        found[int(pid)][what] += 1
    return process.pid, found


@pytest.mark.parametrize("words", [(), ("isolate=false",), JOBLIB], ids=["isolated", "here", "joblib"])
def test_each_setting_is_composed_and_checked_once_and_by_no_job(tmp_path, words):
    runs = tmp_path / "runs"
    sweep = ("epochs=2", "noise_ratio=0.2,0.4", "replicate=0,1", *words)
    parent, found = calls_by_process(tmp_path, lambda environment: start(*sweep, runs=runs, **environment))
    assert set(found) == {parent}
    called = found[parent]
    assert (called["compose"], called["validate"]) == (2, 2)  # for both replicates
    checks = {what: count for what, count in called.items() if what.startswith("check:")}
    assert set(checks.values()) == {1}, checks  # each word that was typed
    assert len(checks) == len(SMALL) + 1 + len(sweep)
    assert [record["state"] for _, record in records(runs).values()] == ["done"] * 2  # of each replicate the last
    assert not [*(runs / FOLDER).glob("*.runs")]


def test_a_single_run_is_composed_and_checked_once(tmp_path):
    words = [*SMALL, "epochs=1", f"runs_dir={tmp_path / 'runs'}"]

    def command(environment):
        called = [sys.executable, str(ROOT / "run.py"), *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(called, cwd=tmp_path, env={**os.environ, **environment}, **pipes)

    parent, found = calls_by_process(tmp_path, command)
    assert set(found) == {parent}
    expected = {"compose": 1, "validate": 1, "hydra": 1}
    assert found[parent] == Counter({**expected, **{f"check:{word}": 1 for word in words}})


@pytest.fixture
def handed(tmp_path):
    """A file of two runs, and the references to them."""
    planned = plan(["method=ce", "plugin=none", "replicate=0,1", f"runs_dir={tmp_path}/runs"])
    path = tmp_path / "a.runs"
    runs = [(identity, f"again {identity}", config) for identity, config in planned.configs.items()]
    return path, write_runs(path, runs)


def test_a_job_finds_its_own_run(handed):
    path, references = handed
    for replicate, (identity, reference) in enumerate(references.items()):
        run = read_run(path, reference, None)
        assert (run.hash, run.command, run.config.replicate) == (identity, f"again {identity}", replicate)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"replicate":1', b'"replicate":2'), (b'"ce"', b'"cf"'), (b"again", b"rm -f"), (b"runs_dir", b"data_dir")],
)
def test_a_line_that_has_changed_is_not_even_parsed(handed, monkeypatch, old, new):
    path, references = handed
    content = path.read_bytes().replace(old, new)
    assert content != path.read_bytes()
    path.write_bytes(content)
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("it was parsed"))
    with pytest.raises(
        ConfigError, match="its bytes have changed since the sweep wrote it; repeat the sweep's command"
    ):
        read_run(path, [*references.values()][1], None)


def test_a_configuration_under_another_runs_hash_is_refused(tmp_path):
    (first, config), (second, _) = plan(["method=ce", "plugin=none", "replicate=0,1"]).configs.items()
    path = tmp_path / "a.runs"
    (reference,) = write_runs(path, [(second, "again", config)]).values()
    with pytest.raises(ConfigError, match=f"run {second} of it has the hash {first}"):
        read_run(path, reference, None)


@pytest.mark.parametrize("config", ["{}", "[]", "nonsense", '{"method": {"learner": "os.system"}}', "[" * 100_000])
def test_what_is_no_configuration_is_refused(tmp_path, config):
    path = tmp_path / "a.runs"
    (reference,) = write_runs(path, [("a" * 12, "again", config)]).values()
    with pytest.raises(ConfigError):
        read_run(path, reference, None)


@pytest.mark.parametrize(
    "reference", ["", "a" * 12, f"{'a' * 12}:0:9999999999:{'0' * 64}", f"{'a' * 12}:-1:5:{'0' * 64}"]
)
def test_a_job_that_is_told_nonsense_is_refused(handed, reference):
    with pytest.raises(ConfigError, match="the job was not told which run of it is its own"):
        read_run(handed[0], reference, None)


def test_a_file_that_is_gone_is_refused(handed):
    path, references = handed
    path.unlink()
    with pytest.raises(ConfigError, match="it cannot be read"):
        read_run(path, next(iter(references.values())), None)


def test_what_killed_sweeps_left_behind_goes_after_a_month(tmp_path):
    old, young = tmp_path / "old.runs", tmp_path / "young.runs"
    for path, days in ((old, 31), (young, 29)):
        path.write_text("{}")
        then = time.time() - days * 24 * 3600
        os.utime(path, (then, then))
    write_runs(tmp_path / "new.runs", [("0" * 12, "", "{}")])
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["new.runs", "young.runs"]
