"""Decisions about labels, from the CSV files that the contact sheet saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sfa_bench.errors import ConfigError
from sfa_bench.tables import rows, whole

COLUMNS = ("index", "given", "decision", "label")  # that are read
DECISIONS = ("accept", "relabel", "reject", "drop")


class Decision(NamedTuple):
    """What becomes of a sample: its class, and None where it is dropped."""

    label: int | None
    where: str


def read(files: Sequence[Path], given: Mapping[int, int], classes: Sequence[str]) -> dict[int, Decision]:
    """Index of a sample → what was decided.

    Args: given, the observed class of each training sample by its index; names of all classes.
    Raises: ConfigError for a file that cannot be read, and with file and line for what does not fit these data.
    """
    numbers = {name: k for k, name in enumerate(classes)}
    found: dict[int, Decision] = {}
    for file in files:
        for where, row in rows(file, COLUMNS):
            index = whole(row["index"], f"{where} has index")
            if index not in given:
                raise ConfigError(f"{where} has index {index}, which no training sample of this run has")
            for column in ("given", "label"):
                if row[column] not in numbers and not (column == "label" and row["decision"] == "drop"):
                    raise ConfigError(
                        f"{where} has {column} {row[column]!r}: the classes are {', '.join(classes[:20])}"
                    )
            if numbers[row["given"]] != given[index]:
                raise ConfigError(
                    f"{where} was decided on the label {row['given']!r}, and sample {index} has "
                    f"{classes[given[index]]!r}: name the run that the sheet was made from"
                )
            if row["decision"] not in DECISIONS:
                raise ConfigError(f"{where} has decision {row['decision']!r}: there are {', '.join(DECISIONS)}")
            new = Decision(None if row["decision"] == "drop" else numbers[row["label"]], where)
            if index in found and found[index].label != new.label:
                raise ConfigError(f"{where} decides otherwise on sample {index} than {found[index].where}: remove one")
            found[index] = new
    return found
