"""Pictures one by one through PIL, in a `DataLoader` with a worker a core, read from the disk again for every pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from sfa_bench.cores import cores
from sfa_bench.data.types import Images, Transform


def written(path: Path, images: Images, labels: Tensor) -> Path:
    """The arrays of a data set as a file to read again: pixels [N, H, W, C], and labels [N]."""
    assert isinstance(images, Tensor)
    np.savez(path, images=images.permute(0, 2, 3, 1).numpy(), labels=labels.numpy())
    return path


class Pictures(Dataset[Any]):
    """`views` augmented views of a picture, or its test view (views=0); its label, number and clean probability."""

    def __init__(
        self,
        path: Path,
        transform: Transform,
        views: int,
        rows: np.ndarray | None = None,
        probability: np.ndarray | None = None,
    ):
        with np.load(path) as arrays:
            self.images, self.labels = arrays["images"], arrays["labels"]
        self.rows = np.arange(len(self.labels)) if rows is None else rows
        self.probability = probability
        self.views = views
        to_input = [transforms.ToTensor(), transforms.Normalize(transform.mean, transform.std)]
        drawn = [transforms.RandomCrop(self.images.shape[1], transform.padding)]
        drawn += [transforms.RandomHorizontalFlip()] if transform.flip else []
        self.transform = transforms.Compose([*(drawn if views else []), *to_input])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        row = int(self.rows[i])
        picture = Image.fromarray(self.images[row].squeeze())  # of one channel: [H, W]
        seen = tuple(self.transform(picture) for _ in range(max(1, self.views)))
        return *seen, int(self.labels[row]), row, 1.0 if self.probability is None else float(self.probability[row])


def pictures(dataset: Pictures, batch_size: int) -> DataLoader[Any]:
    """Batches in random order, of a test view in order; a part that is left over is a batch too."""
    # A process that was spawned would spawn its own, each of which imports Torch first: no release starts them so.
    return DataLoader(
        dataset, batch_size, shuffle=dataset.views > 0, num_workers=cores(), multiprocessing_context="fork"
    )
