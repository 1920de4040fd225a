"""`fingerprints`: one line for each label set of a grid, against what `describe` and a hash by hand say."""

import csv
import hashlib
import io
import json

import numpy as np
import pytest

from sfa_bench.data.tools.command import main
from sfa_bench.data.tools.fake import make_fake
from sfa_bench.data.tools.fingerprints import COLUMNS


def lines(capsys, *arguments):
    assert main(["fingerprints", *arguments]) == 0
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert all(tuple(row) == COLUMNS for row in rows)
    return rows, captured.err


def test_a_line_says_what_describe_says(capsys):
    typed = ["dataset=digits", "imb_factor=0.01", "noise=symmetric", "noise_ratio=0.2", "data_seed=3"]
    (row,), said = lines(capsys, *typed)
    assert said == ""
    assert main(["describe", *typed, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: row[name] for name in found["fingerprints"]} == found["fingerprints"]
    assert row["samples"] == str(found["samples"])
    assert row["clean_counts"] == " ".join(map(str, found["clean_counts"]))
    assert row["observed_counts"] == " ".join(map(str, found["observed_counts"]))
    assert int(row["wrong"]) == found["samples"] - np.trace(found["confusion"]) == int(0.2 * found["samples"])
    assert row["noise_rate"] == f"{found['noise_rate']:.4f}"
    assert [row[name] for name in COLUMNS[:7]] == ["digits", "", "exp", "0.01", "symmetric", "0.2", "3"]


def test_a_fingerprint_is_a_hash_that_anybody_can_take_of_the_labels(tmp_path, capsys):
    (row,), _ = lines(capsys, "dataset=digits")
    assert main(["export", "dataset=digits", "-o", str(tmp_path / "labels.npz")]) == 0
    labels = np.load(tmp_path / "labels.npz")["label"].astype("<i8")
    digest = hashlib.sha256(f"<i8({len(labels)},)".encode() + labels.tobytes())
    assert row["observed_labels"] == digest.hexdigest()[:16]


def test_a_grid_gives_every_label_set_once_whatever_trains_on_it(capsys):
    grid = ["method=ce,dividemix", "plugin=none", "noise=joint,none", "noise_ratio=0.2,0.5", "replicate=0,1"]
    rows, said = lines(capsys, *grid)
    shown = [(row["noise"], row["noise_ratio"], row["data_seed"]) for row in rows]
    assert shown == [
        *(("joint", ratio, seed) for ratio in ("0.2", "0.5") for seed in ("0", "1")),
        *(("none", "", seed) for seed in ("0", "1")),
    ]
    assert said == ""


def test_options_are_named_where_they_act_and_are_not_the_default(capsys):
    grid = ["dataset=synthetic", "dataset.size=20", "dataset.overlap=1,3", "noise.include_self=true", "imbalance=none"]
    rows, _ = lines(capsys, *grid)
    assert [row["options"] for row in rows] == [
        "dataset.size=20 noise.include_self=True",
        "dataset.size=20 dataset.overlap=3 noise.include_self=True",
    ]
    assert {row["imb_factor"] for row in rows} == {""}


def test_an_option_of_groups_or_of_views_makes_no_other_label_set(capsys):
    rows, _ = lines(capsys, "dataset.shots.basis=clean,observed", "dataset.normalise=null,fashion_mnist")
    assert [row["options"] for row in rows] == [""]


def test_what_nobody_knows_is_empty(tmp_path, capsys):
    make_fake("folder", tmp_path / "d", 8)
    (row,), _ = lines(capsys, "dataset=folder", "dataset.name=mine", f"data_dir={tmp_path}/d")
    assert (row["options"], row["imbalance"], row["noise"]) == ("dataset.name=mine", "none", "none")
    assert row["wrong"] == row["noise_rate"] == row["clean_counts"] == ""
    assert row["samples"] != ""


def test_what_makes_no_sense_is_left_out_and_said_and_what_exists_nowhere_refused(capsys):
    rows, said = lines(capsys, "dataset=digits,synthetic", "noise=asymmetric")
    assert [row["dataset"] for row in rows] == ["synthetic"]
    assert said.startswith("left out: dataset=digits noise=asymmetric: noise=asymmetric has no class map")
    assert main(["fingerprints", "noise=joint,jiont"]) == 2
    assert "did you mean noise=joint?" in capsys.readouterr().err


def test_markdown_leaves_out_what_is_empty_in_all_lines(capsys):
    assert main(["fingerprints", "noise=none,joint", "--format", "md"]) == 0
    head, rule, *rows = capsys.readouterr().out.splitlines()
    names = [cell.strip() for cell in head.strip("|").split("|")]
    assert names[:5] == ["dataset", "imbalance", "imb factor", "noise", "noise ratio"]
    assert set(rule) <= set("|:-")
    assert len(rows) == 2


def test_help_says_how_to_type_a_grid(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["fingerprints", "--help"])
    assert "KEY=V1,V2" in capsys.readouterr().out
