"""From the name of a choice's code to the code; called by the engine alone, since most of it imports Torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(code: str) -> Any:
    """What `module.name` is."""
    module, _, name = code.rpartition(".")
    return getattr(import_module(module), name)
