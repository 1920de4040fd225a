"""The contact sheet: one HTML file with the suspects' images in it, on which a person decides by keyboard. It loads
nothing, and gives the decisions as a CSV.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from sfa_bench.data.tools.page import address, thumbnails
from sfa_bench.data.types import Images
from sfa_bench.errors import ConfigError

MOST = 5000  # images of a page


def page(frame: pd.DataFrame, images: Images, at: np.ndarray, classes: list[str], title: str) -> bytes:
    """The page.

    Args: frame of suspects [n], see `suspects.suspects`; the images of their data set, and where the suspects are among
    them [n]; names of all classes [K]. Raises: ConfigError for data that are no images.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3, 4):
        raise ConfigError("--sheet shows images, and these data are none that can be shown: leave it out")
    columns = ["index", "path", "given", "suggested", "clean_probability", "suggested_probability", "class_size"]
    rows: list[dict[Any, Any]] = frame[columns].to_dict("records")
    for row, image in zip(rows, thumbnails(images, at), strict=True):
        row["image"] = address(image)
    key = json.dumps([title, [[row["index"], row["given"]] for row in rows]])
    data = {
        "title": title,
        # Decisions that the browser keeps belong to these suspects alone.
        "key": f"sfa-bench suspects {hashlib.sha256(key.encode()).hexdigest()[:16]}",
        "classes": classes,
        "rows": rows,
    }
    here = files("sfa_bench.labels")
    style, program = ((here / name).read_text(encoding="utf-8") for name in ("sheet.css", "sheet.js"))
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    html = (here / "sheet.html").read_text(encoding="utf-8")
    for name, content in (
        ("style_hash", _hash(style)),
        ("program_hash", _hash(program)),
        ("style", style),
        ("program", program),
        ("data", text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")),  # last: it may hold anything
    ):
        html = html.replace("{{" + name + "}}", content)
    return html.encode()


def _hash(text: str) -> str:
    """What the page's policy admits, and nothing else: a script by its content."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
