"""Mislabelled images in the page: one sheet for each set of them, within a budget."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from analysis.page.read import Extras, thumbs
from analysis.runs import Run

ACROSS = 8  # images in a line of a sheet


def sheets(
    runs: Sequence[Run], extras: Mapping[int, Extras], order: Sequence[int], budget: int
) -> tuple[dict[str, dict[str, Any]], list[str | None], int]:
    """Sheets in the order of the runs' importance, until the next would exceed the budget.

    Returns: sheets by name; the name of each run's sheet, None for none; the number of runs left out by the budget.
    """
    by_name: dict[str, dict[str, Any]] = {}
    refused: set[str] = set()
    names: list[str | None] = [None] * len(runs)
    used, left_out = 0, 0
    for position in order:
        images = extras[position].images
        if images is None:
            continue
        name = images.key[:16]
        if name not in by_name and name not in refused:
            sheet = _sheet(runs[position])
            # A sheet that does not fit closes the budget: which runs have images does not depend on their size.
            if sheet is None or refused or used + len(sheet["png"]) > budget:
                refused.add(name)
            else:
                by_name[name] = sheet
                used += len(sheet["png"])
        if name in by_name:
            names[position] = name
        else:
            left_out += 1
    return by_name, names, left_out


def _sheet(run: Run) -> dict[str, Any] | None:
    arrays = thumbs(run.path)
    if arrays is None:  # removed meanwhile
        return None
    image = arrays["image"]
    n, height, width, channels = image.shape
    down = -(-n // ACROSS)
    sheet = np.zeros((down * ACROSS, height, width, channels), np.uint8)
    sheet[:n] = image
    whole = sheet.reshape(down, ACROSS, height, width, channels).swapaxes(1, 2)
    whole = whole.reshape(down * height, ACROSS * width, channels)
    buffer = io.BytesIO()
    Image.fromarray(whole[..., 0] if channels == 1 else whole).save(buffer, "PNG", optimize=True)
    png = base64.b64encode(buffer.getvalue()).decode()
    return {"png": png, "across": ACROSS, "down": down, "width": width, "height": height, "count": n}
