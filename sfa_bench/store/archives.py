"""Arrays (`.npz`) and states (`.pt`) as archives with digests; nothing in them can execute."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from sfa_bench.store.digest import read_archive, seal_archive
from sfa_bench.store.reading import Damaged, lacks_memory


def dump_arrays(name: str, arrays: dict[str, Any]) -> memoryview:
    """The content of an `.npz` file; equal arrays give equal bytes. Raises TypeError for arrays of Python objects."""
    import numpy as np

    converted: dict[str, Any] = {key: np.asarray(value) for key, value in sorted(arrays.items())}
    if objects := [key for key, value in converted.items() if value.dtype.hasobject]:
        raise TypeError(f"{name}: {', '.join(objects)} would need pickle")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **converted)
    return seal_archive(buffer)


def load_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an `.npz` file. Raises OSError where it cannot be read, Damaged where its content has changed."""
    import numpy as np

    content, sealed = read_archive(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for bytes that are not arrays
        raise _failure("arrays", error, sealed) from error


def dump_state(state: dict[str, Any]) -> memoryview:
    """The content of a `.pt` file. Raises TypeError for values that could not be loaded again."""
    import torch

    _check_plain(state, "state")
    buffer = io.BytesIO()  # in memory first: Torch would hide the disk's errors behind its own
    torch.save(state, buffer)
    return seal_archive(buffer)


def load_state(path: Path) -> dict[str, Any]:
    """The state in a `.pt` file, on the CPU. Raises OSError where it cannot be read, Damaged where its content has
    changed.
    """
    import torch

    content, sealed = read_archive(path)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # Torch raises a dozen kinds for bytes that are not tensors
        raise _failure("state", error, sealed) from error
    if not isinstance(state, dict):
        raise Damaged(f"it holds a {type(state).__name__}, no state of a run")
    return state


def _failure(kind: str, error: Exception, sealed: bool) -> MemoryError | Damaged:
    """What to raise for it. A want of memory is no damage to a sealed file: a run would start again for it."""
    said = str(error).strip().partition("\n")[0]
    if sealed and lacks_memory(error):
        return MemoryError(said)
    return Damaged(f"it holds no {kind} that can be read ({type(error).__name__}: {said})")


def _check_plain(value: Any, where: str) -> None:
    """Raise TypeError for values that `weights_only` loading would refuse when the run is resumed."""
    import torch

    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(key, f"key of {where}")
            _check_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    elif type(value) not in (torch.Tensor, torch.nn.Parameter, str, int, float, bool, type(None)):
        raise TypeError(f"{where} is a {type(value).__name__}; a checkpoint holds tensors and plain types")
