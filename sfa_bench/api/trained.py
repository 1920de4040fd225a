"""The trained networks of a run as one model that takes images as people have them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sfa_bench.data.images import Framing, ImageFiles, resized, test_view
from sfa_bench.data.types import Images
from sfa_bench.engine.metrics import Logits, ensemble, scores
from sfa_bench.engine.trained import load_trained
from sfa_bench.errors import ConfigError


class TrainedModel:
    """All networks and heads of a finished run together, as `eval.ensemble` combines them, in evaluation mode.

    Images are given as the data set has them; scaling, cropping and normalisation are the model's own. One of

    - an array or tensor uint8 [M, H, W] or [M, H, W, C], or a tensor uint8 [M, C, H, W]; a single image without M;
    - for a model that was trained on image files: a path or a list of paths, or a list of arrays uint8 [H, W, 3];
    - for a model that was trained on vectors: float [M, D].

    `classes` [K] are their names; `networks` are Torch modules that take what `preprocess` returns.
    """

    def __init__(self, path: str | os.PathLike[str], device: str = "cpu"):
        self._trained = load_trained(Path(path), device)
        config, view = self._trained.config, self._trained.method.training.view
        self.classes = self._trained.classes
        self.networks: list[nn.Module] = list(self._trained.method.predictors())
        for network in self.networks:
            network.eval()
        self.shape: tuple[int, ...] = tuple(view.images.shape[1:])  # [C, H, W] or [D]
        self._how, self._dataset = config.eval.ensemble, config.dataset
        self._framing = None
        if self._trained.files:
            self._framing = Framing(config.dataset.resize, config.dataset.crop, config.dataset.random_crop)

    def predict(self, images: Any) -> np.ndarray:
        """The most probable class of each image, int64 [M]: a place in `classes`."""
        return scores(self.logits(images), self._how).argmax(axis=1)

    def predict_proba(self, images: Any) -> np.ndarray:
        """The probability of each class, float64 [M, K]."""
        return np.exp(ensemble(self.logits(images), self._how))

    def __call__(self, images: Any) -> Tensor:
        """The logarithms of the probabilities as a tensor float32 [M, K] on the CPU."""
        return torch.from_numpy(ensemble(self.logits(images), self._how)).float()

    def logits(self, images: Any) -> Logits:
        """For each network a mapping from its heads to their logits, float32 [M, K]."""
        return self._trained.predict(self._taken(images))

    def preprocess(self, images: Any) -> Tensor:
        """What a network takes: float32 [M, C, H, W], normalised, or [M, D], on the device of the first network."""
        taken, method = self._taken(images), self._trained.method
        try:
            return torch.cat(list(method.loader_of(taken).test_views([torch.arange(len(taken))])))
        finally:
            method.forget(taken)

    # ---- what may be given

    def _taken(self, images: Any) -> Images:
        """The images in the form of the data set. Raises: ConfigError where they are not of its kind or size."""
        if isinstance(images, str | os.PathLike):
            images = [images]
        if isinstance(images, list | tuple) and images and all(isinstance(one, str | os.PathLike) for one in images):
            return self._files([Path(one).expanduser().absolute() for one in images])
        if isinstance(images, list | tuple) and self._framing is not None:
            return torch.cat([self._framed(np.asarray(one)[None]) for one in images])
        if len(self.shape) == 1:
            return self._vectors(torch.as_tensor(np.asarray(images)))
        if isinstance(images, Tensor) and images.dtype == torch.uint8 and images.ndim in (3, 4):
            batch = images if images.ndim == 4 else images[None]
            if batch.shape[1:] == self.shape:
                return batch.cpu()
        return self._framed(self._batch(np.asarray(images)))

    def _files(self, paths: list[Path]) -> ImageFiles:
        if self._framing is None:
            raise ConfigError(f"this model was trained on arrays, not on image files: give {self._wanted()}")
        try:
            states = [path.stat() for path in paths]
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be read: {error.strerror}") from error
        return ImageFiles(
            Path("/"),
            np.array([os.fsencode(path)[1:] for path in paths]),
            np.array([state.st_size for state in states]),
            np.array([state.st_mtime_ns for state in states]),
            self._framing,
            self._trained.upright,
            self._dataset.max_pixels,
            workers=self._dataset.workers,
        )

    def _vectors(self, vectors: Tensor) -> Tensor:
        batch = vectors[None] if vectors.ndim == 1 else vectors
        if batch.ndim != 2 or batch.shape[1:] != self.shape or not batch.is_floating_point():
            raise self._misfit(vectors)
        return batch.float()

    def _batch(self, images: np.ndarray) -> np.ndarray:
        """A single image as a batch of one: of the model's own size, or with colours where it takes files."""
        channels, *size = self.shape
        grey = channels == 1 and images.ndim == 2
        coloured = images.ndim == 3 and images.shape[-1] == channels and (self._framing or [*images.shape[:2]] == size)
        if channels == 1 and images.ndim == 3 and [*images.shape[1:]] == size:
            coloured = False  # several grey ones
        return images[None] if grey or coloured else images

    def _framed(self, images: np.ndarray) -> Tensor:
        """uint8 [M, H, W] or [M, H, W, C] as test views uint8 [M, C, h, w]."""
        channels, *size = self.shape
        shaped = images[..., None] if images.ndim == 3 else images
        if shaped.dtype != np.uint8 or shaped.ndim != 4 or shaped.shape[-1] != channels:
            raise self._misfit(images)
        batch = torch.from_numpy(np.ascontiguousarray(shaped.transpose(0, 3, 1, 2)))
        if (framing := self._framing) is not None:
            return torch.stack([test_view(resized(one, framing.resize), framing) for one in batch])
        if [*batch.shape[2:]] != size:
            raise self._misfit(images)
        return batch

    def _misfit(self, given: Any) -> ConfigError:
        kind = str(given.dtype).removeprefix("torch.")
        return ConfigError(f"these are {kind} {list(given.shape)}: give {self._wanted()}")

    def _wanted(self) -> str:
        if len(self.shape) == 1:
            return f"vectors, float [M, {self.shape[0]}]"
        channels, height, width = self.shape
        if self._framing is not None:
            return "paths of image files, or images uint8 [M, H, W, 3]"
        last = "" if channels == 1 else f", {channels}"
        return f"images uint8 [M, {height}, {width}{last}]"
