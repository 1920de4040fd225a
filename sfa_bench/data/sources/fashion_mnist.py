"""Fashion-MNIST: IDX files, gzipped or plain, from the user's folder or Debian's package `dataset-fashion-mnist`."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench import memory
from sfa_bench.choices.sources import STATISTICS
from sfa_bench.data.sources import files
from sfa_bench.data.sources.contents import Contents, Files, file
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
HEADER, PIECE = 16, 1 << 24  # bytes of the longest IDX header, and of a block that is unpacked at a time
CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
CLASS_MAPS = {"default": {9: 7, 7: 5, 2: 6, 4: 3, 3: 4}}  # of asymmetric noise

# official MD5 of the unpacked content: packages compress it anew
MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
BYTES = {  # bytes of that content: no more is unpacked where it must be the official file
    "train-images-idx3-ubyte": 16 + 60_000 * 784,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    return read(data_dir, dataset.checksum)


def read(data_dir: Path, checksum: bool) -> Source:
    """60,000 training and 10,000 test images [28, 28, 1] (algorithms/data.md §1–2)."""
    names = [name + ending for name in MD5 for ending in ("", ".gz")]
    raw = data_dir / "FashionMNIST" / "raw"
    folder = files.first_folder((data_dir, raw, DEBIAN_FOLDER), names)
    if folder is None:
        files.fetch(lambda: _download(data_dir), "Fashion-MNIST", data_dir)
        folder = raw
    train_images, train_labels = _read(folder, "train", checksum)
    test_images, test_labels = _read(folder, "t10k", checksum)
    mean, std = STATISTICS["fashion_mnist"]
    return Source(
        train_images,
        train_labels,
        test_images,
        test_labels,
        num_classes=10,
        mean=mean,
        std=std,
        padding=2,
        flip=True,
        class_maps=CLASS_MAPS,
        class_names=CLASSES if checksum else None,  # unknown files of the user's own
    )


def _download(data_dir: Path) -> None:
    from torchvision.datasets import FashionMNIST

    FashionMNIST(data_dir, download=True)


def _read(folder: Path, part: str, checksum: bool) -> tuple[np.ndarray, np.ndarray]:
    images = _read_idx(folder, f"{part}-images-idx3-ubyte", 3, checksum)
    labels = _read_idx(folder, f"{part}-labels-idx1-ubyte", 1, checksum)
    if images.shape[1:] != (28, 28):
        size = "×".join(map(str, images.shape[1:]))
        raise DataError(f"the images of {folder / f'{part}-images-idx3-ubyte'} are {size}; Fashion-MNIST's are 28×28")
    return images[..., None], files.check_labels(labels, len(images), 10, str(folder / f"{part}-labels-idx1-ubyte"))


def unpacked(path: Path, most: int | None) -> bytes:
    """The content of an IDX file, gzipped or plain. A gzipped file is unpacked to one byte beyond `most` at the most,
    which shows that it is too long; where `most` is None, up to the size that its header announces. Raises DataError.
    """
    packed = files.read(path)
    if path.suffix != ".gz":
        return packed
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            content = file.read(HEADER)
            end = 1 + (_announced(content, path) if most is None else most)
            while piece := file.read(min(PIECE, end - len(content))):
                content += piece
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is truncated or not a gzip file ({error})") from None
    return content


def _announced(header: bytes, path: Path) -> int:
    """The size of an IDX file by its header, in bytes; for another file that of the header, which the reader
    refuses.
    """
    dimensions = header[3] if len(header) == HEADER and header[:3] == bytes([0, 0, 8]) else 0
    if dimensions not in (1, 3):
        return len(header)
    start = 4 + 4 * dimensions
    size = start + math.prod(np.frombuffer(header[4:start], ">u4").tolist())
    memory.require(size, f"what the header of {path} announces", "give a file whose header is right")
    return size


def _read_idx(folder: Path, name: str, dimensions: int, checksum: bool) -> np.ndarray:
    """An IDX file of bytes: two zeros, type 8, the number of dimensions, their big-endian sizes, then the values."""
    path = folder / name
    if not path.is_file():
        path = folder / f"{name}.gz"
    content = unpacked(path, BYTES[name] if checksum else None)
    if checksum:
        files.verify(content, MD5[name], path)
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(
            f"{path} is not an IDX file of bytes with {dimensions} dimension(s): it starts with {content[:4].hex()}"
        )
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
    if len(content) - header != math.prod(shape):
        raise DataError(
            f"{path} is truncated or damaged: its header announces {math.prod(shape):,} bytes, "
            f"{len(content) - header:,} follow"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _look(dataset: DatasetConfig, contents: Contents) -> None:
    root = contents.root
    names = [name + ending for name in MD5 for ending in ("", ".gz")]
    folders = (root, root / "FashionMNIST" / "raw", DEBIAN_FOLDER)
    place = files.first_folder(folders, names) or root
    for name, md5 in MD5.items():
        packed = place / f"{name}.gz"
        plain = place / name
        zipped = not plain.is_file() and packed.is_file()
        read = partial(unpacked, most=BYTES[name]) if zipped else files.read
        contents.items.append(file(packed if zipped else plain, root, md5, read))


FILES = Files(
    tree="""\
DATA_DIR/                        or DATA_DIR/FashionMNIST/raw/, or Debian's package
├── train-images-idx3-ubyte      each of them also as .gz
├── train-labels-idx1-ubyte
├── t10k-images-idx3-ubyte
└── t10k-labels-idx1-ubyte""",
    where="Debian's package dataset-fashion-mnist, or https://github.com/zalandoresearch/fashion-mnist; "
    "without data_dir, it is downloaded into data/",
    look=_look,
)
