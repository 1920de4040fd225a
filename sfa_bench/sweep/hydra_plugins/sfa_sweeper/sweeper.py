"""Hydra's view of a sweep: plan, launch what is missing with the chosen launcher, report, end (design.md §2)."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

ConfigStore.instance().store(
    group="hydra/sweeper",
    name="sfa",
    node={"_target_": "hydra_plugins.sfa_sweeper.sweeper.SfaSweeper"},
    provider="sfa_bench",
)


class SfaSweeper(Sweeper):
    """A grid of which only the missing runs are launched. Ends the process with the sweep's exit status.

    What it needs is imported where it is used: Hydra imports every plug-in at start, also for `--help`.
    """

    runs_dir: Path
    own_conf: Path | None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from sfa_bench.sweep.job import own_conf

        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.own_conf = own_conf(config.hydra)
        self.runs_dir = Path(config.runs_dir)

    def sweep(self, arguments: list[str]) -> None:
        from sfa_bench.store.plans import PlannedRun, SweepPlan, write_plan
        from sfa_bench.store.record import command
        from sfa_bench.sweep.job import Outcome
        from sfa_bench.sweep.plan import plan
        from sfa_bench.sweep.results import results

        planned = plan(arguments, self.own_conf)
        print(planned, flush=True)
        for job, reason in planned.not_valid:
            print(f"not valid: {' '.join(job)}: {reason}", flush=True)
        if planned.runs:
            runs = (PlannedRun(identity, command(job, self.own_conf)) for identity, job in planned.runs.items())
            write_plan(self.runs_dir, SweepPlan(command(["-m", *arguments], self.own_conf), tuple(runs)))
        if not planned.missing:
            raise SystemExit(0 if planned.done else 2)
        returns = self.launcher.launch(planned.missing, initial_job_idx=0)
        outcomes = [Outcome("failed", "", str(r._return_value)) if _crashed(r) else r.return_value for r in returns]
        bad = [outcome for outcome in outcomes if outcome.state != "done"]
        for outcome in bad:
            print(f"{outcome.state}: {outcome.message}\n  again: {outcome.command}", file=sys.stderr)
        print(f"{len(outcomes) - len(bad)} of {len(outcomes)} runs done", flush=True)
        print(f"\n{results(self.runs_dir, planned)}", flush=True)
        raise SystemExit(1 if bad else 0)


def _crashed(job_return: object) -> bool:
    from hydra.core.utils import JobStatus

    return getattr(job_return, "status", None) != JobStatus.COMPLETED
