"""Sweeps on a cluster: a real SLURM of one node, and submitit's processes on this machine."""

import os
import signal

import pytest
import slurm
from processes import at_work, finished, lines_of, records, rows_of, start, wait_until, worker_of

SMALL = ("method=ce", "plugin=none", "dataset=synthetic", "dataset.size=60", "batch_size=8", "epochs=150")
SWEEP = "replicate=0,1,2"
SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1")
pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(slurm.lacking()), reason=slurm.lacking())]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm.Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same sweep without a cluster: epochs' lines and metrics by replicate."""
    runs = tmp_path_factory.mktemp("undisturbed") / "runs"
    status, _, errors = finished(SWEEP, "threads=1", runs=runs, small=SMALL)
    assert status == 0, errors
    return numbers(runs)


def numbers(runs):
    return {k: (record["metrics"], rows_of(folder)) for k, (folder, record) in records(runs).items()}


def log_of(runs, replicate):
    return (records(runs)[replicate][0] / "log.txt").read_text()


def check_all_done_once(runs, process, cluster, undisturbed):
    """Wait for the end of the sweep, and check it. Returns what it said of errors."""

    def ended():
        cluster.start_waiting()  # what is queued again starts at once
        return process.poll() is not None

    try:
        wait_until(ended, 400)
    except AssertionError as error:
        error.add_note(cluster.report())
        raise
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, output + errors
    assert "3 of 3 runs done" in output
    assert {k: record["state"] for k, (_, record) in records(runs).items()} == dict.fromkeys((0, 1, 2), "done")
    assert all(log_of(runs, k).count("done: ") == 1 for k in (0, 1, 2))
    assert numbers(runs) == undisturbed
    return errors


def test_an_array_whose_job_is_preempted_goes_on_from_its_last_epoch(tmp_path, cluster, undisturbed):
    runs = tmp_path / "runs"
    process = start(SWEEP, *SLURM, runs=runs, small=SMALL, **cluster.environment)
    worker_of(runs, 0)
    jobs = cluster.jobs()
    assert sorted(jobs) == [0, 1, 2]
    assert len({job.partition("_")[0] for job, *_ in jobs.values()}) == 1  # one array
    cluster.run("scancel", "--signal=USR2", jobs[0][0])
    wait_until(lambda: cluster.jobs()[0][1] == "PENDING")
    folder, record = records(runs)[0]
    assert record["state"] == "interrupted"
    reached = len(lines_of(folder))
    check_all_done_once(runs, process, cluster, undisturbed)
    assert f"going on after epoch {reached} of " in log_of(runs, 0)
    # SLURM gave one core of this machine to each, and confines nobody to it.
    assert {record["environment"]["threads"] for _, record in records(runs).values()} == {1}


def test_a_node_that_is_lost_and_comes_back_ends_with_the_same_bits(tmp_path, cluster, undisturbed):
    runs = tmp_path / "runs"
    process = start(SWEEP, *SLURM, "checkpoint_seconds=0", runs=runs, small=SMALL, **cluster.environment)
    wait_until(lambda: at_work(runs, 0) or at_work(runs, 1))
    cluster.kill_node()
    wait_until(lambda: cluster.state().startswith("down"))
    assert process.poll() is None
    cluster.start_node()
    check_all_done_once(runs, process, cluster, undisturbed)
    assert any("going on after epoch" in log_of(runs, k) for k in (0, 1))


def test_a_node_whose_daemon_dies_alone_loses_nothing(tmp_path, cluster, undisturbed):
    runs = tmp_path / "runs"
    process = start(SWEEP, *SLURM, runs=runs, small=SMALL, **cluster.environment)
    worker = worker_of(runs, 0)
    cluster.kill_daemon()
    cluster.start_node()
    assert at_work(runs, 0) in (worker, None)
    check_all_done_once(runs, process, cluster, undisturbed)
    assert "going on" not in log_of(runs, 0)


def test_a_lost_sweep_leaves_its_jobs_at_work_and_a_second_one_waits_for_them(tmp_path, cluster, undisturbed):
    runs = tmp_path / "runs"
    first = start(SWEEP, *SLURM, runs=runs, small=SMALL, **cluster.environment)
    worker = worker_of(runs, 0)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    second = start(SWEEP, *SLURM, runs=runs, small=SMALL, **cluster.environment)
    check_all_done_once(runs, second, cluster, undisturbed)
    assert worker not in (None, os.getpid())
    assert all("going on" not in log_of(runs, k) for k in (0, 1, 2))


def test_a_job_that_the_cluster_kills_is_noticed_and_its_run_goes_on(tmp_path, cluster, undisturbed):
    """This cluster keeps no accounts: only its queue says that there is no such job any more."""
    runs = tmp_path / "runs"
    process = start(SWEEP, *SLURM, "checkpoint_seconds=0", runs=runs, small=SMALL, **cluster.environment)
    worker_of(runs, 0)
    cluster.run("scancel", "--full", "--signal=KILL", cluster.jobs()[0][0])
    errors = check_all_done_once(runs, process, cluster, undisturbed)
    assert "the launcher failed: UncompletedJobError: Job " in errors
    assert "starting it again for the remaining " in errors
    assert "going on after epoch" in log_of(runs, 0)
