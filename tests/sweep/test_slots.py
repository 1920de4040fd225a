"""Slots lie where others may write, too: nothing that another user may have put there is used."""

import os

import pytest

from sfa_bench.errors import RunError
from sfa_bench.sweep import slots


def refused(folder, match):
    with pytest.raises(RunError, match=match) as caught:
        slots.wait_for_slot(folder, ["0"], 1, lambda: None)
    assert "remove it, or choose another folder: TMPDIR=PATH" in str(caught.value)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "slots"
    place.mkdir(mode=0o700)
    return place


def test_a_folder_of_this_user_alone_is_used_and_its_slots_are_files_of_this_user_alone(folder):
    name, file = slots.wait_for_slot(folder, ["0/1"], 1, lambda: None)
    assert name == "0/1"
    assert [path.name for path in folder.iterdir()] == ["0-1.0"]
    assert (folder / "0-1.0").stat().st_mode & 0o777 == 0o600
    assert not os.get_inheritable(file.fileno())
    file.close()


def test_a_folder_that_is_a_link_is_refused(tmp_path, folder):
    (tmp_path / "link").symlink_to(folder)
    refused(tmp_path / "link", "link tells which GPU is free, and it cannot be used")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755, 0o1777])
def test_a_folder_that_others_may_use_is_refused(folder, mode):
    folder.chmod(mode)
    refused(folder, "others may use it")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_folder_or_slot_is_refused(folder):
    os.chown(folder, 12345, -1)
    refused(folder, "others may use it .owner 12345")
    os.chown(folder, os.getuid(), -1)
    (folder / "0.0").touch()
    os.chown(folder / "0.0", 12345, -1)
    refused(folder, "not a file that only this user can access")


def test_a_slot_that_is_a_link_or_no_file_is_refused_and_its_target_stays(tmp_path, folder):
    target = tmp_path / "target"
    target.write_text("mine")
    slot = folder / "0.0"
    slot.symlink_to(target)
    refused(folder, "0.0 tells which GPU is free, and it cannot be used")
    slot.unlink()
    slot.symlink_to(tmp_path / "made by us")
    refused(folder, "cannot be used")
    assert not (tmp_path / "made by us").exists()
    slot.unlink()
    os.link(target, slot)  # a second name for somebody's file
    refused(folder, "not a file that only this user can access")
    slot.unlink()
    os.mkfifo(slot)
    refused(folder, "not a file that only this user can access")
    assert target.read_text() == "mine"


def test_what_stands_where_the_folder_would_be_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(tmp_path))
    place = slots._folder()
    assert place.stat().st_mode & 0o777 == 0o700
    assert slots._folder() == place
    place.rmdir()
    place.write_text("a file")
    with pytest.raises(RunError, match="it cannot be made"):
        slots._folder()
