"""A whole run as one would write it down first: warm-up, DivideMix with SFA, and the test set after each epoch.

`python -m sfa_bench.speed.plain.whole FOLDER`, with what `prepare` put there.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import torch

from sfa_bench.config.schema import RunConfig
from sfa_bench.data.types import Data, Transform
from sfa_bench.parts.losses import log_prior
from sfa_bench.speed.plain.network import convnet
from sfa_bench.speed.plain.pictures import written
from sfa_bench.speed.plain.selection import Averages
from sfa_bench.speed.plain.training import Learner


def prepare(folder: Path, config: RunConfig, data: Data) -> None:
    """The suite's arrays as files, and what else a run goes by: a release has its constants in the script."""
    written(folder / "train.npz", data.view.images, data.view.observed_labels)
    written(folder / "test.npz", data.test.images, data.test.labels)
    effective = config.recipe.effective
    given = {
        "transform": dataclasses.asdict(data.view.transform),
        "num_classes": data.view.num_classes,
        "width": config.model.width,
        "threads": config.threads,
        "seed": config.seed,
        "epochs": config.epochs,
        "warmup_epochs": config.warmup_epochs,
        "batch_size": config.batch_size,
        "evaluation_batch": config.eval.batch_size,
        "ramp_epochs": effective.ramp_epochs,
        "lr_drop_epoch": effective.lr_drop_epoch,
        "lr_drop": config.recipe.lr_drop,
        "beta": effective.beta,
        "phi": effective.phi,
    }
    (folder / "given.json").write_text(json.dumps(given))


def train(folder: Path) -> Learner:
    """The run: prints the accuracy after each epoch."""
    given = json.loads((folder / "given.json").read_text())
    num_classes = given["num_classes"]
    with np.load(folder / "train.npz") as arrays:
        labels, channels = arrays["labels"], arrays["images"].shape[3]
    if given["threads"] is not None:
        torch.set_num_threads(given["threads"])
    torch.manual_seed(given["seed"])
    rng = np.random.default_rng(given["seed"])
    learner = Learner(
        folder / "train.npz",
        Transform(**given["transform"]),
        num_classes,
        [convnet(channels, given["width"], num_classes, balanced=True) for _ in range(2)],
        torch.device("cpu"),
        given["batch_size"],
        given["evaluation_batch"],
        given["ramp_epochs"],
    )
    observed = np.bincount(labels, minlength=num_classes)
    averages = [Averages(num_classes, int(0.06 * observed.max()), given["beta"], given["phi"]) for _ in range(2)]
    for epoch in range(1, given["epochs"] + 1):
        if epoch == given["lr_drop_epoch"]:
            for optimiser in learner.optimisers:
                optimiser.param_groups[0]["lr"] *= given["lr_drop"]
        if epoch <= given["warmup_epochs"]:
            for k in (0, 1):
                learner.warm_up(k, log_prior(torch.from_numpy(observed)))
        else:
            found = []
            for k in (0, 1):
                features, _, confidence = learner.evaluate(k)
                found.append(averages[k].select(features, confidence, labels, epoch, rng))
            for k in (0, 1):
                mask = found[1 - k] > 0.5
                counts = torch.from_numpy(np.bincount(labels[mask], minlength=num_classes))
                learner.train(k, mask, found[1 - k], log_prior(counts), epoch - given["warmup_epochs"])
        print(f"epoch {epoch}: {learner.test(folder / 'test.npz'):.2f} %", flush=True)
    return learner


if __name__ == "__main__":
    train(Path(sys.argv[1]))
