"""`python -m sfa_bench.replay RUN… [KEY=V1,V2 …]`: what another selector or setting would have selected.

Nothing is trained and no data set is read: the probes of a run with `record.probes=N` hold what its selectors saw.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from sfa_bench.config.compose import compose, split_sweep
from sfa_bench.config.schema import RunConfig
from sfa_bench.engine import probes
from sfa_bench.engine.build import build_selectors
from sfa_bench.engine.report import describe_selections
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.selectors.base import Selection
from sfa_bench.store.ledger import run_folders
from sfa_bench.store.record import RecordError, loads

COLUMNS = (
    "auc",
    "auc_bayes",
    "precision",
    "recall",
    "precision/many",
    "recall/many",
    "precision/few",
    "recall/few",
    "selected",
    "imbalance_ratio",
    "stability",
    "inverted",
)
AS_TRAINED = "as trained"


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, or 2 where something is refused."""
    parser = argparse.ArgumentParser(prog="python -m sfa_bench.replay", description=__doc__)
    parser.add_argument(
        "items", nargs="+", metavar="RUN or KEY=V1,V2", help="run folders, or folders of them; settings"
    )
    parser.add_argument("--per-epoch", action="store_true", help="every saved epoch instead of the last one")
    parser.add_argument("--csv", type=Path, help="write every epoch's figures to this file")
    options = parser.parse_args(arguments)
    settings = [item for item in options.items if "=" in item and not Path(item).exists()]
    try:
        table = replay([Path(item) for item in options.items if item not in settings], settings)
    except (ConfigError, RunError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    if options.csv:
        table.to_csv(options.csv, index=False)
    shown = table if options.per_epoch else table.groupby(["run", "setting"], sort=False).tail(1)
    columns = [c for c in ("run", "setting", "epoch", *COLUMNS) if c in shown and shown[c].notna().any()]
    print(shown[columns].to_markdown(index=False, floatfmt=".3f"))
    return 0


def replay(paths: Sequence[Path], settings: Sequence[str]) -> pd.DataFrame:
    """One row for each run, setting and saved epoch; without settings, what was selected in training.

    Raises: ConfigError for a path without runs, a run without probes, a setting that makes no sense.
    """
    runs = list(run_folders(paths))
    if missing := [str(path) for path in paths if not path.exists()]:
        raise ConfigError(f"{', '.join(missing)}: there is no such folder")
    if not runs:
        raise ConfigError("no run is named: give the folder of a run, or one that holds runs")
    rows = [row for run in runs for row in _of_run(run, settings)]
    return pd.DataFrame(rows)


def _of_run(path: Path, settings: Sequence[str]) -> Iterator[dict[str, Any]]:
    record = _record(path)
    files = probes.saved(path)
    if not files:
        raise ConfigError(f"{path} has no probes: run it with record.probes=N (every N epochs) first")
    words = shlex.split(record["command"])[2:]
    config_dir = None
    if words and words[0] == "--config-dir":
        config_dir, words = Path(words[1]), words[2:]
    try:
        with np.load(path / "predictions.npz", allow_pickle=False) as arrays:
            clean = arrays["clean_label"]
    except FileNotFoundError:
        raise ConfigError(f"{path} is not done ({record['state']}): let it end first") from None
    name = "/".join(path.parts[-2:])
    for setting in split_sweep(settings, config_dir):
        config = compose(changed(words, setting), config_dir)
        label = " ".join(setting) or AS_TRAINED
        for row in selections_of(config, files, clean, record):
            yield {"run": name, "setting": label, **row}


def _record(path: Path) -> dict[str, Any]:
    try:
        return loads((path / "run.json").read_bytes())
    except (OSError, RecordError) as error:
        raise ConfigError(f"{path}/run.json cannot be read: {error}") from error


def changed(words: Sequence[str], setting: Sequence[str]) -> list[str]:
    """A run's own overrides with those of the setting in their place; a new selector takes that of the plug-in's."""
    new = {word.split("=", 1)[0]: word for word in setting}
    kept = [word for word in words if word.split("=", 1)[0] not in new]
    if "method.selector.name" in new and "plugin" not in new:
        plugin = next((word.split("=", 1)[1] for word in kept if word.startswith("plugin=")), "sfa")
        if plugin not in ("none", "abc"):
            stays = ("plugin.p_threshold", "plugin.gmm.", "plugin.abc.", "plugin.main_subset")
            kept = [w for w in kept if not w.startswith("plugin") or w.startswith(stays)]
            new = {"plugin": "plugin=abc", **new}
    if "plugin" in new:
        selecting = new["plugin"].split("=", 1)[1] not in ("none", "abc")
        kept = [w for w in kept if not (selecting and w.startswith("method.selector.name="))]
    return [*kept, *new.values()]


def selections_of(
    config: RunConfig, files: dict[int, Path], clean: np.ndarray, record: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Feed the saved epochs in order to fresh selectors, and say how good each answer is."""
    data, groups = record["data"], record["data"]["groups"]
    prior = None if data["clean_counts"] is None else np.array(data["clean_counts"]) / sum(data["clean_counts"])
    selectors = None
    before: list[Selection] | None = None
    for epoch, file in files.items():
        seen = probes.load(file)
        if config.plugin.head == "none":
            seen = [replace(probe, abc_logits=None) for probe in seen]
        labels = seen[0].observed_labels
        if selectors is None:
            counts = np.bincount(labels, minlength=seen[0].num_classes)
            stub: Any = SimpleNamespace(clean_labels=clean, observed_counts=counts)
            selectors = build_selectors(config, stub, len(seen))
            if not selectors:
                raise ConfigError("this run selects nothing: type method.selector.name=…, or plugin=sfa")
        selections = [selector.select(probe, epoch) for selector, probe in zip(selectors, seen, strict=True)]
        row = describe_selections(seen, selections, labels, clean, groups, prior)
        if (bayes := data.get("bayes")) is not None:
            row["auc_bayes"] = bayes["auc"]
        same = None
        if before is not None:
            pairs = zip(before, selections, strict=True)
            same = float(np.mean([(a.mask == b.mask).mean() for a, b in pairs]))
        before = selections

        yield {"epoch": epoch, **row, "selected": sum(row["counts"]), "stability": same}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
