"""Encode data for the page: columns instead of rows, compressed where they are large, and text escaped."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from analysis.values import ABSENT, SAFE, TEXT, Value

SIGNIFICANT = 5  # digits of a result in a run's details; configurations and means are given in full


def typed(value: Value) -> Any:
    """A configuration's value for the page: a number, true, false or null as such, everything else as it is shown."""
    whole = isinstance(value.plain, int) and abs(value.plain) > SAFE
    return str(value) if whole or value.kind in (TEXT, ABSENT) else value.plain


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows as columns, each in the shortest of three forms.

    Returns: key -> {"all": value} where every row has this one value; {"of": values, "at": position of each row's
        value, -1 where a row lacks the key}; {"each": values} where most differ.
    """
    return {key: column([row.get(key, _ABSENT) for row in rows]) for key in dict.fromkeys(k for r in rows for k in r)}


_ABSENT = object()


def column(values: Sequence[Any]) -> dict[str, Any]:
    """One column in its shortest form."""
    distinct: dict[str, int] = {}
    of: list[Any] = []
    at: list[int] = []
    for value in values:
        if value is _ABSENT:
            at.append(-1)
            continue
        # By their text: 1, 1.0 and True are equal, but not the same value of an option.
        position = distinct.setdefault(repr(value), len(of))
        if position == len(of):
            of.append(value)
        at.append(position)
    if len(of) == 1 and -1 not in at:
        return {"all": of[0]}
    return {"each": list(values)} if 2 * len(of) > len(values) and -1 not in at else {"of": of, "at": at}


def rounded(value: Any, digits: int = SIGNIFICANT) -> Any:
    """Floats to that many significant digits, in lists and mappings too."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return {key: rounded(item, digits) for key, item in value.items()} if isinstance(value, dict) else value


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def packed(text: str) -> str:
    """gzip as base64; the same text gives the same characters."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def in_script(value: Any) -> str:
    """JSON for a `<script>` element: no value can end the element or start a comment in it."""
    text = compact(value)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def page(index: Any, blobs: Mapping[str, str]) -> bytes:
    """The file: template, style and program, the index as JSON and each blob in an element of its own."""
    here = files("analysis.page")
    template, style, program = (here.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    data = "\n".join(f'<script type="text/plain" id="{name}">{blob}</script>' for name, blob in blobs.items())
    parts = {"style": style, "program": program, "index": in_script(index), "blobs": data}
    parts |= {"style_hash": _hash(style), "program_hash": _hash(program)}
    # One pass, so that the content of a value is never taken for a placeholder.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template).encode()


def _hash(text: str) -> str:
    """The hash of an element's content for a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
