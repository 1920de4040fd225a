"""Check the state from which a run resumes: it must belong to this run, be complete and finite. A method into which
another state was loaded is half changed and must be built anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sfa_bench.engine.chosen import Chosen
from sfa_bench.methods.base import Method
from sfa_bench.store.reading import Damaged, lacks_memory
from sfa_bench.store.shapes import Shape, flag, mapping, number, optional, text, whole


def check(state: Mapping[str, Any], epochs: int) -> None:
    """Raises Damaged where the plain values of a checkpoint are not valid for a run of so many epochs."""
    shapes: dict[str, Shape] = {
        "epoch": lambda value: whole(value) and 1 <= value <= epochs,
        "method": lambda value: isinstance(value, dict),
        "cost": _cost,
        "uniform": optional(flag),
        "run": optional(text),
        "lines": optional(text),
        "origin": optional(_origin),
    }
    for key, shape in shapes.items():
        if not shape(value := state.get(key)):
            raise Damaged(f"its {key} is {value!r:.40}" if isinstance(value, (int, float, str)) else f"it has no {key}")


def check_shared(made: Mapping[str, Any], epochs: int) -> None:
    """The same for a shared warm-up of so many epochs, which holds their lines."""
    check(made, epochs)
    rows = made.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Damaged("it has no lines of epochs")
    if made["epoch"] != epochs or [row.get("epoch") for row in rows] != list(range(1, epochs + 1)):
        raise Damaged(f"it is not of the epochs 1 to {epochs}")
    if not text(made.get("run")):
        raise Damaged("it does not name the run that made it")


def _origin(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(part), dict) for part in ("environment", "data"))


def _cost(value: Any) -> bool:
    if not isinstance(value, dict) or not mapping(number)(value.get("seconds")) or not whole(value.get("evaluated")):
        return False
    return optional(lambda shared: isinstance(shared, dict) and number(shared.get("seconds")))(value.get("shared"))


def load(method: Method, state: Mapping[str, Any], into: Callable[[dict[str, Any]], None]) -> None:
    """Load this state into the method by its `load_state` or `load_trained`. Raises Damaged where it does not fit."""
    groups = [dict(group) for optimiser in method.optimisers for group in optimiser.param_groups]
    try:
        if reason := next(_differences(method.state(), state, "method"), None):
            raise Damaged(reason)
        into(dict(state))
    except Damaged:
        raise
    except Exception as error:  # a user's own method may raise anything for a foreign state
        if lacks_memory(error):
            raise
        raise _misfit(error) from error
    if reason := next(_unfit(method, groups), None):
        raise Damaged(reason)


def load_finished(method: Method, state: Mapping[str, Any], epochs: int) -> None:
    """Load what a finished run of so many epochs kept, for its predictions. Raises Damaged where it does not fit, or is
    of an earlier epoch: a checkpoint that was not replaced when the run was done.
    """
    if state.get("epoch") != epochs:
        raise Damaged(f"it is of epoch {state.get('epoch')}, and the run has {epochs}")
    load(method, state.get("method", {}), method.load_trained)


def load_chosen(chosen: Chosen, state: Any, networks: int, samples: int) -> None:
    """The same for `Chosen`, with so many networks and test samples."""
    try:
        chosen.load_state(state)
        sizes = {len(chosen.epochs), len(chosen.accuracies), len(chosen.logits)}
        fits = sizes in ({0}, {networks}) and all(number(value) for value in (*chosen.epochs, *chosen.accuracies))
        fits = fits and all(len(values) == samples for heads in chosen.logits for values in heads.values())
    except (KeyError, TypeError, AttributeError) as error:
        raise _misfit(error) from error
    if not fits:
        raise Damaged("what was chosen on the validation set is of other networks or samples")


def _misfit(error: Exception) -> Damaged:
    message = " ".join(str(error).split())  # Torch's messages have many lines
    return Damaged(f"it does not fit this run: {type(error).__name__}: {message:.200}")


def _differences(fresh: Any, saved: Any, where: str) -> Iterator[str]:
    """Differences in type and shape between a state and that of a fresh method. Values that a fresh method does not
    have yet may be anything; missing ones are left to the method. Optimisers have their own check.
    """
    if isinstance(fresh, Tensor):
        if not isinstance(saved, Tensor) or saved.shape != fresh.shape or saved.dtype != fresh.dtype:
            yield f"{where} is not {str(fresh.dtype).removeprefix('torch.')} {list(fresh.shape)}"
    elif isinstance(fresh, Mapping):
        if not isinstance(saved, Mapping):
            yield f"{where} is not a mapping"
            return
        for key in (key for key in fresh if key in saved and key != "optimisers"):
            yield from _differences(fresh[key], saved[key], f"{where}.{key}")
    elif isinstance(fresh, (list, tuple)):
        if not isinstance(saved, (list, tuple)) or (fresh and len(saved) != len(fresh)):
            yield f"{where} is not a list of {len(fresh)}"
            return
        for k, (one, other) in enumerate(zip(fresh, saved, strict=False)):
            yield from _differences(one, other, f"{where}.{k}")
    elif isinstance(fresh, (bool, int, float)) and not isinstance(saved, (bool, int, float)):
        yield f"{where} is not a number"


def _unfit(method: Method, groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Why a loaded method cannot go on. Args: groups, of its optimisers as they were before."""
    networks = {id(network): network for network in (*method.networks, *method.predictors())}
    if not all(_finite(value) for network in networks.values() for value in network.state_dict().values()):
        yield "its weights are not finite"
    now = [group for optimiser in method.optimisers for group in optimiser.param_groups]
    for before, after in zip(groups, now, strict=True):
        if not all(number(after.get(key)) for key, value in before.items() if number(value)):
            yield "its optimiser's settings are not numbers"
    for optimiser in method.optimisers:
        for weights, values in optimiser.state.items():
            tensors = [value for value in values.values() if isinstance(value, Tensor)]
            if not all(_finite(value) and (value.ndim == 0 or value.shape == weights.shape) for value in tensors):
                yield "its momentum is not finite, or of other weights"
    samples = (len(method.labels),)
    for selection in method.selections:
        parts = (selection.mask, selection.clean_probability, selection.score)
        if any(getattr(part, "shape", None) != samples for part in parts):
            yield "its selections are of other samples"


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
