#!/usr/bin/env bash
# Pillow 13.0.0: a grey TIFF in which 0 is white is inverted at 8 bits and not at 16.
#
# Guess before it was run: photometric interpretation 0 (WhiteIsZero, usual of scanners) means the same at any depth.
# Seen: the stored value 0 is read as 255 (white) from 8 bits and as 0 (black) from 16: images of one scanner become
# negatives of each other with the depth. sfa-bench inverts these itself (sfa_bench/data/pictures.py).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check pillow==13.0.0
"$work/venv/bin/python" - "$work" <<'PY'
import struct
import sys

import PIL
from PIL import Image


def tiff(bits, photometric):
    """A little-endian TIFF of one black-or-white pixel that is stored as 0."""
    entries = [(256, 1), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 122), (277, 1), (278, 1)]
    entries.append((279, bits // 8))
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    header = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + struct.pack("<I", 0)
    return header + bytes(122 - len(header)) + bytes(bits // 8)


seen = {}
for bits in (8, 16):
    for photometric in (0, 1):
        path = f"{sys.argv[1]}/{bits}_{photometric}.tif"
        with open(path, "wb") as file:
            file.write(tiff(bits, photometric))
        with Image.open(path) as image:
            seen[bits, photometric] = image.mode, image.getpixel((0, 0))
print("Pillow", PIL.__version__, "(bits, photometric): (mode, value):", seen)
assert seen == {(8, 0): ("L", 255), (8, 1): ("L", 0), (16, 0): ("I;16", 0), (16, 1): ("I;16", 0)}
PY
