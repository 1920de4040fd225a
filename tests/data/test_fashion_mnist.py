import gzip
import struct

import numpy as np
import pytest
import torchvision

from sfa_bench.data import build
from sfa_bench.data.sources import fashion_mnist
from sfa_bench.errors import DataError

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, zipped, **replaced):
    """Files of 30 training and 20 test images; `replaced` gives the content of train_images, train_labels."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = []
    for count in (30, 20):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays += [images, (np.arange(count) % 10).astype(np.uint8)]
    for name, array in zip(NAMES, arrays, strict=True):
        content = replaced.get(name[:12].replace("-", "_"), idx(array))
        file = folder / (f"{name}.gz" if zipped else name)
        file.write_bytes(gzip.compress(content) if zipped else content)
    return arrays


@pytest.fixture(autouse=True)
def no_system_files(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "not-installed")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("layout", ["", "FashionMNIST/raw"])
def test_gzipped_and_plain_files_are_read_in_either_layout(tmp_path, zipped, layout):
    arrays = write(tmp_path / layout, zipped)
    source = fashion_mnist.read(tmp_path, checksum=False)
    assert source.train_images[..., 0].tolist() == arrays[0].tolist()
    assert source.train_labels.tolist() == arrays[1].tolist()
    assert source.test_images.shape == (20, 28, 28, 1)
    assert source.train_labels.dtype == np.int64


def test_our_files_are_torchvisions(tmp_path):
    write(tmp_path / "FashionMNIST/raw", zipped=False)
    theirs = torchvision.datasets.FashionMNIST(tmp_path, train=True)
    source = fashion_mnist.read(tmp_path, checksum=False)
    assert source.train_images[..., 0].tolist() == theirs.data.tolist()
    assert source.train_labels.tolist() == theirs.targets.tolist()


def test_the_users_folder_comes_before_the_systems(tmp_path, monkeypatch):
    write(tmp_path / "system", zipped=True)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "system")
    (tmp_path / "mine").mkdir()
    assert fashion_mnist.read(tmp_path / "mine", checksum=False).train_labels[0] == 0
    mine = idx(np.full(30, 7, np.uint8))
    write(tmp_path / "mine", zipped=False, train_labels=mine)
    assert fashion_mnist.read(tmp_path / "mine", checksum=False).train_labels[0] == 7


def test_a_download_is_the_last_resort(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"Fashion-MNIST is not in .* could not be downloaded"):
        fashion_mnist.read(tmp_path, checksum=False)
    monkeypatch.setattr(fashion_mnist, "_download", lambda folder: write(folder / "FashionMNIST/raw", zipped=False))
    assert len(fashion_mnist.read(tmp_path, checksum=False).train_images) == 30


def test_other_files_need_checksum_false(tmp_path):
    write(tmp_path, zipped=True)
    with pytest.raises(DataError, match=r"train-images.* is not the official file .*dataset\.checksum=false"):
        fashion_mnist.read(tmp_path, checksum=True)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"train_images": idx(np.zeros((30, 28, 28), np.uint8))[:-1]}, "announces 23,520 bytes, 23,519 follow"),
        ({"train_images": idx(np.zeros((30, 28, 28), np.uint8)) + b"x"}, "announces 23,520 bytes, 23,521 follow"),
        ({"train_images": b"\x00\x00\x08"}, "not an IDX file of bytes with 3 dimension.*starts with 000008"),
        ({"train_images": b""}, "not an IDX file"),
        ({"train_images": b"\x00\x00\x0d" + idx(np.zeros((30, 28, 28), np.uint8))[3:]}, "starts with 00000d03"),
        ({"train_labels": idx(np.zeros((30, 1), np.uint8))}, "with 1 dimension.*starts with 00000802"),
        ({"train_images": idx(np.zeros((30, 32, 32), np.uint8))}, "are 32×32; Fashion-MNIST's are 28×28"),
        ({"train_labels": idx(np.zeros(29, np.uint8))}, "30 images but 29 labels"),
        ({"train_labels": idx(np.full(30, 11, np.uint8))}, "label 11 .* out of range: labels are 0…9"),
        (
            {"train_images": idx(np.zeros((0, 28, 28), np.uint8)), "train_labels": idx(np.zeros(0, np.uint8))},
            "no image",
        ),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_wrong_files_are_named(tmp_path, zipped, replaced, message):
    write(tmp_path, zipped, **replaced)
    with pytest.raises(DataError, match=message):
        fashion_mnist.read(tmp_path, checksum=False)


def test_a_gzip_file_cut_anywhere_is_refused(tmp_path):
    write(tmp_path, zipped=True)
    file = tmp_path / f"{NAMES[1]}.gz"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=NAMES[1]):
            fashion_mnist.read(tmp_path, checksum=False)
    file.write_bytes(whole[:20] + b"\x00\xff" + whole[22:])
    with pytest.raises(DataError, match=NAMES[1]):
        fashion_mnist.read(tmp_path, checksum=False)


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path, zipped=True)
    (tmp_path / f"{NAMES[3]}.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz is missing"):
        fashion_mnist.read(tmp_path, checksum=False)


def test_a_run_is_padded_by_two_and_flipped(tmp_path, make_config):
    write(tmp_path, zipped=True)
    data = build(make_config("fashion_mnist", "asymmetric", "none", tmp_path, checksum=False))
    transform = data.view.transform
    assert (transform.mean, transform.std, transform.padding, transform.flip) == ((0.2860,), (0.3530,), 2, True)
    assert data.view.images.shape == (30, 1, 28, 28)
    assert data.confusion[9, 7] == 1  # int(.4·3)


DEBIAN = fashion_mnist.DEBIAN_FOLDER


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_debians_package_holds_the_official_files(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", DEBIAN)
    source = fashion_mnist.read(tmp_path, checksum=True)
    assert np.bincount(source.train_labels).tolist() == [6000] * 10
    assert np.bincount(source.test_labels).tolist() == [1000] * 10
    # the constants are those of the training pixels
    pixels = source.train_images[::20] / 255
    assert (pixels.mean(), pixels.std()) == pytest.approx((source.mean[0], source.std[0]), abs=2e-3)
