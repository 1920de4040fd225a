"""One job of a sweep, as Hydra's launchers call it, perhaps in another process or on another machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfa_bench.config.terminal import SafeStream, about, prepare
from sfa_bench.cores import cores
from sfa_bench.errors import ConfigError, Interrupted
from sfa_bench.store.claim import process_start
from sfa_bench.sweep import handover
from sfa_bench.sweep.isolation import ForkServer, record_death
from sfa_bench.sweep.stop import KEY, Counted, StopFile
from sfa_bench.sweep.work import work

if TYPE_CHECKING:
    from omegaconf import DictConfig


PREEMPTION_SECONDS = 60.0  # twice what SLURM leaves by default between SIGTERM and SIGKILL (KillWait)
LOOK_SECONDS = 0.5  # between two looks at the sweep that a worker ends with

_watched: set[int] = set()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job: `done`, `failed`, `refused` (by its data) or `interrupted`. Plain types, because it is sent
    between processes.
    """

    state: str
    hash: str
    message: str = ""


def job(cfg: DictConfig) -> Outcome:
    """Run one configuration. Failures are returned, not raised, because with some launchers the first exception ends
    all jobs.

    Raises Interrupted, in the sweep's own process only, when a signal has come.
    """
    from hydra.core.hydra_config import HydraConfig

    prepare()
    SafeStream.answers = False
    hydra = HydraConfig.get()
    stop = StopFile(Path(hydra.job.env_set[KEY]))
    owner = int(hydra.job.env_set[f"{KEY}_PID"])
    here = stop.path in StopFile.made_here
    reference = hydra.job.env_set[handover.KEY]
    identity = handover.hash_of(reference)
    config_dir = own_conf(hydra)
    # Relative paths are relative to the folder where the sweep was started: with `hydra.job.chdir=true` Hydra has left
    # it, and the workers of a running cluster are elsewhere.
    os.chdir(hydra.runtime.cwd)
    if stop.asked():
        return Outcome("interrupted", identity)
    try:
        run = handover.read_run(stop.runs, reference, config_dir)
    except ConfigError as error:
        return Outcome("refused", identity, str(error))
    config, again = run.config, run.command
    how: dict[str, Any] = {
        "threads": threads(hydra.launcher),
        "quiet": parallel_jobs(hydra.launcher) > 1 or not here,
        "slot": config.isolate and not gives_device(hydra.launcher),
    }
    conf = None if config_dir is None else str(config_dir)
    request = {"runs": str(stop.runs), "run": reference, "config_dir": conf, **how}
    local = "joblib" in hydra.launcher._target_
    if local:  # a joblib worker ends with its sweep; on a cluster the sweep may end while the job goes on
        end_with(owner)
    if not config.isolate:
        answer = work(config, again, **how)
    else:
        answer = ForkServer.get().run(request, stop.asked)
        while answer["state"] == "interrupted" and "submitit" in hydra.launcher._target_ and not stop.asked():
            # The cluster preempts the node: the state is saved, and the cluster kills the job and may requeue it.
            time.sleep(PREEMPTION_SECONDS)
            answer = ForkServer.get().run(request, stop.asked)
    if local and process_start(owner) is None:
        os._exit(1)  # otherwise it would wait minutes for another job, or take up the next one
    if not here:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # else Ctrl-C kills an idle worker with a traceback
    if answer["state"] == "lost" and -answer["status"] in (signal.SIGINT, signal.SIGTERM):
        answer = {"state": "interrupted", "signal": -answer["status"]}  # a second one ends it at once
    if answer["state"] == "lost":
        answer = {"state": "failed", "message": record_death(config, again, answer["status"])}
    if answer["state"] == "interrupted" and here and not stop.asked():
        raise Interrupted(answer["signal"])
    if answer["state"] == "done":
        print(_line(stop, [run.title, *answer.get("said", ())]), flush=True)
    if answer["state"] in ("failed", "refused"):  # now, and again with all others at the end
        what = "has failed" if answer["state"] == "failed" else "is refused"
        print(_line(stop, [run.title, f"a run {what}: {answer['message']}"]), flush=True)
    if answer["state"] in ("failed", "refused") and config.fail_fast:
        stop.ask(f"fail_fast: {answer['message']}")
    return Outcome(answer["state"], identity, answer.get("message", ""))


def end_with(owner: int) -> None:
    """Signal this process when the process `owner` of this machine has ended; once for each owner.

    A thread polls, because Linux's parent-death signal is tied to the thread that started the worker, not to the
    process. A run handles the signal at its next step; it ends an idle worker.
    """
    if owner not in (*_watched, os.getpid()):
        _watched.add(owner)
        threading.Thread(target=_stop_after, args=(owner,), daemon=True).start()


def _stop_after(owner: int) -> None:
    start = process_start(owner)
    while start is not None and process_start(owner) == start:  # its pid may have been reused by now
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _line(stop: StopFile, words: list[str]) -> str:
    """`[3/18] ce + sfa · 33.3 % · 6 min left`: the words on a run that has ended, with how many have and an estimate of
    the remaining time.
    """
    if (counted := Counted(stop.counted).one_more()) is None:
        return " · ".join(words)
    ended, jobs, seconds = counted
    left = [f"{about(seconds / ended * (jobs - ended))} left"] if ended < jobs else []
    return f"[{ended}/{jobs}] " + " · ".join([*words, *left])


def own_conf(hydra: Any) -> Path | None:
    """The user's `--config-dir`, from Hydra's configuration, in every process of a sweep."""
    return next((Path(s.path) for s in hydra.runtime.config_sources if s.provider == "command-line"), None)


def parallel_jobs(launcher: Any) -> int:
    """The number of jobs that a launcher runs at once on this machine; one for launchers that use other machines.

    joblib: its `n_jobs`. submitit_local: as many as the cores hold, of `cpus_per_task` (1) each.
    """
    if "LocalLauncher" in launcher._target_:
        return max(1, cores() // (launcher.cpus_per_task or 1))
    jobs = launcher.get("n_jobs") or 1
    return int(jobs) if jobs > 0 else max(1, cores() + 1 + int(jobs))


def threads(launcher: Any) -> int:
    """Threads of a job: the cores of this machine, or of SLURM's task, divided by the jobs that share them.

    Ray does not confine a job to cores: it gets as many threads as `num_cpus` (1), at least one.
    """
    if "RayLauncher" in launcher._target_:
        return max(1, int(launcher.ray.remote.get("num_cpus", 1)))
    return max(1, cores() // parallel_jobs(launcher))


def gives_device(launcher: Any) -> bool:
    """Whether the launcher assigns a GPU to each job, so that the same name ("0") is another GPU in another job.

    SLURM does, and Ray when asked for GPUs. submitit_local shows the same GPUs to all of its jobs.
    """
    if "RayLauncher" in launcher._target_:
        return bool(launcher.ray.remote.get("num_gpus"))
    return "SlurmLauncher" in launcher._target_


def batch_size(launcher: Any) -> int | None:
    """The number of jobs to give a launcher at a time; None: all.

    submitit_local would start all of them at once, SLURM refuses arrays above its MaxArraySize (1,001 by default).
    """
    if "LocalLauncher" in launcher._target_:
        return parallel_jobs(launcher)
    return 1000 if "SlurmLauncher" in launcher._target_ else None
