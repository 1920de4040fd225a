"""Class names: when two are equal, and lists of them beside the images."""

from __future__ import annotations

import unicodedata
from pathlib import Path

LARGEST = 10_000_000  # bytes of a list of names


def one_name(text: str) -> str:
    """The name in composed Unicode (NFC): copying over another system may have decomposed its letters."""
    return unicodedata.normalize("NFC", text)


def listed_names(path: Path, count: int) -> tuple[str, ...] | None:
    """The first `count` lines of a list of classes; None where there is no such list beside the images."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[:count]
    names = tuple(one_name(line.strip()) for line in lines)
    return names if len(names) == count and all(names) else None
