"""A whole run as one would write it down first: warm-up, DivideMix with SFA, and the test set after each epoch.

`python -m sfa_bench.speed.plain.whole FOLDER`, with what `prepare` put there.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import torch

from sfa_bench.config.schema import RunConfig
from sfa_bench.data.types import Data
from sfa_bench.parts.losses import log_prior
from sfa_bench.speed.plain.network import convnet
from sfa_bench.speed.plain.pictures import written
from sfa_bench.speed.plain.selection import Averages
from sfa_bench.speed.plain.training import Learner


def prepare(folder: Path, config: RunConfig, data: Data) -> None:
    """The suite's arrays as files, and what else a run goes by: a release has its constants in the script."""
    written(folder / "train.npz", data.view.images, data.view.observed_labels)
    written(folder / "test.npz", data.test.images, data.test.labels)
    (folder / "given.pickle").write_bytes(pickle.dumps((config, data.view.transform, data.view.num_classes)))


def train(folder: Path) -> Learner:
    """The run: prints the accuracy after each epoch."""
    config, transform, num_classes = pickle.loads((folder / "given.pickle").read_bytes())
    with np.load(folder / "train.npz") as arrays:
        labels, channels = arrays["labels"], arrays["images"].shape[3]
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    effective = config.recipe.effective
    learner = Learner(
        folder / "train.npz",
        transform,
        num_classes,
        [convnet(channels, config.model.width, num_classes, balanced=True) for _ in range(2)],
        torch.device("cpu"),
        config.batch_size,
        config.eval.batch_size,
        effective.ramp_epochs,
    )
    observed = np.bincount(labels, minlength=num_classes)
    averages = [Averages(num_classes, int(0.06 * observed.max()), effective.beta, effective.phi) for _ in range(2)]
    for epoch in range(1, config.epochs + 1):
        if epoch == effective.lr_drop_epoch:
            for optimiser in learner.optimisers:
                optimiser.param_groups[0]["lr"] *= config.recipe.lr_drop
        if epoch <= config.warmup_epochs:
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
                learner.train(k, mask, found[1 - k], log_prior(counts), epoch - config.warmup_epochs)
        print(f"epoch {epoch}: {learner.test(folder / 'test.npz'):.2f} %", flush=True)
    return learner


if __name__ == "__main__":
    train(Path(sys.argv[1]))
