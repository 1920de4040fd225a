"""Where the figures of every epoch go beside the record (guides/loggers.md). A new one: a class as of
`engine.loggers.Logger`, and an entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

# Name → `module.Class`; each has an extra of its name.
LOGGERS: Mapping[str, str] = {
    "tensorboard": "sfa_bench.engine.event_files.EventFiles",
    "wandb": "sfa_bench.engine.wandb_runs.WandbRuns",
    "mlflow": "sfa_bench.engine.mlflow_runs.MlflowRuns",
}
NONE = "none"
HELP = f"none, or one or a list of {' '.join(LOGGERS)} and MODULE.CLASS of your own"


def names_of(value: str | Sequence[str]) -> list[str]:
    """The loggers of `logger`, a name or a list of them; none of them is `none`."""
    return [name for name in ([value] if isinstance(value, str) else value) if name != NONE]


def wrong(value: str | Sequence[str]) -> str | None:
    """What is not right with a value of `logger`, and what is; None where nothing is wrong."""
    names = [value] if isinstance(value, str) else list(value)
    for name in names:
        if name not in (NONE, *LOGGERS) and not _is_path(name):
            near = get_close_matches(name, [NONE, *LOGGERS], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return f"must be {HELP}{hint}"
    if NONE in names and len(names) > 1:
        return f"{NONE} stands alone; leave it out of the list"
    twice = next((name for name in names if names.count(name) > 1), None)
    return None if twice is None else f"{twice} is there twice; name it once"


def _is_path(name: str) -> bool:
    parts = name.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)
