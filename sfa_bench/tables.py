"""CSV files with a header that people or spreadsheets may have edited."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from sfa_bench.errors import ConfigError

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # first characters of a cell that a spreadsheet would compute


def guarded(text: str) -> str:
    """A ' before a text that a spreadsheet would compute, and before one that begins with '."""
    return f"'{text}" if text.startswith(FORMULA) else text


def rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """`line 3 of FILE` and the cells of each row by column, without the ' before what a spreadsheet would compute.

    Raises: ConfigError where the file cannot be read, or lacks one of the columns.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            header = reader.fieldnames or []
            if missing := [name for name in columns if name not in header]:
                raise ConfigError(f"{file} has no column {missing[0]}: it has {', '.join(header) or 'none'}")
            for row in reader:
                where = f"line {reader.line_num:,} of {file}"
                if None in row or None in row.values():
                    raise ConfigError(f"{where} has more or fewer cells than the header")
                yield where, {name: _plain(value) for name, value in row.items()}
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{file} is not a CSV file in UTF-8: {error}") from error


def _plain(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA) else text


def whole(text: str, what: str) -> int:
    """A whole number from 0 on. Raises: ConfigError, which begins with `what`."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ConfigError(f"{what} {text!r}: it must be a whole number, 0 or more")
    return int(text)
