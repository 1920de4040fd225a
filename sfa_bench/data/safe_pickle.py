"""Read CIFAR's pickles without executing anything (explanation/rules.md §5)."""

from __future__ import annotations

import codecs
import io
import pickle
from typing import Any

import numpy as np


class RefusedPickle(Exception):
    """The pickle asks for something that an array file does not need; nothing was executed."""


def _encode(text: str, encoding: str) -> bytes:
    # old protocols write bytes as text in latin1; other codecs are none of a data file's business
    if encoding != "latin1":
        raise RefusedPickle(f"it asks for the codec {encoding!r}")
    return codecs.encode(text, "latin1")


# NumPy 1 and 2 name the same two functions differently, and keep them in private modules: take them from an array
_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_FROMBUFFER = np.zeros(1).__reduce_ex__(5)[0]

ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _FROMBUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROMBUFFER,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise RefusedPickle(f"it asks for {module}.{name}")
        return ADMITTED[module, name]


def load_arrays(content: bytes) -> Any:
    """Unpickle plain types and NumPy arrays (written by Python 2 or 3, NumPy 1 or 2, any protocol).

    Raises: RefusedPickle when anything else is asked for; whatever `pickle` raises on broken content.
    """
    return _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
