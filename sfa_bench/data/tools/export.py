"""`export`: write the noisy labels of a configuration, so that others can use identical ones."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sfa_bench.choices.noises import NOISES
from sfa_bench.choices.sources import SOURCES
from sfa_bench.config.schema import RunConfig
from sfa_bench.data.images import ImageFiles
from sfa_bench.data.types import Data, EvaluationSet
from sfa_bench.errors import ConfigError
from sfa_bench.store.atomic import write_bytes
from sfa_bench.store.folder import writing

SCHEMA = 1
FORMULA = ("=", "+", "-", "@")  # first characters of a cell that a spreadsheet would compute
COLUMNS = {
    "index": "position in the original training set, -1 for other splits",
    "path": "file of the image, relative to the folder of the data set (data sets of image files)",
    "label": "observed label, the one that is trained on",
    "clean_label": "clean label; empty (.csv) or -1 (.npz) where unknown",
    "split": "train, val or test",
}


def paths(file: Path) -> list[Path]:
    """The files that will be written. Raises: ConfigError for another ending, or where a file exists already."""
    if file.suffix not in (".csv", ".npz"):
        raise ConfigError(
            f"-o {file}: export writes a .csv (with a .json beside it) or an .npz; give one of these endings"
        )
    files = [file, file.with_suffix(".json")] if file.suffix == ".csv" else [file]
    if there := [str(path) for path in files if path.exists()]:
        raise ConfigError(f"{' and '.join(there)} would be overwritten: give -o another name, or remove it")
    if not file.parent.is_dir():
        raise ConfigError(f"there is no folder {file.parent} to write {file.name} into")
    return files


def export(data: Data, config: RunConfig, overrides: Sequence[str], file: Path) -> list[Path]:
    """Write the training labels, and where images are files also those of the other splits, so that `dataset=csv`
    can read it. Returns the files.

    Raises: ConfigError before anything is written, RunError when the disk fails.
    """
    written = paths(file)
    table, about = columns(data, config), metadata(data, config, overrides)
    about["columns"] = {name: meaning for name, meaning in COLUMNS.items() if name in table}
    text = json.dumps(about, indent=1, ensure_ascii=False)
    contents = [_csv(table), f"{text}\n".encode()] if file.suffix == ".csv" else [_npz(table, text)]
    with writing(file):
        for path, content in zip(written, contents, strict=True):
            write_bytes(path, content)
    return written


def columns(data: Data, config: RunConfig) -> dict[str, np.ndarray]:
    """The table of the file, column by column; int64, but path and split are texts."""
    images = data.view.images
    table = {
        "index": data.index.astype(np.int64),
        "label": data.view.observed_labels.numpy(),
        "clean_label": data.clean_labels,
        "split": np.full(len(data.index), "train"),
    }
    if not isinstance(images, ImageFiles):
        return table
    base = Path(config.data_dir).expanduser()
    base = base.parent if SOURCES[config.dataset.source].one_file else base
    files = [_paths(images, base)]
    # Test labels are clean; those of a validation set held out of noisy data may be noisy.
    val_is_clean = config.dataset.val != "noisy"
    for split, part, clean in (("val", data.val, val_is_clean), ("test", data.test, True)):
        if part is None or not isinstance(part.images, ImageFiles):
            continue
        files.append(_paths(part.images, base))
        table = {name: np.concatenate([table[name], new]) for name, new in _others(split, part, clean).items()}
    return {"path": np.concatenate(files), **table}


def _others(split: str, part: EvaluationSet, clean: bool) -> dict[str, np.ndarray]:
    labels, unknown = part.labels.numpy(), np.full(len(part.labels), -1)
    return {
        "index": unknown,
        "label": labels,
        "clean_label": labels if clean else unknown,
        "split": np.full(len(labels), split),
    }


def _paths(images: ImageFiles, base: Path) -> np.ndarray:
    above = os.path.relpath(images.root, base)
    start = "" if above == "." else f"{above}/"
    names = [start + name.decode() for name in images.names.tolist()]
    # The same path for every reader, and not a formula in a spreadsheet.
    return np.array([f"./{name}" if name.startswith(FORMULA) else name for name in names])


def metadata(data: Data, config: RunConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Metadata: what the labels are and the command that made them."""
    return {
        "schema": SCHEMA,
        "made_by": "python -m sfa_bench.data export",
        "overrides": list(overrides),
        "dataset": config.dataset.name,
        "source": config.dataset.source,
        "generator": config.dataset.generator,
        "imbalance": config.imbalance.name,
        "imb_factor": None if config.imbalance.name == "none" else config.imb_factor,
        "noise": config.noise.name,
        "noise_ratio": config.noise_ratio if NOISES[config.noise.name].ratio else None,
        "data_seed": config.data_seed,
        "revisions": {"dataset": config.dataset.revision, "noise": config.noise.revision},
        "num_classes": data.view.num_classes,
        "classes": None if data.class_names is None else list(data.class_names),
        "samples": len(data.index),
        "held_out": None if data.val is None or data.own_val else len(data.val.labels),
        "not_exported": {name: len(part.labels) for name, part in data.more_tests.items()},
        "noise_rate": data.noise_rate,
        "clean_counts": None if data.clean_counts is None else data.clean_counts.tolist(),
        "observed_counts": data.observed_counts.tolist(),
        "fingerprints": data.known_fingerprints,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("sfa_bench", "numpy", "torch")},
        },
    }


def _csv(table: dict[str, np.ndarray]) -> bytes:
    shown = dict(table)
    shown["clean_label"] = np.where(table["clean_label"] < 0, "", table["clean_label"].astype(str))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(shown)
    writer.writerows(zip(*(values.tolist() for values in shown.values()), strict=True))
    return buffer.getvalue().encode()


def _npz(table: dict[str, np.ndarray], text: str) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, metadata=np.array(text), **table)  # type: ignore[arg-type]
    return buffer.getvalue()
