"""Characters drawn with fonts: what is drawn where, which fonts are tested on, and what the record says of them."""

import string
from collections import defaultdict

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.data import build, sources
from sfa_bench.data.sources import glyphs
from sfa_bench.data.tools.fake import make_fake
from sfa_bench.engine.report import describe_data
from sfa_bench.errors import ConfigError, DataError

UPPER = string.ascii_uppercase
INSTALLED = pytest.mark.skipif(
    not set(glyphs.FONTS) <= set(glyphs._below(glyphs.DEBIAN_FOLDER)),
    reason="not all of Debian's packages fonts-dejavu-core fonts-dejavu-extra fonts-freefont-ttf fonts-liberation "
    "fonts-urw-base35 are installed",
)


def write_font(path, characters=UPPER, height=700, version="Version 3.5"):
    """A font whose every character is a full rectangle, half an em wide and `height` thousandths of an em high."""
    names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, height), (500, height), (500, 0)):
        pen.lineTo(point)
    pen.closePath()
    box = pen.glyph()
    font = FontBuilder(1000)
    font.setupGlyphOrder(names)
    font.setupCharacterMap(dict(zip(map(ord, characters), names[1:], strict=True)))
    font.setupGlyf({name: box if height else TTGlyphPen(None).glyph() for name in names})
    font.setupHorizontalMetrics(dict.fromkeys(names, (500, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": path.stem, "styleName": "Regular", "version": version})
    font.setupOS2()
    font.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    font.save(path)


def config(folder, *typed):
    return compose(["dataset=glyphs", f"data_dir={folder}", "dataset.fonts=own", *typed])


def load(folder, *typed):
    run = config(folder, *typed)
    return sources.load(run.dataset, run.data_dir)


def test_a_character_stands_on_row_20_in_the_middle(tmp_path):
    write_font(tmp_path / "a.ttf", "A", height=500)
    images, outside = glyphs.draw(tmp_path / "a.ttf", 20, "A")
    expected = np.zeros((28, 28), dtype=np.uint8)
    expected[10:20, 9:19] = 255  # 10 pixels wide and high, above row 20, from 14 - 5 on
    assert (images[0].tolist(), outside) == (expected.tolist(), 0)


def test_what_does_not_fit_is_counted_and_said(tmp_path):
    for number in range(5):
        write_font(tmp_path / f"{number}.ttf", height=1000 if number == 4 else 500)
    source = load(tmp_path)
    # 1000 thousandths of 21 and 22 pixels are more than the 20 rows above the baseline
    assert source.notes == ("52 of 650 characters are cut off at the edge of their image",)


def test_every_fifth_font_is_tested_on_and_the_order_is_font_size_character(tmp_path):
    for number in range(11):
        write_font(tmp_path / f"{'xyz'[number % 3]}/{number:02}.otf", height=300 + 30 * number)
    source = load(tmp_path)
    fonts = [tmp_path / f"{'xyz'[number % 3]}/{number:02}.otf" for number in range(11)]

    def drawn(numbers):
        return np.concatenate([glyphs.draw(fonts[n], size, UPPER)[0] for n in numbers for size in (18, 19, 20, 21, 22)])

    assert np.array_equal(source.train_images[..., 0], drawn([0, 1, 2, 3, 5, 6, 7, 8, 10]))
    assert np.array_equal(source.test_images[..., 0], drawn([4, 9]))
    assert source.train_labels.tolist() == list(range(26)) * 45
    assert source.test_labels.tolist() == list(range(26)) * 10
    assert source.class_names == tuple(UPPER)
    assert source.labels_are_clean


@pytest.mark.parametrize(("characters", "classes"), [("upper", 26), ("letters", 52), ("alphanumeric", 62)])
def test_classes_are_the_characters(tmp_path, characters, classes):
    make_fake("glyphs", tmp_path / "d", 4)
    run = config(tmp_path / "d", f"dataset.characters={characters}", "imbalance=none", "noise=none")
    data = build(run)
    assert data.view.num_classes == classes == len(set(data.class_names))
    assert set(data.observed_counts.tolist()) == {20}  # 4 fonts in 5 sizes
    default = config(tmp_path / "d", "imbalance=none", "noise=none")
    assert (run_hash(run) == run_hash(default)) == (characters == "upper")


def test_the_record_has_versions_and_sizes(tmp_path):
    for number in range(5):
        write_font(tmp_path / f"{number}.ttf", version=f"Version 1.{number}")
    run = config(tmp_path)
    found = describe_data(run, build(run))["drawn_with"]
    assert found.keys() == {"Pillow", "FreeType", "sizes", *(f"{number}.ttf" for number in range(5))}
    assert [found[f"{number}.ttf"] for number in range(5)] == [f"Version 1.{number}" for number in range(5)]
    assert found["sizes"] == "18 19 20 21 22"


def test_fonts_that_cannot_serve_are_named(tmp_path):
    for number in range(4):
        write_font(tmp_path / f"{number}.ttf")
    with pytest.raises(DataError, match="there are 4: give a folder with 5 or more"):
        load(tmp_path)
    last = tmp_path / "4.ttf"
    write_font(last, UPPER.replace("Q", ""))
    with pytest.raises(DataError, match=r"4\.ttf has no 'Q': leave this font out"):
        load(tmp_path)
    write_font(last, height=0)
    with pytest.raises(DataError, match=r"4\.ttf draws nothing for 'A' at 18 pixels"):
        load(tmp_path)
    write_font(last)
    whole = last.read_bytes()
    for content in (b"", b"no font", whole[:40], whole[: len(whole) // 2]):
        last.write_bytes(content)
        with pytest.raises(DataError, match=r"4\.ttf cannot be read as a font"):
            load(tmp_path)


def test_debians_fonts_are_a_list_and_a_missing_one_is_named(tmp_path):
    for name in glyphs.FONTS[1:]:
        write_font(tmp_path / "some/where" / name)
    run = compose(["dataset=glyphs", f"data_dir={tmp_path}"])
    with pytest.raises(
        DataError, match=r"has no DejaVuSans-Bold\.ttf: give the folder .* after `apt-get install fonts-dejavu"
    ):
        build(run)
    write_font(tmp_path / glyphs.FONTS[0])
    source = sources.load(run.dataset, run.data_dir)
    assert (len(source.train_labels), len(source.test_labels)) == (63 * 5 * 26, 15 * 5 * 26)


def test_the_list_has_the_fonts_of_each_package_once():
    assert len(glyphs.FONTS) == len(set(glyphs.FONTS)) == 78
    for start, count in (("DejaVu", 21), ("Free", 12), ("Liberation", 12)):
        assert sum(name.startswith(start) for name in glyphs.FONTS) == count


def test_options_of_glyphs_act_on_it_alone():
    with pytest.raises(ConfigError, match=r"dataset\.characters"):
        compose(["dataset=digits", "dataset.characters=letters"])


@INSTALLED
def test_debians_fonts_draw_characters_that_fit_and_differ():
    run = compose(["dataset=glyphs", "dataset.characters=alphanumeric"])
    source = sources.load(run.dataset, run.data_dir)
    assert source.notes == ()
    assert np.bincount(source.train_labels).tolist() == [315] * 62
    assert np.bincount(source.test_labels).tolist() == [75] * 62
    labels_of = defaultdict(set)
    for image, label in zip(source.train_images, source.train_labels.tolist(), strict=True):
        labels_of[image.tobytes()].add(label)
    assert all(len(labels) == 1 for labels in labels_of.values())
    assert "2.37" in source.drawn_with["DejaVuSans.ttf"]
