"""What `run.py` does: compose, refuse or run (design.md §2). Torch is imported only once something is to be trained."""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from sfa_bench.config.compose import compose
from sfa_bench.config.help import help_text
from sfa_bench.config.terminal import Display
from sfa_bench.engine.signals import Interrupted
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store.record import command

# Hydra's own questions; it answers them itself.
_HYDRAS = ("hydra_help", "version", "shell_completion", "info", "experimental_rerun", "config_path", "config_name")


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0 done, 1 failed, 2 refused, 128 + signal interrupted."""
    options = _parse(arguments)
    try:
        if options.help:
            print(help_text(_config_dir(options)))
            return 0
        if any(getattr(options, name, None) for name in _HYDRAS) or options.cfg in ("hydra", "all"):
            return _hydra(list(arguments))
        if options.cfg:
            return _show(options.overrides, _config_dir(options))
        if options.multirun:
            return _sweep(options.overrides, _config_dir(options))
        return _run(options.overrides, _config_dir(options))
    except ConfigError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        return interrupted.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parse(arguments: Sequence[str]) -> Namespace:
    from hydra._internal.utils import get_args_parser

    # Intermixed: options may stand between overrides, as in `run.py method=ce -m seed=0,1`.
    return get_args_parser().parse_intermixed_args(list(arguments))


def _config_dir(options: Namespace) -> Path | None:
    return Path(options.config_dir).resolve() if options.config_dir else None


def _show(overrides: Sequence[str], config_dir: Path | None) -> int:
    import yaml

    print(yaml.safe_dump(compose(overrides, config_dir).to_plain(), sort_keys=False, allow_unicode=True), end="")
    return 0


def _run(overrides: Sequence[str], config_dir: Path | None) -> int:
    config = compose(overrides, config_dir)

    from rich.console import Console

    from sfa_bench.engine.posthoc import start

    Display.answers = False
    start(config, command(overrides, config_dir), Console())
    return 0


def _sweep(overrides: Sequence[str], config_dir: Path | None) -> int:
    from hydra.errors import HydraException
    from yaml import YAMLError

    from sfa_bench.config.overrides import as_axes, check_overrides

    check_overrides(overrides, config_dir, sweep=True)  # what exists nowhere refuses the whole sweep, first of all
    own = [] if config_dir is None else ["--config-dir", str(config_dir)]
    Display.answers = False
    try:
        return _hydra([*own, "--multirun", "hydra/sweeper=sfa", *as_axes(overrides)])
    except (HydraException, YAMLError) as error:
        raise ConfigError(f"the sweep cannot be composed: {' '.join(str(error).split())}") from error


def _hydra(arguments: list[str]) -> int:
    """Hand over to Hydra; a sweep ends by raising SystemExit with its status."""
    import hydra

    from sfa_bench.config.overrides import CONF
    from sfa_bench.sweep.job import job

    sys.argv[1:] = arguments
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
    return 0
