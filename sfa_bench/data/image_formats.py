"""Decode one image file to 8-bit RGB, and the formats that are read."""

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
    """A file that does not exist or is not a usable image; the message says why."""


@cache
def import_pillow() -> tuple[str, ...]:
    """Import Pillow and return the formats that are read. Pillow's warnings about size are off: `decode` has a limit of
    its own.
    """
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
    """The image in a file as RGB, uint8 [3, H, W]: the first frame of several, in full size and without transparency.

    Of 16 bits a channel the upper 8 remain in colour images; grey is rounded to 8 bits. CMYK, YCbCr, LAB and palettes
    become RGB as Pillow converts them. upright: apply the EXIF orientation (always applied in TIFF).

    Raises: BadImage for a file that is not an image, has more than `max_pixels` (before it is decoded), or has an
    unknown range of values (32-bit integers, floats); OSError where the file cannot be read.
    """
    with _opened(path, max_pixels) as image:
        # Pillow, and not torchvision's decoders, a little quicker but deprecated since 0.29: the pixels are the same.
        grey_range = _grey_range(image)
        turn = _turn(orientation(image, path)) if upright else None
        if grey_range is not None:
            image = _eight_bits(image, grey_range)
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        return torch.from_numpy(np.array(rgb if turn is None else rgb.transpose(turn))).permute(2, 0, 1)


def read_otherwise(path: Path) -> bool:
    """Whether the header has an orientation, or grey of more than 8 bits: such images were read differently before
    orientations were applied and 16 bits rounded. False for a file that is not an image.
    """
    try:
        with _opened(path, MOST_PIXELS) as image:
            return image.mode.startswith(("I", "F")) or _turn(orientation(image, path)) is not None
    except (BadImage, OSError):  # reported where its pixels are needed
        return False


def size(path: Path) -> tuple[int, int] | None:
    """Width and height by the header; None for a file that is not an image."""
    try:
        with _opened(path, MOST_PIXELS) as image:
            return image.size
    except (BadImage, OSError):
        return None


def orientation(image: Image, path: Path) -> int:
    """The EXIF orientation of an opened image, 1 (upright) to 8; 1 where there is none, or it cannot be read."""
    if image.format == "TIFF":  # Pillow turns it when it is loaded
        return 1
    if image.format == "PNG" and "exif" not in image.info and not _tells(path):
        return 1  # without decoding it, as Pillow would to look behind the pixels
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow's parsers have many ways to fail; an image with a torn EXIF is an image all the same
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
    """Open an image, reading only its header. Raises: BadImage for any failure inside, but an OSError of the disk as it
    is.
    """
    formats = import_pillow()
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=formats) as image:
            _check_size(image, max_pixels)
            yield image
    except (BadImage, MemoryError):
        raise
    except UnidentifiedImageError:
        raise BadImage("not a readable image") from None
    except FileNotFoundError:
        raise BadImage("there is no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(_too_large("more pixels than Pillow opens", max_pixels)) from None
    except Exception as error:  # every format has its own ways to fail on a broken file
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a failure of the disk or the network, not of the image
        raise BadImage(str(error) or type(error).__name__) from None


def _check_size(image: Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise BadImage(_too_large(f"{width:,}×{height:,} pixels", max_pixels))


def _too_large(claimed: str, max_pixels: int) -> str:
    return f"its header claims {claimed}, and dataset.max_pixels={max_pixels} is the limit"


def _grey_range(image: Image) -> int | None:
    """The value of white in grey images with more than 8 bits, None for other images. Raises BadImage where it is
    unknown.
    """
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        return 4095 if tags.get(BITS) == (12,) else 65535
    if image.mode == "I" and image.format == "PPM":  # which Pillow scales to 16 bits, whatever the file's maximum
        return 65535
    if image.mode.startswith(("I", "F")):
        kind = "floats" if image.mode.startswith("F") else "signed or 32-bit integers"
        raise BadImage(
            f"its pixels are {kind} (mode {image.mode}), whose black and white are unknown: save it with 8 bits, "
            "or grey with 16 bits without a sign"
        )
    return None


def _eight_bits(image: Image, white: int) -> Image:
    """Grey 0…white as 0…255, rounded; Pillow would clip it."""
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # 0 is white, which Pillow minds up to 8 bits only
        values = white - values
    return Image.fromarray(((255 * values + white // 2) // white).astype(np.uint8))
