"""`make-fake` of data sets that packages install."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pandas as pd
from PIL import Image

from sfa_bench.data.sources import elpv as elpv_source
from sfa_bench.data.sources import glyphs as glyphs_source
from sfa_bench.data.sources import mlbench, mnist5k
from sfa_bench.data.tools.fake import OFFICIAL_NAMES, Layout, Writer
from sfa_bench.errors import ConfigError

ALL_CHARACTERS = glyphs_source.CHARACTERS["alphanumeric"]
UNITS = 1000  # of a font's em


def _with_test(size: int) -> int:
    """Samples of a class of which about `size` are for training: every fifth is a test sample, and there is one."""
    return max(5, size + size // 4)


def mnist_5k(w: Writer) -> None:
    labels = np.repeat(np.arange(10), _with_test(w.size))  # in the order of the official file
    pixels = w.images(labels, mnist5k.SIDE, channels=1).reshape(len(labels), -1)
    buffer = io.StringIO()
    np.savetxt(buffer, np.column_stack([pixels, labels]), fmt="%d", delimiter=",")
    w.path(mnist5k.NAME).write_bytes(gzip.compress(buffer.getvalue().encode(), mtime=0))


def letter(w: Writer) -> None:
    _data_frame(w, "letter", [chr(ord("A") + number) for number in range(26)])


def shuttle(w: Writer) -> None:
    _data_frame(w, "shuttle", ["Rad.Flow", "Fpv.Close", "Fpv.Open", "High", "Bypass", "Bpv.Close", "Bpv.Open"])


def satellite(w: Writer) -> None:
    soils = ["red soil", "cotton crop", "grey soil", "damp grey soil", "vegetation stubble", "very damp grey soil"]
    _data_frame(w, "satellite", soils)


def _data_frame(w: Writer, choice: str, names: list[str]) -> None:
    """Gaussian classes of whole numbers, as the official features are."""
    try:
        from rdata import write_rda
    except ImportError:
        raise ConfigError("the Python package rdata writes files of R's: run `pip install rdata`") from None
    table = mlbench.TABLES[choice]
    labels = w.shuffled(len(names), _with_test(w.size))
    centres = w.generator.uniform(0, 100, (len(names), table.features))
    values = np.rint(centres[labels] + 10 * w.generator.standard_normal((len(labels), table.features)))
    frame = pd.DataFrame(values, columns=[f"x.{number}" for number in range(1, table.features + 1)])
    frame[table.labels] = pd.Categorical.from_codes(labels, categories=pd.Index(names))
    write_rda(w.path(table.file), {table.frame: frame}, compression="xz", format_version=2)


def glyphs(w: Writer) -> None:
    """Fonts with an outline for each letter and digit: polygons of their class, a little different in each font."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    corners = np.random.default_rng(0).integers(0, 8, (len(ALL_CHARACTERS), 4, 2))  # of the classes, in all fonts
    names = [".notdef", *(f"u{ord(character):04X}" for character in ALL_CHARACTERS)]
    fonts = -(-_with_test(w.size) // len(glyphs_source.SIZES))
    for number in range(max(glyphs_source.FOLDS, fonts)):
        font, outlines = FontBuilder(UNITS), {".notdef": TTGlyphPen(None).glyph()}
        for name, shape in zip(names[1:], corners, strict=True):
            pen = TTGlyphPen(None)
            points = 80 * shape + w.generator.integers(0, 60, shape.shape) + 20
            pen.moveTo(tuple(points[0].tolist()))
            for point in points[1:].tolist():
                pen.lineTo(tuple(point))
            pen.closePath()
            pen.moveTo((0, 0))  # a bar, so that no outline is empty
            for point in ((600, 0), (600, 60), (0, 60)):
                pen.lineTo(point)
            pen.closePath()
            outlines[name] = pen.glyph()
        font.setupGlyphOrder(names)
        font.setupCharacterMap(dict(zip(map(ord, ALL_CHARACTERS), names[1:], strict=True)))
        font.setupGlyf(outlines)
        font.setupHorizontalMetrics(dict.fromkeys(names, (700, 0)))
        font.setupHorizontalHeader(ascent=800, descent=-200)
        font.setupNameTable(
            {"familyName": f"Generated {number}", "styleName": "Regular", "version": f"Version 1.{number}"}
        )
        font.setupOS2()
        font.setupPost()
        font.setupHead(unitsPerEm=UNITS, created=0, modified=0)  # no date: equal seeds give equal files
        buffer = io.BytesIO()
        font.save(buffer)
        w.path(f"generated_{number:02}.ttf").write_bytes(buffer.getvalue())


def elpv(w: Writer) -> None:
    """Of either class a third of the labels are uncertain ones."""
    total = _with_test(w.size)
    thirds = w.generator.permutation([3 * label for label in (0, 1) for _ in range(total)] + [1, 2] * (total // 3))
    lines = []
    for number, third in enumerate(thirds.tolist(), start=1):
        name = f"images/cell{number:04}.png"
        side = elpv_source.ORIGINAL
        Image.fromarray(w.images(np.array([third > 1]), side, channels=1)[0, ..., 0]).save(w.path(name))
        lines.append(f"{name}  {third / 3!r:<20} {'mono' if number % 2 else 'poly'}")
    w.lines(elpv_source.NAME, lines)


MNIST5K = Layout(mnist_5k, 60, also=OFFICIAL_NAMES, long_tailed=True)
LETTER = Layout(letter, 40, also=OFFICIAL_NAMES, long_tailed=True)
SHUTTLE = Layout(shuttle, 40, also=OFFICIAL_NAMES)
SATELLITE = Layout(satellite, 40, also=OFFICIAL_NAMES, long_tailed=True)
GLYPHS = Layout(glyphs, 40, also=("dataset.fonts=own",), long_tailed=True)
ELPV = Layout(elpv, 20, also=OFFICIAL_NAMES)
