"""sfa-bench: a benchmark suite for learning from long-tailed data with noisy labels."""

from importlib import import_module
from typing import Any

from sfa_bench import sweep  # the package, which can be called: it is the function `sweep` of the Python interface
from sfa_bench.api.running import run
from sfa_bench.api.runs import Run, Runs, load
from sfa_bench.arrays import Arrays
from sfa_bench.errors import ConfigError, RunError

__all__ = ["Arrays", "ConfigError", "Run", "RunError", "Runs", "load", "run", "sweep", "testing"]


def __getattr__(name: str) -> Any:
    if name == "testing":  # which imports Torch
        return import_module("sfa_bench.testing")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
