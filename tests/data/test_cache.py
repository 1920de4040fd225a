import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_images

from sfa_bench.data import cache, decoded
from sfa_bench.data.images import Framing
from sfa_bench.errors import DataError, RunError


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(decoded, "CHUNK", 4)


@pytest.fixture
def said():
    return []


@pytest.fixture
def making(tmp_path, said):
    return cache.Making(tmp_path / "kept", "on", 2, said.append)


def test_kept_images_are_those_of_the_files_in_every_order(tmp_path, making, said):
    images = small_images.write(tmp_path / "p", 10)
    kept, bad = cache.prepare(images, "train", making)
    assert not bad
    for rows in (np.arange(10), np.array([9, 3, 3])):
        assert kept.test_views(rows).equal(images.test_views(rows))
    some = np.array([True, False] * 5)
    assert kept[some][np.array([4, 0])].read(1).equal(images.read(0))
    uniforms = np.random.default_rng(0).random((1, 10, images.framing.numbers))
    assert kept.train_views(np.arange(10), uniforms, True).equal(images.train_views(np.arange(10), uniforms, True))
    assert len(said) == 1
    assert "keeping the 10 train images decoded" in said[0]


def test_it_is_made_once_and_shared_by_who_has_the_same_files_and_scaling(tmp_path, making, said, monkeypatch):
    images = small_images.write(tmp_path / "p", 10)
    cache.prepare(images, "train", making)
    monkeypatch.setattr(cache, "_make_chunk", lambda *args: pytest.fail("made again"))
    again, _ = cache.prepare(small_images.files(tmp_path / "p", [n.decode() for n in images.names]), "train", making)
    assert again.read(3).equal(images.read(3))
    assert len(said) == 1  # nothing to say
    others = [replace(images, framing=Framing(24, 16)), images[np.arange(9)], images[np.arange(10)[::-1]]]
    assert len({cache.key(found) for found in [images, *others]}) == 4
    assert cache.key(replace(images, framing=Framing(20, 10, "plain"))) == cache.key(images)  # the crop comes later


def test_a_file_that_has_changed_is_decoded_again_and_nothing_else(tmp_path, making, said):
    """Also one that keeps its size, as uncompressed images do."""
    images = small_images.write(tmp_path / "p", 10, ending="bmp")
    cache.prepare(images, "train", making)
    folder = next(making.folder.iterdir())
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.bin")}
    content = bytearray(images.path(5).read_bytes())
    content[-300:] = bytes(300)
    images.path(5).write_bytes(content)
    images = small_images.files(tmp_path / "p", [name.decode() for name in images.names])
    kept, _ = cache.prepare(images, "train", making)
    assert kept.test_views(np.arange(10)).equal(images.test_views(np.arange(10)))
    changed = [path.name for path in folder.glob("*.bin") if path.stat().st_mtime_ns != times[path.name]]
    assert changed == ["0001.bin"]


def test_a_file_that_could_not_be_read_is_looked_at_again_when_it_has_been_mended(tmp_path, making):
    images = small_images.write(tmp_path / "p", 6)
    right = images.path(2).read_bytes()
    images.path(2).write_bytes(bytes(len(right)))
    names = [name.decode() for name in images.names]
    for keep in ("on", "off"):
        bad = cache.prepare(
            small_images.files(tmp_path / "p", names), "train", replace(making, keep=keep), look_at_all=True
        )[1]
        assert list(bad) == [2]
    images.path(2).write_bytes(right)
    for keep in ("on", "off"):
        mended = small_images.files(tmp_path / "p", names)
        found, bad = cache.prepare(mended, "train", replace(making, keep=keep), look_at_all=True)
        assert not bad
        assert found.test_views(np.arange(6)).equal(mended.test_views(np.arange(6)))


def test_a_disk_that_does_not_answer_is_no_verdict_on_an_image(tmp_path, making, monkeypatch):
    images = small_images.write(tmp_path / "p", 6)

    def broken(position):
        raise OSError(5, "Input/output error", str(images.path(position)))

    monkeypatch.setattr("sfa_bench.data.images.ImageFiles.read", lambda self, position: broken(position))
    with pytest.raises(DataError, match=r"000.jpg: Input/output error"):
        cache.prepare(images, "train", making)
    assert not list(making.folder.glob("*/*.npz"))


def test_more_files_than_a_process_may_open_are_read(tmp_path, making, monkeypatch):
    monkeypatch.setattr(decoded, "MAPPED", 2)
    images = small_images.write(tmp_path / "p", 30)
    kept, _ = cache.prepare(images, "train", making)
    rows = np.random.default_rng(0).permutation(30)
    assert kept.test_views(rows).equal(images.test_views(rows))
    assert len(kept.cache._mapped) == 2


def test_a_start_that_was_stopped_goes_on_with_the_chunks_that_are_left(tmp_path, making, monkeypatch):
    images = small_images.write(tmp_path / "p", 18)  # 5 chunks

    class Stop(BaseException):
        pass

    steps = []

    def stop():
        steps.append(1)
        if len(steps) == 2:
            raise Stop

    with pytest.raises(Stop):
        cache.prepare(images, "train", replace(making, on_step=stop, workers=0))
    folder = next(making.folder.iterdir())
    tables = sorted(folder.glob("*.npz"))
    assert len(tables) == 2
    times = {path: path.stat().st_mtime_ns for path in folder.glob("000[01].*")}
    kept, _ = cache.prepare(images, "train", making)
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert kept.test_views(np.arange(18)).equal(images.test_views(np.arange(18)))


KILLED = """
import sys, small_images, time
from pathlib import Path
from sfa_bench.data import cache, decoded
decoded.CHUNK = 4
folder = Path(sys.argv[1])
make = cache._make_chunk
def slow(*args):
    time.sleep(0.3)
    make(*args)
cache._make_chunk = slow
images = small_images.files(folder / "p", sorted(path.name for path in (folder / "p").iterdir()))
print("started", flush=True)
cache.prepare(images, "train", cache.Making(folder / "kept", "on", 2))
"""


def test_after_a_kill_everything_is_there_and_no_process_is_left(tmp_path, making):
    images = small_images.write(tmp_path / "p", 60)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], env=environment, stdout=subprocess.PIPE)
    process.stdout.readline()
    while not list(tmp_path.glob("kept/*/0002.npz")):
        time.sleep(0.05)
    workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    folder = next((tmp_path / "kept").iterdir())
    assert len(list(folder.glob("*.npz"))) < 15
    kept, bad = cache.prepare(images, "train", making)
    assert not bad
    assert kept.test_views(np.arange(60)).equal(images.test_views(np.arange(60)))
    assert not list(folder.glob(".*.tmp"))
    deadline = time.monotonic() + 30  # DataLoader's workers look for their parent every five seconds
    while alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.2)


def test_what_cannot_be_read_now_is_not_called_damaged(tmp_path, making, monkeypatch):
    images = small_images.write(tmp_path / "p", 6)
    cache.prepare(images, "train", making)

    def refused(path):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(cache, "load_arrays", refused)
    with pytest.raises(DataError, match=r"0000\.npz cannot be read: .*Too many open files. Repeat the command"):
        cache.prepare(images, "train", making)


def test_damage_is_found_at_the_first_reading(tmp_path, making):
    images = small_images.write(tmp_path / "p", 6)
    cache.prepare(images, "train", making)
    folder = next(making.folder.iterdir())
    pixels = folder / "0001.bin"
    content = bytearray(pixels.read_bytes())
    content[7] ^= 1
    pixels.write_bytes(content)
    kept, _ = cache.prepare(images, "train", making)
    kept.read(3)
    kept.read(5)
    with pytest.raises(RunError, match=r"0001.bin is damaged: delete .*, which is made again"):
        kept.read(4)
    pixels.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"0001.bin has not the size that was written: delete"):
        cache.prepare(images, "train", making)
    pixels.write_bytes(content)
    table = folder / "0000.npz"
    whole = table.read_bytes()
    for damaged in (b"PK", whole[:-1], whole.replace(b"table", b"tablf", 1), whole[:60] + b"x" + whole[61:]):
        table.write_bytes(damaged)
        with pytest.raises(DataError, match=r"0000.npz is damaged"):
            cache.prepare(images, "train", making)


@pytest.mark.parametrize("keep", ["on", "off", "auto"])
def test_every_file_that_is_no_image_is_counted_whatever_is_kept(tmp_path, making, keep):
    images = small_images.write(tmp_path / "p", 10)
    images.path(2).write_bytes(b"no image")
    images.path(9).unlink()
    making = replace(making, keep=keep)
    found, bad = cache.prepare(images, "train", making, look_at_all=True)
    assert {position: reason.split(": ")[-1] for position, reason in bad.items()} == {
        2: "not a readable image",
        9: "there is no such file",
    }
    good = np.delete(np.arange(10), [2, 9])
    assert found[good].test_views(np.arange(8)).equal(images.test_views(good))
    assert (found.cache is None) == (keep == "off")
    if keep == "off":  # nobody asked to know: nobody looks
        assert cache.prepare(images, "train", making) == (images, {})


def test_a_folder_of_caches_keeps_data_of_the_same_names_apart(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a").mkdir()
    one, other, link = (cache.folder_in(tmp_path / "kept", tmp_path / name) for name in ("a", "b", "link"))
    assert one.parent == other.parent == tmp_path / "kept"
    assert one != other
    assert one == link


def disk(monkeypatch, free):
    usage = type("Usage", (), {"free": free})()
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage)


def test_a_disk_that_cannot_hold_them_is_refused_or_said(tmp_path, making, said, monkeypatch):
    images = small_images.write(tmp_path / "p", 10)  # about 10 · 20 · 30 · 3 bytes
    disk(monkeypatch, 10_000)
    with pytest.raises(
        DataError, match=r"dataset.cache=on: decoded they would take 0.0 MB, and the 0.0 MB .*cache_dir"
    ):
        cache.prepare(images, "train", making)
    found, _ = cache.prepare(images, "train", replace(making, keep="auto"))
    assert found.cache is None
    assert "the train images are read from their files in every epoch: decoded they would take" in said[0]
    disk(monkeypatch, 30_000)  # enough for them, but more than half of it
    assert cache.prepare(images, "train", replace(making, keep="auto"))[0].cache is None
    assert cache.prepare(images, "train", making)[0].cache is not None


def test_a_disk_that_fills_up_meanwhile_is_a_sentence(tmp_path, making, monkeypatch):
    images = small_images.write(tmp_path / "p", 10)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_make_chunk", full)
    with pytest.raises(DataError, match=r"cannot be decoded into .* \(No space left on device\): see to it"):
        cache.prepare(images, "train", making)


def test_a_folder_that_nobody_may_write_is_passed_over_by_auto_and_refused_by_on(tmp_path, making, said):
    images = small_images.write(tmp_path / "p", 4)
    making.folder.write_text("a file is in the way")
    assert cache.prepare(images, "train", replace(making, keep="auto"))[0].cache is None
    assert "read from their files in every epoch: " in said[0]
    assert "cannot be written" in said[0]
    assert cache.prepare(images, "train", replace(making, keep="off"), look_at_all=True) == (images, {})
    with pytest.raises(DataError, match=r"dataset.cache=on: .* cannot be written"):
        cache.prepare(images, "train", making)


def test_the_size_is_estimated_from_headers(tmp_path, making):
    images = small_images.write(tmp_path / "p", 30)
    cache.prepare(images, "train", making)
    written = sum(path.stat().st_size for path in making.folder.glob("*/*.bin"))
    assert cache._estimate(images) == pytest.approx(written, rel=0.05)
