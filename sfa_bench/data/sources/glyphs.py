"""Letters and digits drawn with the fonts of Debian's packages (algorithms/data.md §12). Clean labels are exact."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.data.sources import files, packages
from sfa_bench.data.sources.contents import Contents, Files, file
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from fontTools.ttLib import TTFont

    from sfa_bench.choices.sources import DatasetConfig

DEBIAN_FOLDER = Path("/usr/share/fonts")
CHARACTERS = {
    "upper": string.ascii_uppercase,
    "letters": string.ascii_uppercase + string.ascii_lowercase,
    "alphanumeric": string.digits + string.ascii_uppercase + string.ascii_lowercase,
}
SIDE = 28
SIZES = (18, 19, 20, 21, 22)  # pixels of an em
BASELINE = 20  # row
FOLDS = 5  # every fifth font is a test font

_OBLIQUE = ("Bold", "BoldOblique", "Oblique", "")
_ITALIC = ("Bold", "BoldItalic", "Italic", "")
_REGULAR = ("Bold", "BoldItalic", "Italic", "Regular")
_STYLES = {
    "DejaVuSans": (*_OBLIQUE, "ExtraLight"),
    "DejaVuSansCondensed": _OBLIQUE,
    "DejaVuSansMono": _OBLIQUE,
    "DejaVuSerif": _ITALIC,
    "DejaVuSerifCondensed": _ITALIC,
    "FreeMono": _OBLIQUE,
    "FreeSans": _OBLIQUE,
    "FreeSerif": _ITALIC,
    "LiberationMono": _REGULAR,
    "LiberationSans": _REGULAR,
    "LiberationSerif": _REGULAR,
    "C059": ("BdIta", "Bold", "Italic", "Roman"),
    "NimbusMonoPS": _REGULAR,
    "NimbusRoman": _REGULAR,
    "NimbusSans": _REGULAR,
    "NimbusSansNarrow": ("Bold", "BoldOblique", "Oblique", "Regular"),
    "P052": ("Bold", "BoldItalic", "Italic", "Roman"),
    "URWBookman": ("Demi", "DemiItalic", "Light", "LightItalic"),
    "URWGothic": ("Book", "BookOblique", "Demi", "DemiOblique"),
    "Z003": ("MediumItalic",),
}


def _file_name(family: str, style: str) -> str:
    joint = "" if family.startswith("Free") or not style else "-"
    return f"{family}{joint}{style}.{'ttf' if family.startswith(('DejaVu', 'Free', 'Liberation')) else 'otf'}"


FONTS = tuple(_file_name(family, style) for family, styles in _STYLES.items() for style in styles)


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """Images [28, 28, 1] of each character in each font and size, by font, size, character. Every fifth font is a test
    font: no image of it is trained on.
    """
    characters = CHARACTERS[dataset.characters]
    fonts = _fonts(dataset, data_dir)
    notes, versions = [], {}
    drawn = np.empty((len(fonts), len(SIZES), len(characters), SIDE, SIDE, 1), dtype=np.uint8)
    cut = 0
    for place, (name, path) in enumerate(fonts.items()):
        versions[name] = _version(path, characters)
        for row, size in enumerate(SIZES):
            drawn[place, row, ..., 0], outside = draw(path, size, characters)
            cut += outside
    if cut:
        notes.append(f"{cut:,} of {drawn[..., 0, 0, 0].size:,} characters are cut off at the edge of their image")
    test = np.arange(len(fonts)) % FOLDS == FOLDS - 1

    def part(which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = drawn[which].reshape(-1, SIDE, SIDE, 1)
        return images, np.tile(np.arange(len(characters)), len(images) // len(characters))

    train_images, train_labels = part(~test)
    test_images, test_labels = part(test)
    mean, std = files.pixel_statistics(train_images)
    return Source(
        train_images,
        train_labels,
        test_images,
        test_labels,
        num_classes=len(characters),
        mean=mean,
        std=std,
        padding=2,
        flip=False,
        class_names=tuple(characters),
        notes=tuple(notes),
        drawn_with={**_libraries(), "sizes": " ".join(map(str, SIZES)), **versions},
    )


def draw(path: Path, size: int, characters: str) -> tuple[np.ndarray, int]:
    """White characters on black, uint8 [K, 28, 28], on one baseline and centred by their advance width; and how many do
    not fit.

    Raises: DataError where a character leaves no mark, or the font cannot be read.
    """
    from PIL import Image, ImageDraw, ImageFont

    try:
        # The layout by FreeType alone: Raqm's, where it is there, would place some characters otherwise.
        font = ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise DataError(f"{path} cannot be read as a font ({error})") from None
    images, outside = np.empty((len(characters), SIDE, SIDE), dtype=np.uint8), 0
    for image, character in zip(images, characters, strict=True):
        canvas, at = Image.new("L", (SIDE, SIDE)), (SIDE // 2, BASELINE)
        ImageDraw.Draw(canvas).text(at, character, fill=255, font=font, anchor="ms")
        image[:] = np.asarray(canvas)
        if not image.any():
            raise DataError(f"{path} draws nothing for {character!r} at {size} pixels: leave this font out")
        left, top, right, bottom = font.getbbox(character, anchor="ms")
        outside += at[0] + left < 0 or at[1] + top < 0 or at[0] + right > SIDE or at[1] + bottom > SIDE
    return images, outside


def _fonts(dataset: DatasetConfig, data_dir: Path) -> Mapping[str, Path]:
    """Name → file of each font, in the order of FONTS or of the names. Raises: DataError."""
    there = _below(_folder(dataset, data_dir))
    if dataset.fonts == "debian":
        if lacking := [name for name in FONTS if name not in there]:
            raise packages.missing(dataset.source, data_dir, _some(lacking))
        return {name: there[name] for name in FONTS}
    if len(there) < FOLDS:
        raise DataError(
            f"dataset.fonts=own takes all .ttf and .otf files below data_dir={data_dir}, and there are {len(there)}: "
            f"give a folder with {FOLDS} or more, or leave dataset.fonts out for those of Debian"
        )
    return dict(sorted(there.items()))


def _folder(dataset: DatasetConfig, data_dir: Path) -> Path:
    """Where the fonts lie. The default of `data_dir` is not searched for Debian's: it may hold millions of images."""
    return DEBIAN_FOLDER if dataset.fonts == "debian" and packages.is_default(data_dir) else data_dir


def _below(folder: Path) -> dict[str, Path]:
    """Fonts by the names of their files; of two of one name, the one whose path is the first."""
    paths = sorted((path for path in folder.rglob("*") if path.suffix.lower() in (".ttf", ".otf")), reverse=True)
    return {path.name: path for path in paths}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more fonts" if len(names) > 3 else "")


def _version(path: Path, characters: str) -> str:
    """What a font says of its version. Raises: DataError where it lacks one of the characters."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            covered = font.getBestCmap() or {}
            version = _named_version(font)
    except (TTLibError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a font ({error})") from None
    if lacking := [character for character in characters if ord(character) not in covered]:
        raise DataError(f"{path} has no {lacking[0]!r}: leave this font out, or choose other dataset.characters")
    return version


def _named_version(font: TTFont) -> str:
    return str(font["name"].getDebugName(5) or "unknown").strip()


def _libraries() -> dict[str, str]:
    from PIL import __version__, features

    return {"Pillow": __version__, "FreeType": str(features.version("freetype2"))}


def _look(dataset: DatasetConfig, contents: Contents) -> None:
    there = _below(_folder(dataset, contents.root))
    names = FONTS if dataset.fonts == "debian" else sorted(there)
    contents.items += [file(there.get(name, contents.root / name), contents.root) for name in names]


FILES = Files(
    tree=f"""\
DATA_DIR/                        and all folders below; or Debian's packages
└── {FONTS[0]} …      {len(FONTS)} fonts; with dataset.fonts=own all .ttf and .otf files""",
    where="Debian's packages fonts-dejavu-core, fonts-dejavu-extra, fonts-freefont-ttf, fonts-liberation and "
    "fonts-urw-base35",
    look=_look,
)
