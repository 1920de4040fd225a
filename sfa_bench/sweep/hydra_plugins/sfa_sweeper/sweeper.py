"""Hydra's sweeper: plan a sweep, launch the missing runs with the chosen launcher, report, and end (explanation/runs.md
§1).
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write

if TYPE_CHECKING:
    from sfa_bench.sweep.job import Outcome
    from sfa_bench.sweep.plan import Plan
    from sfa_bench.sweep.stop import StopFile

ConfigStore.instance().store(
    group="hydra/sweeper",
    name="sfa",
    node={"_target_": "hydra_plugins.sfa_sweeper.sweeper.SfaSweeper"},
    provider="sfa_bench",
)


TIME_OUTS = 1000


def prepare_slurm(launcher: DictConfig, overrides: Sequence[str]) -> None:
    """Let SLURM jobs be requeued after a time-out unless the user set a limit, and hear of those that were killed.

    By the launcher's default a run that is longer than its job's time is lost; ours continue from their last epoch.
    """
    if "SlurmLauncher" not in launcher._target_:
        return
    from sfa_bench.sweep.slurm_queue import ask_the_queue

    ask_the_queue()
    if not any("launcher.max_num_timeout" in text for text in overrides):
        launcher.max_num_timeout = TIME_OUTS


class SfaSweeper(Sweeper):
    """Launch the missing runs of a grid. Ends the process with the sweep's exit status.

    What it needs is imported where it is used: Hydra imports every plug-in at start, also for `--help`.
    """

    runs_dir: Path
    own_conf: Path | None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from sfa_bench.config.hydras import quoted
        from sfa_bench.sweep import handover
        from sfa_bench.sweep.composed import ComposedOnce
        from sfa_bench.sweep.job import own_conf
        from sfa_bench.sweep.stop import KEY, StopFile

        self.launcher_config = config.hydra.launcher
        self.own_conf = own_conf(config.hydra)
        self.runs_dir, self.output = Path(config.runs_dir), Path(config.hydra.sweep.dir)
        self.stop = StopFile.new(self.runs_dir)
        # Every launcher composes a job from these, wherever its workers are; another override tells each job its run.
        told = {KEY: str(self.stop.path), f"{KEY}_PID": str(os.getpid()), handover.KEY: ""}
        with read_write(config.hydra):
            prepare_slurm(self.launcher_config, config.hydra.overrides.hydra)
            config.hydra.overrides.hydra += [f"+hydra.job.env_set.{key}={quoted(value)}" for key, value in told.items()]
        self.master, self.loader = config, ComposedOnce(hydra_context.config_loader)
        context = HydraContext(config_loader=cast(Any, self.loader), callbacks=hydra_context.callbacks)
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from sfa_bench.sweep.plan import Plan
        from sfa_bench.sweep.results import failures, results

        planned = Plan.of_this_process
        print(planned, flush=True)
        for job, reason in planned.not_valid:
            print(f"not valid: {' '.join(job)}: {reason}", flush=True)
        if planned.runs:
            self._keep_plan(planned, arguments)
        else:
            why = "no combination makes sense" if planned.not_valid else "the sweep's exclusions leave nothing"
            print(f"refused: {why}, so nothing was run", file=sys.stderr)
            raise SystemExit(2)
        if planned.missing:
            planned.found = None  # for the hours of the sweep; `failures` looks again
            self._make_output()
        outcomes = self._launch(planned) if planned.missing else {}
        left = failures(self.runs_dir, planned, outcomes, self.own_conf)
        for sentence in left:
            print(sentence, file=sys.stderr)
        if planned.missing:
            print(f"{len(planned.runs) - len(left)} of {len(planned.runs)} runs done", flush=True)
        print(f"\n{results(planned)}", flush=True)
        raise SystemExit(1 if left else 0)

    def _keep_plan(self, planned: Plan, arguments: list[str]) -> None:
        from sfa_bench.errors import ConfigError, RunError
        from sfa_bench.store.record import command
        from sfa_bench.sweep.plan import keep_plan

        try:
            keep_plan(self.runs_dir, planned, command(arguments, self.own_conf, sweep=True), self.own_conf)
        except (ConfigError, RunError):
            if planned.missing:
                raise
            # A read-only archive, for example, of which only the table is wanted.
            sentence = "no run is missing, but this sweep's plan is not written there"
            print(f"{self.runs_dir} cannot be written: {sentence}", file=sys.stderr)

    def _make_output(self) -> None:
        """Make the folder of Hydra's own output; without it every job would fail in the launcher."""
        from sfa_bench.errors import ConfigError

        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"hydra.sweep.dir={self.output} cannot be made ({error.strerror}); leave it out"
            ) from error

    def _launch(self, planned: Plan) -> dict[str, Outcome]:
        """Launch the missing runs. Returns hash → outcome of each job. Raises SystemExit once a signal has stopped the
        sweep.

        A launcher that fails (joblib when it loses a worker, submitit when the cluster drops a job) is started again
        for the runs that are neither done nor failed: three times in a row without the end of one, and not at all
        where none of them had begun, since then it is the launcher that cannot be used.
        """
        from sfa_bench.errors import Interrupted
        from sfa_bench.sweep.handover import remove_runs
        from sfa_bench.sweep.ray_cluster import ray_cluster
        from sfa_bench.sweep.results import unfinished
        from sfa_bench.sweep.stop import Counted

        references = self._hand_over(planned)
        counted = Counted(self.stop.counted)
        counted.begin(len(planned.missing))
        outcomes: dict[str, Outcome] = {}
        jobs, fruitless = planned.missing, 0
        with ray_cluster(self.launcher_config), Stopping(self.stop) as stopping:
            while jobs:
                try:
                    told = [[*job, references[tuple(job)]] for job in jobs]
                    self.loader.compose(self.master, told[0])
                    self._launch_batches(told, outcomes)
                    remove_runs(self.stop.runs)  # all jobs have returned: none waits in a cluster's queue
                    break
                except Interrupted:  # in this very process
                    remove_runs(self.stop.runs)
                    raise
                except Exception as error:  # an error of the launcher: finished runs are on the disk
                    print(f"the launcher failed: {type(error).__name__}: {error}", file=sys.stderr)
                    left, begun = unfinished(self.runs_dir, planned, jobs)
                    fruitless = 0 if len(left) < len(jobs) else fruitless + 1
                    if self.stop.asked() or not left or fruitless > 3 or (fruitless and not begun):
                        break
                    print(f"starting it again for the remaining {len(left)} runs", file=sys.stderr)
                    jobs = left
            counted.end()
            reason = self.stop.reason()
            self.stop.clear()  # not after a second signal: jobs in a cluster's queue must still find it
        if stopping.signal is not None:
            print("stopped; the same command goes on from there", file=sys.stderr)
            raise SystemExit(128 + stopping.signal)
        if reason:
            print(f"stopped by {reason}; the same command goes on from there", file=sys.stderr)
        return outcomes

    def _hand_over(self, planned: Plan) -> dict[tuple[str, ...], str]:
        """Write the runs to launch where every job can read them. Returns for each job the override that tells it its
        run.
        """
        from sfa_bench.config.hydras import quoted
        from sfa_bench.store.record import command
        from sfa_bench.sweep.handover import KEY, write_runs
        from sfa_bench.sweep.titles import differing, title

        keys = differing(planned.runs.values())
        runs = (
            (h, command(job, self.own_conf), config, title(job, keys, config))
            for h, config in planned.configs.items()
            if (job := planned.runs[h])
        )
        references = write_runs(self.stop.runs, runs)
        return {
            tuple(planned.runs[h]): f"hydra.job.env_set.{KEY}={quoted(reference)}"
            for h, reference in references.items()
        }

    def _launch_batches(self, jobs: list[list[str]], outcomes: dict[str, Outcome]) -> None:
        from sfa_bench.sweep.job import batch_size

        size = batch_size(self.launcher_config) or len(jobs)
        for first in range(0, len(jobs), size):
            if self.stop.asked():
                return
            batch = UntilStopped(jobs[first : first + size], self.stop)
            for returned in self.launcher.launch(batch, initial_job_idx=first):
                try:
                    with redirect_stderr(io.StringIO()):  # where Hydra repeats the overrides of a failed job
                        outcome = returned.return_value
                except Exception as error:  # the job's own: a run's failure is an outcome
                    print(f"a job was lost: {error}", file=sys.stderr)
                else:
                    outcomes[outcome.hash] = outcome


class UntilStopped(list[list[str]]):
    """Jobs for a launcher, which end when the sweep is asked to stop: joblib takes them up one by one, and each takes
    Hydra some tenths of a second only to return, which of a thousand jobs are minutes.
    """

    def __init__(self, jobs: list[list[str]], stop: StopFile):
        super().__init__(jobs)
        self.stop = stop

    def __iter__(self) -> Iterator[list[str]]:
        for job in super().__iter__():
            if self.stop.asked():
                return
            yield job


class Stopping:
    """While entered, the first SIGINT or SIGTERM of the sweep's own process asks its workers to stop; a second one acts
    at once.

    A job in this process, or in a child of it, has handlers of its own meanwhile.
    """

    def __init__(self, stop: StopFile):
        self.stop = stop
        self.signal: int | None = None

    def __enter__(self) -> Stopping:
        self._previous = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._previous.items():
            signal.signal(number, before)

    def _ask(self, number: int, frame: object) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        self.stop.ask(signal.Signals(number).name)
