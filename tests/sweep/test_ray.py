"""Sweeps on a Ray cluster of this machine, jobs with fractions of a core."""

import os
import re
import signal
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from processes import alive, finished, lines_of, records, rows_of, start, wait_until, worker_of

reason = "pip install 'sfa_bench[ray]' in an environment of its own"
pytestmark = [pytest.mark.ray, pytest.mark.skipif(find_spec("hydra_plugins.hydra_ray_launcher") is None, reason=reason)]

SMALL = ("method=ce", "plugin=none", "dataset=synthetic", "dataset.size=60", "batch_size=8", "epochs=60")
SWEEP = "replicate=0,1,2,3"
RAY = ("hydra/launcher=ray", "+hydra.launcher.ray.remote.num_cpus=0.5")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same sweep without Ray: epochs' lines and metrics by replicate."""
    runs = tmp_path_factory.mktemp("undisturbed") / "runs"
    status, _, errors = finished(SWEEP, "threads=1", runs=runs, small=SMALL)
    assert status == 0, errors
    return numbers(runs)


def numbers(runs):
    return {k: (record["metrics"], rows_of(folder)) for k, (folder, record) in records(runs).items()}


def states(runs):
    return [record["state"] for _, (_, record) in sorted(records(runs).items())]


def logs(runs):
    return {k: (folder / "log.txt").read_text() for k, (folder, _) in records(runs).items()}


def session(process):
    """The processes of its session, where all of Ray's stay; runs have sessions of their own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, leader, *_ = path.read_text().rpartition(")")[2].split()
            if int(leader) == process.pid and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def test_a_sweep_with_half_a_core_a_job_ends_with_the_same_bits_and_leaves_nothing(tmp_path, undisturbed):
    runs = tmp_path / "runs"
    process = start(SWEEP, *RAY, runs=runs, small=SMALL)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "4 of 4 runs done" in output
    # Ray may lose the last ones that its jobs print; what it passes on is a line a run.
    printed = {line.partition(") ")[2] for line in output.splitlines() if line.startswith("(_run_job pid=")}
    assert printed
    assert all(re.match(r"\[\d/4\] ce · .+ · \d+\.\d %( · |$)", line) for line in printed)
    assert numbers(runs) == undisturbed
    assert {record["environment"]["threads"] for _, record in records(runs).values()} == {1}
    assert session(process) == []
    before = logs(runs)
    status, output, errors = finished(SWEEP, *RAY, runs=runs, small=SMALL)
    assert status == 0, errors
    assert "0 to run, 4 done" in output
    assert logs(runs) == before


def test_a_job_that_is_killed_fails_alone_and_goes_on_next_time(tmp_path, undisturbed):
    runs = tmp_path / "runs"
    sweep = (SWEEP, *RAY, "checkpoint_seconds=0")
    process = start(*sweep, runs=runs, small=SMALL)
    os.kill(worker_of(runs, 0), signal.SIGKILL)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 1, errors
    assert "3 of 4 runs done" in output
    assert states(runs) == ["failed", "done", "done", "done"]
    assert "SIGKILL" in records(runs)[0][1]["error"]["message"]
    status, output, errors = finished(*sweep, runs=runs, small=SMALL)
    assert status == 0, errors
    assert "1 to run (1 failed before), 3 done" in output
    assert "going on after epoch" in logs(runs)[0]
    assert numbers(runs) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_stopped_or_killed_takes_ray_along_and_its_jobs_keep_their_state(tmp_path, number):
    runs = tmp_path / "runs"
    # Long enough to be at work when Ray's workers notice, a second or two later.
    process = start("replicate=0,1", "epochs=3000", *RAY, runs=runs, small=SMALL)
    worker = worker_of(runs, 0)
    assert len(session(process)) > 3  # itself, Ray's, and two workers
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGTERM else -9), errors
    wait_until(lambda: not alive(worker), 30)
    wait_until(lambda: session(process) == [], 300)  # two agents of Ray's, idle, wait a minute for a killed cluster
    folder, record = records(runs)[0]
    assert record["state"] == "interrupted"
    assert 0 < len(lines_of(folder)) < 3000
    assert (folder / "last.pt").exists()


def test_a_job_that_asks_for_more_than_the_machine_has_is_refused_where_ray_would_wait(tmp_path):
    asked = "+hydra.launcher.ray.remote.num_gpus=1000"
    process = start(SWEEP, *RAY, asked, runs=tmp_path / "runs", small=SMALL)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "refused: hydra.launcher.ray.remote.num_gpus=1000: must be at most " in errors
    assert session(process) == []
