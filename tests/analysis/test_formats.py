import io
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.runs import load
from analysis.table import main, make_table

NASTY = r"a_b & 50% of $x^2 <script> {\input} #1 ~ | [z]"
CELLS = [50.0, 53.0, 58.0]


@pytest.fixture
def runs(ledger):
    for replicate, accuracy in enumerate(CELLS):
        ledger.add(accuracy, replicate=replicate)
        ledger.add(accuracy + 5, plugin="sfa", replicate=replicate, knows=["rate"])
    return ledger


@pytest.mark.parametrize(
    ("spread", "expected"),
    [
        ("std", pd.Series(CELLS).std()),
        ("sem", stats.sem(CELLS)),
        ("ci95", np.diff(stats.t.interval(0.95, 2, loc=np.mean(CELLS), scale=stats.sem(CELLS)))[0] / 2),
    ],
)
def test_the_spread_is_the_one_asked_for_and_the_caption_names_it(runs, capsys, spread, expected):
    assert main([str(runs.root), "--spread", spread]) == 0
    said = capsys.readouterr().out
    assert f"53.67 ± {expected:.2f} (3)" in said
    name = {"std": "standard deviation", "sem": "standard error", "ci95": "95 % t interval"}[spread]
    assert name in said.splitlines()[0]


def test_csv_reads_back_as_the_cells(runs, capsys):
    assert main([str(runs.root), "--format", "csv"]) == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out), keep_default_na=False)
    assert list(frame.columns) == ["method", "plugin", "test/acc/final"]
    assert list(frame["plugin"]) == ["none", "sfa"]
    assert list(frame["test/acc/final"]) == ["53.67 ± 4.04 (3)", "58.67 ± 4.04 (3)"]


class Texts(HTMLParser):
    """Collects the tags, and the texts of cells, caption and notes."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_html_shows_the_cells_the_notes_and_markup_as_text(runs, capsys):
    runs.add(40.0, method=NASTY)
    assert main([str(runs.root), "--format", "html"]) == 0
    page = Texts()
    page.feed(capsys.readouterr().out)
    assert "script" not in page.tags
    assert {NASTY, "53.67 ± 4.04 (3)", "told rate", "a ", "a"} <= set(page.texts)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (Debian: texlive-latex-recommended)")
@pytest.mark.parametrize("versus", [None, {"plugin": ["none"]}])
def test_latex_compiles_whatever_the_names_hold(runs, tmp_path, versus):
    runs.add(40.0, method=NASTY)
    table = make_table(load([runs.root])[0], ["method", "plugin"], versus=versus)
    table.notes.append(NASTY)
    body = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{table.to_latex()}\end{{document}}"
    (tmp_path / "t.tex").write_text(body)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000
    assert "Missing character" not in done.stdout


def test_latex_has_a_line_for_every_row_with_booktabs_rules(runs, capsys):
    assert main([str(runs.root), "--format", "latex"]) == 0
    lines = capsys.readouterr().out.splitlines()
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert body == [
        r"DivideMix & none & \underline{53.67 $\pm$ 4.04 (3)} \\",
        r"DivideMix\textsuperscript{a} & SFA & \textbf{58.67 $\pm$ 4.04 (3)} \\",
    ]
    assert lines[lines.index(r"\toprule") + 1] == r"method & plugin & accuracy \\"
    assert r"\begin{tabular}{llr}" in lines
