"""`sfa-bench tune 'lr=tag(log,interval(1e-3,1e-1))' method=ce,elr dataset.val=noisy --trials 20`: values chosen on a
validation set, with the same number of trials for each method, and reported on the test set by `--report`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import last_of_each
from sfa_bench.config.terminal import Parser, Say, entry_point, markdown_table
from sfa_bench.doors import Door
from sfa_bench.engine.signals import StopAtStep
from sfa_bench.errors import ConfigError, Interrupted, RunError
from sfa_bench.store.record import command
from sfa_bench.tune.runner import Outcome, Runner
from sfa_bench.tune.space import tasks
from sfa_bench.tune.study import Study

MOST = 100_000


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Tune, print what was chosen, and report it if asked to. Returns the exit status."""
    options = _parser().parse_intermixed_args(arguments)
    tuned_on, reported_on = _seeds("--seeds", options.seeds), _seeds("--report-seeds", options.report_seeds)
    if both := set(tuned_on) & set(reported_on):
        raise ConfigError(f"--seeds {options.seeds}: {min(both)} is among --report-seeds; what tunes must not report")
    if not options.metric.startswith("val/"):
        raise ConfigError(f"--metric {options.metric}: must be of the validation set, val/…, such as val/acc")
    for name, value in (("--trials", options.trials), ("--jobs", options.jobs)):
        if not 1 <= value <= MOST:
            raise ConfigError(f"{name} {value}: must be a whole number from 1 to {MOST:,}")
    if find_spec("optuna") is None:
        raise ConfigError("tune needs a package that is not installed: pip install 'sfa_bench[tune]'")
    conf = Path(options.config_dir).resolve() if options.config_dir else None
    todo, compared = tasks(last_of_each(options.overrides)[0], conf)
    studies = [Study(task, tuned_on, options.metric, options.trials, conf) for task in todo]
    if options.jobs > 1 and not studies[0].config.isolate:
        raise ConfigError(
            f"--jobs {options.jobs} with isolate=false, which runs in this process: leave one of them out"
        )
    say: Say = partial(print, flush=True)
    each = f"{options.trials} trials each" if len(studies) > 1 else f"{options.trials} trials"
    where = ", ".join(map(str, tuned_on))
    say(f"tune: {', '.join(study.title for study in studies)}; {each}, by {options.metric} on data_seed {where}")
    with StopAtStep() as stop:
        runner = Runner(options.jobs, conf, lambda: stop.received)
        for study in studies:
            try:
                study.run(runner, options.jobs, say)
            except Interrupted as interrupted:
                say(f"interrupted by {interrupted}; the same command goes on from there")
                raise
        chosen = _chosen(studies, say)
        if options.report:
            return _report(studies, chosen, reported_on, compared, runner, options.jobs, say)
    seeds = ",".join(map(str, reported_on))
    again = [*shlex.split(f"{Door.here.program or 'python -m sfa_bench'} tune"), *arguments]
    say(f"\nto report these on the test set, on replicate={seeds}:\n{shlex.join([*again, '--report'])}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=f"{Door.here.program or 'sfa-bench'} tune", description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="keys of a sweep; intervals are tuned")
    parser.add_argument("--trials", type=int, default=20, help="trials of each method, failed ones included (20)")
    parser.add_argument("--jobs", type=int, default=1, help="trials at once (1)")
    parser.add_argument("--metric", default="val/acc", help="what is maximised, of the validation set (val/acc)")
    parser.add_argument("--seeds", default="1000", help="replicates that trials are made on: N[,N…], their mean (1000)")
    parser.add_argument("--report-seeds", default="0,1,2", help="replicates that --report makes: N[,N…] (0,1,2)")
    parser.add_argument("--report", action="store_true", help="then train with the chosen values, and test")
    parser.add_argument("--config-dir", help="folder of your own choices")
    return parser


def _seeds(name: str, text: str) -> list[int]:
    try:
        seeds = [int(word) for word in text.split(",")]
    except ValueError:
        raise ConfigError(f"{name} {text}: must be whole numbers with commas, such as 0,1,2") from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"{name} {text}: must be different whole numbers from 0 on")
    return seeds


def _chosen(studies: Sequence[Study], say: Say) -> list[list[str]]:
    """The overrides chosen by each study, printed as a table."""
    rows = [["method", "chosen", "trials", "failed", studies[0].metric]]
    chosen = []
    for study in studies:
        words, value, failed = study.choose()
        chosen.append(words)
        rows.append([study.title, " ".join(words), str(study.trials), str(failed), f"{value:.2f}"])
    say("\n" + markdown_table(rows, texts=2))
    return chosen


def _report(
    studies: Sequence[Study],
    chosen: Sequence[list[str]],
    seeds: Sequence[int],
    compared: Sequence[str],
    runner: Runner,
    jobs: int,
    say: Say,
) -> int:
    """Make the runs of the report and print their table. Returns the exit status."""
    from analysis.runs import load
    from analysis.table import make_table
    from sfa_bench.config.canonical import run_hash

    typed = [study.reported(words, seed) for study, words in zip(studies, chosen, strict=True) for seed in seeds]
    configs = [compose(words, studies[0].conf) for words in typed]
    again = [command(words, studies[0].conf) for words in typed]
    if configs[0].isolate:
        with ThreadPoolExecutor(jobs) as pool:
            outcomes: list[Outcome] = list(pool.map(runner.run, configs, again))
    else:
        outcomes = [runner.run(config, words) for config, words in zip(configs, again, strict=True)]
    if stopped := [outcome for outcome in outcomes if outcome.state == "interrupted"]:
        raise Interrupted(stopped[0].signal)
    for outcome, words in zip(outcomes, again, strict=True):
        if outcome.state != "done":
            say(f"{outcome.state}: {outcome.message}; again: {words}")
    wanted = {run_hash(config) for config in configs}
    runs = [run for run in load([Path(configs[0].runs_dir)])[0] if run.hash in wanted]
    if not runs:
        raise RunError("no run of the report is done: no table")
    say("\n" + make_table(runs, list(compared) or ["method", "plugin"]).to_markdown())
    return 0 if len(runs) == len(wanted) else 1
