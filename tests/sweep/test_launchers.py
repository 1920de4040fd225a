"""What a job is given by each launcher: threads, and whose GPU."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.sfa_sweeper.sweeper import SfaSweeper, prepare_slurm
from joblib import Parallel, delayed
from omegaconf import OmegaConf
from submitit.slurm.slurm import SlurmJob

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.config.stored import to_json
from sfa_bench.sweep import handover, job, work
from sfa_bench.sweep.slurm_queue import QueueWatcher
from sfa_bench.sweep.stop import KEY, StopFile

RAY = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"
SUBMITIT = "hydra_plugins.hydra_submitit_launcher.submitit_launcher."
JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


def launcher(target, **keys):
    config = OmegaConf.create({"_target_": target, **keys})
    OmegaConf.set_struct(config, True)
    return config


def ray(**remote):
    return launcher(RAY, ray={"init": {"address": None}, "remote": remote})


@pytest.mark.parametrize(
    ("asked", "threads"),
    [
        (ray(), 1),
        (ray(num_cpus=0), 1),
        (ray(num_cpus=0.5), 1),
        (ray(num_cpus=2.9), 2),
        (ray(num_cpus=16), 16),
        (launcher(BASIC), 6),
        (launcher(JOBLIB, n_jobs=-1), 1),
        (launcher(JOBLIB, n_jobs=4), 1),
        (launcher(JOBLIB, n_jobs=2), 3),
        (launcher(SUBMITIT + "LocalLauncher", cpus_per_task=2), 2),
        (launcher(SUBMITIT + "SlurmLauncher", cpus_per_task=2), 6),
    ],
)
def test_threads_are_what_a_job_was_given_of_six_cores(monkeypatch, asked, threads):
    monkeypatch.setattr(job, "cores", lambda: 6)
    assert job.threads(asked) == threads


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (launcher(BASIC), False),
        (launcher(JOBLIB, n_jobs=2), False),
        (launcher(SUBMITIT + "LocalLauncher", gpus_per_node=1), False),  # GPU 0 of this machine, for all of them
        (launcher(SUBMITIT + "SlurmLauncher", gpus_per_node=1), True),
        (ray(), False),
        (ray(num_gpus=0), False),
        (ray(num_gpus=0.25), True),
    ],
)
def test_only_slurm_and_ray_with_gpus_choose_the_device_of_a_job(asked, given):
    assert job.gives_device(asked) is given


@pytest.mark.parametrize("slot", [True, False])
def test_a_job_that_was_given_its_device_takes_no_slot(tmp_path, monkeypatch, slot):
    taken = []
    monkeypatch.setattr("sfa_bench.sweep.slots.take_slot", taken.append)
    monkeypatch.setattr(work, "_start", lambda config, command, quiet, threads: tmp_path)
    config = compose([f"runs_dir={tmp_path}", "jobs_per_gpu=3"])
    assert work.work(config, "again", threads=1, quiet=True, slot=slot)["state"] == "done"
    assert taken == [3] * slot


@pytest.mark.parametrize(("remote", "slot"), [({}, True), ({"num_cpus": 3, "num_gpus": 1}, False)])
def test_a_job_is_started_as_its_launcher_wants_it(tmp_path, monkeypatch, remote, slot):
    config = compose(["runs_dir=runs"])
    runs = [(run_hash(config), "again", to_json(config))]
    (reference,) = handover.write_runs(StopFile(tmp_path / "stop").runs, runs).values()
    hydra = OmegaConf.create(
        {
            "launcher": ray(**remote),
            "job": {"env_set": {KEY: f"{tmp_path}/stop", f"{KEY}_PID": "1", handover.KEY: reference}},
            "overrides": {"task": ["runs_dir=runs"]},
            "runtime": {"config_sources": [], "cwd": str(tmp_path)},
        }
    )
    requests = []
    monkeypatch.chdir("/")  # and back at the end
    server = SimpleNamespace(run=lambda request, stopped: requests.append(request) or {"state": "done"})
    monkeypatch.setattr("hydra.core.hydra_config.HydraConfig.get", lambda: hydra)
    monkeypatch.setattr(job.ForkServer, "get", lambda: server)
    monkeypatch.setattr(job.signal, "signal", lambda *_: None)
    assert job.job(OmegaConf.create()).state == "done"
    assert Path.cwd() == tmp_path
    assert [(r["threads"], r["quiet"], r["slot"]) for r in requests] == [(remote.get("num_cpus", 1), True, slot)]


def test_slurms_jobs_are_looked_for_in_its_queue_and_may_time_out_unless_the_user_says_how_often(monkeypatch):
    monkeypatch.setattr(SlurmJob, "watcher", None)
    prepare_slurm(launcher(SUBMITIT + "LocalLauncher"), [])
    assert SlurmJob.watcher is None
    asked = launcher(SUBMITIT + "SlurmLauncher", max_num_timeout=0)
    prepare_slurm(asked, ["hydra/launcher=submitit_slurm", "hydra.launcher.max_num_timeout=0"])
    assert asked.max_num_timeout == 0
    assert isinstance(SlurmJob.watcher, QueueWatcher)
    prepare_slurm(asked, ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=5"])
    assert asked.max_num_timeout == 1000
    other = launcher(SUBMITIT + "LocalLauncher")
    prepare_slurm(other, [])
    assert "max_num_timeout" not in other


def test_a_job_of_slurm_is_over_when_its_queue_says_so_or_knows_it_no_more(monkeypatch):
    listed = ["7|0|PENDING|", "7|1|RUNNING|a", "7|2|SUSPENDED|a", "7|3|COMPLETING|a", "7|4|OUT_OF_MEMORY|a"]
    listed += ["7|5|PREEMPTED|a", "8|N/A|REQUEUE_HOLD|", "9|N/A|NODE_FAIL|b", "6|0|FAILED|a"]
    answers = ["".join(f"{line}\n" for line in listed), "8|N/A|PENDING|\n"]

    def asked(command, shell):
        assert command[0] == "squeue"
        if not answers:
            raise FileNotFoundError("the controller does not answer")
        return answers.pop(0).encode()

    monkeypatch.setattr("submitit.core.core.subprocess.check_output", asked)
    watcher, jobs = QueueWatcher(), [*(f"7_{task}" for task in range(6)), "8", "9"]
    for job_id in jobs:
        watcher.register_job(job_id)
    watcher.update()
    assert [job_id for job_id in jobs if watcher.is_done(job_id, "cache")] == ["7_4", "7_5", "9"]
    watcher.update()  # minutes later the controller has forgotten those that ended
    assert [job_id for job_id in jobs if not watcher.is_done(job_id, "cache")] == ["8"]
    watcher.update()
    assert not watcher.is_done("8", "cache")
    assert watcher.get_state("7_4", "cache") == "OUT_OF_MEMORY"


def test_a_lost_job_is_named_and_the_outcomes_of_the_others_are_kept(tmp_path, capsys):
    lost, done = JobReturn(overrides=["a"], status=JobStatus.FAILED), JobReturn(status=JobStatus.COMPLETED)
    lost.return_value, done.return_value = OSError("the node is gone"), job.Outcome("done", "0" * 12)
    sweeper = SfaSweeper()
    sweeper.launcher_config, sweeper.stop = launcher(BASIC), StopFile(tmp_path / "x.stop")
    sweeper.launcher = SimpleNamespace(launch=lambda jobs, initial_job_idx: [lost, done, JobReturn()])
    outcomes = {}
    sweeper._launch_batches([["a"], ["b"], ["c"]], outcomes)
    assert outcomes == {"0" * 12: done.return_value}
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == "a job was lost: the node is gone"
    assert second.startswith("a job was lost: return_value not yet available")


def test_once_a_sweep_is_asked_to_stop_joblib_takes_up_no_more_jobs(tmp_path):
    taken = []
    sweeper = SfaSweeper()
    sweeper.launcher_config, sweeper.stop = launcher(BASIC), StopFile(tmp_path / "x.stop")

    def take(text):
        taken.append(text)
        sweeper.stop.ask("SIGTERM")
        returned = JobReturn(status=JobStatus.COMPLETED)
        returned.return_value = job.Outcome("interrupted", text)
        return returned

    def launch(jobs, initial_job_idx):
        assert len(jobs) == 50
        return Parallel(n_jobs=2, backend="threading", batch_size=1)(delayed(take)(text) for (text,) in jobs)

    sweeper.launcher = SimpleNamespace(launch=launch)
    outcomes = {}
    sweeper._launch_batches([[f"{number}"] for number in range(50)], outcomes)
    assert sorted(outcomes) == sorted(taken)
    assert len(taken) <= 4  # those that were handed out before
