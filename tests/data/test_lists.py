"""Lists of images and the look at each file: what stays in order, and what never leaves the data folder."""

import os

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from image_lists import options, touch

from sfa_bench.data.sources import image_files, lists
from sfa_bench.errors import DataError


@pytest.fixture
def written(tmp_path):
    def written(content):
        path = tmp_path / "list.txt"
        path.write_bytes(content)
        return path

    return written


@pytest.mark.parametrize(
    "content",
    [
        b"b/2.jpg 7\na/1.jpg 0\nb/2.jpg 7\nb/2.jpg 3\n",
        b"b/2.jpg 7\na/1.jpg 0\nb/2.jpg 7\nb/2.jpg 3",
        b"b/2.jpg 7\r\na/1.jpg 0\r\nb/2.jpg 7\r\nb/2.jpg 3\r\n",
        b"\xef\xbb\xbfb/2.jpg 7\r\na/1.jpg 0\r\nb/2.jpg 7\r\nb/2.jpg 3\r\n",
        b"./b/2.jpg\t7\n.//./a/1.jpg 0\nb//2.jpg  7 \n b/./2.jpg 03\n",
    ],
)
def test_the_order_of_the_file_is_kept_and_a_path_may_come_twice_with_any_class(written, content):
    names, labels = lists.read_labelled(written(content))
    assert names.tolist() == [b"b/2.jpg", b"a/1.jpg", b"b/2.jpg", b"b/2.jpg"]
    assert labels.tolist() == [7, 0, 7, 3]
    assert (names.dtype.kind, labels.dtype) == ("S", np.int64)


def test_a_path_may_have_blanks_and_the_class_is_what_follows_the_last(written):
    names, labels = lists.read_labelled(written("google/my cat 3.jpg 12\n…/ä.jpg\t4\n..a/b..jpg 1\n".encode()))
    assert [name.decode() for name in names] == ["google/my cat 3.jpg", "…/ä.jpg", "..a/b..jpg"]
    assert labels.tolist() == [12, 4, 1]


def test_lists_without_classes_are_read_alike(written):
    names = lists.read_names(written(b"\xef\xbb\xbfimages/b 1.jpg\r\n./images/a.jpg\r\nimages/b 1.jpg\r\n"))
    assert names.tolist() == [b"images/b 1.jpg", b"images/a.jpg", b"images/b 1.jpg"]
    with pytest.raises(DataError, match=r"line 2 of .*list\.txt is refused: the line is blank"):
        lists.read_names(written(b"a.jpg\n\nb.jpg\n"))


def test_names_of_many_lengths_survive_the_packing_in_blocks(written, monkeypatch):
    monkeypatch.setattr(lists, "BLOCK", 3)
    for count in (1, 2, 3, 4, 6, 7):
        expected = [b"d/" + b"x" * (i * 5 % 7 + 1) for i in range(count)]
        assert lists.read_names(written(b"\n".join(expected))).tolist() == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "the line is blank"),
        (b"  \t", "the line is blank"),
        (b"a.jpg", r"there is no class \('a\.jpg'\)"),
        (b"my cat.jpg", "not a class, an integer from 0"),
        (b"a.jpg cat", "not a class, an integer from 0"),
        (b"a.jpg -1", r"not a class, an integer from 0 \('a\.jpg -1'\)"),
        (b"a.jpg 1.0", "not a class"),
        (b"a.jpg +1", "not a class"),
        (b"a.jpg 1_0", "not a class"),
        ("a.jpg ٣".encode(), "not a class"),
        (b"a.jpg 10", r"the class is out of range, which are 0…9"),
        (b"a.jpg " + b"9" * 5000, "the class is out of range"),
        (b"/etc/passwd 3", r"the path is absolute"),
        (b"//etc/passwd 3", r"the path is absolute"),
        (b"../a.jpg 3", r"the path has a \.\."),
        (b"google/../../a.jpg 3", r"the path has a \.\."),
        (b"google/.. 3", r"the path has a \.\."),
        (b"./../a.jpg 3", r"the path has a \.\."),
        (b"..\\a.jpg 3", "the path has a backslash"),
        (b"google\\q1\\a.jpg 3", "the path has a backslash"),
        (b"a.jpg\0.png 3", "the path has a control character"),
        (b"a\x1b[2J.jpg 3", r"the path has a control character \('a\\x1b\[2J\.jpg 3'\)"),
        (b"./ 3", "there is no path"),
        (b"\xe4.jpg 3", r"the path is not UTF-8 \('\\\\xe4"),
        (b"x" * 1001 + b" 3", "the path has more than 1,000 bytes"),
    ],
)
def test_lines_that_are_none_are_named_by_number_and_content(written, line, reason):
    path = written(b"b.jpg 9\n" + line + b"\nc.jpg 0\n")
    with pytest.raises(DataError, match=rf"line 2 of .*list\.txt is refused: .*{reason}") as refused:
        lists.read_labelled(path, num_classes=10)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    with pytest.raises(DataError, match=r"line 2 of .* is refused: .*; so are 2 more lines; a line is <relative path>"):
        lists.read_labelled(written(b"b.jpg 9\n" + line + b"\n" + line + b"\nc.jpg 0\n\n"), num_classes=10)


@pytest.mark.parametrize(
    "content", ["b.jpg 9\nc.jpg 0\n".encode("utf-16"), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 3"]
)
def test_what_is_no_text_is_refused(written, content):
    with pytest.raises(DataError, match=r"line 1 of .*list\.txt is refused"):
        lists.read_labelled(written(content))


def test_an_empty_list_and_one_that_cannot_be_read_are_refused(written, tmp_path):
    with pytest.raises(DataError, match=r"list\.txt is empty; a line is <relative path> <class>"):
        lists.read_labelled(written(b""))
    with pytest.raises(DataError, match=r"cannot be read: Is a directory"):
        lists.read_labelled(tmp_path)


CHARACTERS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\")
COMPONENTS = st.text(CHARACTERS, min_size=1, max_size=12).filter(lambda part: part not in (".", ".."))
NAMES = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join).filter(lambda name: name == name.strip(" "))


@given(st.lists(st.tuples(NAMES, st.integers(0, 999)), min_size=1), st.sampled_from(["\n", "\r\n"]))
@example([("a b 1", 3), ("\xa0", 0), ("\ufeffa", 1), (".a/.b", 2), ("…", 5)], "\n")
def test_every_list_of_valid_names_comes_back_as_it_was_written(tmp_path_factory, entries, end):
    assume(not entries[0][0].startswith("\ufeff"))  # which is a byte order mark there
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    path.write_bytes("".join(f"{name} {label}{end}" for name, label in entries).encode())
    names, labels = lists.read_labelled(path, 1000)
    assert [name.decode() for name in names.tolist()] == [name for name, _ in entries]
    assert labels.tolist() == [label for _, label in entries]


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b.jpg", "..c", "x\\y"]), min_size=1, max_size=6).map("/".join))
def test_a_name_that_is_accepted_stays_below_the_folder(name):
    try:
        safe = image_files.safe_name(name.encode())
    except image_files.RefusedName:
        assert name.startswith("/") or ".." in name.split("/") or "\\" in name or not name.strip("./")
        return
    resolved = os.path.normpath(os.path.join("/data", safe.decode()))
    assert resolved == os.path.normpath(f"/data/{name}")
    assert resolved.startswith("/data/")
    assert resolved == f"/data/{safe.decode()}"


@pytest.fixture
def root(tmp_path):
    touch(tmp_path / "data", "a/1.jpg", "a/2.jpg", "b/c/3.jpg")
    touch(tmp_path / "outside", "secret.jpg")
    return tmp_path / "data"


def sizes(root, *names):
    return image_files.stat_images(root, np.array([name.encode() for name in names]))[0].tolist()


def test_files_are_measured_and_those_that_are_none_count_as_missing(root):
    (root / "d.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    assert sizes(root, "b/c/3.jpg", "a/1.jpg", "a/1.jpg") == [3, 1, 1]
    assert sizes(root, "a/9.jpg", "z/1.jpg", "a/1.jpg/x.jpg", "d.jpg", "pipe.jpg", "a/2.jpg") == [-1, -1, -1, -1, -1, 2]


def test_links_inside_the_folder_are_followed_and_the_folder_may_be_one(root, tmp_path, monkeypatch):
    (root / "a/near.jpg").symlink_to("2.jpg")
    (root / "a/far.jpg").symlink_to("../b/c/3.jpg")
    (root / "a/absolute.jpg").symlink_to(root / "b/c/3.jpg")
    (root / "a/chain.jpg").symlink_to("far.jpg")
    (root / "folder").symlink_to("b/c")
    (root / "dangling.jpg").symlink_to("b/none.jpg")
    (tmp_path / "link").symlink_to(root)
    names = ["a/near.jpg", "a/far.jpg", "a/absolute.jpg", "a/chain.jpg", "folder/3.jpg", "dangling.jpg"]
    for folder in (root, tmp_path / "link"):
        assert sizes(folder, *names) == [2, 3, 3, 3, 3, -1]
    monkeypatch.chdir(root)
    assert sizes(root.relative_to(root), *names) == [2, 3, 3, 3, 3, -1]


@pytest.mark.parametrize(
    ("link", "to", "name"),
    [
        ("a/l.jpg", "../../outside/secret.jpg", "a/l.jpg"),
        ("a/l.jpg", "{tmp}/outside/secret.jpg", "a/l.jpg"),
        ("a/l.jpg", "../../outside/there-is-none.jpg", "a/l.jpg"),
        ("l", "../outside", "l/secret.jpg"),
        ("l", "../outside", "l/none.jpg"),
        ("l", "..", "l/outside/secret.jpg"),
        ("a/l.jpg", "../..", "a/l.jpg/outside/secret.jpg"),
        ("a/l.jpg", "hop.jpg", "a/l.jpg"),
        ("a/l.jpg", "hops/secret.jpg", "a/l.jpg"),
        ("a/l.jpg", "{tmp}/data-too/secret.jpg", "a/l.jpg"),
        ("a/l.jpg", "../..", "a/l.jpg"),
    ],
)
def test_a_link_that_leaves_the_folder_is_refused(root, tmp_path, link, to, name):
    touch(tmp_path / "data-too", "secret.jpg")  # whose name begins like the folder's
    (root / "a/hop.jpg").symlink_to("../../outside/secret.jpg")
    (root / "a/hops").symlink_to("../../outside")
    assert sizes(root, "a/1.jpg") == [1]
    (root / link).symlink_to(to.format(tmp=tmp_path))
    with pytest.raises(DataError, match=r"data/(a/)?l(\.jpg)?.* leads out of .*data, to .*, by a symbolic link"):
        sizes(root, "a/1.jpg", name)


def test_missing_files_are_counted_and_the_first_named(root):
    names = np.array([b"a/2.jpg", b"x.jpg", b"a/1.jpg", b"y.jpg", b"y.jpg", b"a/1.jpg", b"v.jpg"])
    labels = np.arange(len(names))
    message = r"4 of the 7 images of the\.txt are not in .*data: x\.jpg, y\.jpg, y\.jpg and 1 more; .*on_bad_image=skip"
    with pytest.raises(DataError, match=message):
        image_files.find(options("folder"), root, names, labels, "train", "the.txt")
    found = image_files.find(options("folder", on_bad_image="skip"), root, names, labels, "train", "the.txt")
    assert found.images.names.tolist() == [b"a/2.jpg", b"a/1.jpg", b"a/1.jpg"]
    assert found.images.sizes.tolist() == [2, 1, 1]
    assert found.kept.tolist() == [True, False, True, False, False, True, False]
    assert found.skipped == ("train: x.jpg", "train: y.jpg", "train: y.jpg", "train: v.jpg")
    assert found.labels.tolist() == [0, 2, 5]
    absent = [1, 3, 4]
    for mode in ("error", "skip"):
        with pytest.raises(DataError, match=r"none of the 3 images of the\.txt exists .*data/x\.jpg"):
            image_files.find(
                options("folder", on_bad_image=mode), root, names[absent], labels[absent], "train", "the.txt"
            )


def test_a_folder_is_listed_by_name_with_its_folders_and_only_images(root, tmp_path):
    touch(root, "a/10.JPEG", "a/sub/z.PnG", "a/sub.jpg", "a/notes.txt", "a/.hidden.jpg", "a/.cache/x.jpg", "a/b.webp")
    (root / "a/linked").symlink_to("../b/c")
    (root / "a/gone.jpg").symlink_to("nowhere.jpg")
    listed = [name.decode() for name in image_files.images_below(root, "a")]
    expected = ["1.jpg", "10.JPEG", "2.jpg", "b.webp", "gone.jpg", "linked/3.jpg", "sub.jpg", "sub/z.PnG"]
    assert listed == [f"a/{name}" for name in expected]


def test_a_folder_with_a_circle_a_way_out_or_no_image_is_refused(root):
    touch(root, "empty/x.txt", "empty/y.csv", "p/1.jpg", "q/2.jpg")
    with pytest.raises(DataError, match=r"empty holds no image \(other files: 2\); images end in \.jpg \.jpeg"):
        image_files.images_below(root, "empty")
    (root / "p/to-q").symlink_to("../q")
    assert image_files.images_below(root, "p") == [b"p/1.jpg", b"p/to-q/2.jpg"]
    (root / "q/to-p").symlink_to("../p")
    with pytest.raises(DataError, match=r"p/to-q/to-p is a link to a folder that it lies in"):
        image_files.images_below(root, "p")
    (root / "b/up").symlink_to("..")
    with pytest.raises(DataError, match=r"b/up/b is a link to a folder that it lies in"):
        image_files.images_below(root, "b")
    (root / "a/out").symlink_to("../../outside")
    with pytest.raises(DataError, match=r"a/out leads out of .*data"):
        image_files.images_below(root, "a")


def test_a_file_name_that_is_not_utf8_is_refused(root):
    (root / "a" / os.fsdecode(b"\xe4.jpg")).write_bytes(b"x")
    with pytest.raises(DataError, match=r"has a name that is not UTF-8; rename it"):
        image_files.images_below(root, "a")
