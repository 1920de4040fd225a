"""Results of other people's code as a record: `python -m analysis.ingest FILE.npz --like RUN --method NAME`.

FILE.npz holds `observed_label` [N], the labels that the code was trained on, and `test_logits` [M, K] or
`test_prediction` [M], in the test set's order. It may hold `index` [N], the samples' positions in the original training
set, where its order is another than ours; `test_label` [M], which is compared with ours; `clean_probability` [N], what
the code thought of each sample, and `selected` [N], which it took (default: probability above one half). RUN is a
finished run on the same labels, whose data, recorded groups and test set are used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.runs import Run, load
from sfa_bench.config.overrides import CONF
from sfa_bench.engine.metrics import selection_metrics, summarise, test_metrics
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store.fingerprint import fingerprint
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import run_path
from sfa_bench.store.record import new_record

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
KNOWS = ("rate", "type", "clean_labels", "clean_val", "pretraining")
# What describes the data and the replicate is taken from the run; how it was trained is not ours to say.
DATA = ("replicate", "seed", "data_seed", "noise_ratio", "imb_factor", "dataset", "noise", "imbalance")

Arrays = Mapping[str, np.ndarray]


def ingest(arrays: Arrays, like: Run, method: str, *, seed: int | None, knows: Sequence[str], note: str) -> RunFolder:
    """Write the record beside `like`, state `done`, marked external. Returns its folder.

    Raises: ConfigError with a sentence when the predictions are not of this data and these labels.
    """
    if not re.fullmatch(NAME, method):
        raise ConfigError(f"--method {method!r}: a name has letters, digits, '_', '-' and '.'")
    if (CONF / "method" / f"{method}.yaml").exists():
        raise ConfigError(
            f"--method {method} is a method of the suite; give other code another name: {method}_original"
        )
    if unknown := [fact for fact in knows if fact not in KNOWS]:
        raise ConfigError(f"--knows {unknown[0]}: there is {', '.join(KNOWS)}")
    ours = RunFolder(like.path).read_arrays("predictions.npz")
    order = _aligned(arrays, ours, like)
    logits = _logits(arrays, ours, len(like.metrics["test/per_class"]))
    groups = like.record["data"]["groups"]
    row: dict[str, Any] = {"epoch": 1, **test_metrics([{"main": logits}], ours["test_label"], "main", groups)}
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
    command = ["python", "-m", "analysis.ingest", "FILE.npz", "--like", str(like.path), "--method", method]
    record = new_record(hash=hash, config=config, names=names, command=shlex.join(command))
    record |= {"state": "done", "data": like.record["data"], "metrics": metrics, "knows": sorted(knows)}
    record["selection"] = _selection(arrays, order, ours, groups, logits.shape[1])
    record["environment"] = {"external": {"like": like.hash, "note": note, "content": content}}
    folder = RunFolder(run_path(like.path.parents[2], names, hash))
    with folder.claim():
        kept = {key: ours[key] for key in ("test_label", "index", "observed_label", "clean_label")}
        if "clean_probability" in arrays:
            kept["clean_probability"] = arrays["clean_probability"][order][None].astype(np.float32)
        folder.write_arrays("predictions.npz", {**kept, "test_logits_1_main": logits})
        folder.write_record(record)
    return folder


def _aligned(arrays: Arrays, ours: Arrays, like: Run) -> np.ndarray:
    """Positions that bring the file's training samples into our order, checked against the fingerprint."""
    if "observed_label" not in arrays:
        raise ConfigError("the file has no observed_label: the labels that the code was trained on prove what it saw")
    labels = np.asarray(arrays["observed_label"], dtype=np.int64)
    order = np.arange(len(labels))
    if "index" in arrays:
        place = np.argsort(arrays["index"], kind="stable")
        mine = np.argsort(ours["index"], kind="stable")
        if len(place) != len(mine) or not np.array_equal(arrays["index"][place], ours["index"][mine]):
            raise ConfigError("index holds other training samples than the run: another long tail or data_seed?")
        order = np.empty_like(place)
        order[mine] = place
    if len(labels) != len(order) or fingerprint(labels[order]) != like.labels:
        count = f"{len(labels)} labels, ours {len(ours['observed_label'])}"
        if len(labels) == len(ours["observed_label"]):
            count = f"{int((labels[order] != ours['observed_label']).sum())} of {len(labels)} differ"
        raise ConfigError(
            f"observed_label does not have the fingerprint {like.labels} of {like.path} ({count}): the code was "
            "trained on other labels, or they are in another order (then give index)"
        )
    return order


def _logits(arrays: Arrays, ours: Arrays, num_classes: int) -> np.ndarray:
    """Test logits [M, K]; predictions alone become one-hot rows."""
    truth = ours["test_label"]
    if "test_label" in arrays and not np.array_equal(arrays["test_label"], truth):
        raise ConfigError("test_label differs from the run's test set: other samples, or another order")
    if "test_logits" in arrays:
        logits = np.asarray(arrays["test_logits"], dtype=np.float64)
        if logits.shape != (len(truth), num_classes) or not np.isfinite(logits).all():
            raise ConfigError(f"test_logits must be finite numbers [{len(truth)}, {num_classes}], not {logits.shape}")
        return logits
    if "test_prediction" not in arrays:
        raise ConfigError("the file has neither test_logits nor test_prediction")
    predicted = np.asarray(arrays["test_prediction"])
    whole = predicted.shape == truth.shape and np.issubdtype(predicted.dtype, np.integer)
    if not whole or predicted.min() < 0 or predicted.max() >= num_classes:
        raise ConfigError(f"test_prediction must be {len(truth)} integers from 0 to {num_classes - 1}")
    return np.eye(num_classes)[predicted]


def _selection(
    arrays: Arrays, order: np.ndarray, ours: Arrays, groups: Mapping[str, Sequence[int]], num_classes: int
) -> dict[str, Any]:
    """The figures of the file's clean probabilities; empty without."""
    if "clean_probability" not in arrays:
        return {}
    probability = np.asarray(arrays["clean_probability"], dtype=np.float64)
    if probability.shape != order.shape or not ((probability >= 0) & (probability <= 1)).all():
        raise ConfigError(f"clean_probability must be {len(order)} numbers from 0 to 1")
    selected = np.asarray(arrays.get("selected", probability > 0.5), dtype=bool)
    if selected.shape != order.shape:
        raise ConfigError(f"selected must be {len(order)} truth values")
    return selection_metrics(
        selected=selected[order],
        clean_probability=probability[order],
        score=probability[order],
        observed=ours["observed_label"],
        clean=ours["clean_label"],
        groups=groups,
        num_classes=num_classes,
    )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The file's arrays, nothing of which can execute. Raises ConfigError when it is no .npz of plain arrays."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ConfigError(f"{path} is one array; ingest takes an .npz with names (np.savez)")
            return dict(file)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}") from error
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise ConfigError(f"{path} is no .npz of plain arrays ({error})") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, 2 when the file is refused, 1 when the disk fails."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.ingest", description="Other people's predictions as a run."
    )
    parser.add_argument("file", type=Path, help="FILE.npz: observed_label, test_logits or test_prediction, …")
    parser.add_argument("--like", required=True, type=Path, help="folder of a finished run on the same labels")
    parser.add_argument("--method", required=True, help="a name for the other code")
    parser.add_argument("--seed", type=int, help="its training seed (default: the run's, so that they are a pair)")
    parser.add_argument("--knows", default="", help=f"what it was told: {', '.join(KNOWS)}")
    parser.add_argument("--note", default="", help="where the code is from, for readers of the record")
    options = parser.parse_args(arguments)
    try:
        arrays = read_arrays(options.file)
        runs, _ = load([options.like])
        if len(runs) != 1 or runs[0].external:
            raise ConfigError(f"--like {options.like} must be the folder of one finished run of ours")
        knows = [word for word in options.knows.split(",") if word]
        folder = ingest(arrays, runs[0], options.method, seed=options.seed, knows=knows, note=options.note)
    except ConfigError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    except (RunError, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"external record in {folder.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
