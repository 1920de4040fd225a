"""What methods, plug-ins and metrics are called in tables and figures, and the options of a paper's table."""

import re
import shutil
import subprocess

import pytest

from analysis import plot
from analysis.figures.series import name
from analysis.fit import COLUMN, TEXT, fitted, width
from analysis.metrics import KNOWN, title
from analysis.names import BUILT_IN, built_in, read_names
from analysis.runs import load
from analysis.table import main
from analysis.values import valued
from sfa_bench.choices.sources import SOURCES
from sfa_bench.config.overrides import choices

METRICS = "final,few,selection/auc"


@pytest.fixture
def runs(ledger):
    for replicate in range(3):
        for method, plugin in (("ce", "none"), ("dividemix", "none"), ("dividemix", "sfa")):
            metrics = {"test/acc/final": 50.123 + replicate, "test/acc/few": 10.0}
            selection = {"auc": 0.91234} if plugin == "sfa" else {}
            ledger.add(0, method=method, plugin=plugin, replicate=replicate, metrics=metrics, selection=selection)
    return ledger


def ask(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("refused: ").strip()


def cells(tex):
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    return [[cell.strip() for cell in line.removesuffix(r"\\").split("&")] for line in body.strip().splitlines()]


# ---- the names


@pytest.mark.parametrize("group", BUILT_IN)
def test_every_choice_has_a_name_of_its_own(group):
    own = {name for name, source in SOURCES.items() if source.own} & set(
        choices("dataset")
    )  # are called as the user calls the data
    without = own if group == "dataset" else set()
    assert set(choices(group)) - set(BUILT_IN[group]) == without
    assert set(BUILT_IN[group]) - set(choices(group)) == ({"ccs"} if group == "method" else set())  # a loss alone
    assert len(set(BUILT_IN[group].values())) == len(BUILT_IN[group])


def test_every_metric_has_a_name_of_its_own():
    named = [title(metric) for names in KNOWN.values() for metric in names]
    assert len(set(named)) == len(named)
    for metric, word in {
        "test/acc/final": "accuracy",
        "test/acc/few": "few",
        "test/macro_f1": "macro F1",
        "test_imagenet/acc/final": "accuracy (ImageNet)",
        "val/acc/few": "validation accuracy, few",
        "selection/auc/few": "selection AUC, few",
        "cost/seconds/warm-up": "seconds, warm-up",
    }.items():
        assert title(metric) == word


def test_latex_and_html_have_names_markdown_and_csv_what_was_set(runs, capsys):
    for form in ("latex", "html"):
        text = ask(capsys, runs.root, "--format", form, "--metric", METRICS)
        assert all(re.search(rf"\b{name}\b", text) for name in ("CE", "DivideMix", "SFA", "selection AUC"))
        assert "dividemix" not in text
    for form in ("md", "csv"):
        text = ask(capsys, runs.root, "--format", form, "--metric", METRICS)
        assert {"ce", "dividemix", "sfa"} <= set(re.findall(r"\w+", text))
        assert "selection/auc" in text
        assert "DivideMix" not in text


def test_a_file_of_names_goes_before_the_built_in_ones_and_in_every_format(runs, capsys, tmp_path):
    file = tmp_path / "names.yaml"
    file.write_text(
        "method: {ce: Cross-entropy}\nplugin: {none: –}\nnoise_ratio: {0.40: 40 %}\n"
        "metric: {test/acc/final: Top-1, test/acc/val: chosen}\nkey: {method: Method, noise_ratio: ρ}\n"
    )
    for form in ("md", "latex", "csv", "html"):
        text = ask(capsys, runs.root, "--format", form, "--names", file, "--rows", "method,plugin,noise_ratio")
        assert all(word in text for word in ("Method", "Top-1", "Cross-entropy", "DivideMix", "SFA"))
        assert "40 \\%" in text if form == "latex" else "40 %" in text
        assert r"$\rho$" in text if form == "latex" else "ρ" in text
    text = ask(capsys, runs.root, "--names", file, "--cols", "noise_ratio,imb_factor", "--format", "csv")
    assert text.splitlines()[0] == "Method,plugin,40 % imb_factor=0.1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- ce", "--names takes a mapping of keys to mappings, such as  method: {ce: Cross-entropy}"),
        ("method: ce", "--names takes a mapping of keys to mappings, such as  method: {ce: Cross-entropy}"),
        ("metod: {ce: CE}", "there is no key metod; did you mean method?"),
        ("key: {noise_rato: ρ}", "there is no key noise_rato; did you mean noise_ratio?"),
        ("metric: {test/acc/finl: Top-1}", "there is no metric test/acc/finl; did you mean test/acc/final?"),
        ("method: {ce: [a]}", "method has a name that is no text (['a']): write it in quotes"),
        ("method: {ce: no}", "method has a name that is no text (False): write it in quotes"),
    ],
)
def test_a_file_of_names_is_refused_in_a_sentence(runs, capsys, tmp_path, text, sentence):
    file = tmp_path / "names.yaml"
    file.write_text(text)
    assert refused(capsys, runs.root, "--names", file) == f"{file}: {sentence}"


def test_names_that_make_two_rows_look_alike_are_refused(runs, capsys, tmp_path):
    assert refused(capsys, runs.root, "--names", tmp_path / "no") == f"--names: there is no file {tmp_path / 'no'}"
    file = tmp_path / "names.yaml"
    file.write_text("method: {ce: X, dividemix: X}")
    sentence = "method=ce and method=dividemix would both be called X: give them different names (--names)"
    assert refused(capsys, runs.root, "--names", file) == sentence


# ---- the options


def test_caption_label_and_digits_are_as_asked_for(runs, capsys):
    options = ("--caption", "All & more", "--label", "tab:all", "--decimals", "1", "--hide-n", "--metric", METRICS)
    tex = ask(capsys, runs.root, "--format", "latex", *options)
    assert r"\caption{All \& more}" + "\n" + r"\label{tab:all}" in tex
    assert cells(tex)[2] == [
        "DivideMix",
        "SFA",
        r"\textbf{51.1 $\pm$ 1.0}",
        r"\textbf{10.0 $\pm$ 0.0}",
        r"0.91 $\pm$ 0.00",
    ]
    page = ask(capsys, runs.root, "--format", "html", *options)
    assert page.startswith('<figure id="tab:all">\n<figcaption>All &amp; more</figcaption>')
    assert '<td style="text-align: right"><b>51.1 ± 1.0</b></td>' in page
    assert "<td>DivideMix</td>" in page
    assert ask(capsys, runs.root, "--caption", "Mine").startswith("Mine\n\n|")


def test_where_n_is_hidden_the_caption_has_it_and_cells_that_lack_runs_show_theirs(runs, capsys):
    runs.add(0, method="elr", metrics={"test/acc/final": 70.0})
    text = ask(capsys, runs.root, "--hide-n")
    assert "n = 3, where no other is shown." in text.splitlines()[0]
    assert re.search(r"\| elr +\| none +\| \S*70\.00 \(1/3\)", text)
    assert "(3)" not in text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--label", "x"], "--label=x has no effect on --format=md: set latex or html"),
        (["--label", "a}", "--format", "latex"], "--label=a} is not of letters, digits and  : . _ -"),
        (
            ["--caption", "x", "--format", "csv"],
            "--caption has no effect on --format=csv, which has no caption: leave it out",
        ),
    ],
)
def test_an_option_that_does_not_act_is_refused(runs, capsys, options, sentence):
    assert refused(capsys, runs.root, *options) == sentence


# ---- the width


def test_a_table_is_set_no_smaller_and_no_wider_than_it_needs():
    def how(*texts):
        fit = fitted([[text] for text in texts], [[(text, 1) for text in texts]])
        return fit.environment, bool(fit.smaller), bool(fit.advice)

    number = "50.00 ± 1.00 (3)"
    assert how("CE", number) == ("table", False, False)
    assert how("CE", number, number, "12.34") == ("table", True, False)
    assert how("CE", *[number] * 4) == ("table*", False, False)
    assert how("CE", *[number] * 6) == ("table*", True, False)
    assert how("CE", *[number] * 9) == ("table*", True, True)
    wide = fitted([["CE"], ["1"], ["1"]], [[("", 1), ("W" * 40, 2)], [("a", 1), ("b", 1), ("c", 1)]])
    assert wide.environment == "table*"  # for its heading


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (Debian: texlive-latex-recommended)")
@pytest.mark.parametrize("columns", range(1, 8))
def test_a_table_fits_a_page_with_two_columns(ledger, capsys, tmp_path, columns):
    for plugin, factor in (("none", 1), ("sfa_release", 2)):
        for column in range(columns):
            for replicate in range(2):
                add = {
                    "dataset": f"data{column}",
                    "replicate": replicate,
                    "plugin": plugin,
                    "knows": ["rate"] * (factor - 1),
                }
                ledger.add(factor * (40.0 + column + 9.7 * replicate), method="balanced_softmax", **add)
    tex = ask(capsys, ledger.root, "--cols", "dataset", "--format", "latex", "--caption", "Short.")
    if "% About" in tex:
        assert columns > 4
        return
    paper = rf"\documentclass[twocolumn]{{article}}\usepackage{{booktabs}}\textwidth={TEXT}pt\columnsep=23pt"
    (tmp_path / "t.tex").write_text(rf"{paper}\columnwidth={COLUMN}pt\begin{{document}}{tex}\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (Debian: texlive-latex-recommended)")
def test_widths_are_those_of_latex_and_rather_more(tmp_path):
    texts = ["50.00 ± 1.00 (3)", "Balanced softmax", "DivideMix", "selection AUC, few", "noise_ratio=0.2", "CIFAR-100N"]
    boxes = "".join(
        rf"\setbox0\hbox{{{text.replace('_', chr(92) + '_').replace('±', '$' + chr(92) + 'pm$')}}}\typeout{{w\the\wd0}}"
        for text in texts
    )
    (tmp_path / "t.tex").write_text(rf"\documentclass{{article}}\begin{{document}}{boxes}\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "t.tex"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    measured = [float(points) for points in re.findall(r"^w([\d.]+)pt$", said, re.MULTILINE)]
    for text, points in zip(texts, measured, strict=True):
        assert 0.93 * points <= width(text) <= 1.2 * points, (text, points, width(text))


# ---- figures


def texts(svg):
    return re.findall(r"<!-- (.*?) -->", svg.decode())


def test_figures_have_the_names_of_papers_and_those_of_a_file(runs, tmp_path):
    found = load([runs.root])[0]
    files, _ = plot.make("gain", found, ["svg"])
    assert {"DivideMix", "SFA − none"} <= set(texts(files["svg"]))
    files, _ = plot.make("sensitivity", found, ["svg"], over="plugin", by=("method",))
    assert {"none", "SFA", "CE"} <= set(texts(files["svg"]))
    file = tmp_path / "names.yaml"
    file.write_text("method: {dividemix: DM}\nmetric: {test/acc/final: Top-1}\nkey: {plugin: added}\n")
    names = read_names(file)
    files, _ = plot.make("sensitivity", found, ["svg"], names, over="plugin", by=("method",))
    assert {"DM", "Top-1 (%)", "added"} <= set(texts(files["svg"]))
    file.write_text("plugin: {none: X, sfa: X}")
    assert plot.main(["gain", str(runs.root), "--by", "method,plugin", "--names", str(file)]) == 2


def test_a_series_is_named_as_its_folder_or_as_in_a_paper():
    key = tuple(map(valued, ("dividemix", "sfa", "tau_norm", 0.2)))
    by = ("method", "plugin", "classifier", "noise_ratio")
    assert name(by, key) == "dividemix+sfa+tau_norm noise_ratio=0.2"
    assert name(by, key, built_in()) == "DivideMix + SFA + τ-norm noise_ratio=0.2"
    assert name(("method", "plugin"), (*key[:1], valued("none")), built_in()) == "DivideMix"
