"""Human annotations of CIFAR's training images, CIFAR-10N and CIFAR-100N (algorithms/data.md §5)."""

from __future__ import annotations

import codecs
import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfa_bench import archives
from sfa_bench.choices.sources import HumanAnnotations
from sfa_bench.data.sources import files
from sfa_bench.errors import DataError

KEYS = {
    "clean": "clean_label",
    "aggre": "aggre_label",
    "rand1": "random_label1",
    "rand2": "random_label2",
    "rand3": "random_label3",
    "worst": "worse_label",
    "noisy": "noisy_label",
}
# All that a file of int64 arrays needs. NumPy 1 and 2 name the first one differently, in private modules.
_RECONSTRUCT = np.zeros(0).__reduce__()[0]
ADMITTED: list[Any] = [
    (_RECONSTRUCT, "numpy.core.multiarray._reconstruct"),
    (_RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    type(np.dtype(np.int64)),
    (codecs.encode, "_codecs.encode"),
]


def find(data_dir: Path, described: HumanAnnotations | None) -> Path:
    """The file of annotations in `data_dir`. Raises DataError when it is missing."""
    assert described is not None  # else validate has refused it
    path = data_dir / described.file
    if not path.is_file():
        raise DataError(
            f"{path} is missing: noise=human needs it beside the images (it comes with the release of CIFAR-N); "
            "put it there, or set another noise"
        )
    return path


def load(path: Path, labels: str, clean: np.ndarray, num_classes: int) -> np.ndarray:
    """The human annotations int64 [n] of the training images, in the order of their clean labels int64 [n].

    Raises: DataError when the file cannot be read, asks for more than arrays, or is not aligned with the images.
    """
    content = _read(path)
    truth = _labels(content, KEYS["clean"], len(clean), num_classes, path)
    if (others := np.flatnonzero(truth != clean)).size:
        raise DataError(
            f"{KEYS['clean']} of {path} differs from the labels of the images in {others.size} of {len(clean)} places, "
            f"first at {others[0]}: it follows another image order (as the *_ordered variants do); take the official "
            f"{path.name} and the Python version of the images"
        )
    return _labels(content, KEYS[labels], len(clean), num_classes, path)


def _read(path: Path) -> dict[str, Any]:
    raw = io.BytesIO(files.read(path))
    archives.refuse_compressed(raw, path)
    try:
        with torch.serialization.safe_globals(ADMITTED):
            content = torch.load(raw, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise DataError(
                f"{path} is refused: it asks for {asked[1]}, which a file of labels never does; nothing of it was run"
            ) from None
        raise DataError(
            f"{path} is refused: it is damaged, or holds more than lists and int64 arrays; nothing of it was run"
        ) from None
    except Exception as error:  # a torn archive or pickle may raise anything
        raise DataError(f"{path} is truncated or not a Torch file ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, not a dict of label arrays; take the official file")
    return content


def _labels(content: dict[str, Any], key: str, count: int, num_classes: int, path: Path) -> np.ndarray:
    if key not in content:
        raise DataError(f"{path} has no {key}; it holds {', '.join(map(str, content))}: take the official {path.name}")
    try:
        labels = np.asarray(content[key])
    except ValueError:
        raise DataError(f"{key} of {path} is not a list of integers") from None
    if labels.ndim == 1 and len(labels) != count:
        raise DataError(
            f"{key} of {path} has {len(labels)} labels, but the training set has {count} images: take the files that "
            "belong together"
        )
    return files.check_labels(labels, count, num_classes, f"{key} of {path}")
