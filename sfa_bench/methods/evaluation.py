"""Outputs of networks in evaluation mode: probes of selection passes, and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from sfa_bench.data.draws import class_balanced
from sfa_bench.data.loader import AnyLoader, loader_for
from sfa_bench.data.types import Images
from sfa_bench.errors import RunError
from sfa_bench.methods.networks import SMALLER_LR, Networks
from sfa_bench.methods.training import Training
from sfa_bench.models import Network, Output
from sfa_bench.numerics import full_precision
from sfa_bench.selectors.base import Probe

PIECE = 64 * 32 * 32  # pixels, see `pieces`
DRAWN_TOGETHER = 256  # views of a selection pass: a stream's numbers depend on how many are drawn in a call


class Evaluated(Networks):
    """Networks with the training set that they are probed on."""

    def __init__(self, training: Training):
        super().__init__(training)
        view = training.view
        self.loaders: dict[torch.device, AnyLoader] = {
            device: loader_for(view.images, view.transform, device) for device in self.devices
        }
        self._evaluated: dict[int, tuple[Images, AnyLoader]] = {}  # by the identity of the images
        self.labels = view.observed_labels

    def _draw(self, size: int, stream: str, k: int, e: int) -> Tensor:
        return class_balanced(self.labels, size, self.training.view.num_classes, self.generator(stream, k, e))

    def probe(self, k: int, e: int) -> Probe:
        """Evaluation-mode pass of network k over the samples that it selects from in epoch e, in fp32
        (explanation/rules.md §4).
        """
        return self._probes([k], e)[0]

    def _probes(self, networks: Sequence[int], e: int) -> list[Probe]:
        """The passes of several networks over the same rows."""
        first = networks[0]
        rows = torch.arange(len(self.labels))
        if self.training.selection_draw:
            rows = self._draw(self.training.selection_draw, "selection_draw", first, e)
        loader = self.loaders[self.devices[first]]
        if self.training.selection_view == "train":
            augmented = loader.train_views(rows.split(DRAWN_TOGETHER), self.generator("selection_view", first, e))
            stream: Iterator[Tensor] = (views[0] for views in augmented)
        else:
            stream = loader.test_views(rows.split(self.training.evaluation_batch))
        outputs = evaluate([self.networks[k] for k in networks], [self.devices[k] for k in networks], stream)
        self.cost.selected += len(rows) * len(networks)
        return [self._as_probe(k, e, out, rows.numpy()) for k, out in zip(networks, outputs, strict=True)]

    def projections(self, k: int, features: Tensor) -> Tensor | None:
        """What network k's projector makes of features [n, d], on the CPU; None where it has none for selectors."""
        return None

    def _as_probe(self, k: int, e: int, out: Output, rows: np.ndarray) -> Probe:
        projections = self.projections(k, out.features)
        for what, values in (("features", out.features), ("projections", projections), ("logits", out.main)):
            if values is not None and not np.isfinite(values.numpy()).all():
                raise RunError(
                    f"the {what} of network {k + 1} are not finite in the selection pass of epoch {e}; {SMALLER_LR}"
                )
        # `record.probes` keeps half precision, so that a selector has the same input in training and in a replay.
        # Rounded in place, in parts that stay in the processor's cache.
        for seen in (out.features, projections):
            for part in () if seen is None else seen.split(256):
                part.copy_(part.clamp(-65504, 65504).half())
        abc, projected = (None if answer is None else answer.numpy() for answer in (out.abc, projections))
        labels = self.labels.numpy()[rows]
        return Probe(out.features.numpy(), out.main.numpy(), abc, labels, rows, projections=projected)

    def predictors(self) -> list[Network]:
        """The networks that predict: those that train, unless the recipe or a method keeps averages of them."""
        return [cast(Network, average.module) for average in self.averages] or self.networks

    def predict(self, images: Images) -> list[dict[str, np.ndarray]]:
        """Test-view logits of M images: for each network, head → [M, K] float32."""
        loader = self.loader_of(images)
        parts = torch.arange(len(images)).split(self.training.evaluation_batch)
        outputs = evaluate(self.predictors(), self.devices, loader.test_views(parts))
        answers = []
        for k, out in enumerate(outputs):
            heads = {"main": out.main.numpy()} | {head.name: logits.numpy() for head, logits in out.beside_main()}
            answers.append(heads | self.extra_heads(k, out.features.numpy()))
        return answers

    def extra_heads(self, k: int, features: np.ndarray) -> dict[str, np.ndarray]:
        """Further answers of network k for features [M, d], reported beside the ensemble and never part of it."""
        return {}

    def loader_of(self, images: Images) -> AnyLoader:
        """The loader of images to predict, on the first device; the same one each time."""
        if images is self.training.view.images:
            return self.loaders[self.devices[0]]
        if id(images) not in self._evaluated:
            self._evaluated[id(images)] = images, loader_for(images, self.training.view.transform, self.devices[0])
        return self._evaluated[id(images)][1]

    def forget(self, images: Images) -> None:
        """End the loader of images that were predicted."""
        if id(images) in self._evaluated:
            self._evaluated.pop(id(images))[1].close()

    def close(self) -> None:
        """End the processes that read images."""
        for loader in (*self.loaders.values(), *(loader for _, loader in self._evaluated.values())):
            loader.close()


def evaluate(networks: Sequence[Network], devices: Sequence[torch.device], stream: Iterable[Tensor]) -> list[Output]:
    """Evaluation-mode outputs of each network for all images of a stream of batches, on the CPU; an image is read
    and framed once for all networks.
    """
    parts: list[list[Output]] = [[] for _ in networks]
    for network in networks:
        network.eval()
    with torch.no_grad(), full_precision():
        for images in stream:
            for outputs, network, device in zip(parts, networks, devices, strict=True):
                outputs += [network(piece) for piece in pieces(images.to(device))]
    return [Output._make(_joined(answers) for answers in zip(*outputs, strict=True)) for outputs in parts]


def _joined(answers: Sequence[Tensor | None]) -> Tensor | None:
    """All rows of one answer, on the CPU; None of a head that there is not."""
    there = [answer for answer in answers if answer is not None]
    return torch.cat(there).cpu() if there else None


def pieces(images: Tensor) -> Sequence[Tensor]:
    """Pieces of a batch that pass through a network at once without gradient, where the results do not depend on it: on
    a CPU as much as its caches hold (twice as fast at full width), elsewhere all.
    """
    if images.device.type != "cpu" or images.ndim < 4:
        return (images,)
    return images.split(max(8, PIECE // (images.shape[-2] * images.shape[-1])))
