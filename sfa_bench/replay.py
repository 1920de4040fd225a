"""`python -m sfa_bench.replay RUN… [KEY=V1,V2 …]`: selections by another selector or setting on the probes of a run.

Nothing is trained and no data set is read: the probes of runs with `record.probes=N` hold the inputs of their
selectors. Settings are those of selectors (method.selector.name, plugin, plugin.beta …); several values give every
combination.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from sfa_bench.choices.methods import LEARNERS, warmup_epochs
from sfa_bench.choices.selectors import SELECTORS
from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.config.external import load
from sfa_bench.config.overrides import split_sweep
from sfa_bench.config.replayed import with_setting
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.terminal import Parser, door, entry_point, markdown_table
from sfa_bench.doors import Door
from sfa_bench.engine import probes
from sfa_bench.engine.build import averages_losses, build_selectors
from sfa_bench.engine.report import describe_selections
from sfa_bench.errors import ConfigError
from sfa_bench.selectors.base import Probe, Selection, Selector, shown
from sfa_bench.store.archives import load_arrays
from sfa_bench.store.folder import write_file
from sfa_bench.store.ledger import run_folders
from sfa_bench.store.reading import Damaged
from sfa_bench.store.record import load as load_record
from sfa_bench.store.record import recorded_overrides

SHOWN = {
    "auc": "AUC",
    "auc_bayes": "Bayes",
    "precision": "prec.",
    "recall": "recall",
    "precision/many": "prec. many",
    "recall/many": "rec. many",
    "precision/few": "prec. few",
    "recall/few": "rec. few",
    "selected": "selected",
    "imbalance_ratio": "imb. ratio",
    "stability": "stability",
    "like_training": "as trained",
}
WHOLE = ("epoch", "selected")
UNCHANGED = "as it was run"


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(
        prog=Door.here.tool("sfa_bench.replay"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("items", nargs="+", metavar="RUN | KEY=V1,V2", help="folders of runs; settings of selectors")
    parser.add_argument("--per-epoch", action="store_true", help="show every saved epoch instead of the last one")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all figures of every saved epoch")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="conf folder of a selector of your own")
    options = parser.parse_intermixed_args(arguments)
    settings = [item for item in options.items if "=" in item and not Path(item).exists()]
    table, notes = replay([Path(i) for i in options.items if i not in settings], settings, options.config_dir)
    print(render(table if options.per_epoch else table.groupby(["run", "setting"], sort=False).tail(1)))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if options.csv:
        write_file(options.csv, _plain(table).to_csv(index=False).encode())


def replay(
    paths: Sequence[Path], settings: Sequence[str], config_dir: Path | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """One row for each run, combination of settings and saved epoch, and notes on them.

    Args: settings, `KEY=V1,V2`: none replays the runs as they were; config_dir, of the user's own selectors, where it
    is not the runs' own. Raises: ConfigError for what cannot be replayed, RunError where a selector fails.
    """
    if missing := [str(path) for path in paths if not path.exists()]:
        raise ConfigError(f"{', '.join(missing)}: there is no such folder")
    runs = list(run_folders(paths))
    if not runs:
        raise ConfigError("no run is named: give the folder of a run, or one that holds runs")
    with_probes = [path for path in runs if probes.saved(path)]
    if not with_probes:
        raise ConfigError(
            f"{runs[0]} has no probes: run it with record.probes=N (every N epochs), in another runs_dir if it is done"
        )
    notes = [f"{path} has no probes and is left out" for path in runs if path not in with_probes]
    rows: list[dict[str, Any]] = []
    for path in with_probes:
        rows += _of_run(ReplayedRun.open(path), settings, config_dir, notes)
    if not rows:
        raise ConfigError("; ".join(dict.fromkeys(note for note in notes if note.startswith("not valid"))))
    return pd.DataFrame(rows), list(dict.fromkeys(notes))


@dataclass(frozen=True)
class ReplayedRun:
    """The parts of a finished run that a replay needs."""

    name: str
    config: RunConfig
    config_dir: Path | None
    files: dict[int, Path]  # epoch → probes
    clean: np.ndarray  # labels [N], -1 where unknown
    index: np.ndarray  # [N], positions in the data set
    data: dict[str, Any]  # as recorded

    @classmethod
    def open(cls, path: Path) -> ReplayedRun:
        """Raises: ConfigError where the run is not done, or its command gives another run in this version."""
        try:
            record = load_record(path / "run.json")
        except (OSError, Damaged) as error:
            raise ConfigError(f"{path}/run.json cannot be read: {error}") from error
        if record["state"] != "done":
            raise ConfigError(f"{path} is not done ({record['state']}): repeat its command, which is in run.json")
        words, config_dir = recorded_overrides(record["command"])
        config = compose(words, config_dir)
        if run_hash(config) != record["hash"]:
            raise ConfigError(f"{path}: its command now gives another run (another version, or a changed file)")
        try:
            arrays = load_arrays(path / "predictions.npz")
            clean, index = arrays["clean_label"], arrays["index"]
        except (OSError, Damaged, KeyError) as error:
            raise ConfigError(f"{path}/predictions.npz cannot be read: {error}") from error
        return cls(
            "/".join(path.resolve().parts[-2:]), config, config_dir, probes.saved(path), clean, index, record["data"]
        )


def _of_run(
    run: ReplayedRun, settings: Sequence[str], config_dir: Path | None, notes: list[str]
) -> Iterator[dict[str, Any]]:
    """The rows of one run, setting by setting; each file is read once for all of them."""
    conf = config_dir or run.config_dir
    replays = []
    for setting in split_sweep(settings, conf):
        try:
            config = with_setting(run.config, setting, conf) if setting else run.config
        except ConfigError as error:
            if not error.invalid_combination:
                raise
            notes.append(f"not valid: {' '.join(setting)} for {run.name}: {error}")
            continue
        selector = config.method.selector
        if SELECTORS[selector.name].watches(selector):
            notes.append(
                f"not valid: {' '.join(setting) or UNCHANGED} for {run.name}: the selector {selector.name} sees the "
                f"batches of training, which a replay does not repeat: set method.selector.source=probe"
            )
            continue
        replays.append(Replay(run, " ".join(setting) or UNCHANGED, config, notes))
    for epoch, file in run.files.items():
        try:
            seen, selected = probes.load(file)
        except (OSError, Damaged) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from error
        for entry in replays:
            entry.epoch(epoch, seen, selected)
    for entry in replays:
        if not entry.rows:
            raise ConfigError(
                f"{run.name}: its probes are all of epochs before {entry.first}, where {entry.label} begins to select"
            )
        yield from entry.rows


class Replay:
    """Fresh selectors with one setting, which are given a run's saved epochs in order."""

    def __init__(self, run: ReplayedRun, label: str, config: RunConfig, notes: list[str]):
        self.run, self.label, self.config = run, label, config
        self.rows: list[dict[str, Any]] = []
        self.selections: list[Selection] = []  # of the last epoch shown
        self.selectors: list[Selector] = []
        # A user's own method may select in any epoch.
        self.first = min(run.files) if config.method.target is not None else warmup_epochs(config) + 1
        self.notes = notes
        epochs = [epoch for epoch in run.files if epoch >= self.first]
        gaps = epochs != list(range(self.first, self.first + len(epochs)))
        if gaps and remembers(config):
            notes.append(
                f"{run.name}: not every epoch is saved, and {label} remembers earlier ones: it is shown the saved "
                "ones only, and selects otherwise than it would in training"
            )

    def epoch(self, epoch: int, seen: Sequence[Probe], selected: np.ndarray | None) -> None:
        """Select on one saved epoch. Raises: ConfigError where the run has no selector, or no clean labels."""
        if epoch < self.first:
            return
        run, labels = self.run, seen[0].observed_labels
        if self.config.plugin.head == "none":
            seen = [replace(probe, abc_logits=None) for probe in seen]
        elif seen[0].abc_logits is None and SELECTORS[self.config.method.selector.name].balanced_head:
            self.notes.append(f"{run.name} has no balanced head: {self.label} goes by the main head")
        if not self.selectors:
            counts = np.bincount(labels, minlength=seen[0].num_classes)
            data: Any = SimpleNamespace(
                clean_labels=run.clean,
                observed_counts=counts,
                index=run.index,
                size=int(run.index.max()) + 1,
                view=SimpleNamespace(images=None),  # whose paths are not saved
            )
            self.selectors = build_selectors(self.config, data, len(seen))
            if not self.selectors:
                raise ConfigError(f"{run.name} selects nothing: set method.selector.name=…, or plugin=sfa")
            if in_turn(self.config) and any(selector.all_networks for selector in self.selectors):
                self.notes.append(
                    f"{run.name}: network 2 selected when network 1 had been trained, whose answers then are not "
                    f"saved: {self.label} goes by those from before"
                )
        before = self.selections
        to_show = zip(self.selectors, shown(self.selectors, seen), strict=True)
        self.selections = [selector.answer(probe, epoch) for selector, probe in to_show]
        masks = np.stack([selection.mask for selection in self.selections])
        clean_counts = run.data["clean_counts"]
        prior = None if clean_counts is None else np.array(clean_counts) / sum(clean_counts)
        row = describe_selections(seen, self.selections, labels, run.clean, run.data["groups"], prior)
        row["auc_bayes"] = (run.data["bayes"] or {}).get("auc")
        row["selected"] = masks.sum(axis=1).mean()
        row["stability"] = float((masks == np.stack([s.mask for s in before])).mean()) if before else None
        row["like_training"] = None if selected is None else float((masks == selected).mean())
        self.rows.append({"run": run.name, "setting": self.label, "epoch": epoch, **row})


def in_turn(config: RunConfig) -> bool:
    """Whether network 2 selects when network 1 has been trained."""
    return config.method.target is None and LEARNERS[config.method.learner].selects_in_turn


def remembers(config: RunConfig) -> bool:
    """Whether a selection depends on those of earlier epochs."""
    name = config.method.selector.name
    if name == "external":  # a selector without state does not remember
        return load("plugin", str(config.plugin.target)).state is not Selector.state  # type: ignore[attr-defined]
    averages = (SELECTORS[name].running_means and config.plugin.moments != "none") or averages_losses(config)
    return SELECTORS[name].remembers or averages


def render(table: pd.DataFrame) -> str:
    """A Markdown table of the figures that are defined for some row."""
    columns = ["setting", *(c for c in ("epoch", *SHOWN) if table[c].notna().any())]
    above = f"{table['run'].iloc[0]}\n\n"
    if table["run"].nunique() > 1:
        above, columns = "", ["run", *columns]
    cells = [[SHOWN.get(c, c), *(_cell(c, value) for value in table[c])] for c in columns]
    return above + markdown_table([*zip(*cells, strict=True)], texts=columns.index("setting") + 1)


def _cell(column: str, value: Any) -> str:
    if column == "setting":  # selector=proto beta=0.9
        words = (word.split("=", 1) for word in value.split(" ") if "=" in word)
        names = {"method.selector.name": "selector"}
        return " ".join(f"{names.get(key, key.rsplit('.', 1)[-1])}={text}" for key, text in words) or value
    if isinstance(value, str):
        return value
    if value is None or np.isnan(value):
        return "–"
    return f"{value:.{0 if column in WHOLE else 1 if column == 'imbalance_ratio' else 3}f}"


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Lists and mappings as JSON, which every reader of a CSV can parse."""
    return table.map(lambda value: json.dumps(value) if isinstance(value, list | dict) else value)


if __name__ == "__main__":
    sys.exit(door(main))
