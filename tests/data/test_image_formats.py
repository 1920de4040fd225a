"""What is in a file becomes 8-bit RGB: held to Pillow's own conversions, and to ramps whose values are known."""

import io
import struct
import subprocess
import zlib
from dataclasses import replace

import numpy as np
import pytest
import small_images
from PIL import Image, ImageOps

from sfa_bench.data import cache
from sfa_bench.data.image_formats import BadImage, decode, endings, import_pillow, orientation, read_otherwise

RAMP = np.linspace(0, 65535, 64 * 4).round().astype(np.uint16).reshape(4, 64)
EXPECTED = np.rint(RAMP / 257)  # 8 bits of it, mean 127.5
ORIENTATION = 0x0112
MODES = (
    "1 png, 1 tif, L tif, LA png, P tif, RGBA tif, CMYK tif, CMYK jpg, YCbCr tif, LAB tif, L jpg, RGB ppm, RGB tga, "
    "RGB jp2"
)


def grey(path, **options):
    """The one value of each pixel, [H, W]; all channels are the same."""
    found = decode(path, **options).numpy()
    assert (found == found[0]).all()
    return found[0]


def tiff(path, values, bits, *, photometric=1, sample_format=1):
    """An uncompressed TIFF of one strip: little-endian values uint or float [H, W], 12 bits packed."""
    height, width = values.shape
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        data = bytes(b for a, c in pairs for b in (a >> 4, (a & 15) << 4 | c >> 8, c & 255))
    else:
        data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8 + 2 + 12 * 10 + 4}
    tags |= {277: 1, 278: height, 279: len(data), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data)
    return path


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("ending", ["png", "pgm", "tif", "jp2"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(tmp_path, ending):
    path = saved(tmp_path / f"a.{ending}", Image.fromarray(RAMP))
    assert np.abs(grey(path) - EXPECTED).max() == 0
    assert grey(path).mean() == pytest.approx(127.5, abs=0.01)


def test_grey_of_12_bits_and_grey_with_a_white_zero_are_scaled_by_what_the_file_says(tmp_path):
    ramp = np.arange(4096, dtype=np.uint16).reshape(32, 128)
    assert grey(tiff(tmp_path / "a.tif", ramp, 12)).tolist() == np.rint(ramp.astype(float) * 255 / 4095).tolist()
    assert grey(tiff(tmp_path / "b.tif", RAMP, 16)).tolist() == EXPECTED.tolist()
    assert grey(tiff(tmp_path / "c.tif", RAMP, 16, photometric=0)).tolist() == np.rint((65535 - RAMP) / 257).tolist()


def test_a_pgms_own_maximum_is_white(tmp_path):
    values = np.array([[0, 250, 500, 1000]], dtype=">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 1000\n" + values.tobytes())
    assert grey(tmp_path / "a.pgm").tolist() == [[0, 64, 128, 255]]


@pytest.mark.parametrize(
    ("values", "bits", "sample_format", "mode"),
    [
        (RAMP.astype(np.float32) / 65535, 32, 3, "F"),
        (RAMP.astype(np.float32), 32, 3, "F"),
        (RAMP.astype(np.uint32), 32, 1, "I"),
        (RAMP.astype(np.int32), 32, 2, "I"),
        ((RAMP // 2).astype(np.int16), 16, 2, "I"),
    ],
)
def test_pixels_whose_range_nobody_knows_are_refused_with_a_sentence(tmp_path, values, bits, sample_format, mode):
    path = tiff(tmp_path / "a.tif", values, bits, sample_format=sample_format)
    with pytest.raises(BadImage, match=rf"mode {mode}\), whose black and white are unknown: save it with 8 bits"):
        decode(path)


def test_a_float_map_is_refused(tmp_path):
    with pytest.raises(BadImage, match="its pixels are floats"):
        decode(saved(tmp_path / "a.pfm", Image.fromarray(RAMP.astype(np.float32))))


@pytest.mark.parametrize(
    ("mode", "ending"),
    [tuple(one.split()) for one in MODES.split(", ")],
)
def test_other_modes_become_what_pillow_makes_of_them(tmp_path, mode, ending):
    if mode == "LAB":
        image = Image.merge("LAB", [Image.fromarray(small_images.colours(k, 30, 20)[..., 0]) for k in range(3)])
    else:
        image = Image.fromarray(small_images.colours(0, 30, 20)).convert(mode)
    path = saved(tmp_path / f"a.{ending}", image)
    with Image.open(path) as opened:
        assert opened.mode == mode
        expected = np.asarray(opened.convert("RGB"))
    assert decode(path).permute(1, 2, 0).numpy().tolist() == expected.tolist()


def test_transparency_is_passed_over(tmp_path):
    colours = small_images.colours(0, 30, 20)
    alpha = np.full((20, 30, 1), 40, np.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(np.concatenate([colours, alpha], axis=2)))
    assert decode(path).permute(1, 2, 0).numpy().tolist() == colours.tolist()
    palette = Image.fromarray(colours).quantize(16)
    path = saved(tmp_path / "b.png", palette, transparency=palette.getpixel((0, 0)))
    assert decode(path).permute(1, 2, 0).numpy().tolist() == np.asarray(palette.convert("RGB")).tolist()


@pytest.mark.parametrize("ending", ["gif", "tif", "webp", "png", "mpo"])
def test_of_several_frames_the_first_is_taken(tmp_path, ending):
    frames = [Image.fromarray(np.full((20, 30, 3), value, np.uint8)) for value in (200, 20)]
    path = saved(tmp_path / f"a.{ending}", frames[0], save_all=True, append_images=frames[1:])
    assert np.abs(decode(path).numpy().astype(int) - 200).max() <= 2


def turned(number):
    exif = Image.Exif()
    exif[ORIENTATION] = number
    return exif


def late(content):
    """The same PNG, its EXIF behind its pixels, as some programs write it."""
    at, chunks = 8, []
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        chunks.append(content[at:end])
        at = end
    exif = [chunk for chunk in chunks if chunk[4:8] == b"eXIf"]
    return content[:8] + b"".join([c for c in chunks[:-1] if c not in exif] + exif + chunks[-1:])


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "late.png", "webp", "tif"])
def test_an_orientation_is_applied_where_it_is_asked_for(tmp_path, ending, number):
    image = Image.fromarray(small_images.colours(0, 30, 20))
    path = saved(tmp_path / f"a.{ending}", image, exif=turned(number))
    if ending == "late.png":
        path.write_bytes(late(path.read_bytes()))
    with Image.open(path) as opened:
        assert opened.getexif().get(ORIENTATION, 1) == number
        upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert upright.shape == ((20, 30, 3) if number < 5 else (30, 20, 3))
    assert decode(path, upright=True).permute(1, 2, 0).numpy().tolist() == upright.tolist()
    if ending != "tif":  # which Pillow turns by itself
        assert decode(path).shape == (3, 20, 30)
        assert read_otherwise(path) == (number > 1)
    else:
        assert decode(path).permute(1, 2, 0).numpy().tolist() == upright.tolist()
        assert not read_otherwise(path)


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0nothing", b"Exif\0\0" + bytes(40)])
def test_an_image_with_an_exif_that_cannot_be_read_is_an_image(tmp_path, exif):
    path = saved(tmp_path / "a.jpg", Image.fromarray(small_images.colours(0, 30, 20)), exif=exif)
    assert decode(path, upright=True).shape == (3, 20, 30)
    assert not read_otherwise(path)


def test_a_plain_png_is_not_decoded_to_look_for_an_orientation(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.fromarray(small_images.colours(0, 30, 20)))
    with Image.open(path) as opened:
        monkeypatch.setattr(type(opened), "load", lambda self: pytest.fail("it is decoded"))
        assert orientation(opened, path) == 1


def test_the_identity_of_images_changes_only_where_they_are_read_otherwise(tmp_path):
    images = small_images.write(tmp_path, 5)
    plain = [array.tobytes() for array in cache.identity(images)]
    owned = replace(images, upright=True)
    assert [array.tobytes() for array in cache.identity(owned)] == plain
    Image.fromarray(small_images.colours(3, 24, 40)).save(tmp_path / "003.jpg", exif=turned(6))
    owned = replace(small_images.files(tmp_path, [f"{i:03d}.jpg" for i in range(5)]), upright=True)
    assert list(cache.identity(owned))[-1].tolist() == [3]
    assert len(list(cache.identity(owned))) == len(plain) + 1
    kept, _ = cache.prepare(owned, "train", cache.Making(tmp_path / "kept", "on", 0))
    assert list(cache.identity(kept))[-1].tolist() == [3]
    some = np.array([4, 3, 1])
    assert list(cache.identity(kept[some]))[-1].tolist() == list(cache.identity(owned[some]))[-1].tolist() == [1]
    assert kept.read(3).shape != images.read(3).shape  # turned


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def bomb(path, width, height, rows=None):
    """A PNG of grey zeros; with fewer rows of pixels than its header claims where `rows` says so."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 1) * (height if rows is None else rows)), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return path


def test_an_image_is_refused_by_the_size_that_its_header_claims_and_never_decoded(tmp_path, monkeypatch):
    path = bomb(tmp_path / "a.png", 100, 120)
    assert decode(path, max_pixels=12_000).shape == (3, 120, 100)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("it is decoded"))
    with pytest.raises(BadImage, match=r"claims 100×120 pixels, and dataset\.max_pixels=11999 is the limit"):
        decode(path, max_pixels=11_999)


@pytest.mark.parametrize(
    ("side", "words"), [(10_000, "10,000×10,000 pixels"), (20_000, "more pixels than Pillow opens")]
)
def test_pillows_own_limit_is_no_traceback_and_no_warning(tmp_path, recwarn, side, words):
    path = bomb(tmp_path / "a.png", side, side, rows=1)
    import_pillow.cache_clear()
    with pytest.raises(BadImage, match=rf"its header claims {words}, and dataset\.max_pixels=89478485 is the limit"):
        decode(path)
    assert not recwarn.list


def test_an_icon_that_packs_more_than_its_header_says_is_refused(tmp_path):
    large = io.BytesIO()
    Image.fromarray(small_images.colours(0, 300, 300)).convert("RGBA").save(large, "PNG")
    packed = large.getvalue()
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(packed), 22)
    (tmp_path / "a.ico").write_bytes(struct.pack("<HHH", 0, 1, 1) + entry + packed)
    entry = b"icp4" + struct.pack(">I", 8 + len(packed)) + packed
    (tmp_path / "a.icns").write_bytes(b"icns" + struct.pack(">I", 8 + len(entry)) + entry)
    with Image.open(tmp_path / "a.icns") as opened:
        assert opened.size == (16, 16)
    for ending, words in (
        ("ico", r"claims 300×300 pixels, and dataset\.max_pixels=10000 is"),
        ("icns", "allowed sizes"),
    ):
        with pytest.raises(BadImage, match=words):
            decode(tmp_path / f"a.{ending}", max_pixels=10_000)


def test_no_outside_program_opens_an_image_whatever_its_name_says(tmp_path, monkeypatch):
    image = Image.fromarray(small_images.colours(0, 30, 20))
    image.save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: pytest.fail("a program is started"))
    with pytest.raises(BadImage, match="not a readable image"):
        decode(tmp_path / "a.jpg")
    assert not {b".eps", b".ps", b".pdf", b".mpg", b".h5", b".fits"} & {*endings()}


def test_what_pillow_opens_is_an_image_by_its_ending():
    expected = ".jpg .jpeg .jfif .jpe .png .tif .tiff .ppm .pgm .pbm .pnm .bmp .gif .webp .jp2 .tga .ico .psd .mpo"
    assert {ending.encode() for ending in expected.split()} <= {*endings()}
