"""Results of other people's code as a record: `python -m analysis.ingest FILE.npz --like RUN --method NAME`.

FILE.npz holds `observed_label` [N], the labels that the code was trained on, and `test_logits` [M, K] or
`test_prediction` [M], in the test set's order. It may hold `index` [N], the samples' positions in the original training
set, where its order is another than ours; `test_label` [M], which is compared with ours; `clean_probability` [N] of
each sample, and `selected` [N], the mask of its selection (default: probability above one half). Other members of the
file are not unpacked. RUN is a finished run on the same labels, whose data, recorded groups and test set are used.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.members import Wanted, read_members
from analysis.runs import Run, load, words
from sfa_bench.config.overrides import choices
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.doors import Door
from sfa_bench.engine.metrics import selection_metrics, summarise, test_metrics
from sfa_bench.errors import ConfigError
from sfa_bench.store.fingerprint import fingerprint
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import run_path
from sfa_bench.store.record import new_record

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
KNOWS = ("rate", "type", "clean_labels", "clean_val", "pretraining")
# The description of the data and the replicate is taken from our run; how the code was trained is unknown.
DATA = ("replicate", "seed", "data_seed", "noise_ratio", "imb_factor", "dataset", "noise", "imbalance")

WHOLE, NUMBERS, FLAGS = "iuf", "iuf", "biuf"  # kinds of NumPy types; values are checked, too
LARGEST = 1e100  # of a logit: differences and sums of such are finite

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class OurData:
    """The data of our run: its arrays, its groups of classes, the number of classes."""

    run: Run
    arrays: Arrays
    groups: Mapping[str, Sequence[int]]
    num_classes: int

    @property
    def wanted(self) -> dict[str, Wanted]:
        """The arrays that a file for this run may hold."""
        n, m, k = len(self.arrays["observed_label"]), len(self.arrays["test_label"]), self.num_classes
        labels = f"integers from 0 to {k - 1}"
        return {
            "observed_label": Wanted((n,), WHOLE, f"{n} {labels}"),
            "index": Wanted((n,), WHOLE, f"{n} integers"),
            "test_label": Wanted((m,), WHOLE, f"{m} {labels}"),
            "test_logits": Wanted((m, k), NUMBERS, f"finite numbers [{m}, {k}] of at most {LARGEST:g}"),
            "test_prediction": Wanted((m,), WHOLE, f"{m} {labels}"),
            "clean_probability": Wanted((n,), NUMBERS, f"{n} numbers from 0 to 1"),
            "selected": Wanted((n,), FLAGS, f"{n} truth values"),
        }


def of_run(like: Run) -> OurData:
    """The data of a finished run. Raises ConfigError where its files do not describe its data."""
    try:
        arrays = RunFolder(like.path).read_arrays("predictions.npz")
        groups, num_classes = like.record["data"]["groups"], len(like.metrics["test/per_class"])
        labels = [arrays[name] for name in ("test_label", "observed_label", "clean_label")]
        fits = len(labels[1]) == len(labels[2]) == len(arrays["index"]) and len(labels[0])
        ids = np.concatenate([*labels, *(np.asarray(group, dtype=np.int64) for group in groups.values())])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--like {like.path}: its record or predictions.npz cannot be used ({error!r})") from error
    if not fits or ids.min() < -1 or ids.max() >= num_classes:
        raise ConfigError(f"--like {like.path}: its record and its predictions.npz do not fit together")
    return OurData(like, arrays, groups, num_classes)


def ingest(
    arrays: Arrays, ours: OurData, method: str, *, seed: int | None, knows: Sequence[str], note: str
) -> RunFolder:
    """Write the record beside our run, state `done`, marked external. Returns its folder.

    Raises: ConfigError with a sentence when the predictions are not of this data and these labels.
    """
    like = ours.run
    if not re.fullmatch(NAME, method):
        raise ConfigError(f"--method {method!r}: a name has letters, digits, '_', '-' and '.', 100 at most")
    if method in choices("method"):
        raise ConfigError(
            f"--method {method} is a method of the suite; give other code another name: {method}_original"
        )
    if unknown := [fact for fact in knows if fact not in KNOWS]:
        raise ConfigError(f"--knows {unknown[0]}: there is {', '.join(KNOWS)}")
    if seed is not None and not 0 <= seed < 2**63:
        raise ConfigError(f"--seed {seed}: a seed is a whole number from 0 to 2^63 - 1")
    order = _aligned(arrays, ours)
    logits = _logits(arrays, ours)
    row: dict[str, Any] = {
        "epoch": 1,
        **test_metrics([{"main": logits}], ours.arrays["test_label"], "main", ours.groups),
    }
    metrics = summarise([row], 1) | {"test/acc/last10": None, "test/acc/best": None}
    if "test_logits" not in arrays:
        metrics |= dict.fromkeys(("test/ece", "test/top5"))
    config = {key: like.record["config"][key] for key in DATA if key in like.record["config"]}
    config["seed"] = config["seed"] if seed is None else seed
    names = {key: like.record["names"][key] for key in ("dataset", "noise", "imbalance") if key in like.record["names"]}
    names |= {"method": method, "plugin": "none", "classifier": "joint", "model": "external", "recipe": "external"}
    content = {key: fingerprint(value) for key, value in sorted(arrays.items())}
    identity = json.dumps(["external", method, config, names, content, sorted(knows)], sort_keys=True)
    hash = hashlib.sha256(identity.encode()).hexdigest()[:12]
    command = [*Door.here.tool("analysis.ingest").split(), "FILE.npz", "--like", str(like.path), "--method", method]
    record = new_record(hash=hash, config=config, names=names, command=shlex.join(command))
    record |= {"state": "done", "data": like.record["data"], "metrics": metrics, "knows": sorted(knows)}
    record["selection"] = _selection(arrays, order, ours)
    note = note.encode(errors="replace").decode()  # bytes that are not text have no place in a record
    record["environment"] = {"external": {"like": like.hash, "note": note, "content": content}}
    folder = RunFolder(run_path(like.path.parents[2], names, hash))
    with folder.claim():
        kept = {key: ours.arrays[key] for key in ("test_label", "index", "observed_label", "clean_label")}
        if "clean_probability" in arrays:
            kept["clean_probability"] = arrays["clean_probability"][order][None].astype(np.float32)
        folder.write_arrays("predictions.npz", {**kept, "test_logits_1_main": logits})
        folder.write_record(record)
    return folder


def _whole(arrays: Arrays, ours: OurData, name: str, below: int | None = None) -> np.ndarray:
    """An array of whole numbers as int64, from 0 to `below` where that is given. Raises ConfigError."""
    values = arrays[name]
    with np.errstate(invalid="ignore"):  # NaN and values beyond int64 do not equal their conversion
        whole = values.astype(np.int64)
    if not np.array_equal(whole, values) or (below is not None and not 0 <= whole.min() <= whole.max() < below):
        raise ConfigError(f"{name} must be {ours.wanted[name].words}")
    return whole


def _aligned(arrays: Arrays, ours: OurData) -> np.ndarray:
    """Positions that bring the file's training samples into our order, checked against the fingerprint."""
    if "observed_label" not in arrays:
        raise ConfigError("the file has no observed_label: the labels that the code was trained on are needed")
    labels = _whole(arrays, ours, "observed_label", ours.num_classes)
    order = np.arange(len(labels))
    if "index" in arrays:
        index = _whole(arrays, ours, "index")
        place, mine = np.argsort(index, kind="stable"), np.argsort(ours.arrays["index"], kind="stable")
        if not np.array_equal(index[place], ours.arrays["index"][mine]):
            raise ConfigError("index holds other training samples than the run: another long tail or data_seed?")
        order = np.empty_like(place)
        order[mine] = place
    if fingerprint(labels[order]) != ours.run.labels:
        differ = int((labels[order] != ours.arrays["observed_label"]).sum())
        raise ConfigError(
            f"observed_label does not have the fingerprint {ours.run.labels} of {ours.run.path} ({differ} of "
            f"{len(labels)} differ): the code was trained on other labels, or they are in another order (then give "
            "index)"
        )
    return order


def _logits(arrays: Arrays, ours: OurData) -> np.ndarray:
    """Test logits [M, K]; predictions alone become one-hot rows."""
    if "test_label" in arrays and not np.array_equal(arrays["test_label"], ours.arrays["test_label"]):
        raise ConfigError("test_label differs from the run's test set: other samples, or another order")
    if "test_logits" in arrays:
        logits = arrays["test_logits"].astype(np.float64)
        if not (np.abs(logits) <= LARGEST).all():
            raise ConfigError(f"test_logits must be {ours.wanted['test_logits'].words}")
        return logits
    if "test_prediction" not in arrays:
        raise ConfigError("the file has neither test_logits nor test_prediction")
    return np.eye(ours.num_classes)[_whole(arrays, ours, "test_prediction", ours.num_classes)]


def _selection(arrays: Arrays, order: np.ndarray, ours: OurData) -> dict[str, Any]:
    """The selection metrics of the code's clean probabilities or mask; empty without either."""
    selected = arrays.get("selected")
    probability = arrays.get("clean_probability", selected)
    if probability is None:
        return {}
    if selected is not None and not np.isin(selected, (0, 1)).all():
        raise ConfigError(f"selected must be {ours.wanted['selected'].words}")
    probability = probability.astype(np.float64)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ConfigError(f"clean_probability must be {ours.wanted['clean_probability'].words}")
    metrics = selection_metrics(
        selected=(probability > 0.5 if selected is None else selected.astype(bool))[order],
        clean_probability=probability[order],
        score=probability[order],
        observed=ours.arrays["observed_label"],
        clean=ours.arrays["clean_label"],
        groups=ours.groups,
        num_classes=ours.num_classes,
    )
    if "clean_probability" not in arrays:  # a mask does not rank samples
        metrics |= {key: None for key in metrics if key.split("/")[0] in ("auc", "ap", "auc_score")}
    return metrics


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(prog=Door.here.tool("analysis.ingest"), description="Other people's predictions as a run.")
    parser.add_argument("file", type=Path, help="FILE.npz: observed_label, test_logits or test_prediction, …")
    parser.add_argument("--like", required=True, type=Path, help="folder of a finished run on the same labels")
    parser.add_argument("--method", required=True, help="a name for the other code")
    parser.add_argument("--seed", type=int, help="its training seed (default: the run's, so that they are a pair)")
    parser.add_argument("--knows", default="", help=f"what it was told: {', '.join(KNOWS)}")
    parser.add_argument("--note", default="", help="where the code is from, for readers of the record")
    options = parser.parse_args(arguments)
    runs, _ = load([options.like])
    if len(runs) != 1 or runs[0].external:
        raise ConfigError(f"--like {options.like} must be the folder of one finished run of ours")
    ours = of_run(runs[0])
    arrays = read_members(options.file, ours.wanted)
    folder = ingest(arrays, ours, options.method, seed=options.seed, knows=words(options.knows), note=options.note)
    print(f"external record in {folder.path}")


if __name__ == "__main__":
    sys.exit(door(main))
