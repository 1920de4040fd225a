"""Small files whose headers claim much, or that unpack to much: refused before the memory is asked for."""

import gzip
import io
import struct
import tracemalloc
import zipfile

import cifar_n
import numpy as np
import pytest
import torch

from sfa_bench import archives, memory
from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.data.noise import read_matrix
from sfa_bench.data.sources import fashion_mnist, human
from sfa_bench.errors import ConfigError, DataError
from sfa_bench.models.pretrained import load_into

TERABYTES = (80_000_000, 1_000_000)
NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def content():
    """The arrays of a small data set of three classes."""
    labels = np.arange(60) % 3
    images = np.zeros((60, 9, 8, 2), np.uint8)
    return {"x_train": images, "y_train": labels, "x_test": images[:12], "y_test": labels[:12]}


def idx(*shape, values=b""):
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values


@pytest.fixture
def peak():
    """Bytes that Python and NumPy have held at most since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def npy(shape, dtype="|u1", values=b""):
    """An array file whose header claims the shape, before whatever values."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + values


def npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def plain(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def arrays_run(path):
    return build(compose(["dataset=arrays", "dataset.name=mine", f"data_dir={path}", "model=convnet"]))


@pytest.mark.parametrize("side", [28, 10**6])
def test_an_array_whose_header_claims_more_than_its_member_holds_is_refused(tmp_path, peak, side):
    members = {name: plain(array) for name, array in content().items()}
    npz(tmp_path / "a.npz", **members | {"x_train": npy((80_000_000, side, side))})
    with pytest.raises(DataError, match=r"x_train of .*a\.npz .*header claims [\d,]+ bytes, and 0 follow"):
        arrays_run(tmp_path / "a.npz")
    assert peak() < 50e6


def test_arrays_that_together_unpack_to_more_than_the_memory_are_refused(tmp_path, peak, monkeypatch):
    members = {name: plain(array) for name, array in content().items()}
    npz(tmp_path / "a.npz", **members | {"x_train": npy((10**5, 30, 30), values=bytes(90_000_000))})
    tracemalloc.reset_peak()
    monkeypatch.setattr(memory, "total", lambda: 50_000_000)
    with pytest.raises(ConfigError, match=r"a\.npz would take 90\.0 MB of memory, and this machine has 50\.0 MB"):
        arrays_run(tmp_path / "a.npz")
    assert peak() < 20e6


def test_members_that_nobody_asked_for_are_not_unpacked(tmp_path, peak):
    members = {name: plain(array) for name, array in content().items()}
    npz(tmp_path / "a.npz", **members, extra=npy((10**8,), values=bytes(10**8)))
    tracemalloc.reset_peak()
    assert len(arrays_run(tmp_path / "a.npz").index) == 60
    assert peak() < 50e6


def test_a_noise_matrix_is_refused_by_the_shape_that_its_header_claims(tmp_path, peak):
    (tmp_path / "t.npy").write_bytes(npy(TERABYTES, "<f8"))
    with pytest.raises(DataError, match=r"holds a 80000000 × 1000000 matrix; the data set needs 3 × 3"):
        read_matrix(str(tmp_path / "t.npy"), 3)
    (tmp_path / "t.npy").write_bytes(npy((3, 3), "<f8"))
    with pytest.raises(DataError, match="cannot be read as a matrix of numbers"):
        read_matrix(str(tmp_path / "t.npy"), 3)
    (tmp_path / "t.txt").write_text("1 " * 30_000_000)
    tracemalloc.reset_peak()
    with pytest.raises(DataError, match=r"t\.txt is not a matrix: it has [\d,]+ characters or more"):
        read_matrix(str(tmp_path / "t.txt"), 3)
    assert peak() < 10e6


def test_of_a_gzip_file_no_more_is_unpacked_than_it_should_have(tmp_path, peak):
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress(idx(30, 28, 28, values=bytes(200_000_000))))
    tracemalloc.reset_peak()
    with pytest.raises(DataError, match="its header announces 23,520 bytes, 23,521 follow"):
        fashion_mnist.read(tmp_path, checksum=False)
    assert peak() < 20e6
    with pytest.raises(DataError, match="is not the official file"):
        fashion_mnist.read(tmp_path, checksum=True)
    official = 16 + 60_000 * 784
    assert official < peak() < 3 * official


def test_an_announced_size_beyond_the_memory_is_refused(tmp_path, peak):
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress(idx(2**32 - 1, 2**20, 2**20)))
    with pytest.raises(ConfigError, match=r"what the header of .*train-images.* announces would take .* GB of memory"):
        fashion_mnist.read(tmp_path, checksum=False)
    assert peak() < 20e6


def compressed(path):
    """The same Torch file with compressed members."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_torch_files_with_compressed_members_are_refused(tmp_path):
    labels, path = np.arange(50) % 10, tmp_path / "CIFAR-10_human.pt"
    cifar_n.write(path, cifar_n.labels_for(labels))
    assert human.load(path, "clean", labels, 10).tolist() == labels.tolist()
    compressed(path)
    with pytest.raises(DataError, match=r"CIFAR-10_human\.pt is refused: its member .* is compressed"):
        human.load(path, "clean", labels, 10)
    weights = tmp_path / "w.pth"
    torch.save({"weight": torch.zeros(2, 2)}, weights)
    compressed(weights)
    with pytest.raises(ConfigError, match=r"w\.pth is refused: its member .* is compressed"):
        load_into(torch.nn.Linear(2, 2, bias=False), str(weights), "a test's", last="head")


def test_what_is_no_array_is_told_from_one_by_its_header():
    shape, dtype = archives.header(io.BytesIO(npy((2, 3), "<i8")))
    assert (shape, dtype) == ((2, 3), np.int64)
    for broken in (b"", b"\x93NUMPY\x09\x00", npy((2,), "|O"), b"PK\x03\x04"):
        with pytest.raises(ValueError, match=r"."):
            archives.header(io.BytesIO(broken))


def test_a_containers_limit_counts_where_it_is_less_than_the_machines(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMITS", (limit,))
    machine = memory.total()
    for text, expected in (("max\n", machine), ("1000000\n", 1_000_000), (str(2**63), machine)):
        limit.write_text(text)
        assert memory.total() == expected
