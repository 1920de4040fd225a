"""What `describe` says and draws, against counts made here from the data set's own labels."""

import base64
import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.data.images import Framing, ImageFiles
from sfa_bench.data.tools import describe as describing
from sfa_bench.data.tools import figures, page
from sfa_bench.data.tools.command import main
from sfa_bench.data.tools.fake import make_fake

TYPED = ["dataset=digits", "noise_ratio=0.5", "imb_factor=0.1", "data_seed=3"]


def said(capsys, *arguments):
    assert main(["describe", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def embedded(html, kind):
    return [base64.b64decode(text) for text in re.findall(rf"data:image/{kind};base64,([A-Za-z0-9+/=]+)", html)]


def test_counts_before_and_after_are_those_of_the_labels(capsys):
    found = said(capsys, *TYPED)
    targets = load_digits().target[np.arange(1797) % 5 != 4]
    assert found["counts_before"] == np.bincount(targets).tolist()
    data = build(compose(TYPED))
    clean, observed = targets[data.index], data.view.observed_labels.numpy()
    assert found["clean_counts"] == [sum(clean == k) for k in range(10)]
    assert found["observed_counts"] == [sum(observed == k) for k in range(10)]
    assert found["noise_rate"] == np.mean(clean != observed)
    assert found["confusion"] == [[sum((clean == a) & (observed == b)) for b in range(10)] for a in range(10)]
    assert found["fingerprints"] == data.fingerprints
    assert found["test_samples"] == 359
    assert found["title"] == "digits exp 0.1 · joint 0.5 · data_seed 3"
    share = describing.describe(compose(TYPED)).wrong_share
    assert share.tolist() == pytest.approx([np.mean(clean[observed == k] != k) for k in range(10)])


def test_a_table_on_the_terminal_is_as_wide_as_a_terminal(command):
    status, output, errors = command("describe", *TYPED)
    assert (status, errors) == (0, "")
    assert re.search(r"^all +1,438 +(\d+) +\1$", output, re.MULTILINE)
    assert "realised noise rate 50.00 %" in output
    assert max(map(len, output.splitlines())) <= 80


def test_a_held_out_validation_set_is_counted_apart(capsys):
    found = said(capsys, *TYPED, "dataset.val=noisy", "dataset.val_fraction=0.2")
    assert found["val_samples"] > 0
    assert sum(found["counts_before"]) == 1438
    assert found["samples"] + found["val_samples"] == len(build(compose(TYPED)).index)


def test_many_classes_show_both_ends_of_the_tail(tmp_path, capsys):
    make_fake("cifar100", tmp_path / "d", 10)
    typed = ["dataset=cifar100", f"data_dir={tmp_path}/d", "dataset.checksum=false", "imb_factor=0.3"]
    assert main(["describe", *typed, "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out.splitlines()
    classes = [line.split()[0] for line in shown if re.match(r"\d+ +\d", line)]
    assert classes == [str(c) for c in (*range(6), *range(94, 100))]
    assert any(line.startswith("… 88 more") for line in shown)
    html = (tmp_path / "out/index.html").read_text()
    assert html.count('<th scope="row">') == 100
    assert html.count('<div class="line">') == 20


def test_figures_and_page_are_written_once_and_need_no_other_file(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["describe", *TYPED, "-o", str(out)]) == 0
    names = ["confusion.png", "confusion.svg", "counts.png", "counts.svg", "index.html"]
    assert sorted(path.name for path in out.iterdir()) == names
    capsys.readouterr()
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert main(["describe", *TYPED, "-o", str(out)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert main(["describe", *TYPED, "-o", str(tmp_path / "again")]) == 0
    same = (tmp_path / "again/index.html").read_bytes()
    assert same.replace(b"/again", b"/out") == before[out / "index.html"]
    html = same.decode()
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "<script" not in html
    assert embedded(html, r"svg\+xml") == [before[out / "counts.svg"], before[out / "confusion.svg"]]


def test_images_are_those_of_the_samples_and_wrong_ones_are_marked(tmp_path):
    assert main(["describe", *TYPED, "-o", str(tmp_path / "out")]) == 0
    html = (tmp_path / "out/index.html").read_text()
    data = build(compose(TYPED))
    observed = data.view.observed_labels.numpy()
    drawn = page.sample(observed, data.observed_counts, 3)
    rows = np.concatenate(list(drawn.values()))
    images = [np.asarray(Image.open(io.BytesIO(png))) for png in embedded(html, "png")]
    assert len(images) == len(rows) == sum(min(10, count) for count in data.observed_counts)
    assert np.array_equal(np.stack(images), data.view.images[rows, 0].numpy())
    captions = re.findall(r'<figure class="image( noisy)?">.*?<span>(.*?)</span>', html)
    clean = data.clean_labels[rows]
    assert [bool(mark) for mark, _ in captions] == (clean != observed[rows]).tolist()
    for (mark, words), label, truth in zip(captions, observed[rows], clean, strict=True):
        assert words == (f"{label} ≠ {truth}" if mark else str(label))


def test_unknown_clean_labels_stay_unknown(tmp_path, capsys):
    make_fake("arrays", tmp_path / "d")
    with np.load(tmp_path / "d/data.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "y_train_clean"}
    np.savez(tmp_path / "mine.npz", **kept)
    typed = ["dataset=arrays", "dataset.name=mine", f"data_dir={tmp_path}/mine.npz"]
    assert main(["describe", *typed, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("mine as it comes · noise unknown · data_seed 0\n")
    assert "clean labels are unknown: no realised rate, no confusion" in printed
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["counts.png", "counts.svg", "index.html"]
    html = (tmp_path / "out/index.html").read_text()
    assert "It is unknown which labels are noisy" in html
    assert 'class="image noisy"' not in html
    found = said(capsys, *typed)
    assert (found["noise_rate"], found["confusion"], found["clean_counts"]) == (None, None, None)
    assert found["fingerprints"]["clean_labels"] is None
    assert len(found["fingerprints"]["observed_labels"]) == 16
    assert main(["describe", *typed]) == 0
    shown = capsys.readouterr().out
    assert "fingerprint of observed labels" in shown
    assert "fingerprint of clean labels" not in shown + html
    assert main(["fingerprints", *typed]) == 0
    line = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (line["clean_labels"], line["observed_labels"]) == ("", found["fingerprints"]["observed_labels"])
    assert main(["export", *typed, "-o", str(tmp_path / "l.csv")]) == 0
    assert json.loads((tmp_path / "l.json").read_text())["fingerprints"] == found["fingerprints"]


def test_classes_are_shown_by_their_names_where_the_data_have_them(tmp_path, capsys):
    make_fake("folder", tmp_path / "d", side=24)
    for part in ("train", "test"):
        first = sorted((tmp_path / "d" / part).iterdir())[0]
        first.rename(first.with_name("<i>café"))
    (tmp_path / "d/train/notes.txt").write_text("x")
    typed = ["dataset=folder", "dataset.name=mine", f"data_dir={tmp_path}/d", "dataset.resize=16", "dataset.crop=16"]
    assert main(["describe", *typed, "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    rest = sorted(path.name for path in (tmp_path / "d/train").iterdir() if path.is_dir())
    assert all(re.search(rf"^{re.escape(name)} +\d", shown, re.MULTILINE) for name in rest)
    assert "left out 1 file that is not an image: 1 .txt" in shown
    html = (tmp_path / "out/index.html").read_text()
    assert "class &lt;i&gt;café<br>" in html
    assert "<i>" not in html
    found = said(capsys, *typed)
    assert (sorted(found["classes"]), found["left_out"]) == (rest, {".txt": 1})
    assert main(["check", "folder", *typed[2:]]) == 0
    checked = capsys.readouterr().out
    assert "<i>café" in checked
    assert "left out 1 file that is not an image: 1 .txt" in checked


def test_vectors_have_no_images(tmp_path):
    assert main(["describe", "dataset=synthetic", "dataset.size=50", "-o", str(tmp_path / "out")]) == 0
    html = (tmp_path / "out/index.html").read_text()
    assert "These data are vectors: there are no images to show." in html
    assert "data:image/png" not in html


def test_no_cache_of_images_is_made_for_a_table_of_labels(tmp_path, capsys):
    make_fake("csv", tmp_path / "d", 12, side=24)
    typed = ["dataset=csv", "dataset.name=x", f"data_dir={tmp_path}/d/data.csv", "dataset.resize=16", "dataset.crop=16"]
    found = said(capsys, *typed)
    assert (found["samples"], found["test_samples"], found["skipped"]) == (60, 15, [])
    assert found["noise_rate"] > 0
    assert main(["export", *typed, "imbalance=exp", "imb_factor=0.5", "-o", str(tmp_path / "d/new.csv")]) == 0
    capsys.readouterr()
    again = said(capsys, *typed[:2], f"data_dir={tmp_path}/d/new.csv", *typed[3:])
    assert again["clean_counts"] == [12, 10, 8, 7, 6]  # int(12 · 0.5^(c/4))
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["data.csv", "images", "new.csv", "new.json"]
    (tmp_path / "d/images/train_0003.jpg").write_bytes(b"no image")
    assert len(said(capsys, *typed, "dataset.on_bad_image=skip")["skipped"]) == 1


def test_thumbnails_of_files_keep_their_shape_and_a_broken_one_is_grey(tmp_path):
    make_fake("csv", tmp_path, 4, side=150)
    names = np.array([f"images/train_{n:04}.jpg" for n in range(4)], dtype="S")
    images = ImageFiles(tmp_path, names, *np.zeros((2, 4), dtype=np.int64), Framing(40, 32))
    broken = tmp_path / names[2].decode()
    broken.write_bytes(b"no image")
    rows = np.array([3, 2, 0])
    shrunk = page.thumbnails(images, rows)
    assert all(max(image.size) == 96 for image in shrunk)
    for image, row in zip(shrunk, rows, strict=True):
        if row != 2:
            with Image.open(images.path(row)) as whole:
                assert image.width / image.height == pytest.approx(whole.width / whole.height, rel=0.05)
    assert np.unique(shrunk[1]).tolist() == [128]


def test_the_confusion_is_drawn_row_by_row_in_percent():
    table = np.array([[6, 2, 0], [0, 0, 0], [1, 1, 198]])
    axes = figures.confusion(table).axes[0]
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert shown == {(0, 0): "75", (1, 0): "25", (0, 2): "0.5", (1, 2): "0.5", (2, 2): "99"}
    assert np.asarray(axes.images[0].get_array())[1].tolist() == [0, 0, 0]  # a class without samples
    many = figures.confusion(np.eye(30, dtype=int))
    assert not many.axes[0].texts


def test_a_class_that_noise_emptied_is_drawn_and_listed(capsys):
    found = describing.describe(compose(TYPED))
    data = found.data
    observed, confusion = data.observed_counts.copy(), data.confusion.copy()
    observed[9], confusion[:, 9] = 0, 0
    bare = replace(found, data=replace(data, observed_counts=observed, confusion=confusion))
    assert np.isnan(bare.wrong_share[9])
    describing.show(bare)
    assert re.search(r"^9 +\d+ +\d+ +0 +–$", capsys.readouterr().out, re.MULTILINE)
    assert figures.draw(bare)["counts"]["svg"].startswith(b"<?xml")


@pytest.mark.parametrize("network", [["model=preact_resnet18"], ["model.width=16"], ["recipe=native", "plugin=none"]])
def test_a_network_may_be_typed_though_none_is_trained(tmp_path, capsys, network):
    make_fake("cifar10", tmp_path / "d", 20)
    typed = ["dataset=cifar10", f"data_dir={tmp_path}/d", "dataset.checksum=false", "imb_factor=0.5"]
    assert said(capsys, *typed, *network) == said(capsys, *typed)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["imb_factor=100"], "did you mean 0.01?"),
        (["dataset=arrays"], "needs dataset.name=NAME"),
        (["noise_ratio=0.2,0.5"], "-m"),
        (["data_dir=/no/such/folder"], "does not exist"),
    ],
)
def test_what_a_run_refuses_is_refused_here_in_the_same_words(capsys, arguments, sentence):
    assert main(["describe", *arguments]) == 2
    assert sentence in capsys.readouterr().err
