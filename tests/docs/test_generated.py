"""Pages that are made for the site: what they must have, and a record against the page that describes it."""

import json
import re

import pytest

from sfa_bench.cli import COMMANDS
from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import APPENDED, choices
from sfa_bench.config.schema import CHOSEN
from sfa_bench.config.values import options, show
from sfa_bench.main import main
from sfa_bench.store.record import KEYS
from tools.docs_site import ROOT, commands, configuration, help_of

RECORD = (ROOT / "docs/reference/record.md").read_text(encoding="utf-8")


def rows(page):
    """First cell, without code marks, to the other cells."""
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return {first.strip().split("`")[1]: [cell.strip() for cell in others] for first, *others in cells}


def test_the_configuration_lists_every_key_with_a_meaning_and_every_choice():
    page = configuration()
    found = rows(page)
    for path, (kind, limits) in options().items():
        if hasattr(kind, "__dataclass_fields__") or limits.get("fixed"):
            continue
        default, allowed, meaning = found[path]
        assert default.startswith("`")
        assert allowed
        assert meaning, path
    for group in (*CHOSEN, *APPENDED):
        for choice in choices(group):
            assert found[choice][-1], choice
    assert "| `dividemix` (default) |" in page


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("noise_ratio", ["`0.4`", "a number, 0 &lt;= value &lt; 1"]),
        ("precision", ["`fp32`", "fp32, tf32, bf16, auto"]),
        ("plugin.phi", ["`1.005`", "a number, 0 &lt; value &lt;= 10"]),
        ("isolate", ["`true`", "true or false"]),
    ],
)
def test_keys_have_their_default_type_and_range(key, cells):
    assert rows(configuration())[key][:2] == cells


def test_commands_are_shown_with_the_help_that_they_print():
    page = commands()
    assert re.findall(r"^## (\S+)$", page, re.MULTILINE) == list(COMMANDS)
    for name in COMMANDS.keys() - {"run", "sweep"}:
        assert help_of(name).strip() in page
    assert "### data make-fake" in page
    assert "### status clean" in page


def test_a_command_without_help_is_an_error():
    with pytest.raises(RuntimeError, match="sfa-bench data nothing --help ended with"):
        help_of("data", "nothing")


def section(heading):
    return RECORD.split(f"## `{heading}`\n")[1].split("\n## ")[0] if heading else RECORD.split("\n## ")[0]


def documented(heading=""):
    """The keys of a table of the page; `a`, `b` in one cell are two."""
    first = [line.split("|")[1] for line in section(heading).splitlines() if line.startswith("| `")]
    return {key for cell in first for key in re.findall(r"`([^`]+)`", cell)}


def test_the_records_page_has_its_keys():
    assert documented() == {*KEYS, "digest"}


def test_a_record_has_no_key_that_the_page_does_not_explain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["epochs=2", "warmup_epochs=1", "threads=1"]) == 0
    (path,) = tmp_path.glob("runs/*/*/*/run.json")
    record = json.loads(path.read_text())
    for heading in ("data", "metrics", "cost", "environment"):
        assert record[heading].keys() <= documented(heading), heading
    groups = {"many", "medium", "few", "head", "mid", "tail"}
    assert {key for key in record["selection"] if key.split("/")[-1] not in groups} <= documented("selection")


@pytest.mark.parametrize("group", [*CHOSEN, "preset"])
def test_the_overview_names_every_choice_of_a_group_and_the_default_first(group):
    page = (ROOT / "docs/reference/choices.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith((f"| `{group}` |", f"| `+{group}` |")))
    named = [name for name in re.findall(r"`([\w]+)`", line.split("|", 2)[2]) if name in choices(group)]
    assert sorted(named) == sorted(choices(group)), "docs/reference/choices.md"
    assert group == "preset" or f"| `{named[0]}` (default) |" in configuration()


def test_defaults_are_the_default_choices_with_what_they_share_with_others():
    plain = compose([]).to_plain()["plugin"]
    shown = dict(re.findall(r"\| `(plugin\.[\w.]+)` \| `([^`]*)` \|", configuration()))
    assert shown["plugin.head"] == "abc" == plain["head"]  # which conf/plugin/sfa.yaml has from abc.yaml
    for path, default in shown.items():
        value = plain
        for part in path.split(".")[1:]:
            value = value[part]
        assert default in (show(value), "null"), path
