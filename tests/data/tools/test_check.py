"""Whole, half-missing and damaged layouts: everything that is wrong is named, and the exit status says so."""

import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sfa_bench.choices.code import load
from sfa_bench.choices.sources import SOURCES, DatasetConfig
from sfa_bench.config.schema import RunConfig
from sfa_bench.data.sources import cifar, clothing1m, webvision
from sfa_bench.data.sources.contents import files_of
from sfa_bench.data.tools import check as checking
from sfa_bench.data.tools.command import main
from sfa_bench.data.tools.fake import layouts, make_fake
from sfa_bench.errors import DataError

OWN = "dataset.checksum=false"


@pytest.fixture
def fake(tmp_path):
    """Make a small copy; gives its data_dir."""

    def make(name, size=5):
        side = 24 if load(layouts()[name]).side else None
        make_fake(name, tmp_path / name, size, side=side)
        return tmp_path / name / load(layouts()[name]).file

    return make


@pytest.fixture
def checked(capsys):
    """`check … --json`: exit status, the object, the sentence."""

    def run(*arguments):
        status = main(["check", *map(str, arguments), "--json"])
        shown = capsys.readouterr()
        return status, json.loads(shown.out), shown.err

    return run


def test_a_whole_data_set_is_counted_and_can_be_trained_on(fake, checked):
    folder = fake("cifar10")
    status, found, complaint = checked("cifar10", f"data_dir={folder}", OWN)
    assert (status, complaint, found["usable"], found["missing"]) == (0, "", True, [])
    assert found["counts"] == {"train": [5] * 10, "test": [1] * 10}
    assert [(item["path"], item["checksum"]) for item in found["items"]] == [
        (name, "differs") for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    ]


def test_every_missing_file_is_named_and_nothing_is_downloaded(fake, checked, monkeypatch):
    folder = fake("cifar10")
    (folder / "data_batch_2").unlink()
    (folder / "test_batch").unlink()
    monkeypatch.setattr(cifar, "_download", lambda *_: pytest.fail("a check does not download"))
    status, found, complaint = checked("cifar10", f"data_dir={folder}", OWN)
    assert (status, found["usable"]) == (2, False)
    assert found["missing"] == ["data_batch_2", "test_batch"]
    assert complaint.startswith(f"refused: 2 of 6 files are missing in {folder}")
    assert len(complaint.splitlines()) == 1


def test_an_empty_default_folder_says_where_the_data_come_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "fashion_mnist"]) == 2
    shown = capsys.readouterr()
    assert shown.out.count("MISSING") == 4
    assert "dataset-fashion-mnist" in shown.out
    assert "4 of 4 files are missing in data" in shown.err
    assert list(tmp_path.iterdir()) == []


def test_official_checksums_match_or_differ_file_by_file(fake, checked, monkeypatch):
    folder = fake("cifar100")
    layout = cifar.LAYOUTS["cifar100"]
    md5 = hashlib.md5((folder / "train").read_bytes()).hexdigest()
    monkeypatch.setitem(cifar.LAYOUTS, "cifar100", layout._replace(train={"train": md5}))
    status, found, complaint = checked("cifar100", f"data_dir={folder}")
    assert {item["path"]: item["checksum"] for item in found["items"]} == {"train": "matches", "test": "differs"}
    assert status == 2
    assert "is not the official file" in complaint
    assert "dataset.checksum=false" in complaint


def test_checksums_of_fashion_mnist_are_of_the_unpacked_content(fake, checked):
    folder = fake("fashion_mnist")
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8b torn")
    status, found, complaint = checked("fashion_mnist", f"data_dir={folder}", OWN)
    assert status == 2
    assert [item["checksum"] for item in found["items"]] == ["differs"] * 4
    assert "t10k-labels-idx1-ubyte.gz is truncated or not a gzip file" in complaint


def test_labels_of_people_are_counted_and_their_missing_file_is_named_with_the_others(fake, checked):
    folder = fake("cifar10n", size=30)
    status, found, _ = checked("cifar10n", f"data_dir={folder}", OWN)
    assert status == 0
    assert sum(found["counts"]["train (worst)"]) == 300
    assert any("labels worst" in note for note in found["notes"])
    (folder / "CIFAR-10_human.pt").unlink()
    status, found, complaint = checked("cifar10n", f"data_dir={folder}", OWN)
    assert (status, found["missing"]) == (2, ["CIFAR-10_human.pt"])
    assert "noise=human needs it" in complaint
    (folder / "data_batch_1").unlink()
    status, found, complaint = checked("cifar10n", f"data_dir={folder}", OWN)
    assert found["missing"] == ["data_batch_1", "CIFAR-10_human.pt"]
    assert "1 of 6 files is missing" in complaint


def test_a_damaged_file_is_refused_with_the_readers_sentence(fake, checked):
    folder = fake("cifar10")
    path = folder / "data_batch_3"
    path.write_bytes(path.read_bytes()[:1000])
    status, found, complaint = checked("cifar10", f"data_dir={folder}", OWN)
    assert (status, found["missing"], found["counts"]) == (2, [], {})
    assert "data_batch_3 is truncated or not a CIFAR file" in complaint


def test_arrays_need_no_name_to_be_checked(fake, checked, capsys):
    file = fake("arrays")
    status, found, _ = checked("arrays", f"data_dir={file}")
    assert status == 0
    with np.load(file) as arrays:
        assert found["counts"]["train"] == np.bincount(arrays["y_train"]).tolist()
        assert found["counts"]["train (clean)"] == np.bincount(arrays["y_train_clean"]).tolist()
    assert main(["check", "arrays", f"data_dir={file.with_name('none.npz')}"]) == 2
    shown = capsys.readouterr()
    assert "none.npz" in shown.out
    assert "x_train" in shown.out  # the expected layout
    assert "does not exist" in shown.err


def test_data_sets_without_files_are_always_there(checked):
    status, found, _ = checked("digits")
    assert (status, found["items"], sum(found["counts"]["train"])) == (0, [], 1438)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digits", "--images"], "--images has no effect on digits"),
        (["digits", "dataset=cifar10"], "the data set is named twice: digits and dataset=cifar10"),
        (["dataset=digits"], "check takes the name of the data set first"),
        (["cifar11"], "did you mean dataset=cifar10"),
        (["digits", "imb_factor=100"], "did you mean 0.01?"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(capsys, arguments, sentence):
    assert main(["check", *arguments]) == 2
    assert sentence in capsys.readouterr().err


# ---- data sets of image files: the readers stand aside, so that only what `check` itself sees is tested


@pytest.fixture
def seen(fake, monkeypatch):
    """`check` of an image-file layout whose reader finds `reason` (None: nothing) wrong."""

    def look(name, spoil=lambda folder: None, images=True, reason=None, **values):
        place = fake(name, size=4)
        spoil(place if place.is_dir() else place.parent)

        def load(*args):
            if reason:
                raise DataError(reason)
            return FEW

        monkeypatch.setattr(checking.sources, "load", load)
        config = RunConfig(dataset=DatasetConfig(name=name, source=name, resize=40, **values), data_dir=str(place))
        return checking.check(config, name, images), config

    return look


FEW = checking.Source(np.zeros(4), np.array([0, 1, 0, 1]), np.zeros(2), np.array([0, 1]), 2, (0,), (1,), 0, False)
IMAGES = {"webvision": 300, "clothing1m": 84, "folder": 25, "csv": 25}


@pytest.mark.parametrize("name", IMAGES)
def test_all_images_of_a_whole_layout_are_found_and_read(seen, name):
    found, _ = seen(name)
    assert (found.sentence, found.missing, found.bad) == (None, [], {})
    assert found.decoded == IMAGES[name]
    assert found.counts == {"train": [2, 2], "test": [1, 1]}


def test_everything_that_webvision_lacks_is_named_at_once(seen, capsys):
    def spoil(folder):
        (folder / "info/val_filelist.txt").unlink()
        for label in (3, 17):
            for path in (folder / "imagenet/val" / str(label)).iterdir():
                path.unlink()
        for path in (folder / "google/q0008").iterdir():
            path.unlink()

    found, config = seen("webvision", spoil, images=False, reason="it is not whole")
    assert found.sentence == "it is not whole"
    lost = [f"google/q0008/{n:06}.jpg" for n in range(28, 32)]
    assert found.missing == ["info/val_filelist.txt", "imagenet/val/3/", "imagenet/val/17/", *lost]
    checking.show(found, config)
    shown = capsys.readouterr().out
    assert "imagenet/val/3, 17 (2 of 50)" in shown
    assert "4 images that a list names are missing:\n  google/q0008/000028.jpg" in shown
    assert "val_images_256/val000001.jpg" in shown  # the tree
    assert "webvision/dataset2017" in shown
    assert max(map(len, shown.splitlines()[1:7])) <= 80


def test_clothing1m_may_be_the_folder_of_images_itself(seen):
    def flatten(folder):
        for path in (folder / "images").iterdir():
            path.rename(folder / path.name)
        (folder / "images").rmdir()

    found, _ = seen("clothing1m", flatten)
    assert (found.missing, found.decoded) == ([], IMAGES["clothing1m"])


def test_images_that_cannot_be_read_are_counted_listed_and_decide(seen):
    def spoil(folder):
        files = sorted((folder / "images").iterdir())
        files[2].write_bytes(b"")
        files[5].write_bytes(files[5].read_bytes()[:-200])
        files[7].write_text("<html>404</html>")
        files[9].unlink()

    found, config = seen("csv", spoil)
    assert found.decoded == IMAGES["csv"] - 1
    assert len(found.bad) == 3
    assert found.sentence is not None
    assert found.sentence.startswith("3 of 24 images cannot be read")
    assert "dataset.on_bad_image=skip" in found.sentence
    assert len(found.missing) == 1
    again = checking.check(replace(config, dataset=replace(config.dataset, on_bad_image="skip")), "csv", True)
    assert again.sentence is None
    assert again.notes == ["3 of 24 images cannot be read and are left out (dataset.on_bad_image=skip)"]


def test_a_list_that_leads_out_of_the_data_folder_is_not_followed(seen, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"x")

    def spoil(folder):
        with (folder / "data.csv").open("a") as file:
            file.write(f"../secret.jpg,0,0,train\n{tmp_path}/secret.jpg,0,0,train\n")

    found, _ = seen("csv", spoil, reason="refused by the reader")
    assert (found.decoded, found.bad) == (0, {})
    assert "so it may leave the data folder ('../secret.jpg')" in found.refused[0]


# ---- and with the real readers: `check` sees what they see


@pytest.mark.parametrize("name", IMAGES)
def test_counts_are_those_of_the_lists_and_of_what_was_read(fake, checked, name):
    place = fake(name, size=4)
    if name == "csv":  # blanks around cells are the reader's business, also in the header
        place.write_text(place.read_text().replace(",", " , "))
    status, found, complaint = checked(name, f"data_dir={place}", "--images")
    assert (status, complaint, found["missing"], found["bad"], found["refused"]) == (0, "", [], {}, [])
    parts = {part: sum(counts) for part, counts in found["counts"].items() if part != "train (clean)"}
    entries = [item["entries"] for item in found["items"] if item["entries"] is not None]
    assert sum(parts.values()) == sum(entries) == found["decoded"] == IMAGES[name]
    if name == "webvision":
        assert [*parts.values()] == [entries[0], entries[1], sum(entries[2:])]
    elif name != "csv":
        assert sorted(parts.values()) == sorted(entries)
    else:
        assert len(entries) == 1


def test_images_behind_a_link_inside_the_folder_are_read_like_the_others(fake, checked):
    root = fake("folder", size=4)
    (root / "test/class_1").rename(root / "elsewhere")
    (root / "test/class_1").symlink_to("../elsewhere")
    (root / "elsewhere/0001.jpg").write_bytes(b"no image")
    status, found, complaint = checked("folder", f"data_dir={root}", "--images")
    assert (status, found["decoded"]) == (2, 25)
    assert found["bad"] == {str(root / "test/class_1/0001.jpg"): "not a readable image"}
    assert "1 of 25 images cannot be read" in complaint


def test_what_the_reader_refuses_is_never_opened(fake, command, tmp_path):
    root = fake("folder", size=4)
    os.mkfifo(root / "train/class_0/x.jpg")
    status, output, errors = command("check", "folder", f"data_dir={root}", "--images")
    assert (status, len(errors.splitlines())) == (2, 1)
    assert "1 of the 21 images of train are not in" in errors
    assert "1 images that a list names are missing:\n  train/class_0/x.jpg" in output
    (root / "train/class_0/x.jpg").unlink()
    (root / "train").rename(tmp_path / "outside")
    (root / "train").symlink_to(tmp_path / "outside")
    status, output, errors = command("check", "folder", f"data_dir={root}", "--images")
    assert (status, len(errors.splitlines())) == (2, 1)
    assert "leads out of" in errors
    assert "5 images read, 0 of them bad" in output


def test_an_image_that_a_run_refuses_for_its_shape_is_bad(fake, checked):
    root = fake("folder", size=4)
    Image.new("RGB", (600, 2)).save(root / "train/class_0/0000.jpg")
    status, found, _ = checked("folder", f"data_dir={root}", "--images")
    assert status == 2
    assert "a factor of more than 50" in found["bad"][str(root / "train/class_0/0000.jpg")]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("google/q0001/x.jpg " + "9" * 5000, "the class is out of range"),
        ("google/q\0/x.jpg 0", "the path has a control character"),
        ("google/q\x1b[31m/x.jpg 0", "the path has a control character"),
        ("google/q0001/x.jpg zero", "is not a class, an integer from 0"),
    ],
)
def test_a_list_that_its_reader_refuses_is_refused_in_its_words(fake, checked, line, sentence):
    root = fake("webvision", size=4)
    with (root / webvision.TRAIN_LIST).open("a") as file:
        file.write(f"{line}\n")
    (root / webvision.VAL_LIST).write_text("\n")
    status, found, complaint = checked("webvision", f"data_dir={root}", "--images")
    assert (status, found["counts"], found["decoded"]) == (2, {}, 50)  # ImageNet's
    assert len(complaint.splitlines()) == 1
    assert complaint.rstrip().isprintable()
    assert sentence in complaint
    assert complaint == f"refused: {found['refused'][0]}\n"
    assert "the line is blank" in found["refused"][1]


def test_an_image_beside_the_class_folders_is_refused_and_nothing_is_called_missing(fake, checked):
    root = fake("folder", size=4)
    (root / "train/class_0/0000.jpg").rename(root / "train/0000.jpg")
    status, found, complaint = checked("folder", f"data_dir={root}", "--images")
    assert (status, found["missing"], found["decoded"]) == (2, [], 5)
    assert complaint == f"refused: {found['refused'][0]}\n"
    assert "lies in no class folder" in complaint


def test_further_refusals_are_shown_beside_the_sentence(fake, command):
    root = fake("clothing1m", size=4)
    for name in clothing1m.KEYS.values():
        (root / name).write_text("../x.jpg\n")
    status, output, errors = command("check", "clothing1m", f"data_dir={root}")
    assert status == 2
    assert f"line 1 of {root}/noisy_train_key_list.txt is refused" in errors
    assert f"refused too:\n  line 1 of {root}/clean_val_key_list.txt is refused" in output


def test_names_that_a_terminal_cannot_show_are_escaped(fake, command, checked, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    root = fake("folder", size=4)
    (root / "train/class_0/\x1b[31m.jpg").write_bytes(b"")
    (root / "train/class_0/0000.jpg").rename(root / os.fsdecode(b"train/class_0/\xff.jpg"))
    place = root.rename(root.with_name(os.fsdecode(b"odd\xff\x1b")))
    status, output, errors = command("check", "folder", f"data_dir='{place}'", "--images")
    assert (status, len(errors.splitlines())) == (2, 1)
    assert "has a name that is not UTF-8; rename it" in errors
    assert "odd\\xff\\x1b" in output
    assert "\x1b" not in output + errors
    (place / os.fsdecode(b"train/class_0/\xff.jpg")).unlink()
    status, output, errors = command("check", "folder", f"data_dir='{place}'", "--images")
    assert status == 2
    assert "\\x1b[31m.jpg (not a readable image)" in output
    assert "\x1b" not in output + errors
    status, output, _ = command("check", "folder", f"data_dir='{place}'", "--images", "--json")
    assert json.loads(output)["data_dir"] == str(place)


def test_a_folder_that_is_not_there_is_refused_for_data_sets_without_files_too(checked, capsys):
    for name in ("digits", "synthetic"):
        assert main(["check", name, "data_dir=nowhere"]) == 2
        shown = capsys.readouterr()
        assert "data_dir=nowhere does not exist" in shown.err
        assert "cannot be trained on" in shown.out


def test_every_data_set_has_a_drawing_and_a_source():
    described = {name: files_of(DatasetConfig(source=name)) for name in SOURCES}
    assert {name for name, files in described.items() if files is not None} == {*layouts()} - {"cifar10n", "cifar100n"}
    for files in described.values():
        assert files is None or (files.where and all(len(line) <= 100 for line in files.tree.splitlines()))
    annotated = files_of(DatasetConfig(name="cifar10n", source="cifar10", human=True))
    assert "CIFAR-10_human.pt" in annotated.tree
    assert "cifar-10-100n" in annotated.where


def test_the_command_from_another_folder(fake, command, tmp_path):
    folder = fake("cifar10")
    status, output, errors = command("check", "cifar10", f"data_dir={folder}", OWN, cwd=tmp_path)
    assert (status, errors) == (0, "")
    assert "can be trained on" in output
    assert max(map(len, output.splitlines()[1:])) <= 80
