"""One picture from one file: which formats are read, and how what is in them becomes 8-bit RGB."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sfa_bench.choices.options import MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

# Not read, though Pillow has an opener for them: EPS starts Ghostscript, FITS unpacks without a limit, IPTC wraps a
# file of any other format, and the rest are stubs that tell the format and decode nothing.
LEFT_OUT = {"EPS", "FITS", "IPTC", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
MOST_PIXELS = 2 * MAX_PIXELS  # of what Pillow opens
ORIENTATION = 0x0112  # EXIF's tag
BITS, PHOTOMETRIC = 258, 262  # TIFF's tags
# What can hold an orientation in a PNG, before or behind its pixels
PNG_TELLS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


class BadImage(Exception):
    """A file that is not there, or that holds no picture that can be used; the message says why."""


@cache
def import_pillow() -> tuple[str, ...]:
    """The formats that are read. What Pillow warns of by its own limit, `decode` refuses by the user's."""
    import warnings

    from PIL import Image

    Image.preinit()  # first, so that the usual formats are tried first
    Image.init()
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", "Corrupt EXIF data")  # then there is no orientation in it
    return tuple(name for name in Image.OPEN if name not in LEFT_OUT)


@cache
def endings() -> tuple[bytes, ...]:
    """How the names of image files end, in lower case: what Pillow registers for the formats that are read."""
    from PIL import Image

    formats = (*import_pillow(), "MPO")  # several JPEGs in one file, opened as the first of them
    return tuple(ending.encode() for ending, name in Image.registered_extensions().items() if name in formats)


def decode(path: Path, *, upright: bool = False, max_pixels: int = MAX_PIXELS) -> Tensor:
    """The picture in a file as RGB, uint8 [3, H, W]: the first frame of several, in full size and without transparency.

    Of 16 bits a channel remain the 8 upper ones of colour, and grey is rounded to 8. CMYK, YCbCr and LAB become RGB as
    Pillow converts them; a palette gives its colours. upright: turned as its EXIF orientation says (TIFF always is).

    Raises: BadImage for what is no picture, has more than `max_pixels` (before it is decoded), or has a range that
    nobody knows (32-bit integers, floats); OSError where the disk does not let it be read.
    """
    with _opened(path, max_pixels) as picture:
        # Pillow, and not torchvision's decoders, a little quicker but deprecated since 0.29: the pixels are the same.
        grey_range = _grey_range(picture)
        turn = _turn(orientation(picture, path)) if upright else None
        if grey_range is not None:
            picture = _eight_bits(picture, grey_range)
        rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
        return torch.from_numpy(np.array(rgb if turn is None else rgb.transpose(turn))).permute(2, 0, 1)


def read_otherwise(path: Path) -> bool:
    """Whether its header says that the picture is turned, or grey of more than 8 bits: so were read otherwise before
    orientations were applied and 16 bits rounded. False for what is no picture.
    """
    try:
        with _opened(path, MOST_PIXELS) as picture:
            return picture.mode.startswith(("I", "F")) or _turn(orientation(picture, path)) is not None
    except (BadImage, OSError):  # met again by who needs its pixels
        return False


def size(path: Path) -> tuple[int, int] | None:
    """Width and height by the header; None for what is no picture."""
    try:
        with _opened(path, MOST_PIXELS) as picture:
            return picture.size
    except (BadImage, OSError):
        return None


def orientation(picture: Image, path: Path) -> int:
    """EXIF's number from 1 (upright) to 8 of an opened picture; 1 where there is none, or none that can be read."""
    if picture.format == "TIFF":  # Pillow turns it when it is loaded
        return 1
    if picture.format == "PNG" and "exif" not in picture.info and not _tells(path):
        return 1  # without decoding it, as Pillow would to look behind the pixels
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow's parsers have many ways to fail; a picture with a torn EXIF is a picture all the same
        return 1


def _tells(path: Path) -> bool:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(tell) >= 0 for tell in PNG_TELLS)


def _turn(number: int) -> Transpose | None:
    from PIL.Image import Transpose as Turn

    return {
        2: Turn.FLIP_LEFT_RIGHT,
        3: Turn.ROTATE_180,
        4: Turn.FLIP_TOP_BOTTOM,
        5: Turn.TRANSPOSE,
        6: Turn.ROTATE_270,
        7: Turn.TRANSVERSE,
        8: Turn.ROTATE_90,
    }.get(number)


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image]:
    """The picture, of which only the header is read. Whatever fails inside is a BadImage, or the disk's OSError."""
    formats = import_pillow()
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=formats) as picture:
            _check_size(picture, max_pixels)
            yield picture
    except (BadImage, MemoryError):
        raise
    except UnidentifiedImageError:
        raise BadImage("no picture that can be read") from None
    except FileNotFoundError:
        raise BadImage("there is no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(_too_large("more pixels than Pillow opens", max_pixels)) from None
    except Exception as error:  # every format has its own ways to fail on a broken file
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's or the network's word, and not the picture's
        raise BadImage(str(error) or type(error).__name__) from None


def _check_size(picture: Image, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise BadImage(_too_large(f"{width:,}×{height:,} pixels", max_pixels))


def _too_large(claimed: str, max_pixels: int) -> str:
    return f"its header claims {claimed}, and dataset.max_pixels={max_pixels} is the limit"


def _grey_range(picture: Image) -> int | None:
    """The white of grey with more than 8 bits, None for other pictures. Raises BadImage where nobody knows it."""
    tags = getattr(picture, "tag_v2", {})
    if picture.mode.startswith("I;16"):
        return 4095 if tags.get(BITS) == (12,) else 65535
    if picture.mode == "I" and picture.format == "PPM":  # which Pillow scales to 16 bits, whatever the file's maximum
        return 65535
    if picture.mode.startswith(("I", "F")):
        kind = "floats" if picture.mode.startswith("F") else "signed or 32-bit integers"
        raise BadImage(
            f"its pixels are {kind} (mode {picture.mode}), of which nobody knows black and white: save it with 8 bits, "
            "or grey with 16 bits without a sign"
        )
    return None


def _eight_bits(picture: Image, white: int) -> Image:
    """Grey 0…white as 0…255, rounded; Pillow would clip it."""
    from PIL import Image

    values = np.asarray(picture).astype(np.int64)
    if getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # 0 is white, which Pillow minds up to 8 bits only
        values = white - values
    return Image.fromarray(((255 * values + white // 2) // white).astype(np.uint8))
