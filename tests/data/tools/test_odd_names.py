"""What the data tools print can be typed, and says what is and is not in a file."""

import json
import shlex

import pytest

from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.data.tools.command import main


@pytest.mark.parametrize("name", ["my data,x=1 (a)", "it's", 'a "b" $c', "{x}", "plain-1.0_ä"])
def test_the_printed_command_finds_a_folder_with_any_name(tmp_path, capsys, name):
    folder = tmp_path / name
    assert main(["make-fake", "folder", str(folder), "--side", "24", "--size", "4"]) == 0
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    config = compose([*command[2:], "dataset.cache=off", "dataset.workers=0"])
    assert config.data_dir == str(folder)
    assert len(build(config).index) == 20


def test_a_validation_set_of_its_own_is_not_called_held_out_and_no_weights_are_asked_for(tmp_path, capsys):
    main(["make-fake", "clothing1m", str(tmp_path / "data"), "--side", "24", "--size", "4"])
    words = ["dataset=clothing1m", f"data_dir={tmp_path}/data", "dataset.warmup_draw=0", "dataset.selection_draw=0"]
    for more in ([], ["recipe=matched"]):
        assert main(["describe", *words, *more]) == 0
        printed = capsys.readouterr().out
        assert "in its own validation set" in printed
        assert "held out" not in printed
    assert main(["export", *words, "-o", str(tmp_path / "labels.csv")]) == 0
    (about,) = tmp_path.glob("*.json")
    about = json.loads(about.read_text())
    assert about["held_out"] is None


def test_the_second_test_set_that_an_export_leaves_out_is_named(tmp_path, capsys):
    main(["make-fake", "webvision", str(tmp_path / "data"), "--side", "24"])
    assert main(["export", "dataset=webvision", f"data_dir={tmp_path}/data", "-o", str(tmp_path / "labels.csv")]) == 0
    assert "the 50 samples of test_imagenet are not among them" in capsys.readouterr().out


def test_what_was_typed_stands_on_the_page_as_text(tmp_path, capsys):
    folder = tmp_path / "<b>x"
    assert main(["describe", "dataset=digits", "-o", str(folder)]) == 0
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;x" in page
    assert "<b>x" not in page
