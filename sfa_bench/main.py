"""The commands `run` and `sweep`: compose, refuse or run (explanation/runs.md §1). Torch is imported only when
something is to be trained.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import requested
from sfa_bench.config.help import help_text
from sfa_bench.config.hydras import BASE, CONF, check_options, check_values, is_hydras, option_parser
from sfa_bench.config.overrides import as_axes, check_overrides, last_of_each
from sfa_bench.config.terminal import SafeStream, entry_point
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import run_place
from sfa_bench.store.record import command


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 done, 1 failed, 2 refused, 128 + signal interrupted."""
    options = _parse(arguments)
    check_options(options)
    if options.help:
        print(help_text(_config_dir(options)))
        return 0
    if options.hydra_help or options.shell_completion or options.info or options.cfg in ("hydra", "all"):
        return _ask_hydra(options, list(arguments))
    options.overrides, notes = last_of_each(options.overrides)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if options.cfg and options.multirun:
        way = f"use {Door.here.run} --cfg {options.cfg} and give each key one value"
        raise ConfigError(f"--cfg shows the configuration of one run: {way}")
    if options.cfg:
        return _show(options.overrides, _config_dir(options), options.package)
    if options.multirun:
        return _sweep(options.overrides, _config_dir(options))
    return _run(options.overrides, _config_dir(options))


@entry_point
def where(arguments: Sequence[str]) -> None:
    """Print hash, folder and state of the run of these overrides without training. Returns the exit status: 0 or 2."""
    options = _parse(arguments)
    given = [name for name, value in vars(options).items() if value and name not in ("overrides", "config_dir")]
    if options.help:
        print(f"usage: {Door.here.program or 'sfa-bench'} where [--config-dir DIR] KEY=VALUE …\n\n{where.__doc__}")
        return
    if given:
        raise ConfigError(f"--{given[0].replace('_', '-')}: where takes the words of one run, and --config-dir")
    config = requested(last_of_each(options.overrides)[0], _config_dir(options))
    identity = run_hash(config)
    folder = run_place(config.runs_dir, config.recorded_names, identity)
    record = RunFolder(folder).read_record()
    print(f"hash: {identity}\nfolder: {folder}\nstate: {'new' if record is None else record['state']}")


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = option_parser()
    parser.error = _refuse  # type: ignore[method-assign, assignment]
    # Intermixed: options may stand between overrides, as in `run.py method=ce -m seed=0,1`.
    options, rest = parser.parse_known_intermixed_args(list(arguments))
    if strange := [word for word in rest if word.startswith("-")]:
        raise ConfigError(f"{strange[0]}: there is no such option; a key is set without dashes, KEY=VALUE")
    options.overrides += rest
    return options


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; {Door.here.run} --help says what there is")


def _config_dir(options: Namespace) -> Path | None:
    if options.config_dir == "":
        raise ConfigError("--config-dir: name the folder that holds your choices, or leave it out")
    return Path(options.config_dir).resolve() if options.config_dir else None


def _show(overrides: Sequence[str], config_dir: Path | None, package: str | None) -> int:
    import yaml

    shown: Any = requested(overrides, config_dir).to_plain()
    for part in package.split(".") if package else ():
        if not isinstance(shown, dict) or part not in shown:
            raise ConfigError(f"--package {package}: the configuration has no such part")
        shown = shown[part]
    print(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).removesuffix("...\n"), end="")
    return 0


def _run(overrides: Sequence[str], config_dir: Path | None) -> int:
    config = requested(overrides, config_dir)

    from rich.console import Console

    from sfa_bench.engine.changes import other_length
    from sfa_bench.engine.posthoc import start

    SafeStream.answers = False
    if note := other_length(config):
        print(note)
    start(config, command(overrides, config_dir), Console(markup=False))
    return 0


def _sweep(overrides: Sequence[str], config_dir: Path | None) -> int:
    from sfa_bench.sweep.plan import Plan, plan

    # Before Hydra is started: what exists nowhere, or does not compose, refuses the whole sweep.
    words = [word for word in as_axes(overrides) if word not in ("hydra/sweeper=sfa", "hydra.mode=MULTIRUN")]
    hydras = [word for word in words if is_hydras(word.lstrip("+~"))]
    check_overrides([word for word in overrides if is_hydras(word.lstrip("+~"))], config_dir, sweep=True)
    check_values(hydras, config_dir)
    Plan.of_this_process = plan([word for word in words if word not in hydras], config_dir)
    options = [] if config_dir is None else ["--config-dir", str(config_dir)]
    SafeStream.answers = False
    return _hydra([*options, "--multirun", "hydra/sweeper=sfa", *words], "the sweep cannot be composed")


def _ask_hydra(options: Namespace, arguments: list[str]) -> int:
    """Options that Hydra answers itself."""
    if not options.shell_completion:  # which has a format of its own
        check_overrides(options.overrides, _config_dir(options), sweep=bool(options.info))
        check_values(options.overrides, _config_dir(options))
    try:
        return _hydra(arguments, "Hydra cannot answer")
    except SystemExit as ended:  # Hydra has printed the reason
        return 2 if ended.code else 0


def _hydra(arguments: list[str], failure: str) -> int:
    """Hand over to Hydra; a sweep ends by raising SystemExit with its status."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from sfa_bench.sweep.job import job

    sys.argv[1:] = arguments
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here
    try:
        hydra.main(config_path=str(CONF), config_name="config", **BASE)(job)()
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{failure}: {' '.join(str(error).split())}") from error
    return 0
