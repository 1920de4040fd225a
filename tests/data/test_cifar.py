"""CIFAR's files, as Python 2, NumPy 1 and NumPy 2 write them: small copies of the format, made here."""

import hashlib
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torchvision

from sfa_bench.data import build
from sfa_bench.data.safe_pickle import load_arrays
from sfa_bench.data.sources import cifar
from sfa_bench.errors import DataError


def python2_pickle(pixels, key, labels):
    """Protocol 2 with byte strings, as the official files are: written opcode by opcode."""

    def text(content):
        return b"U" + bytes([len(content)]) + content

    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    raw = pixels.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    shape = b"".join(b"J" + struct.pack("<i", side) for side in pixels.shape) + b"\x86"
    state = b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    numbers = b"](" + b"".join(b"J" + struct.pack("<i", label) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + state + text(key.encode()) + numbers + b"u."


def numpy2_protocol2(pixels, key, labels):
    return pickle.dumps({"data": pixels, key: list(labels)}, protocol=2)


def numpy1_protocol2(pixels, key, labels):
    return numpy2_protocol2(pixels, key, labels).replace(b"numpy._core", b"numpy.core")


def numpy2_protocol5(pixels, key, labels):
    return pickle.dumps({"data": pixels, key: list(labels)}, protocol=5)


def numpy1_protocol5(pixels, key, labels):
    content = numpy2_protocol5(pixels, key, labels)
    assert content[2:3] == b"\x95"  # the one frame, whose length would no longer be right; frames are optional
    return (content[:2] + content[11:]).replace(b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric")


WRITERS = [python2_pickle, numpy2_protocol2, numpy1_protocol2, numpy2_protocol5, numpy1_protocol5]


def write_cifar10(folder, writer=python2_pickle, per_batch=8, **replaced):
    """Five batches and a test batch; returns all pixels [n, 3072] and labels of the training part."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    train = []
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = rng.integers(0, 256, (per_batch, 3072), dtype=np.uint8)
        labels = [(len(train) * per_batch + i) % 10 for i in range(per_batch)]
        (folder / name).write_bytes(replaced.get(name, writer(pixels, "labels", labels)))
        train.append((pixels, labels))
    return np.concatenate([p for p, _ in train[:5]]), np.concatenate([lab for _, lab in train[:5]])


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("layout", ["", "cifar-10-batches-py"])
def test_both_layouts_are_read_as_any_python_and_numpy_wrote_them(tmp_path, writer, layout):
    pixels, labels = write_cifar10(tmp_path / layout, writer)
    source = cifar.read("cifar10", tmp_path, checksum=False)
    assert source.train_images.shape == (40, 32, 32, 3)
    assert source.train_labels.tolist() == labels.tolist()
    assert source.train_labels.dtype == np.int64
    # row-major planes red, green, blue: pixel (row 5, column 7) of image 30
    assert source.train_images[30, 5, 7].tolist() == [pixels[30, plane * 1024 + 5 * 32 + 7] for plane in range(3)]
    assert source.test_images.shape == (8, 32, 32, 3)


def test_cifar100_reads_fine_labels(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        pixels = np.zeros((100, 3072), np.uint8)
        batch = {"data": pixels, "coarse_labels": [0] * 100, "fine_labels": list(range(100))}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    source = cifar.read("cifar100", tmp_path, checksum=False)
    assert source.train_labels.tolist() == list(range(100))
    assert source.num_classes == 100


def test_a_run_gets_channels_first_images_and_the_fields_constants(tmp_path, make_config):
    pixels, _ = write_cifar10(tmp_path)
    config = make_config("cifar10", imbalance="none", noise="none", data_dir=tmp_path, checksum=False)
    data = build(config)
    assert data.view.images.shape == (40, 3, 32, 32)
    assert data.view.images.numpy().reshape(40, 3072).tolist() == pixels[data.index].tolist()
    transform = data.view.transform
    assert (transform.mean, transform.std) == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    assert (transform.padding, transform.flip) == (4, True)
    borrowed = build(make_config("cifar10", "none", "none", tmp_path, checksum=False, normalise="cifar100"))
    assert borrowed.view.transform.std == (0.267, 0.256, 0.276)


def test_checksums_are_torchvisions():
    for name, dataset in (("cifar10", torchvision.datasets.CIFAR10), ("cifar100", torchvision.datasets.CIFAR100)):
        assert list(cifar.LAYOUTS[name].train.items()) == [tuple(pair) for pair in dataset.train_list]
        assert list(cifar.LAYOUTS[name].test.items()) == [tuple(pair) for pair in dataset.test_list]
        assert cifar.LAYOUTS[name].folder == dataset.base_folder


def test_the_checksum_decides_whose_files_are_read(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    with pytest.raises(DataError, match=r"data_batch_1 is not the official file .* dataset\.checksum=false"):
        cifar.read("cifar10", tmp_path, checksum=True)
    layout = cifar.LAYOUTS["cifar10"]
    md5 = {name: hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for name in layout.train | layout.test}
    test = {"test_batch": md5.pop("test_batch")}
    monkeypatch.setitem(cifar.LAYOUTS, "cifar10", layout._replace(train=md5, test=test))
    assert len(cifar.read("cifar10", tmp_path, checksum=True).train_images) == 40


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_cut_anywhere_is_refused(tmp_path, writer):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    whole = writer(pixels, "labels", [0, 1])
    write_cifar10(tmp_path)
    for length in [*range(60), *range(60, len(whole), 97), len(whole) - 1]:
        (tmp_path / "data_batch_3").write_bytes(whole[:length])
        with pytest.raises(DataError, match="data_batch_3 is truncated or not a CIFAR file"):
            cifar.read("cifar10", tmp_path, checksum=False)


GOOD = np.zeros((3, 3072), np.uint8)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            {"data": GOOD, "labels": [0, 1, 10]},
            r"label 10 \(number 2 of .*test_batch\) is out of range: labels are 0…9",
        ),
        ({"data": GOOD, "labels": [0, -1, 1]}, r"label -1 \(number 1"),
        ({"data": GOOD, "labels": [0, 1]}, "3 images but 2 labels"),
        ({"data": GOOD, "labels": [0, 1.5, 2]}, "not a list of integers"),
        ({"data": GOOD, "labels": [0, [1], 2]}, "not a list of integers"),
        ({"data": GOOD[:0], "labels": []}, "test_batch holds no image"),
        ({"data": GOOD[:, :3000], "labels": [0, 1, 2]}, r"must be uint8 \[n, 3072\].* not uint8 \[3, 3000\]"),
        ({"data": GOOD.astype(np.float32), "labels": [0, 1, 2]}, r"not float32 \[3, 3072\]"),
        ({"data": GOOD.ravel(), "labels": [0, 1, 2]}, r"not uint8 \[9216\]"),
        ({"data": [[0] * 3072] * 3, "labels": [0, 1, 2]}, "not list"),
        ({"data": GOOD, "fine_labels": [0, 1, 2]}, "not a CIFAR-10 file: it must hold a dict with data and labels"),
        ([GOOD, [0, 1, 2]], "not a CIFAR-10 file"),
    ],
)
def test_wrong_contents_are_named(tmp_path, batch, message):
    write_cifar10(tmp_path, test_batch=pickle.dumps(batch, protocol=4))
    with pytest.raises(DataError, match=message):
        cifar.read("cifar10", tmp_path, checksum=False)


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("inside", [False, True])
def test_a_pickle_that_runs_code_is_refused_and_nothing_runs(tmp_path, protocol, inside):
    mark = str(tmp_path / "it-ran")
    hostile = Calls(os.mkdir, mark)
    batch = {"data": GOOD, "labels": [0, 1, 2], "extra": hostile} if inside else hostile
    write_cifar10(tmp_path / "data", data_batch_1=pickle.dumps(batch, protocol=protocol))
    with pytest.raises(DataError, match=r"data_batch_1 is refused: it asks for posix\.mkdir.* nothing of it was run"):
        cifar.read("cifar10", tmp_path / "data", checksum=False)
    assert not os.path.exists(mark)


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        (pickle.dumps(Calls(eval, "1"), protocol=0), "builtin"),
        (pickle.dumps(Calls(np.load, "x.npy"), protocol=2), r"numpy\.load"),
        (b"\x80\x04\x8c\x05numpy\x8c\x13ndarray.__reduce_ex__\x93.", "ndarray.__reduce_ex__"),
        (b"c_codecs\nencode\n(Vx\nVzip\ntR.", "codec 'zip'"),
        (b"cnumpy.core.multiarray\nscalar\n.", "scalar"),
        (b"\x82\x01.", ""),
        (b"Pinit\n.", ""),
    ],
)
def test_only_what_arrays_need_is_admitted(tmp_path, content, asked):
    write_cifar10(tmp_path, data_batch_1=content)
    with pytest.raises(DataError, match=f"data_batch_1 is (refused.*{asked}|truncated or not a CIFAR file)"):
        cifar.read("cifar10", tmp_path, checksum=False)


def test_plain_arrays_survive_the_restricted_reader():
    arrays = {"f": np.arange(6.0).reshape(2, 3), "fortran": np.asfortranarray(np.eye(3)), "text": "ä", "b": b"\xff\x00"}
    for protocol in range(6):
        loaded = load_arrays(pickle.dumps(arrays, protocol=protocol))
        assert loaded["f"].tolist() == arrays["f"].tolist()
        assert loaded["fortran"].tolist() == np.eye(3).tolist()
        assert (loaded["text"], loaded["b"]) == ("ä", b"\xff\x00")


def test_a_missing_batch_is_named_and_nothing_is_fetched(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_4").unlink()
    monkeypatch.setattr(cifar, "_download", lambda *args: pytest.fail("it tried to download"))
    with pytest.raises(DataError, match="data_batch_4 is missing, while other files of the data set are there"):
        cifar.read("cifar10", tmp_path, checksum=False)


def test_downloads_go_into_an_existing_folder_or_the_default_only(tmp_path, monkeypatch, make_config):
    asked = []

    def download(name, folder):
        asked.append((name, str(folder)))
        write_cifar10(folder / "cifar-10-batches-py")

    monkeypatch.setattr(cifar, "_download", download)
    monkeypatch.chdir(tmp_path)
    options = {"source": "cifar10", "imbalance": "none", "checksum": False}
    with pytest.raises(DataError, match="data_dir=nowhere does not exist; give an existing folder"):
        build(make_config(data_dir="nowhere", **options))
    assert not asked
    (tmp_path / "mine").mkdir()
    assert len(build(make_config(data_dir="mine", **options)).index) == 40
    assert len(build(make_config(data_dir="data", **options)).index) == 40
    assert asked == [("cifar10", "mine"), ("cifar10", "data")]


def test_without_a_network_the_user_is_told_where_to_put_the_files(tmp_path):
    with pytest.raises(
        DataError, match=r"CIFAR-100 is not in .* could not be downloaded into it \(no network in tests\)"
    ):
        cifar.read("cifar100", tmp_path, checksum=True)


def test_something_else_under_the_name_is_refused(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("data", "x")
    write_cifar10(tmp_path, data_batch_1=archive.getvalue())
    with pytest.raises(DataError, match="data_batch_1 is truncated or not a CIFAR file"):
        cifar.read("cifar10", tmp_path, checksum=False)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_names_of_classes_are_those_of_the_file_beside_the_images(tmp_path, protocol):
    write_cifar10(tmp_path)
    assert cifar.read("cifar10", tmp_path, checksum=False).class_names is None
    names = [f"thing {k}" for k in range(10)]
    meta = tmp_path / "batches.meta"
    meta.write_bytes(pickle.dumps({"label_names": names, "num_vis": 3072}, protocol=protocol))
    source = cifar.read("cifar10", tmp_path, checksum=False)
    assert (source.class_names, source.notes) == (tuple(names), ())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02nonsense",
        pickle.dumps({"label_names": ["a"] * 9}),
        pickle.dumps({"label_names": [1] * 10}),
        pickle.dumps({"other": []}),
        pickle.dumps({"label_names": os.system}),
    ],
)
def test_a_file_without_names_is_said_and_stops_nobody(tmp_path, content):
    write_cifar10(tmp_path)
    (tmp_path / "batches.meta").write_bytes(content)
    source = cifar.read("cifar10", tmp_path, checksum=False)
    assert source.class_names is None
    assert source.notes[0].endswith("batches.meta holds no names of 10 classes: they are shown by their numbers")
