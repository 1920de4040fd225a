#!/usr/bin/env bash
# Pillow 13.0.0: of two files with the same EXIF orientation the TIFF is turned when it is read, the JPEG is not.
#
# Guess before it was run: `Image.open` gives the pixels as they are stored, and turning them is `ImageOps.exif_transpose`.
# Seen: with orientation 6 a JPEG of 24x16 stays 24x16, a TIFF of 24x16 is opened as 16x24. A folder of mixed files thus has
# both conventions unless it is turned throughout; sfa-bench turns what is a user's own (`folder`, `csv`) and says so in the
# README.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check pillow==13.0.0
"$work/venv/bin/python" - "$work" <<'PY'
import sys

import PIL
from PIL import Image, ImageOps

seen = {}
for ending in ("jpg", "tiff"):
    path = f"{sys.argv[1]}/a.{ending}"
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    Image.new("RGB", (24, 16)).save(path, exif=exif)
    with Image.open(path) as image:
        before = image.size
        image.load()
        seen[ending] = before, image.size, ImageOps.exif_transpose(image).size
print("Pillow", PIL.__version__, "(opened, loaded, transposed):", seen)
assert seen["jpg"] == ((24, 16), (24, 16), (16, 24))
assert seen["tiff"] == ((16, 24), (16, 24), (16, 24))
PY
