"""`make-fake`: a small, valid and deterministic copy of each data set's files, with generated images."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sfa_bench.choices.code import load
from sfa_bench.choices.sources import SOURCES
from sfa_bench.data.sources.cifar import LAYOUTS, SUPERCLASSES
from sfa_bench.data.sources.clothing1m import KEYS, LABELS
from sfa_bench.data.sources.clothing1m import NUM_CLASSES as CLOTHING_CLASSES
from sfa_bench.data.sources.webvision import IMAGENET_FOLDER, TRAIN_LIST, VAL_FOLDER, VAL_LIST
from sfa_bench.data.sources.webvision import NUM_CLASSES as WEBVISION_CLASSES
from sfa_bench.data.tools.describe import refuse_full
from sfa_bench.data.tools.patterns import patterned_image
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import writing

OWN_CLASSES = 5  # of arrays, folder and csv
WRONG = 0.3  # share of noisy labels in layouts with natural noise
MOST_OF_FEW = 100_000  # largest number of images a class; more is a typing error
SIDES = (16, 1024)


@dataclass(frozen=True)
class Writer:
    """Makes the files of one layout, all draws from one generator, in one order."""

    folder: Path
    size: int  # training images a class
    side: int  # pixels of an image's shorter side, about
    generator: np.random.Generator

    @property
    def few(self) -> int:
        """Test or validation images a class."""
        return max(1, self.size // 4)

    def path(self, name: str) -> Path:
        """The file's path, its folder made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def lines(self, name: str, lines: Sequence[str]) -> None:
        self.path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def shuffled(self, num_classes: int, size: int) -> np.ndarray:
        """Labels int64, `size` of each class."""
        return self.generator.permutation(np.repeat(np.arange(num_classes), size))

    def noisy(self, labels: np.ndarray, num_classes: int, share: float = WRONG) -> np.ndarray:
        """Labels of which each is flipped with that probability."""
        others = (labels + self.generator.integers(1, num_classes, len(labels))) % num_classes
        return np.where(self.generator.random(len(labels)) < share, others, labels)

    def images(self, labels: np.ndarray, side: int, channels: int = 3) -> np.ndarray:
        """Square images uint8 [n, side, side, channels]."""
        return np.stack([patterned_image(int(label), side, side, self.generator, channels) for label in labels])

    def jpeg(self, name: str, label: int) -> None:
        """An image of its own size and aspect ratio; one in ten is grey, as on the web."""
        short = int(self.side * self.generator.uniform(0.9, 1.1))
        long = int(short * self.generator.uniform(1, 1.6))
        height, width = (short, long) if self.generator.random() < 0.5 else (long, short)
        image = Image.fromarray(patterned_image(label, height, width, self.generator))
        if self.generator.random() < 0.1:
            image = image.convert("L")
        image.save(self.path(name), "JPEG", quality=85)


def fashion_mnist(w: Writer) -> None:
    for part, size in (("train", w.size), ("t10k", w.few)):
        labels = w.shuffled(10, size)
        images = w.images(labels, 28, channels=1)[..., 0]
        for name, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            packed = gzip.compress(header + array.tobytes(), mtime=0)  # no date: equal seeds give equal files
            w.path(f"{part}-{name}-ubyte.gz").write_bytes(packed)


def cifar10(w: Writer) -> np.ndarray:
    """Returns the training labels in the order of the batches."""
    return _cifar(w, "cifar10")


def cifar100(w: Writer) -> np.ndarray:
    return _cifar(w, "cifar100")


def cifar10n(w: Writer) -> None:
    """Annotations by three people, their majority (one of them where all differ), and a noisy one of the three where
    there is one.
    """
    clean = cifar10(w)
    people = np.stack([w.noisy(clean, 10, share) for share in (0.17, 0.18, 0.18)])
    order = w.generator.permuted(np.tile(np.arange(3)[:, None], len(clean)), axis=0)
    asked = np.take_along_axis(people, order, axis=0)
    agree = np.where(people[1] == people[2], people[1], np.where((people == people[0]).sum(0) > 1, people[0], asked[0]))
    worse = np.take_along_axis(asked, (asked != clean).argmax(axis=0)[None], axis=0)[0]
    people_keys = {f"random_label{number}": labels for number, labels in enumerate(people, start=1)}
    arrays = {"clean_label": clean, "aggre_label": agree, **people_keys, "worse_label": worse}
    _save_human(w, "cifar10", arrays)


def cifar100n(w: Writer) -> None:
    clean = cifar100(w)
    noisy = w.noisy(clean, 100, 0.4)
    coarse = _coarse()
    lists = {"clean_coarse_label": coarse[clean].tolist(), "noisy_coarse_label": coarse[noisy].tolist()}
    _save_human(w, "cifar100", {"clean_label": clean, "noisy_label": noisy, **lists})


def _coarse() -> np.ndarray:
    """The superclass of each of CIFAR-100's classes."""
    coarse = np.empty(100, dtype=np.int64)
    coarse[SUPERCLASSES] = np.arange(20)[:, None]
    return coarse


def _save_human(w: Writer, source: str, content: dict[str, object]) -> None:
    human = SOURCES[source].human
    assert human is not None
    buffer = io.BytesIO()
    torch.save(content, buffer)  # into memory: otherwise the archive's folder has the file's name
    w.path(human.file).write_bytes(buffer.getvalue())


def _cifar(w: Writer, name: str) -> np.ndarray:
    layout = LAYOUTS[name]
    labels = w.shuffled(layout.num_classes, w.size)
    parts = [*np.array_split(labels, len(layout.train)), w.shuffled(layout.num_classes, w.few)]
    for number, (file, part) in enumerate(zip([*layout.train, *layout.test], parts, strict=True)):
        planes = w.images(part, 32).transpose(0, 3, 1, 2).reshape(len(part), 3072)
        content: dict[str, object] = {
            "batch_label": f"generated batch {number + 1} of {len(parts)}",
            "filenames": [f"generated_{number}_{at:06}.png" for at in range(len(part))],
            "data": np.ascontiguousarray(planes),
            layout.label_key: part.tolist(),
        }
        if name == "cifar100":
            content["coarse_labels"] = _coarse()[part].tolist()
        w.path(file).write_bytes(pickle.dumps(content, protocol=2))
    return labels


def webvision(w: Writer) -> None:
    """Some images show another class than their label; their clean labels are in no file."""
    listed = []
    beyond = np.array([WEBVISION_CLASSES, WEBVISION_CLASSES + 7, 999])  # classes of WebVision that readers drop
    labels = np.concatenate([np.repeat(np.arange(WEBVISION_CLASSES), w.size), beyond])
    shown = w.noisy(labels, WEBVISION_CLASSES)
    for number, (label, truth) in enumerate(zip(labels.tolist(), shown.tolist(), strict=True)):
        name = f"google/q{label + 1:04}/{number:06}.jpg"
        w.jpeg(name, truth)
        listed.append(f"{name} {label}")
    w.lines(TRAIN_LIST, listed)
    listed = []
    for number, label in enumerate([*w.shuffled(WEBVISION_CLASSES, w.few).tolist(), *beyond.tolist()], start=1):
        name = f"val{number:06}.jpg"
        w.jpeg(f"{VAL_FOLDER}/{name}", label)
        listed.append(f"{name} {label}")
    w.lines(VAL_LIST, listed)
    for label in range(WEBVISION_CLASSES):
        for number in range(w.few):
            w.jpeg(f"{IMAGENET_FOLDER}/{label}/ILSVRC2012_val_{label * w.few + number + 1:08}.JPEG", label)


def clothing1m(w: Writer) -> None:
    """Noisy labels of all images but some of the clean ones, clean labels of validation and test, as in the release."""
    noisy, clean = [], []
    number = 0
    for part, size in (("train", w.size), ("val", w.few), ("test", w.few)):
        labels = w.shuffled(CLOTHING_CLASSES, size)
        keys = []
        for truth, label in zip(labels.tolist(), w.noisy(labels, CLOTHING_CLASSES).tolist(), strict=True):
            key = f"images/{number % 10}/{number % 100:02}/{1000 + number},{2000 + number}.jpg"  # names with a comma
            number += 1
            w.jpeg(key, truth)
            keys.append(key)
            if part != "train":
                clean.append(f"{key} {truth}")
            if part != "test" or number % 2:
                noisy.append(f"{key} {label}")
        w.lines(KEYS[part], keys)
    w.lines(LABELS["noisy"], noisy)
    w.lines(LABELS["clean"], clean)


def arrays(w: Writer) -> None:
    clean = w.shuffled(OWN_CLASSES, w.size)
    test = w.shuffled(OWN_CLASSES, w.few)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        x_train=w.images(clean, w.side),
        y_train=w.noisy(clean, OWN_CLASSES),
        y_train_clean=clean,
        x_test=w.images(test, w.side),
        y_test=test,
    )
    w.path("data.npz").write_bytes(buffer.getvalue())


def features(w: Writer) -> None:
    """Gaussian classes in 16 dimensions, with names and an embedding of each name."""
    centres = w.generator.standard_normal((OWN_CLASSES, 16))
    clean, test = w.shuffled(OWN_CLASSES, w.size), w.shuffled(OWN_CLASSES, w.few)
    train_x, test_x = (
        centres[labels] + 0.5 * w.generator.standard_normal((len(labels), 16)) for labels in (clean, test)
    )
    buffer = io.BytesIO()
    np.savez(
        buffer,
        x_train=train_x.astype(np.float32),
        y_train=w.noisy(clean, OWN_CLASSES),
        y_train_clean=clean,
        x_test=test_x.astype(np.float32),
        y_test=test,
        class_names=np.array([f"class_{number}" for number in range(OWN_CLASSES)]),
        class_embeddings=centres[:, :4].astype(np.float32),
    )
    w.path("features.npz").write_bytes(buffer.getvalue())


def folder(w: Writer) -> None:
    """Some images of train/ lie in the folder of another class; those of test/ do not."""
    for part, size, share in (("train", w.size, WRONG), ("test", w.few, 0.0)):
        labels = np.repeat(np.arange(OWN_CLASSES), size)
        for number, (label, truth) in enumerate(zip(labels, w.noisy(labels, OWN_CLASSES, share), strict=True)):
            w.jpeg(f"{part}/class_{label}/{number:04}.jpg", int(truth))


def own_csv(w: Writer) -> None:
    with w.path("data.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", "label", "clean_label", "split"])
        for part, size, share in (("train", w.size, WRONG), ("test", w.few, 0.0)):
            labels = w.shuffled(OWN_CLASSES, size)
            observed = w.noisy(labels, OWN_CLASSES, share)
            for number, (truth, label) in enumerate(zip(labels.tolist(), observed.tolist(), strict=True)):
                name = f"images/{part}_{number:04}.jpg"
                w.jpeg(name, truth)
                table.writerow([name, label, truth, part])


@dataclass(frozen=True)
class Layout:
    """size: training images a class; side: of images, None where the format fixes it; file: what data_dir names;
    long_tailed: the data set's imbalance is `exp` unless another one is set.
    """

    write: Callable[[Writer], object]
    size: int
    side: int | None = None
    file: str = ""
    also: tuple[str, ...] = ()
    long_tailed: bool = False


_SMALL_VIEWS = ("dataset.resize=40", "dataset.crop=32")
OFFICIAL_NAMES = ("dataset.checksum=false",)  # files of official names that are not the official ones
FASHION_MNIST = Layout(fashion_mnist, 60, also=OFFICIAL_NAMES, long_tailed=True)
CIFAR10 = Layout(cifar10, 60, also=OFFICIAL_NAMES, long_tailed=True)
CIFAR100 = Layout(cifar100, 12, also=OFFICIAL_NAMES, long_tailed=True)
CIFAR10N = Layout(cifar10n, 60, also=OFFICIAL_NAMES)
CIFAR100N = Layout(cifar100n, 12, also=OFFICIAL_NAMES)
WEBVISION = Layout(webvision, 4, 256, also=_SMALL_VIEWS)
CLOTHING1M = Layout(clothing1m, 8, 256, also=_SMALL_VIEWS)
ARRAYS = Layout(arrays, 40, 16, "data.npz", ("dataset.name=fake",))
FEATURES = Layout(features, 40, None, "features.npz", ("dataset.name=fake",))
FOLDER = Layout(folder, 20, 64, also=("dataset.name=fake", *_SMALL_VIEWS))
CSV = Layout(own_csv, 20, 64, "data.csv", ("dataset.name=fake", *_SMALL_VIEWS))


def layouts() -> dict[str, str]:
    """Name of each data set that has a layout → name of its code."""
    named = {name: source.fake for name, source in SOURCES.items() if source.fake is not None}
    return named | {human.choice: human.fake for source in SOURCES.values() if (human := source.human) is not None}


def make_fake(name: str, folder: Path, size: int | None = None, seed: int = 0, side: int | None = None) -> list[str]:
    """Write the layout into `folder`, which must be new or empty. Returns the overrides of run.py that train on it.

    Args: size: training images a class; side: pixels of an image's shorter side, where the layout leaves it open.
    Raises: ConfigError for what cannot be made, RunError when the disk fails.
    """
    if name in SOURCES and (why := SOURCES[name].no_files):
        raise ConfigError(f"{name} {why} and has no files: set dataset={name}")
    if name not in layouts():
        raise ConfigError(f"make-fake knows no layout {name}: it makes {', '.join(layouts())}")
    layout: Layout = load(layouts()[name])
    if size is not None and not 1 <= size <= MOST_OF_FEW:
        raise ConfigError(f"--size {size}: training images a class, 1 to {MOST_OF_FEW:,}")
    if side is not None and layout.side is None:
        raise ConfigError(f"--side {side} has no effect on {name}, whose format fixes the size of its images")
    if side is not None and not SIDES[0] <= side <= SIDES[1]:
        raise ConfigError(f"--side {side}: pixels of an image's side, {SIDES[0]} to {SIDES[1]:,}")
    if seed < 0:
        raise ConfigError(f"--seed {seed}: a whole number from 0 on")
    refuse_full(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(seed)
        layout.write(Writer(folder, size or layout.size, side or layout.side or 0, generator))
    place = folder / layout.file if layout.file else folder
    few = layout.long_tailed and (size or layout.size) < 20
    tail = ["imbalance=none"] if few else []  # imb_factor=0.1, the default, would leave less than two of a class
    return [f"dataset={name}", f"data_dir={_quoted(str(place))}", *layout.also, *tail, "model=convnet", "epochs=10"]


def _quoted(value: str) -> str:
    """A value for Hydra's grammar, in quotes where it has a special character."""
    if re.fullmatch(r"[\w./~+@%-]+", value, re.ASCII):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
