"""Runs on files of a user's own under an official name (`dataset.checksum=false`): told apart, and said."""

import pytest

from analysis import claim, plot, table
from analysis.context import own_files
from analysis.export import tidy
from analysis.page.read import read
from analysis.report import make_page
from analysis.reported import belongs, numbers
from analysis.runs import load
from sfa_bench.errors import ConfigError

SAID = "on files of the user's own: cifar10"


def fill(ledger, own, *, dataset="cifar10", source="cifar10", methods=("ce", "mae"), **more):
    for place, method in enumerate(methods):
        for replicate in range(2):
            keys = {"dataset__source": source, "dataset__checksum": not own, "replicate": replicate}
            ledger.add(50.0 + place + replicate / 7, method=method, dataset=dataset, **keys, **more)


def out(capsys, tool, *arguments):
    assert tool([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_a_table_says_which_rows_are_on_a_users_own_files(ledger, capsys):
    fill(ledger, own=True, methods=("ce",))
    fill(ledger, own=False, methods=("mae",))
    said = out(capsys, table.main, ledger.root)
    assert f"- <sup>a</sup> {SAID}" in said
    assert "ce<sup>a</sup>" in said
    assert "mae<sup>" not in said


def test_runs_on_official_files_and_on_others_are_no_cell(ledger):
    for own in (True, False):
        fill(ledger, own)
    runs = load([ledger.root])[0]
    with pytest.raises(ConfigError, match=r"runs of one cell differ in dataset.checksum \(false, true\)"):
        table.make_table(runs, ["method"])
    assert len(table.make_table(runs, ["method", "dataset.checksum"]).frame) == 4


def test_they_do_not_compete_and_no_published_number_stands_beside_them(ledger):
    fill(ledger, own=True, methods=("ce",))
    fill(ledger, own=False, methods=("mae",))
    runs = load([ledger.root])[0]
    assert table.make_table(runs, ["method"]).marks == {}
    number = next(n for n in numbers() if n.where["dataset"] == "cifar10" and n.where["imbalance"] == "none")
    config = {"dataset__source": "cifar10", "noise__name": number.where["noise"], "imbalance__name": "none"}
    for own in (True, False):
        ratio = float(number.where["noise_ratio"])
        path = ledger.add(1.0, dataset="cifar10", noise_ratio=ratio, dataset__checksum=not own, **config)
        [run] = load([path])[0]
        assert belongs(number, [run], (), {}) is not own


@pytest.mark.parametrize("source", ["digits", "arrays", "webvision"])
def test_where_there_is_no_official_checksum_the_key_says_nothing(ledger, source):
    for own in (True, False):
        fill(ledger, own, source=source, methods=("ce",), seed=int(own), data_seed=int(own))
    runs = load([ledger.root])[0]
    assert own_files(runs) == []
    assert len(table.make_table(runs, ["method"]).frame) == 1


@pytest.mark.parametrize("source", ["cifar10", "cifar100", "fashion_mnist"])
def test_data_sets_whose_files_are_checked(ledger, source):
    fill(ledger, own=True, source=source, dataset=f"{source}n")
    assert own_files(load([ledger.root])[0]) == [f"on files of the user's own: {source}n"]


def test_claims_ranks_figures_the_page_and_the_export_say_it(ledger, capsys, tmp_path):
    fill(ledger, own=True)
    assert f"- {SAID}" in out(capsys, claim.main, ledger.root, "method=mae > method=ce")
    assert f"- {SAID}" in out(capsys, claim.main, ledger.root, "--ranks", "method")
    arguments = (ledger.root, "--of", "method=mae", "--versus", "method=ce", "--by", "plugin", "-o", tmp_path / "g.svg")
    assert SAID in out(capsys, plot.main, "gain", *arguments)
    assert SAID in make_page(read([ledger.root])).decode()
    assert set(tidy(load([ledger.root])[0])["dataset.checksum"]) == {False}
