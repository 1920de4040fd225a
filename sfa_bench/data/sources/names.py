"""When two names of a class are one."""

from __future__ import annotations

import unicodedata


def one_name(text: str) -> str:
    """The name in composed Unicode (NFC): a copy over another system may have taken its letters apart."""
    return unicodedata.normalize("NFC", text)
