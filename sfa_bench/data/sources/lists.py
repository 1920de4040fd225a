"""Text files that list images: `<relative path> <class>`, or paths alone (algorithms/data.md §2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sfa_bench.data.sources.image_files import RefusedName, safe_name
from sfa_bench.errors import DataError

BLOCK = 100_000  # names are packed so often: as Python objects a million take three times as much memory
MAX_DIGITS = 9
SHOWN = 80


def read_labelled(path: Path, num_classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Names bytes [N] and classes int64 [N] in the order of the file, one entry a line even where a path comes twice.

    The class follows the last blank of a line, so that paths may have blanks. Windows' line ends and a byte order mark
    are accepted. Raises: DataError naming the first line that is blank, has no class or one outside of
    0…num_classes-1 (None: no upper end), or whose path is not a safe one; and where the file cannot be read.
    """
    labels: list[int] = []

    def take(line: bytes) -> bytes:
        name, *last = line.rsplit(None, 1)
        if not last:
            raise RefusedName("there is no class")
        name, label = safe_name(name), last[0]
        if not label.isdigit():
            raise RefusedName("what follows the path is not a class, an integer from 0")
        if len(label) > MAX_DIGITS or (num_classes is not None and int(label) >= num_classes):
            end = "" if num_classes is None else f", which are 0…{num_classes - 1}"
            raise RefusedName(f"the class is out of range{end}")
        labels.append(int(label))
        return name

    names = read_lines(path, take, "<relative path> <class>")
    return names, np.array(labels, dtype=np.int64)


def read_names(path: Path) -> np.ndarray:
    """Names bytes [N] in the order of the file, one a line; line ends and refusals as in `read_labelled`."""
    return read_lines(path, safe_name, "a relative path")


def read_lines(path: Path, take: Callable[[bytes], bytes], form: str) -> np.ndarray:
    """Names bytes [N], which `take` gets from the lines. form: of a line, for messages.

    Raises: DataError naming the first line that `take` refuses (RefusedName), and where the file cannot be read.
    """
    blocks: list[np.ndarray] = []
    block: list[bytes] = []
    refused, first = 0, ""
    try:
        with open(path, "rb") as lines:
            for number, raw in enumerate(lines, 1):
                line = (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).strip()
                try:
                    if not line:
                        raise RefusedName("the line is blank")
                    block.append(take(line))
                except RefusedName as reason:
                    first = first or f"line {number:,} of {path} is refused: {reason} ({_show(line)})"
                    refused += 1
                if len(block) == BLOCK:
                    blocks.append(np.array(block))
                    block = []
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if refused:
        more = f"; so are {refused - 1:,} more lines" if refused > 1 else ""
        raise DataError(f"{first}{more}; a line is {form}")
    if block:
        blocks.append(np.array(block))
    if not blocks:
        raise DataError(f"{path} is empty; a line is {form}")
    return np.concatenate(blocks)


def _show(line: bytes) -> str:
    """A line of a file for a message: short, and without characters that would act on a terminal."""
    text = line.decode(errors="backslashreplace")
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
