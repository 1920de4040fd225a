"""Every preset and format on one fixed ledger, against files that a person has read.

Changed on purpose: run with SFA_BENCH_WRITE_GOLDEN=1, and read the difference before it is committed.
"""

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from analysis.presets import PRESETS
from analysis.table import main

GOLDEN = Path(__file__).parent / "golden"
EXTRA = {"md": [], "latex": ["--spread", "sem"], "html": ["--spread", "ci95"], "csv": []}


@pytest.fixture
def fixed(ledger):
    """CIFAR-10 and -100, two noise ratios, three methods; an ablation; WebVision; other people's code."""
    generator = np.random.default_rng(7)

    def add(level, **keys):
        accuracy = round(float(level + generator.normal()), 3)
        groups = dict(zip(("many", "medium", "few"), (accuracy + 15, accuracy, accuracy - 20), strict=True))
        groups |= dict(zip(("head", "mid", "tail", "worst"), (accuracy + 9, accuracy, accuracy - 9, 1.5), strict=True))
        metrics = {"test/acc/final": accuracy, "test/acc/best": accuracy + 1}
        metrics |= {f"test/acc/{name}": value for name, value in groups.items()}
        if keys.get("plugin") == "sfa":
            keys |= {"method__selector__name": "sfa", "plugin__head": "abc", "plugin__moments": "persistent"}
        if keys["dataset"] == "webvision":
            metrics |= {"test/top5": accuracy + 12, "test_imagenet/acc/final": accuracy - 4}
        ledger.add(accuracy, metrics=metrics, **keys)

    common = {"noise__name": "joint", "imbalance__name": "exp", "recipe__name": "matched", "epochs": 200}
    for dataset, ratio, replicate in itertools.product(("cifar10", "cifar100"), (0.2, 0.5), range(2)):
        level = 80 - 60 * ratio - 25 * (dataset == "cifar100")
        keys = {"dataset": dataset, "noise_ratio": ratio, "replicate": replicate, **common}
        for method, gain, plugin in (("ce", 0, "none"), ("dividemix", 4, "none"), ("dividemix", 9, "sfa")):
            if (method, ratio, replicate) != ("ce", 0.5, 1):  # one run is missing
                add(level + gain, method=method, plugin=plugin, **keys)
        add(level + 3, method="coteaching", knows=["rate"], method__loss__transferred=True, **keys)
    for beta, replicate in itertools.product((0.9, 0.999), range(2)):
        add(70, dataset="digits", plugin="sfa", plugin__beta=beta, replicate=replicate, **common)
    for plugin, replicate in itertools.product(("none", "sfa"), range(2)):
        natural = {"noise__name": "none", "imbalance__name": "none", "model__name": "inception_resnet_v2"}
        add(75, dataset="webvision", plugin=plugin, replicate=replicate, **{**common, **natural})
    external = {"precision": "fp32", "external": {"like": "0"}}
    add(60, dataset="cifar10", noise_ratio=0.2, method="another_code", environment=external, **common)
    return ledger


def ask(capsys, ledger, *arguments):
    assert main([str(ledger.root), *arguments]) == 0
    return capsys.readouterr().out


def compare(text, name):
    path = GOLDEN / name
    if os.environ.get("SFA_BENCH_WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


WHERE = {
    "ablation": "dataset=digits",
    "selector_x_head": "dataset=cifar10,method=dividemix",
    "groups": "dataset=cifar10",
    "plugin_gain": "dataset=cifar10,cifar100,method=ce,dividemix",
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(fixed, capsys, preset):
    where = ["--where", WHERE[preset]] if preset in WHERE else []
    compare(ask(capsys, fixed, "--preset", preset, *where), f"{preset}.md")


@pytest.mark.parametrize("format", EXTRA)
def test_formats(fixed, capsys, format):
    arguments = ["--preset", "cifar_main", "--metric", "final,best", "--format", format, *EXTRA[format]]
    compare(ask(capsys, fixed, *arguments), f"formats.{'tex' if format == 'latex' else format}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (Debian: texlive-latex-recommended)")
def test_nested_headings_and_published_lines_compile(fixed, capsys, tmp_path):
    body = ask(capsys, fixed, "--preset", "cifar_main", "--metric", "final,best", "--format", "latex")
    packages = r"\documentclass{article}\usepackage{booktabs}\usepackage[landscape,paperwidth=80cm]{geometry}"
    (tmp_path / "t.tex").write_text(rf"{packages}\begin{{document}}{body}\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout
