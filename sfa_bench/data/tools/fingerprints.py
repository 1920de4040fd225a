"""`fingerprints`: counts and fingerprints of the labels of every setting of a grid, one line each
(docs/protocol.md).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from sfa_bench.choices.noises import NOISES
from sfa_bench.config.canonical import MACHINE, canonical
from sfa_bench.config.overrides import CheckedOverride
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.sweep_files import jobs
from sfa_bench.config.values import number
from sfa_bench.data.build import build
from sfa_bench.data.tools.composing import compose_data
from sfa_bench.data.tools.terminal import plain
from sfa_bench.errors import ConfigError

SETTING = ("dataset", "options", "imbalance", "imb_factor", "noise", "noise_ratio", "data_seed")
PRINTS = ("images", "clean_labels", "observed_labels")
COLUMNS = (*SETTING, "samples", "wrong", "noise_rate", "clean_counts", "observed_counts", *PRINTS)
SHOWN = (*SETTING, "samples", "wrong", *PRINTS)  # in Markdown, where a line has to be read

# Groups and keys that labels may depend on, and those of them that are always named
DATA_KEYS = (
    *("preset", "dataset", "data_dir", "imbalance", "imb_factor", "noise", "noise_ratio"),
    *("replicate", "data_seed"),
)
ALWAYS = ("preset", "dataset.name")
# Keys of a data set that do not affect labels: groups, views, draws, and what a method is told
NO_LABELS = {
    *("dataset.shots.basis", "dataset.normalise", "dataset.random_crop", "dataset.flip"),
    *("dataset.warmup_draw", "dataset.selection_draw", "noise.assumed_rate"),
}


@dataclass(frozen=True)
class LabelSetting:
    """The settings that determine labels: `named` maps SETTING to texts, empty where a key does not act."""

    named: Mapping[str, str]
    config: RunConfig

    def line(self) -> dict[str, str]:
        """Build the data as a run would; a text for each of COLUMNS, empty where unknown. Raises: ConfigError."""
        data = build(self.config)
        known = {} if data.clean_counts is None else {"clean_counts": _numbers(data.clean_counts)}
        if data.noise_rate is not None:
            wrong = round(data.noise_rate * len(data.index))
            known |= {"wrong": str(wrong), "noise_rate": f"{data.noise_rate:.4f}"}
        counted = {"samples": str(len(data.index)), "observed_counts": _numbers(data.observed_counts)}
        prints = {name: data.known_fingerprints[name] or "" for name in PRINTS}
        return dict.fromkeys(COLUMNS, "") | dict(self.named) | known | counted | prints


def settings(overrides: Sequence[str], config_dir: Path | None = None) -> Iterator[LabelSetting]:
    """Every setting of a grid once, parsed as by `run.py -m`; what does not affect labels (a method) is ignored.

    A combination that makes no sense is left out and reported on stderr. Raises: ConfigError for unknown keys or
    values.
    """
    conf = None if config_dir is None else config_dir.resolve()
    asked: set[tuple[str, ...]] = set()
    seen: set[tuple[str, ...]] = set()
    for job in jobs(overrides, conf):
        acting = [override for override in job if override.key.partition(".")[0] in DATA_KEYS]
        texts = tuple(override.text for override in acting)
        if texts in asked:
            continue
        asked.add(texts)
        try:
            config = compose_data(texts, conf)
        except ConfigError as error:
            if not error.invalid_combination:
                raise
            print(f"left out: {' '.join(texts)}: {plain(str(error))}", file=sys.stderr)
            continue
        named = _named(acting, config)
        if (identity := tuple(named.values())) not in seen:
            seen.add(identity)
            yield LabelSetting(named, config)


def _named(overrides: Iterable[CheckedOverride], config: RunConfig) -> dict[str, str]:
    acts = canonical(config)
    options = [
        override.text
        for override in overrides
        if override.key in ALWAYS
        or ("." in override.key and override.key in acts and override.key not in MACHINE | NO_LABELS)
    ]
    names = config.names
    return {
        "dataset": names["dataset"],
        "options": " ".join(options),
        "imbalance": names["imbalance"],
        "imb_factor": "" if config.imbalance.name == "none" else number(config.imb_factor),
        "noise": names["noise"],
        "noise_ratio": number(config.noise_ratio) if NOISES[config.noise.name].ratio else "",
        "data_seed": str(config.data_seed),
    }


def _numbers(counts: np.ndarray) -> str:
    return " ".join(map(str, counts.tolist()))


def write_csv(lines: Iterable[Mapping[str, str]]) -> None:
    """Print them as they are made: a line may take seconds."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow(line)
        sys.stdout.flush()


def markdown(lines: Sequence[Mapping[str, str]]) -> str:
    """A table of SHOWN without what is empty in every line."""
    columns = [name for name in SHOWN if any(line[name] for line in lines)]
    rows = [[line[name] for name in columns] for line in lines]
    return tabulate(rows, [name.replace("_", " ") for name in columns], "pipe", disable_numparse=True)
