"""How many of the first suspects are mislabelled, on digits with a long tail and joint noise: DivideMix with SFA, whose
selection ranks them, beside cleanlab, which is given out-of-sample probabilities of cross-entropy from the runs of all
folds.

Precision among the first 1 % and 5 % of the training samples, of all and of the samples whose observed label is in a
class group (many, medium, few), each ranked by itself; in percent, mean ± sample standard deviation over replicates.

    python -m benchmarks.suspects --runs /tmp/suspects --replicates 5 --csv suspects.csv

`--folder` takes a folder of 372 JPEGs in place of digits, as docs/guides/wrong-labels.md does: ten classes, 20 % of the
images mislabelled, one class (`rare`) of 12 images; another draw of these in each replicate.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from cleanlab.rank import get_label_quality_scores
from rich.console import Console

from sfa_bench.config.compose import compose
from sfa_bench.engine.run import run
from sfa_bench.labels.runs import FinishedRun, open_all, out_of_sample
from sfa_bench.store.archives import load_arrays
from sfa_bench.store.record import command
from sfa_bench.suspects import suspects

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
import digit_folder  # type: ignore[import-not-found]

TOPS = (1, 5)  # percent
EVERY = "every sample"  # the share of mislabelled ones, whatever the order
PARTS = ("all", "many", "medium", "few")
IN_A_FOLDER = ("all", "rare")
# As the guide's commands have them.
FOLDER = ("dataset=folder", "dataset.resize=16", "dataset.crop=16", "dataset.random_crop=plain", "dataset.flip=false")
CLEANLAB: Mapping[str, Mapping[str, object]] = {
    "cleanlab, self-confidence": {"method": "self_confidence"},
    "cleanlab, self-confidence adjusted": {"method": "self_confidence", "adjust_pred_probs": True},
    "cleanlab, normalised margin": {"method": "normalized_margin"},
}


def trained(words: Sequence[str]) -> Path:
    """The folder of this run, which is made where it is not done."""
    return run(compose([*words]), command([*words]), Console(quiet=True))


def rankings(words: Sequence[str], folds: int) -> Iterator[tuple[str, np.ndarray, FinishedRun]]:
    """Name, indices in the data set with the first suspect first, and the runs' samples."""
    (sfa,) = open_all([trained([*words, "method=dividemix", "plugin=sfa"])])
    yield "dividemix + sfa", suspects([sfa])["index"].to_numpy(), sfa
    (ce,) = open_all([trained([*words, "method=ce", "plugin=none"])])
    yield "ce, in-sample", suspects([ce])["index"].to_numpy(), ce
    paths = [trained([*words, "method=ce", "plugin=none", f"dataset.fold={i}/{folds}"]) for i in range(1, folds + 1)]
    held = out_of_sample([FinishedRun.open(path) for path in paths])
    probability = held.class_probability / held.class_probability.sum(axis=1, keepdims=True)
    for name, options in CLEANLAB.items():
        quality = get_label_quality_scores(held.given, probability, **options)
        yield name, held.index[np.argsort(quality, kind="stable")], ce


def clean_labels(run: FinishedRun, truth: Mapping[str, str] | None) -> dict[int, int]:
    """Index in the data set → true class. truth: path → its name, where the run does not know it."""
    if truth is None:
        clean = load_arrays(run.path / "predictions.npz")["clean_label"]
        return dict(zip(run.index.tolist(), clean.tolist(), strict=True))
    names, frame = run.record["data"]["classes"], suspects([run])
    return {index: names.index(truth[path]) for index, path in zip(frame["index"], frame["path"], strict=True)}


def precision(
    order: np.ndarray, of: FinishedRun, truth: Mapping[str, str] | None = None
) -> Iterator[tuple[str, int, float]]:
    """Part, percent, and the share of mislabelled samples among the first so many percent of that part."""
    clean = clean_labels(of, truth)
    given = dict(zip(of.index.tolist(), of.given.tolist(), strict=True))
    groups = {"all": range(of.class_probability.shape[1]), **of.record["data"]["groups"]}
    if truth is not None:
        groups["rare"] = [of.record["data"]["classes"].index(digit_folder.NAMES[-1])]
    for part in PARTS if truth is None else IN_A_FOLDER:
        wrong = np.array([given[i] != clean[i] for i in order.tolist() if given[i] in groups[part]])
        for top in TOPS:
            yield part, top, 100 * float(wrong[: max(1, round(len(wrong) * top / 100))].mean())
        yield part, 100, 100 * float(wrong.mean())


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--replicates", type=int, default=5)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="write every figure")
    parser.add_argument("--folder", action="store_true", help="a folder of JPEGs in place of digits")
    parser.add_argument("words", nargs="*", default=[], metavar="KEY=VALUE", help="of every run, such as epochs=20")
    options = parser.parse_args(arguments)
    found: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for replicate in range(options.replicates):
        words = [*options.words, f"replicate={replicate}", f"runs_dir={options.runs}", "threads=1"]
        truth = None
        if options.folder:
            images = options.runs / f".images/{replicate}"
            truth = digit_folder.write(images, seed=replicate)
            words += [*FOLDER, f"data_dir={images}", f"dataset.name=birds{replicate}"]
        for name, order, of in rankings(words, options.folds):
            for part, top, value in precision(order, of, truth):
                if top < 100:
                    found[name, part, top].append(value)
                elif len(found[EVERY, part, top]) == replicate:  # the same whoever ranks
                    found[EVERY, part, top].append(value)
    parts = IN_A_FOLDER if options.folder else PARTS
    print("| ranked by | " + " | ".join(f"{part}, {top} %" for part in parts for top in TOPS) + " |")
    print("|:--|" + "--:|" * (len(parts) * len(TOPS)))
    for name in dict.fromkeys(name for name, *_ in found):
        tops = [100] * len(TOPS) if name == EVERY else TOPS
        print(f"| {name} | " + " | ".join(_cell(found[name, part, top]) for part in parts for top in tops) + " |")
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["ranked_by", "part", "top_percent", "replicate", "precision"])
            for (name, part, top), values in found.items():
                if name != EVERY:
                    writer.writerows([name, part, top, i, f"{value:.2f}"] for i, value in enumerate(values))


if __name__ == "__main__":
    main()
