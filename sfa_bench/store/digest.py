"""SHA-256 digests inside files, which detect damage (explanation/runs.md §7): in a ZIP archive (`.pt`, `.npz`) as the
archive's comment, which every ZIP reader ignores; in JSON as the last key. Files of the first edition have none and are
accepted.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import BinaryIO

from sfa_bench.store.reading import Damaged, open_regular

MARK = b"sfa_bench sha256 "
UNLIKE = "its bytes do not match its digest"
_HEX = 64
_COMMENT = len(MARK) + _HEX
_END = b"PK\x05\x06"  # of the record that ends an archive: 22 bytes, the last two the length of the comment behind it
_HEAD = b'{\n "'
_KEY = b',\n "digest": "'
_TAIL = len(_KEY) + _HEX + len(b'"\n}\n')
# One half of a damaged digest entry: the name of the key, or a digest as the last value.
_HALF = re.compile(rb'"digest": |"[0-9a-f]{64}"\s*\}\s*$')


def seal_archive(archive: io.BytesIO) -> memoryview:
    """Add the digest to a ZIP archive without a comment, in place. Returns its content."""
    with archive.getbuffer() as content:
        assert content[-22:-18] == _END, "a ZIP archive without a comment"
        content[-2:] = _COMMENT.to_bytes(2, "little")
        comment = MARK + _hex(content)
    archive.seek(0, io.SEEK_END)
    archive.write(comment)
    return archive.getbuffer()


def read_archive(path: Path) -> tuple[bytes, bool]:
    """Content of an archive, and whether its digest says that it is as it was written (the first edition's have none).

    Its end is looked at first: a file of any size that does not end as ours takes no memory. Raises OSError where it
    cannot be read, Damaged when it does not match its digest or is incomplete.
    """
    with open_regular(path) as file:
        file.seek(max(file.seek(0, io.SEEK_END) - _COMMENT, 0))
        end = file.readall()
        sealed = end.startswith(MARK)
        if not sealed and not _without_comment(end):
            raise Damaged(UNLIKE)
        file.seek(0)
        content = file.readall()
    check_archive(content)
    return content, sealed


def check_archive(content: bytes) -> None:
    """Raises Damaged when the archive does not match its digest or is incomplete; one without a comment passes."""
    body = memoryview(content)[:-_COMMENT]
    if not _without_comment(content) and (len(content) <= _COMMENT or content[-_COMMENT:] != MARK + _hex(body)):
        raise Damaged(UNLIKE)


def _without_comment(end: bytes) -> bool:
    return end.endswith(b"\0\0") and end[-22:-18] == _END


def check_archive_file(file: BinaryIO) -> None:
    """`check_archive` for a file, part by part, that must have a digest; it is left at its start."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    digest, left = hashlib.sha256(), size - _COMMENT
    while left > 0 and (part := file.read(min(left, 1 << 20))):
        digest.update(part)
        left -= len(part)
    if left != 0 or file.read() != MARK + digest.hexdigest().encode():
        raise Damaged(UNLIKE)
    file.seek(0)


def seal_json(text: str) -> bytes:
    """The bytes of a mapping that was written with `indent=1`, its digest added as the last key."""
    body = text.removesuffix("\n").removesuffix("\n}").encode()
    return body + json_seal(hashlib.sha256(body).hexdigest())


def json_seal(digest: str) -> bytes:
    """What `seal_json` puts behind a mapping without its last brace; digest: the SHA-256 of that."""
    return _KEY + digest.encode() + b'"\n}\n'


def check_json(content: bytes) -> None:
    """Raises Damaged when the bytes do not match their digest.

    Bytes without a digest pass, and so does a file that another program has reformatted, which damage cannot cause.
    """
    if not content.startswith(_HEAD) or content[-_TAIL:] == _KEY + _hex(memoryview(content)[:-_TAIL]) + b'"\n}\n':
        return
    if _HALF.search(content[-4 * _TAIL :]):
        raise Damaged(f"{UNLIKE} (when editing by hand, remove the line with the digest)")


def _hex(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
