"""What all contracts have in common."""

from __future__ import annotations

import inspect
import io
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store.archives import dump_state

CLASSES = 4


def subclass(cls: Any, base: type) -> str:
    demand(
        inspect.isclass(cls) and issubclass(cls, base), f"{cls!r} is no subclass of {base.__module__}.{base.__name__}"
    )
    return str(cls.__name__)


def demand(holds: Any, sentence: str) -> None:
    if not bool(holds):
        raise AssertionError(sentence)


@contextmanager
def named(what: str) -> Iterator[None]:
    """Turn any error into an AssertionError that says what was tried; the suite's own already name it."""
    try:
        yield
    except (ConfigError, RunError) as error:
        raise AssertionError(str(error)) from error
    except Exception as error:  # a user's own code may fail in any way
        raise AssertionError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _global_states() -> list[Any]:
    kind, keys, *rest = np.random.get_state()
    return [torch.random.get_rng_state().tolist(), kind, np.asarray(keys).tolist(), rest, random.getstate()]


@contextmanager
def untouched(name: str) -> Iterator[None]:
    """Raise AssertionError where a global generator is drawn from or seeded inside the block."""
    before = _global_states()
    yield
    if _global_states() != before:
        raise AssertionError(
            f"{name} draws from, or seeds, a global random generator of Torch, NumPy or Python, and so a run could not "
            "go on to the same bits: draw from the generators that it is given"
        )


@contextmanager
def disturbed() -> Iterator[None]:
    """Inside the block the global generators are in another state."""
    kept = torch.random.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(77), np.random.seed(77), random.seed(77)
    try:
        yield
    finally:
        torch.random.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])


def through_a_file(name: str, state: Any) -> dict[str, Any]:
    """The state as a checkpoint gives it back."""
    try:
        content = dump_state(state)
    except (TypeError, AttributeError) as error:
        raise AssertionError(f"{name}.state() cannot be saved: {error}") from error
    loaded: dict[str, Any] = torch.load(io.BytesIO(bytes(content)), weights_only=True)
    return loaded


def differences(one: Any, other: Any, where: str) -> Iterator[str]:
    """Where two states differ in any bit."""
    if isinstance(one, Tensor | np.ndarray):
        first, second = np.asarray(one), np.asarray(other)
        if first.shape != second.shape or not np.array_equal(first, second, equal_nan=first.dtype.kind == "f"):
            yield where
    elif isinstance(one, dict):
        if not isinstance(other, dict) or one.keys() != other.keys():
            yield where
            return
        for key in one:
            yield from differences(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, Sequence) and not isinstance(one, str):
        if not isinstance(other, Sequence) or len(one) != len(other):
            yield where
            return
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{where}[{k}]")
    elif one != other and not (one != one and other != other):
        yield where
