"""What is in a page of runs, as its program sees it."""

import base64
import gzip
import json
import re


def parts(content):
    """The index, and the unpacked blobs but for sheets of images."""
    text = content.decode()
    index = json.loads(re.search(r'<script type="application/json" id="index">(.*?)</script>', text, re.S)[1])
    blobs = dict(re.findall(r'<script type="text/plain" id="([\w-]+)">(.*?)</script>', text, re.S))
    packed = {name: blob for name, blob in blobs.items() if not name.startswith("sheet")}
    return index, {name: json.loads(gzip.decompress(base64.b64decode(blob))) for name, blob in packed.items()}


def value(column, row):
    """One value of a packed column: the same in all rows, one of a list, or each its own."""
    if "all" in column:
        return column["all"]
    if "each" in column:
        return column["each"][row]
    return column["of"][column["at"][row]] if column["at"][row] >= 0 else None
