"""Load the code of a choice by its name. Only the engine calls this, because most of that code imports Torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(code: str) -> Any:
    """Import and return `module.name`."""
    module, _, name = code.rpartition(".")
    return getattr(import_module(module), name)
