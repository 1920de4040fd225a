"""The page of `describe`: one HTML file with figures, counts and sample images, which loads nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from sfa_bench.config.schema import RunConfig
from sfa_bench.data.images import BadImage, ImageFiles
from sfa_bench.data.tools import figures
from sfa_bench.data.tools.describe import Description, columns, refuse_full, sentences
from sfa_bench.data.types import Images
from sfa_bench.store.atomic import write_bytes
from sfa_bench.store.folder import writing
from sfa_bench.streams import numpy_generator

MOST_CLASSES = 20  # with images
A_CLASS = 10  # images
THUMB = 96  # pixels at most
CSS = """
:root { color-scheme: light; --ink: #16191d; --quiet: #555d66; --line: #d5d9dd; --noisy: #d55e00; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem 1.5rem 4rem; background: #fff; color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.375rem; } h2 { font-size: 1.125rem; margin: 2rem 0 .5rem; }
p, ul { max-width: 75ch; overflow-wrap: anywhere; } code { font-size: .875rem; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; }
.quiet, figcaption { color: var(--quiet); font-size: .875rem; }
.scroll { overflow-x: auto; max-height: 40rem; overflow-y: auto; border-block: 1px solid var(--line); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9375rem; }
th, td { padding: .25rem .75rem; text-align: right; }
thead th { position: sticky; top: 0; background: #fff; border-bottom: 1px solid var(--line); }
.line { display: flex; flex-wrap: wrap; gap: .5rem; align-items: flex-start; padding: .5rem 0;
  border-top: 1px solid var(--line); }
.line > b { width: 5.5rem; font-weight: 600; font-size: .875rem; }
.image { margin: 0; width: 5rem; font-size: .75rem; line-height: 1.3; text-align: center; }
.image img { display: block; width: 4.5rem; height: 4.5rem; object-fit: contain; margin: 0 auto .125rem;
  padding: 3px; border: 3px solid transparent; background: #eceef0 content-box; }
.image img.small { image-rendering: pixelated; }
.image.noisy img { border-color: var(--noisy); }
.image.noisy span { color: #a34700; font-weight: 600; }
"""


def write(description: Description, config: RunConfig, command: str, folder: Path) -> list[Path]:
    """The figures as SVG and PNG, and a page that needs no other file. Returns what was written.

    Raises: ConfigError where the folder holds anything, RunError when the disk fails.
    """
    refuse_full(folder)
    drawn = figures.draw(description)
    files = {f"{name}.{ending}": content for name, kinds in drawn.items() for ending, content in kinds.items()}
    svgs = {name: kinds["svg"] for name, kinds in drawn.items()}
    files["index.html"] = render(description, config.data_seed, svgs, command).encode()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_bytes(folder / name, content)
    return [folder / name for name in files]


def render(description: Description, data_seed: int, svgs: Mapping[str, bytes], command: str) -> str:
    """The whole page. svgs: the figures by name; command: what made it."""
    facts = "".join(f"<li>{escape(line)}</li>" for line in sentences(description))
    parts = [
        f"<h1>{escape(description.title)}</h1><ul>{facts}</ul>",
        f'<p class="quiet">made by <code>{escape(command)}</code></p>',
        "<h2>Classes</h2>",
        _figure(svgs["counts"], "Training samples of each class in the files, and as clean and observed labels."),
        _table(description),
        "<h2>Which label became which</h2>",
    ]
    if "confusion" in svgs:
        parts.append(_figure(svgs["confusion"], "Of the samples of each clean class (row), percent observed as each."))
    else:
        parts.append("<p>The clean labels are unknown, so the confusion matrix is unknown.</p>")
    parts += ["<h2>Images</h2>", _images(description, data_seed)]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    title = f"<title>{escape(description.title)}</title>"
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}{title}<style>{CSS}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _figure(svg: bytes, caption: str) -> str:
    # as an image, not inline: ids of two inline figures would clash
    address = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    return f'<figure><img src="{address}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'


def _table(description: Description) -> str:
    counts, texts = columns(description)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("class", *counts, *texts))
    rows = []
    for label in range(len(description.before)):
        cells = [f"{values[label]:,}" for values in counts.values()] + [values[label] for values in texts.values()]
        shown = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{_numbered(description, label)}</th>{shown}</tr>')
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _numbered(description: Description, label: int) -> str:
    """The class's number, as on the figures' axes, and its name where there is one."""
    names = description.data.class_names
    return str(label) if names is None else f"{label} {escape(names[label])}"


def _images(description: Description, data_seed: int) -> str:
    data = description.data
    if isinstance(data.view.images, Tensor) and data.view.images.is_floating_point():
        return "<p>These data are vectors: there are no images to show.</p>"
    observed = data.view.observed_labels.numpy()
    lines = sample(observed, data.observed_counts, data_seed)
    known = bool((data.clean_labels >= 0).any())
    told = (
        "A frame and ≠ mark noisy labels; the clean label stands after ≠."
        if known
        else "It is unknown which labels are noisy."
    )
    few = len(lines) < np.count_nonzero(data.observed_counts)
    which = f"each of {len(lines)} classes, from the largest to the smallest" if few else "each class"
    intro = f"<p>Drawn at random among the samples observed as {which}. {told}</p>"
    return intro + "".join(_line(description, label, rows) for label, rows in lines.items())


def sample(observed: np.ndarray, counts: np.ndarray, data_seed: int) -> dict[int, np.ndarray]:
    """Class → positions of some samples observed as it, drawn at random, clean or not.

    All classes that have samples, or 20 of them evenly spread over the order of their size.
    """
    classes = np.flatnonzero(counts)
    if len(classes) > MOST_CLASSES:
        ranked = classes[np.argsort(-counts[classes], kind="stable")]
        classes = ranked[np.linspace(0, len(ranked) - 1, MOST_CLASSES).round().astype(int)]
    generator = numpy_generator(data_seed, "describe")
    drawn = {}
    for label in classes.tolist():
        rows = np.flatnonzero(observed == label)
        drawn[label] = generator.choice(rows, min(A_CLASS, len(rows)), replace=False)
    return drawn


def _line(description: Description, label: int, rows: np.ndarray) -> str:
    clean, name = description.data.clean_labels[rows].tolist(), escape(description.data.class_label(label))
    cells = []
    for image, truth in zip(thumbnails(description.data.view.images, rows), clean, strict=True):
        wrong = truth not in (-1, label)
        true_name = "" if truth == -1 else escape(description.data.class_label(truth))
        words = f"{name} ≠ {true_name}" if wrong else name
        alt = f"observed as {name}" + (f", clean label {true_name}" if true_name else "")
        small = ' class="small"' if max(image.size) < THUMB // 2 else ""
        tag = f'<img{small} src="{address(image)}" alt="{alt}" title="{alt}">'
        cells.append(f'<figure class="image{" noisy" if wrong else ""}">{tag}<span>{words}</span></figure>')
    count = int(description.data.observed_counts[label])
    return f'<div class="line"><b>class {name}<br><span class="quiet">{count:,}</span></b>{"".join(cells)}</div>'


def address(image: Image.Image) -> str:
    """The image as the address of itself, `data:image/…`."""
    buffer = io.BytesIO()
    if max(image.size) < THUMB // 2:
        image.save(buffer, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def thumbnails(images: Images, rows: np.ndarray) -> Sequence[Image.Image]:
    """Thumbnails of at most 96 pixels of the whole images, not of views."""
    if isinstance(images, ImageFiles):
        return [_opened(images, int(row)) for row in rows]
    thumbs = []
    for pixels in images[rows.tolist()].permute(0, 2, 3, 1).numpy():
        channels = pixels.shape[-1]
        image = Image.fromarray(pixels[..., :3] if channels >= 3 else pixels[..., 0])
        image.thumbnail((THUMB, THUMB))
        thumbs.append(image)
    return thumbs


def _opened(images: ImageFiles, row: int) -> Image.Image:
    try:
        image = Image.fromarray(images.decoded(row).permute(1, 2, 0).numpy())
    except (BadImage, OSError):  # reported by `check --images`; here it is a grey square
        return Image.new("RGB", (THUMB, THUMB), "grey")
    image.thumbnail((THUMB, THUMB))
    return image
