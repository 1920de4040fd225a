"""A user's own images in a table (algorithms/data.md §2)."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_lists import load, names, touch, write

from sfa_bench.config.compose import compose
from sfa_bench.data import sources
from sfa_bench.data.images import Framing
from sfa_bench.errors import DataError

FILES = ["p/a.jpg", "p/b 1.jpg", "c.png", "q/d,e.jpg", "t1.jpg", "t2.jpg", "v.jpg"]
ROWS = [
    "p/b 1.jpg,2,train",
    "p/a.jpg,0,train",
    "t2.jpg,1,test",
    '"q/d,e.jpg",1,train',
    "v.jpg,2,val",
    "p/a.jpg,1,train",
    "./c.png,0,train",
    "t1.jpg,0,test",
]


@pytest.fixture
def root(tmp_path):
    touch(tmp_path / "mine", *FILES)
    return tmp_path / "mine"


def read(root, *rows, header="path,label,split", **values):
    write(root / "table.csv", header, *rows)
    return load("csv", root / "table.csv", **values)


def test_rows_keep_their_order_and_a_path_may_come_twice(root):
    source = read(root, *ROWS)
    assert names(source.train_images) == ["p/b 1.jpg", "p/a.jpg", "q/d,e.jpg", "p/a.jpg", "c.png"]
    assert source.train_labels.tolist() == [2, 0, 1, 1, 0]
    assert source.train_images.sizes.tolist() == [2, 1, 4, 1, 3]
    assert (names(source.test_images), source.test_labels.tolist()) == (["t2.jpg", "t1.jpg"], [1, 0])
    assert (names(source.val_images), source.val_labels.tolist()) == (["v.jpg"], [2])
    assert (source.num_classes, source.train_labels.dtype) == (3, np.int64)
    assert source.train_images.path(2) == root / "q/d,e.jpg"


def test_what_a_run_is_told_of_them(root):
    source = read(root, *ROWS)
    assert (source.labels_are_clean, source.clean_labels, source.by_rank, source.skipped) == (False, None, False, ())
    assert (source.mean, source.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (source.padding, source.flip) == (0, True)
    typed = ["dataset=csv", "dataset.name=mine", "dataset.crop=64", "dataset.resize=72", "dataset.flip=false"]
    config = compose([*typed, f"data_dir={root / 'table.csv'}"])
    source = sources.load(config.dataset, config.data_dir)
    assert source.train_images.framing == source.test_images.framing == Framing(72, 64, "resized")
    assert not source.flip


def test_columns_stand_in_any_order_among_others(root):
    plain = read(root, *ROWS)
    frame = pd.read_csv(root / "table.csv", dtype=str)
    frame.insert(0, "url", 'http://x/?a="1",2')
    frame["width"] = 640
    frame[["width", "split", "url", "label", "path"]].to_csv(root / "table.csv", index=False)
    source = load("csv", root / "table.csv")
    assert names(source.train_images) == names(plain.train_images)
    assert source.train_labels.tolist() == plain.train_labels.tolist()


def test_a_spreadsheets_line_ends_byte_order_mark_and_blanks_are_accepted(root):
    write(root / "table.csv", " path, label ,split", *(row.replace(",train", " , train ") for row in ROWS))
    content = (root / "table.csv").read_bytes().replace(b"\n", b"\r\n")
    (root / "table.csv").write_bytes(b"\xef\xbb\xbf" + content)
    assert load("csv", root / "table.csv").train_labels.tolist() == [2, 0, 1, 1, 0]


def test_names_of_classes_are_numbered_in_their_order(root):
    rows = [
        "c.png,zebra,train",
        "p/a.jpg,Ant,train",
        "p/b 1.jpg,cat 10,train",
        "v.jpg,cat 9,train",
        "t1.jpg,zebra,test",
    ]
    source = read(root, *rows)
    assert source.train_labels.tolist() == [3, 0, 1, 2]
    assert (source.test_labels.tolist(), source.num_classes) == ([3], 4)


def test_numbers_are_numbers_whatever_their_length(root):
    labels = [10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9]
    source = read(root, *(f"c.png,{label},train" for label in labels), "t1.jpg,10,test")
    assert source.train_labels.tolist() == labels
    assert (source.test_labels.tolist(), source.num_classes) == ([10], 11)


def test_clean_labels_are_the_truth_of_training_rows(root):
    header = "path,label,clean_label,split"
    rows = ["c.png,b,a,train", "p/a.jpg,a,a,train", "v.jpg,b,c,train", "t1.jpg,c,,test", "t2.jpg,a,a,test"]
    source = read(root, *rows, header=header)
    assert source.train_labels.tolist() == [1, 0, 1]
    assert (source.clean_labels.tolist(), source.clean_labels.dtype) == ([0, 0, 2], np.int64)
    assert (source.test_labels.tolist(), source.num_classes) == ([2, 0], 3)  # nobody was taken for a c
    (root / "p/a.jpg").unlink()
    assert read(root, *rows, header=header, on_bad_image="skip").clean_labels.tolist() == [0, 2]
    unknown = ["c.png,b,,train", "v.jpg,a,,train", "t1.jpg,a,,test"]
    assert read(root, *unknown, header=header).clean_labels is None


GOOD = ["p/a.jpg,0,train", "c.png,1,train", "t1.jpg,1,test"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("", "line 5 of .* is blank"),
        ("p/a.jpg,0", "line 5 of .* has 2 cells, the header 3: quote cells that have a comma"),
        ("q/d,e.jpg,1,train", "line 5 of .* has 4 cells, the header 3"),
        ("p/a.jpg,0,dev", r"line 5 of .* has split='dev'; it must be train, val or test"),
        ("p/a.jpg,0,", "line 5 of .* has split=''"),
        ("p/a.jpg,,train", "line 5 of .* has no label"),
        ("p/a.jpg,-1,train", r"line 5 of .* has the class '-1': labels are integers 0…K-1 in all rows, or names"),
        ("p/a.jpg,1.0,train", r"line 5 of .* has the class '1\.0'"),
        ("p/a.jpg,cat,train", r"line 5 of .* has the class 'cat'"),
        ("p/a.jpg,99999999999999999999,train", "line 5 of .* has the class '9999"),
        ("p/a.jpg,3,train", "class 2 has no training image in .*: labels must be 0…K-1 without a gap"),
        ("t2.jpg,2,test", "line 5 of .* has the class '2', which no training row has"),
        ("v.jpg,2,val", "line 5 of .* has the class '2', which no training row has"),
        ("/etc/passwd,1,train", r"line 5 of .* is refused: the path is absolute.* \('/etc/passwd'\)"),
        ("p/../../x.jpg,1,test", r"line 5 of .* is refused: the path has a \.\."),
        (r"p\a.jpg,1,train", "line 5 of .* is refused: the path has a backslash"),
        (",1,train", "line 5 of .* is refused: there is no path"),
        ('"p/a\nb.jpg",1,train', r"line 6 of .* is refused: the path has a control character \('p/a\\nb\.jpg'\)"),
        ('"p/a.jpg"x,1,train', "line 5 of .* is not valid CSV"),
        ('"p/a.jpg,1,train', "is not valid CSV: unexpected end of data"),
    ],
)
def test_a_bad_row_is_refused_by_the_number_of_its_line(root, row, message):
    assert len(read(root, *GOOD).train_images) == 2
    with pytest.raises(DataError, match=message) as refused:
        read(root, *GOOD, row)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "v.jpg,1,,train",
            r"line 5 of .* has no clean_label, as 1 of 3 training rows: fill it in all of them, or in none",
        ),
        ("v.jpg,1,2,val", r"line 5 of .* has label '1' and clean_label '2': in a val row label is the truth"),
        ("t2.jpg,1,0,test", r"line 5 of .* in a test row label is the truth; leave clean_label empty there"),
        ("v.jpg,1,x,train", r"line 5 of .* has the class 'x'"),
    ],
)
def test_clean_labels_that_make_no_sense_are_refused(root, row, message):
    good = ["p/a.jpg,0,1,train", "c.png,1,0,train", "t1.jpg,1,,test"]
    with pytest.raises(DataError, match=message):
        read(root, *good, row, header="path,label,clean_label,split")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,label", r"has no column split: a test set is needed; add it, with train, val or test in each row"),
        ("file,class,split", r"has no column path and no column label: line 1 of .* has file, class, split, separated"),
        (
            "path;label;split",
            r"has no column path and no column label: line 1 of .* has path;label;split, separated by c",
        ),
        ("path,label,split,label", "has two columns label"),
        ("", "has no column path and no column label: line 1 of .* has nothing"),
    ],
)
def test_a_header_that_lacks_a_column_is_refused(root, header, message):
    with pytest.raises(DataError, match=message):
        read(root, *GOOD, header=header)


def test_tables_without_a_part_or_with_one_class_are_refused(root):
    with pytest.raises(DataError, match=r"table\.csv has no row with split=test; a training and a test set are needed"):
        read(root, *GOOD[:2])
    with pytest.raises(DataError, match=r"has no row with split=train"):
        read(root, GOOD[2])
    with pytest.raises(DataError, match="hold one class; at least two are needed"):
        read(root, GOOD[0], "t1.jpg,0,test")


def test_what_is_no_table_is_refused(root):
    with pytest.raises(
        DataError, match=r"dataset=csv reads one \.csv file: data_dir=.*mine is none; give data_dir=FILE"
    ):
        load("csv", root)
    for content in (b"path,label,split\n\xe4.jpg,1,train\n", "path,label,split\n".encode("utf-16")):
        (root / "table.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"table\.csv is not UTF-8 .*; save it as UTF-8"):
            load("csv", root / "table.csv")
    (root / "table.csv").write_bytes(b"path,label,split\na\0.jpg,1,train\nt1.jpg,1,test\n")
    with pytest.raises(
        DataError, match=r"line 2 of .* (is not valid CSV|is refused: the path has a control character)"
    ):
        load("csv", root / "table.csv")


def test_missing_images_are_counted_or_left_out_and_links_stay_inside(root):
    (root / "p/a.jpg").unlink()
    with pytest.raises(
        DataError, match=r"2 of the 5 images of table\.csv with split=train are not in .*: p/a\.jpg, p/a"
    ):
        read(root, *ROWS)
    source = read(root, *ROWS, on_bad_image="skip")
    assert source.train_labels.tolist() == [2, 1, 0]
    assert source.skipped == ("train: p/a.jpg", "train: p/a.jpg")
    touch(root.parent / "outside", "a.jpg")
    (root / "p/a.jpg").symlink_to("../../outside/a.jpg")
    with pytest.raises(DataError, match=r"p/a\.jpg leads out of .*mine"):
        read(root, *ROWS, on_bad_image="skip")


CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).map(str.strip).filter(bool)


@given(st.lists(CELLS.filter(lambda cell: not cell.rstrip(".")[-1:].isdigit()), min_size=2, max_size=6, unique=True))
def test_any_names_of_classes_come_back_as_pandas_wrote_them(tmp_path_factory, classes):
    root = tmp_path_factory.mktemp("csv")
    touch(root, "a.jpg")
    frame = pd.DataFrame(
        {"path": "a.jpg", "label": classes * 2, "split": ["train"] * len(classes) + ["test"] * len(classes)}
    )
    frame.to_csv(root / "t.csv", index=False)
    source = load("csv", root / "t.csv")
    assert [sorted(classes)[label] for label in source.train_labels] == classes
    assert source.test_labels.tolist() == source.train_labels.tolist()


def test_labels_that_are_one_name_to_unicode_are_one_class(root):
    composed, apart = "caf\u00e9", "cafe\u0301"
    source = read(
        root, f"c.png,{composed},train", f"c.png,{apart},train", f"t1.jpg,\ufeff {apart} ,test", "c.png,x,train"
    )
    assert (source.train_labels.tolist(), source.test_labels.tolist()) == ([0, 0, 1], [0])
    assert source.class_names == (composed, "x")
    assert source.notes == ("1 label(s) are written in another form of Unicode, too: each is one class (NFC)",)


def test_a_table_in_one_form_of_unicode_keeps_the_order_of_its_classes(root):
    """Taken apart, an accent stands between e and f; composed it would stand behind all letters."""
    apart = ["cafe\u0301", "caff", "cafz"]
    source = read(root, *(f"c.png,{label},train" for label in apart), f"t1.jpg,{apart[0]},test")
    assert source.train_labels.tolist() == [0, 1, 2]
    assert (source.class_names, source.notes) == (("caf\u00e9", "caff", "cafz"), ())


def test_clean_labels_may_be_written_in_the_other_form(root):
    header = "path,label,split,clean_label"
    rows = ["c.png,caf\u00e9,train,cafe\u0301", "c.png,x,train,x", "t1.jpg,cafe\u0301,test,caf\u00e9"]
    source = read(root, *rows, header=header)
    assert source.train_labels.tolist() == source.clean_labels.tolist() == [0, 1]
    with pytest.raises(DataError, match="has label 'x' and clean_label 'café'"):
        read(root, *rows, "t2.jpg,x,test,caf\u00e9", header=header)


def test_classes_that_are_numbers_have_no_names(root):
    assert read(root, *ROWS).class_names is None
