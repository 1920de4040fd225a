"""What finished runs say of their training samples, and the data that these come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfa_bench.choices.selectors import SELECTORS
from sfa_bench.config.compose import compose
from sfa_bench.config.schema import RunConfig, replaced
from sfa_bench.data import build as build_data
from sfa_bench.data.types import Data
from sfa_bench.errors import ConfigError
from sfa_bench.store.archives import load_arrays
from sfa_bench.store.ledger import run_folders
from sfa_bench.store.reading import Damaged
from sfa_bench.store.record import load as load_record
from sfa_bench.store.record import recorded_overrides


@dataclass(frozen=True)
class HeldOut:
    """The fold of a run that was left out of training: M samples by their index, observed label, and class
    probabilities [M, K], the mean over networks.
    """

    index: np.ndarray
    given: np.ndarray
    class_probability: np.ndarray


@dataclass(frozen=True)
class FinishedRun:
    """What a finished run, or the runs of all folds together, says of training samples [N]."""

    path: Path
    record: dict[str, Any]
    index: np.ndarray  # int64, positions in the data set as it stands
    given: np.ndarray  # int64, observed labels
    clean_probability: np.ndarray  # float64, mean over networks and saved epochs; without a selection, or one that does
    # not look at networks (`method.selector.name=file`), their probability of the observed label
    selected: np.ndarray | None  # bool, by at least one network; None: the run has no selection
    class_probability: np.ndarray  # [N, K] float64, mean over networks
    held_out: HeldOut | None = None

    @classmethod
    def open(cls, path: Path) -> FinishedRun:
        """Raises: ConfigError where the run is not done, or does not hold what its networks say of the samples."""
        try:
            record = load_record(path / "run.json")
            if record["state"] != "done":
                raise ConfigError(f"{path} is not done ({record['state']}): repeat its command, which is in run.json")
            arrays = load_arrays(path / "predictions.npz")
            epochs = _saved_epochs(path, last=record["config"]["epochs"])
        except (OSError, Damaged) as error:
            raise ConfigError(f"{path}: its record or its predictions cannot be read: {error}") from error
        if (probability := arrays.get("train_probability")) is None:
            raise ConfigError(
                f"{path} does not hold what its networks say of the training samples: repeat its command with "
                "record.train_probability=true and another runs_dir"
            )
        given, probability = arrays["observed_label"], probability.astype(np.float64).mean(axis=0)
        clean, mask = arrays.get("clean_probability"), arrays.get("selected")
        # A keep list or clean labels say nothing that the networks found: after them no sample would be suspect again.
        looks = SELECTORS[record["config"]["method"]["selector"]["name"]].looks
        judged = mean([*clean, *epochs]) if clean is not None and looks else of_label(probability, given)
        held = None
        if "held_out_index" in arrays:
            out_of_sample = arrays["held_out_probability"].astype(np.float64).mean(axis=0)
            held = HeldOut(arrays["held_out_index"], arrays["held_out_label"], out_of_sample)
        selected = None if mask is None else mask.any(axis=0)
        return cls(path, record, arrays["index"], given, judged, selected, probability, held)


def _saved_epochs(path: Path, last: int) -> list[np.ndarray]:
    """The clean probabilities [N] of each network in the epochs whose probes were saved, without the last one, whose
    are in the predictions.
    """
    found: list[np.ndarray] = []
    for file in sorted((path / "probes").glob("epoch_*.npz")):
        if file.stem != f"epoch_{last:04d}":
            found += [*load_arrays(file).get("clean_probability", [])]
    return found


def open_all(paths: Sequence[Path]) -> list[FinishedRun]:
    """The runs below these folders. Raises: ConfigError where there is none, or one cannot be used."""
    if missing := [str(path) for path in paths if not path.exists()]:
        raise ConfigError(f"{', '.join(missing)}: there is no such folder")
    runs = [FinishedRun.open(path) for path in run_folders(paths)]
    if not runs:
        raise ConfigError("no run is named: give the folder of a run, or one that holds runs")
    if any(run.held_out for run in runs):
        return [out_of_sample(runs)]
    first = runs[0]
    for run in runs[1:]:
        if not (np.array_equal(run.index, first.index) and np.array_equal(run.given, first.given)):
            raise ConfigError(
                f"{run.path} was trained on other samples or labels than {first.path}: name runs of the same data, "
                "noise and data_seed, or one at a time"
            )
    return runs


def out_of_sample(runs: Sequence[FinishedRun]) -> FinishedRun:
    """The runs of all folds of the same data as one: each sample by the networks that were not trained on it, averaged
    where there are several. Samples are in the order of their index.

    Raises: ConfigError where a run has no fold, a sample was left out by none, or labels differ.
    """
    if without := [str(run.path) for run in runs if run.held_out is None]:
        raise ConfigError(f"{without[0]} has no dataset.fold, as others of these runs do: name either kind")
    held = [run.held_out for run in runs if run.held_out is not None]
    parts: list[FinishedRun | HeldOut] = [*runs, *held]
    index = np.unique(np.concatenate([part.index for part in parts]))
    given = np.full(len(index), -1)
    for part in parts:
        at = np.searchsorted(index, part.index)
        if ((given[at] >= 0) & (given[at] != part.given)).any():
            raise ConfigError(
                f"these runs differ in labels ({runs[0].path} and others): name the runs of all folds of the "
                "same data, noise and data_seed"
            )
        given[at] = part.given
    total, times = np.zeros((len(index), held[0].class_probability.shape[1])), np.zeros(len(index))
    for fold in held:
        at = np.searchsorted(index, fold.index)
        total[at] += fold.class_probability
        times[at] += 1
    if not times.all():
        folds = sorted({run.record["config"]["dataset"]["fold"] for run in runs})
        raise ConfigError(
            f"{int((times == 0).sum()):,} of {len(index):,} samples were left out by no run (dataset.fold="
            f"{', '.join(folds)}): name the runs of all folds"
        )
    probability = total / times[:, None]
    return FinishedRun(runs[0].path, runs[0].record, index, given, of_label(probability, given), None, probability)


def of_label(probability: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probability [N] of the label of each row of [N, K]."""
    chosen: np.ndarray = probability[np.arange(len(labels)), labels]
    return chosen


def mean(values: Sequence[np.ndarray]) -> np.ndarray:
    """Mean [N] over networks, epochs or runs of what is defined; NaN where nothing is."""
    stacked = np.stack(values)
    judged = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        result: np.ndarray = np.where(judged, stacked, 0).sum(axis=0, dtype=np.float64) / judged.sum(axis=0)
    return result


def class_names(run: FinishedRun) -> list[str]:
    """The names of all classes [K], their numbers where they have none."""
    names = run.record["data"].get("classes")
    return list(names) if names else [str(k) for k in range(run.class_probability.shape[1])]


def source_of(run: FinishedRun) -> tuple[RunConfig, Data, np.ndarray]:
    """The configuration of the data that a run was trained on, without a fold; the data, and where the run's samples
    are in them [N].

    Raises: ConfigError or RunError where the data cannot be read, or are no longer those of the run.
    """
    words, config_dir = recorded_overrides(run.record["command"])
    config = compose(words, config_dir)
    dataset: dict[str, Any] = {"cache": "off", "fold": None}
    if config.dataset.fold is not None and config.dataset.val == "noisy":  # drawn from what its fold leaves
        dataset["val"] = "none"
    config = replaced(config, "dataset", **dataset)
    data = build_data(config)
    order = np.argsort(data.index)
    at = order[np.minimum(np.searchsorted(data.index, run.index, sorter=order), len(order) - 1)]
    same = np.array_equal(data.index[at], run.index)
    if not same or not np.array_equal(data.view.observed_labels.numpy()[at], run.given):
        raise ConfigError(f"the data have other samples or labels than when {run.path} was trained on them")
    return config, data, at
