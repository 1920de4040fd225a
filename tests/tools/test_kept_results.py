"""What `results/` holds is of the sweeps as they stand, and what `docs/results.md` and its summary say stands there."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tools.results import planned

ROOT = Path(__file__).parents[2]
CONTENTS = yaml.safe_load((ROOT / "results" / "contents.yaml").read_text())
PAGE = (ROOT / "docs" / "results.md").read_text()
SUMMARY = (ROOT / "docs" / "summary.md").read_text()
# A figure: anything with a decimal point, and whole percentages. Years, counts and settings are no results.
FIGURE = re.compile(r"(?<![\w.=])[+−-]?\d+\.\d+(?!\.?\w)|(?<![\w.=])[+−-]?\d+(?= %)")


def sections(page):
    """(heading, text) of each part below a `##`, without fenced blocks and settings in backticks."""
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        yield heading, re.sub(r"```.*?```|`[^`]*`", " ", text, flags=re.DOTALL)


def figures(text):
    return {found.replace("−", "-").lstrip("+") for found in FIGURE.findall(text)}


def linked(text):
    """Everything that the files of `results/` say to which a section links."""
    folders = sorted(set(re.findall(r"\.\./results/(\w+)/", text)))
    return folders, "\n".join(
        path.read_text() for folder in folders for path in sorted((ROOT / "results" / folder).glob("*.md"))
    )


@pytest.mark.parametrize("name", CONTENTS)
def test_a_folder_holds_what_contents_names_and_only_runs_of_its_sweep(name):
    folder = ROOT / "results" / name
    assert {path.name for path in folder.iterdir()} == {"README.md", "runs.csv", *CONTENTS[name]["files"]}
    runs = pd.read_csv(folder / "runs.csv", dtype={"hash": str})
    asked = planned(CONTENTS[name]["sweep"])
    assert runs["hash"].is_unique
    outdated = pd.Series(False, index=runs.index)
    if named := CONTENTS[name].get("outdated"):
        outdated = pd.concat([runs[column] == value for column, value in named.items()], axis=1).all(axis=1)
        assert outdated.any()
    # Hashes hold the revisions: all others are of the sweep as it stands, to the last bit.
    assert set(runs["hash"][~outdated]) <= asked
    assert not set(runs["hash"][outdated]) & asked
    assert f"\n{len(runs)} runs of the {len(asked)} that the sweep asks for" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", CONTENTS)
def test_the_page_of_a_folder_gives_its_commands(name):
    page = (ROOT / "results" / name / "README.md").read_text()
    assert f"python run.py -m {CONTENTS[name]['sweep']} runs_dir=runs/{name}" in page
    for file, line in CONTENTS[name]["files"].items():
        tool, *words = shlex.split(line)
        command = next(text for text in page.splitlines() if text.endswith((f"> {file}", f"-o {file}")))
        assert set(words) <= set(shlex.split(command))
        assert f"analysis.{tool} " in command


@pytest.mark.parametrize(("heading", "text"), [*sections(PAGE), *sections(SUMMARY)])
def test_every_figure_of_the_page_stands_in_the_results_that_its_section_links(heading, text):
    found = figures(text)
    folders, there = linked(text)
    assert not found or folders, f"{heading} has figures and no link to ../results/NAME/"
    missing = found - figures(there)
    assert not missing, f"{heading}: {sorted(missing)} is nowhere in {folders}"


def test_the_page_is_told_by_figures():
    assert sum(len(figures(text)) for _, text in sections(PAGE)) > 30


def test_what_counts_as_a_figure():
    text = "gains +3.10 [−2.5, 4.75], 37 % of it, AUC 0.958; 3 runs, in 2023, Torch 2.14.1, imb_factor=0.1, section 4."
    assert figures(text) == {"3.10", "-2.5", "4.75", "37", "0.958"}
