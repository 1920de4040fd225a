"""Choices that only set values of their own group are put together as Hydra composes them."""

import pytest

from sfa_bench.config import compose as composing
from sfa_bench.config.choice_files import choice_values
from sfa_bench.config.overrides import choices
from sfa_bench.config.schema import CHOSEN

ABLE = {group: [c for c in choices(group) if choice_values(group, c, None) is not None] for group in CHOSEN}
# What says `@package`, changes other choices or has no values.
LEFT_TO_HYDRA = {
    "dataset": [
        *("arrays", "cifar100n", "cifar10n", "clothing1m", "csv", "elpv", "features", "folder", "shuttle", "webvision")
    ],
    "method": ["coteaching"],
    "loss": ["auto"],
}


@pytest.mark.parametrize("place", range(max(map(len, ABLE.values()))))
def test_every_choice_has_the_values_that_hydra_gives_it(place):
    chosen = tuple(f"{group}={able[place % len(able)]}" for group, able in ABLE.items())
    plain, names = composing._by_hydra(None, chosen)
    assert names == dict(text.split("=") for text in chosen)
    for group, choice in names.items():
        assert repr(choice_values(group, choice, None)) == repr(plain[group])  # in the same order


def test_what_does_more_is_left_to_hydra():
    left = {group: sorted({*choices(group)} - {*ABLE[group]}) for group in CHOSEN}
    assert {group: names for group, names in left.items() if names} == LEFT_TO_HYDRA


@pytest.mark.parametrize(
    "text",
    [
        "# @package _global_\nmethod: {learner: single}",
        "defaults: [override /plugin: none, _self_]\nlearner: single",
        "defaults: [ce]\nlearner: single",  # without _self_, whose place Hydra chooses
        "defaults: [ce, ce, _self_]\nlearner: single",
        "defaults: [optional ce, _self_]",
        "defaults: [{optional ce: x}, _self_]",
        "defaults: [nobody, _self_]",
        "defaults: [ce, _self_]\nloss: gce",  # a value in the place of a section
        "defaults: [ce, _self_]\nlearner: ???",
        "defaults: ce",
        "learner: [",
        "- learner",
        "",
    ],
)
def test_a_users_file_that_does_more_is_left_to_hydra(tmp_path, text):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(text)
    assert choice_values("method", "mine", tmp_path) is None


def test_a_users_file_is_read_anew_when_it_changes(tmp_path):
    (tmp_path / "method").mkdir()
    path = tmp_path / "method" / "mine.yaml"
    path.write_text("defaults: [ce, _self_]\nschedule: drw\n")
    values = choice_values("method", "mine", tmp_path)
    assert (values["schedule"], values["loss"]["name"]) == ("drw", "ce")
    path.write_text("defaults: [ce, _self_]\nschedule: drs # after a while\n")
    assert choice_values("method", "mine", tmp_path)["schedule"] == "drs"
    assert choice_values("method", "ce", None)["schedule"] == "none"  # what it was merged into is a copy


def test_hydra_composes_one_combination_of_the_groups_of_a_sweep(monkeypatch):
    composing._composed.cache_clear()
    monkeypatch.setattr(composing, "_FIRST", {})
    asked = []
    by_hydra = composing._by_hydra

    def counted(conf, overrides):
        asked.append(overrides)
        return by_hydra(conf, overrides)

    monkeypatch.setattr(composing, "_by_hydra", counted)
    for dataset in ("webvision", "digits", "synthetic"):  # the first does more than set values
        for method in ("dividemix", "coteaching", "gce"):
            composing._composed(None, (f"dataset={dataset}", f"method={method}"))
    simple = [overrides for overrides in asked if not {"dataset=webvision", "method=coteaching"} & {*overrides}]
    assert simple == [("dataset=digits", "method=dividemix")]
