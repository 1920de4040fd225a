"""`check`: which files of a data set exist, which are missing and where to get them, and whether it can be
trained on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from sfa_bench.choices.sources import SOURCES
from sfa_bench.config.schema import RunConfig
from sfa_bench.cores import cores
from sfa_bench.data import sources
from sfa_bench.data.images import BadImage, decode, resized
from sfa_bench.data.sources import contents, human, webvision
from sfa_bench.data.tools.terminal import class_table, plain, table
from sfa_bench.data.types import Source
from sfa_bench.errors import ConfigError, DataError

SHOWN = 10  # names of each list on the terminal; --json has all


@dataclass
class Check:
    """sentence: the reason why it cannot be trained on, None where it can; counts: part → images of each class.

    `refused` are the readers' messages on lists and folders that they refuse, whose images are then not looked for.
    `decoded` counts the images read with --images (None: not asked for), `bad` maps unreadable ones to the reason.
    `classes` are the classes' names, None where they have none; `left_out` counts files that are not images by their
    ending.
    """

    dataset: str
    data_dir: str
    sentence: str | None
    items: list[contents.Item]
    missing: list[str]
    refused: list[str] = field(default_factory=list)
    counts: dict[str, list[int]] = field(default_factory=dict)
    decoded: int | None = None
    bad: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    classes: list[str] | None = None
    left_out: dict[str, int] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {**asdict(self), "usable": self.sentence is None}


def check(config: RunConfig, name: str, images: bool = False) -> Check:
    """Check the data set of `config`.

    Args: name: the data set's choice as on the command line; images: decode every image file. Raises: ConfigError where
    `images` has no effect.
    """
    if images and SOURCES[config.dataset.source].framing is None:
        raise ConfigError(f"--images has no effect on {name}, whose images are always read; leave it out")
    here = contents.look(config.dataset, config.data_dir)
    result = Check(name, config.data_dir, None, here.items, here.missing, here.refused)
    try:
        _read(config, result)
    except ConfigError as error:
        result.sentence = str(error)
    if images:
        _decode(config, here, result)
    return result


def _read(config: RunConfig, result: Check) -> None:
    """Counts of every part, from the reader that training uses. Raises: DataError."""
    dataset, described = config.dataset, SOURCES[config.dataset.source]
    folder = sources.existing(config.data_dir)
    annotated = described.human
    of_images = [item for item in result.items if annotated is None or item.path != annotated.file]
    absent = sum(not item.found for item in of_images)
    if described.checked and absent and not described.install:  # its reader would download them
        others = f"{absent} of {len(of_images)} files are" if absent > 1 else f"1 of {len(of_images)} files is"
        raise DataError(f"{others} missing in {config.data_dir}: put them there (see below), or give another data_dir")
    source = sources.load(dataset, config.data_dir, config.data_seed)
    result.counts, result.left_out = _counts(source), dict(source.left_out)
    result.classes = None if source.class_names is None else list(source.class_names)
    result.notes += source.notes
    if described.files is None:
        result.notes.append(f"{dataset.source} needs no files")
    if dataset.human and annotated is not None:
        path = human.find(folder, annotated)
        labels = str(config.noise.labels or annotated.labels[0])
        given = human.load(path, labels, source.train_labels, source.num_classes)
        result.counts[f"train ({labels})"] = np.bincount(given, minlength=source.num_classes).tolist()
        wrong = 100 * float((given != source.train_labels).mean())
        result.notes.append(f"{wrong:.2f} % of the labels {labels} of {path.name} differ from the clean ones")


def _counts(source: Source) -> dict[str, list[int]]:
    parts = {"train": source.train_labels, "train (clean)": source.clean_labels, "val": source.val_labels}
    parts |= {"test": source.test_labels} | {name: labels for name, (_, labels) in source.more_tests.items()}
    return {
        name: np.bincount(labels, minlength=source.num_classes).tolist()
        for name, labels in parts.items()
        if labels is not None
    }


def _decode(config: RunConfig, here: contents.Contents, result: Check) -> None:
    """Read every image as a run would, in threads, since decoding releases the interpreter lock."""
    dataset = config.dataset
    unread: list[str] = []  # by the disk, which is no verdict on an image

    def why_bad(path: Path) -> str | None:
        try:
            resized(decode(path, max_pixels=dataset.max_pixels), dataset.resize)
        except BadImage as error:
            return str(error)
        except OSError as error:
            why = str(error.strerror or error)
            unread.append(f"{path} cannot be read: {why}")
            return why
        return None

    paths = [here.root / os.fsdecode(name) for name in here.images]
    with ThreadPoolExecutor(cores()) as pool:
        seen: Iterable[str | None] = pool.map(why_bad, paths)
        if sys.stderr.isatty():
            seen = track(seen, "reading images", len(paths), console=Console(stderr=True), transient=True)
        result.bad = {str(path): why for path, why in zip(paths, seen, strict=True) if why is not None}
    result.decoded = len(paths)
    if result.sentence is not None or not result.bad:
        return
    few = f"{len(result.bad)} of {len(paths)} images cannot be read"
    if unread:
        result.sentence = min(unread)
    elif dataset.on_bad_image == "skip":
        result.notes.append(f"{few} and are left out (dataset.on_bad_image=skip)")
    else:
        first = next(iter(result.bad))
        result.sentence = f"{few} (first {first}): fetch them again, or add dataset.on_bad_image=skip to leave them out"


def show(result: Check, config: RunConfig) -> None:
    """The text for a terminal: files, classes, what is missing and the expected layout."""
    usable = "can be trained on" if result.sentence is None else "cannot be trained on as it is"
    place = "" if SOURCES[config.dataset.source].files is None else f" in {result.data_dir}"
    print(plain(f"{result.dataset}{place}: {usable}") + "\n")
    if result.items:
        headers = ["file", "", "bytes", "images", "without file"]
        rows = [_row(item) for item in _joined(result.items)]
        used = [place for place in range(len(headers)) if any(row[place] for row in rows)]
        table([headers[place] for place in used], [[row[place] for place in used] for row in rows], texts=2)
        print()
    if result.counts:
        class_table({name: np.array(counts) for name, counts in result.counts.items()}, names=result.classes)
        print()
    for note in result.notes:
        print(plain(note))
    if result.decoded is not None:
        print(f"{result.decoded:,} images read, {len(result.bad):,} of them bad")
        _listing([f"{path} ({why})" for path, why in result.bad.items()])
    absent = [name for item in result.items for name in item.absent]
    if absent:
        print(f"{len(absent):,} images that a list names are missing:")
        _listing(absent)
    if others := [sentence for sentence in result.refused if sentence != result.sentence]:
        print("refused too:" if result.sentence in result.refused else "refused:")
        _listing(others)
    files = contents.files_of(config.dataset)
    if result.sentence is not None and (result.missing or not result.counts) and result.items and files is not None:
        print(f"expected:\n{files.tree}\n\nfrom: {files.where}")


def _listing(names: Sequence[str]) -> None:
    for name in names[:SHOWN]:
        print(f"  {plain(name)}")
    if len(names) > SHOWN:
        print(f"  … and {len(names) - SHOWN:,} more (--json lists all)")


def _joined(items: Sequence[contents.Item]) -> list[contents.Item]:
    """One line for a group of class folders: existing ones, then missing ones."""
    lines, classes = [], [item for item in items if item.path.startswith(f"{webvision.IMAGENET_FOLDER}/")]
    for item in items:
        if item not in classes:
            lines.append(item)
    for there in (True, False):
        group = [item for item in classes if item.found == there]
        if group:
            labels = [Path(item.path).name for item in group]
            which = ", ".join(labels) if len(labels) < SHOWN else f"{labels[0]}…{labels[-1]}"
            which += f" ({len(labels)} of {len(classes)})"
            entries, absent = sum(item.entries or 0 for item in group), [name for item in group for name in item.absent]
            path = f"{webvision.IMAGENET_FOLDER}/{which}"
            lines.append(contents.Item(path, there, entries=entries, absent=absent))
    return lines


def _row(item: contents.Item) -> list[str]:
    state = "found" if item.found else "MISSING"
    if item.checksum:
        state += f", checksum {item.checksum}"
    size, entries = ("" if number is None else f"{number:,}" for number in (item.size, item.entries))
    return [plain(item.path), state, size, entries, f"{len(item.absent):,}" if item.absent else ""]
