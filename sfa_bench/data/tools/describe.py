"""`describe`: a data set with its long tail and noise, in numbers, figures and one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfa_bench.config.schema import RunConfig
from sfa_bench.data import sources, words
from sfa_bench.data.build import build
from sfa_bench.data.tools.terminal import class_table, plain
from sfa_bench.data.types import Data
from sfa_bench.errors import ConfigError


@dataclass(frozen=True)
class Description:
    """`title` is the run's, without method and replicate; `before` int64 [K] counts the classes in the files."""

    title: str
    before: np.ndarray
    data: Data

    @property
    def wrong_share(self) -> np.ndarray | None:
        """The share of noisy labels among the labels observed as each class: float64 [K], NaN for a class
        without any.
        """
        confusion = self.data.confusion
        if confusion is None:
            return None
        counts = self.data.observed_counts
        return 1 - np.divide(np.diag(confusion), counts, out=np.full(len(counts), np.nan), where=counts > 0)

    def to_plain(self) -> dict[str, Any]:
        """Plain types for JSON; unknown is null."""
        data = self.data
        return {
            "title": self.title,
            "num_classes": data.view.num_classes,
            "classes": None if data.class_names is None else list(data.class_names),
            "samples": len(data.index),
            "test_samples": len(data.test.labels),
            "val_samples": None if data.val is None else len(data.val.labels),
            "counts_before": self.before.tolist(),
            "clean_counts": None if data.clean_counts is None else data.clean_counts.tolist(),
            "observed_counts": data.observed_counts.tolist(),
            "noise_rate": data.noise_rate,
            "confusion": None if data.confusion is None else data.confusion.tolist(),
            "groups": data.groups,
            "fingerprints": data.known_fingerprints,
            "skipped": list(data.skipped),
            "left_out": dict(data.left_out),
            "notes": list(data.notes),
        }


def describe(config: RunConfig) -> Description:
    """Build the data as a run would. Raises: ConfigError or DataError as a run does."""
    before = None
    if config.imbalance.name != "none" or config.dataset.val != "none":
        before = _before(config)
    data = build(config)
    if before is None:  # everything is kept: nothing to read twice
        before = data.observed_counts if data.clean_counts is None else data.clean_counts
    return Description(title(config, data.noise_rate), before, data)


def _before(config: RunConfig) -> np.ndarray:
    """Classes in the files, by clean labels where they are known."""
    source = sources.load(config.dataset, config.data_dir, config.data_seed)
    labels = source.train_labels if source.clean_labels is None else source.clean_labels
    return np.bincount(labels, minlength=source.num_classes)


def title(config: RunConfig, rate: float | None) -> str:
    """`digits exp 0.1 · joint 0.4 · data_seed 0`; rate, see `words.setting`."""
    return f"{config.dataset.name} {words.setting(config, rate)} · data_seed {config.data_seed}"


def _validation(data: Data) -> str:
    return "in its own validation set" if data.own_val else "held out for validation"


def sentences(description: Description) -> list[str]:
    """The numbers in sentences, one line each."""
    data = description.data
    kept, largest, smallest = len(data.index), int(data.observed_counts.max()), int(data.observed_counts.min())
    lines = [
        f"{kept:,} of {int(description.before.sum()):,} training samples, {data.view.num_classes} classes, "
        f"{len(data.test.labels):,} test samples"
        + "".join(f", {len(more.labels):,} in {name}" for name, more in data.more_tests.items())
        + ("" if data.val is None else f", {len(data.val.labels):,} {_validation(data)}")
    ]
    if data.clean_counts is not None:
        clean = data.clean_counts
        lines.append(f"clean labels: largest class {int(clean.max()):,}, smallest {int(clean.min()):,}")
    lines.append(f"observed labels: largest class {largest:,}, smallest {smallest:,}")
    if data.noise_rate is None:
        lines.append("clean labels are unknown: no realised rate, no confusion")
    else:
        wrong = round(data.noise_rate * kept)
        lines.append(f"realised noise rate {100 * data.noise_rate:.2f} % ({wrong:,} noisy labels)")
    if data.skipped:
        lines.append(f"{len(data.skipped):,} image files cannot be read and are left out; check --images lists them")
    lines += data.notes
    if data.bayes is not None:
        lines.append("the data are vectors: there are no images to show")
    known = {name: digits for name, digits in data.known_fingerprints.items() if digits is not None}
    lines += [f"fingerprint of {name.replace('_', ' ')}: {digits}" for name, digits in known.items()]
    return lines


def columns(description: Description) -> tuple[dict[str, np.ndarray], dict[str, Sequence[str]]]:
    """Counts by class, and shares as texts, for the tables of terminal and page."""
    data = description.data
    counts = {"in the files": description.before}
    if data.clean_counts is not None:
        counts["clean"] = data.clean_counts
    counts["observed"] = data.observed_counts
    share = description.wrong_share
    wrong: dict[str, Sequence[str]] = (
        {} if share is None else {"noisy, %": ["–" if np.isnan(s) else f"{100 * s:.1f}" for s in share]}
    )
    return counts, wrong


def show(description: Description) -> None:
    """The text for a terminal."""
    print(f"{description.title}\n")
    class_table(*columns(description), description.data.class_names)
    print()
    print(*map(plain, sentences(description)), sep="\n")


def refuse_full(folder: Path) -> None:
    """Raises ConfigError for a folder that holds anything: nothing is overwritten."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there and not an empty folder: give a new one, nothing is overwritten")
