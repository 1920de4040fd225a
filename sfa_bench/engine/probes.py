"""Saved probes, the inputs of selectors: `probes/epoch_0010.npz` (explanation/runs.md §4), for `python -m
sfa_bench.replay`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sfa_bench.engine.state import RunState
from sfa_bench.methods.base import Method
from sfa_bench.selectors.base import Probe
from sfa_bench.store.archives import load_arrays
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.reading import Damaged


class Probes:
    """Saves the probes of every n-th epoch; None saves none."""

    def __init__(self, every: int | None, folder: RunFolder, state: RunState):
        self.every, self.folder, self.state = every, folder, state

    def epoch(self, row: Mapping[str, Any]) -> None:
        """After an epoch."""
        if self.every and row["epoch"] % self.every == 0:
            save(self.folder, row["epoch"], self.state.method)


def save(folder: RunFolder, epoch: int, method: Method) -> None:
    """Write the probes of this epoch's selection, taken before it trained; nothing in a warm-up.

    A method without selectors is probed after the epoch, which is not part of its cost. Features are kept in half
    precision, in which selectors see them, so nothing is lost.
    """
    selects = method.selects_in(epoch)
    if method.training.selectors and not selects:
        return
    if selects:
        probes = method.probes
    else:
        spent = replace(method.cost)
        probes = [method.probe(k, epoch) for k in range(len(method.networks))]
        method.cost = spent
    arrays = {
        "features": np.stack([probe.features for probe in probes]).astype(np.float16),
        "logits_main": np.stack([probe.logits for probe in probes]),
        "observed_label": probes[0].observed_labels,
    }
    if abc := [probe.abc_logits for probe in probes if probe.abc_logits is not None]:
        arrays["logits_abc"] = np.stack(abc)
    if projected := [probe.projections for probe in probes if probe.projections is not None]:
        arrays["projections"] = np.stack(projected).astype(np.float16)
    if selects:
        arrays["selected"] = np.stack([selection.mask for selection in method.selections])
        probability = np.stack([selection.clean_probability for selection in method.selections])
        arrays["clean_probability"] = probability.astype(np.float32)
    (folder.path / "probes").mkdir(exist_ok=True)
    folder.write_arrays(f"probes/epoch_{epoch:04d}.npz", arrays)


def saved(path: Path) -> dict[int, Path]:
    """Epoch → file of a run's probes, in order."""
    names = ((file.stem.removeprefix("epoch_"), file) for file in (path / "probes").glob("epoch_*.npz"))
    return dict(sorted((int(number), file) for number, file in names if number.isdecimal()))


def load(file: Path) -> tuple[list[Probe], np.ndarray | None]:
    """One probe a network, and the mask that training selected there [networks, N] (None: the run has no selection).

    Raises: OSError where the file cannot be read, Damaged where it holds no probes.
    """
    arrays = load_arrays(file)
    required = (arrays.get(name) for name in ("observed_label", "features", "logits_main"))
    labels, features, logits = (np.zeros(0) if array is None else array for array in required)
    abc, projected, selected = (arrays.get(name) for name in ("logits_abc", "projections", "selected"))
    samples = features.shape[:2]
    alike = [array.shape[:2] == samples for array in (logits, abc, projected, selected) if array is not None]
    flat = projected is not None and projected.ndim != 3
    if flat or not (features.ndim == logits.ndim == 3 and labels.shape == samples[1:] and all(alike)):
        raise Damaged("it holds no probes: features and logits of the same samples")
    features, projected = features.astype(np.float32), None if projected is None else projected.astype(np.float32)
    beside = [[None if array is None else array[k] for array in (abc, projected)] for k in range(len(features))]
    probes = [
        Probe(features[k], logits[k], heads, labels, projections=projections)
        for k, (heads, projections) in enumerate(beside)
    ]
    return probes, selected
