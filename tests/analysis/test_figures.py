"""`analysis.plot`: the numbers of every kind against pandas, the files, and what is refused."""

import itertools
import json
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from scipy import stats

from analysis.figures.look import house_style
from analysis.figures.series import Options
from analysis.plot import KINDS, main, make
from analysis.runs import load
from sfa_bench.store.folder import RunFolder

K, N, M, EPOCHS = 4, 300, 120, 6
ONE = ["--where", "plugin=sfa,noise_ratio=0.2"]
ARGUMENTS = {
    "curves": ["--where", "noise_ratio=0.2"],
    "selection": ["--where", "noise_ratio=0.2"],
    "groups": ["--where", "noise_ratio=0.2"],
    "separation": ONE,
    "confusion": ONE,
    "sensitivity": ["--over", "noise_ratio"],
    "gain": [],
    "cost": ["--by", "method,plugin,noise_ratio"],
    "relation": ["--x", "cost/flops"],
}


def fill(path, generator, selects):
    """metrics.jsonl, predictions.npz and the data of a record."""
    folder, record = RunFolder(path), json.loads((path / "run.json").read_text())
    for epoch in range(1, EPOCHS + 1):
        chosen = epoch > 2 and selects
        figures = {
            f"{what}{group}": generator.random() for what in ("precision", "recall", "auc") for group in ("", "/few")
        }
        row = {"epoch": epoch, "phase": "warm-up" if epoch <= 2 else "training", "test/acc": 100 * generator.random()}
        row |= {"selection": figures | {"pseudo_label_acc": None} if chosen else None}
        folder.append_metrics(row)
    observed, clean = generator.integers(0, K, (2, N))
    arrays = {"test_label": np.arange(M) % K, "index": np.arange(N), "observed_label": observed, "clean_label": clean}
    for network, head in itertools.product((1, 2), ("main", "abc", "ncm")):
        arrays[f"test_logits_{network}_{head}"] = generator.normal(size=(M, K)) * (50 if head == "ncm" else 1)
    if selects:
        arrays["clean_probability"] = generator.random((2, N)) ** np.where(observed == clean, 0.3, 3.0)
    arrays["clean_label"] = np.where(np.arange(N) < 20, -1, clean)  # not known of some
    folder.write_arrays("predictions.npz", arrays)
    counts = np.bincount(observed, minlength=K)
    record["data"] |= {"observed_counts": counts.tolist(), "clean_counts": np.bincount(clean, minlength=K).tolist()}
    record["data"]["confusion"] = pd.crosstab(clean, observed).to_numpy().tolist()
    record["metrics"]["test/per_class"] = (100 * generator.random(K)).tolist()
    record["config"]["eval"] = {"ensemble": "logit_sum"}
    record["cost"] = {"flops": 1e9 * (1 + generator.random()), "total_seconds": 5.0}
    (path / "run.json").write_text(json.dumps(record))


@pytest.fixture
def runs(ledger):
    generator = np.random.default_rng(4)
    for plugin, ratio, replicate in itertools.product(("none", "sfa"), (0.2, 0.5), range(3)):
        path = ledger.add(100 * generator.random(), plugin=plugin, noise_ratio=ratio, replicate=replicate)
        fill(path, generator, plugin == "sfa")
    return ledger


def draw(tmp_path, ledger, kind, *more):
    arguments = [kind, str(ledger.root), "-o", str(tmp_path / "figure"), *(more or ARGUMENTS[kind])]
    return main(arguments)


def numbers(ledger, kind, where=None, **options):
    found, _ = load([ledger.root])
    chosen = Options(**{**KINDS[kind].takes, **options})
    return KINDS[kind].numbers([run for run in found if (where or (lambda run: True))(run)], chosen)


def low_noise(run):
    return run.fields["noise_ratio"] == 0.2


def frame(ledger):
    return pd.json_normalize(ledger.read()).rename(columns=lambda name: name.removeprefix("config."))


# ---- files


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_a_pdf_with_its_fonts_and_a_png(runs, tmp_path, capsys, kind):
    before = dict(matplotlib.rcParams)
    assert draw(tmp_path, runs, kind) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == [str(tmp_path / "figure.pdf"), str(tmp_path / "figure.png")]
    pdf, png = (tmp_path / f"figure.{end}" for end in ("pdf", "png"))
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"/FontFile2" in pdf.read_bytes()  # TrueType, embedded
    assert b"/Type3" not in pdf.read_bytes()
    assert b"/CreationDate" not in pdf.read_bytes()
    assert png.stat().st_size > 10_000
    assert dict(matplotlib.rcParams) == before


def test_equal_runs_give_equal_files(runs, tmp_path):
    contents = []
    for _ in range(2):
        assert draw(tmp_path, runs, "curves") == 0
        contents.append([(tmp_path / f"figure.{end}").read_bytes() for end in ("pdf", "png")])
    assert contents[0] == contents[1]


def test_an_ending_gives_that_file_alone(runs, tmp_path):
    assert main(["gain", str(runs.root), "-o", str(tmp_path / "g.svg")]) == 0
    assert (tmp_path / "g.svg").read_text().startswith("<?xml")
    assert not (tmp_path / "g.svg.pdf").exists()


# ---- numbers


def epochs_of(ledger):
    rows = []
    for path in ledger.root.glob("*/*/*/metrics.jsonl"):
        record = json.loads((path.parent / "run.json").read_text())
        known = {"plugin": record["names"]["plugin"], "noise_ratio": record["config"]["noise_ratio"]}
        rows += [json.loads(line) | known for line in path.read_text().splitlines()]
    return pd.json_normalize(rows)


@pytest.mark.parametrize("spread", ["std", "range"])
def test_curves_are_mean_and_spread_over_the_replicates(runs, spread):
    found = numbers(runs, "curves", low_noise, metric="test/acc", spread=spread).set_index(["series", "epoch"])
    tidy = epochs_of(runs).query("noise_ratio == 0.2").groupby(["plugin", "epoch"])["test/acc"]
    low = tidy.mean() - tidy.std() if spread == "std" else tidy.min()
    for series, plugin in (("dividemix", "none"), ("dividemix+sfa", "sfa")):
        assert found.loc[series]["mean"].tolist() == pytest.approx(tidy.mean()[plugin].tolist())
        assert found.loc[series]["low"].tolist() == pytest.approx(low[plugin].tolist())
    assert set(found["n"]) == {3}
    assert set(found["warm_up"]) == {2}


def test_the_warm_up_is_shaded_up_to_its_last_epoch(runs):
    with house_style():
        drawn = KINDS["curves"].draw(numbers(runs, "curves", low_noise), Options(metric="test/acc"))
    spans = [patch for patch in drawn.axes[0].patches if isinstance(patch, Rectangle)]
    assert [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in spans] == [(0.5, 2.5)]


def test_selections_are_shown_by_group_from_the_first_selection_on(runs):
    found = numbers(runs, "selection", low_noise)
    assert set(found["series"]) == {"dividemix+sfa"}
    assert found.attrs["notes"] == ["nothing to show of dividemix"]
    few = found[(found["figure"] == "auc") & (found["group"] == "few")]
    rows = epochs_of(runs).query("noise_ratio == 0.2 and plugin == 'sfa' and epoch > 2")
    assert few["epoch"].tolist() == [3, 4, 5, 6]
    assert few["mean"].tolist() == pytest.approx(rows.groupby("epoch")["selection.auc/few"].mean().tolist())


def test_groups_are_accuracies_against_sizes(runs):
    found = numbers(runs, "groups", low_noise).query("series == 'dividemix+sfa'").sort_values("class")
    mine = frame(runs).query("`names.plugin` == 'sfa' and noise_ratio == 0.2")
    assert found["mean"].tolist() == pytest.approx(np.mean([*mine["metrics.test/per_class"]], axis=0).tolist())
    assert found["size"].tolist() == pytest.approx(np.mean([*mine["data.observed_counts"]], axis=0).tolist())


def test_separation_is_the_share_of_samples_in_each_bin(runs):
    found = numbers(runs, "separation", lambda run: low_noise(run) and run.fields["plugin"] == "sfa")
    values = []
    for path in sorted(runs.root.glob("digits/dividemix+sfa/*/run.json")):
        if json.loads(path.read_text())["config"]["noise_ratio"] == 0.2:
            with np.load(path.parent / "predictions.npz") as z:
                rows = (z["observed_label"] == 1) & ~np.isin(z["clean_label"], (1, -1))
                values += z["clean_probability"][:, rows].ravel().tolist()
    part = found[(found["class"] == 1) & (found["kind"] == "noisy")]
    assert part["share"].tolist() == pytest.approx((np.histogram(values, 20, (0, 1))[0] / len(values)).tolist())
    assert set(part["n"]) == {len(values)}


def test_confusions_are_pooled_and_predictions_are_the_ensembles(runs):
    found = numbers(runs, "confusion", lambda run: low_noise(run) and run.fields["plugin"] == "sfa")
    expected = {"noise": np.zeros((K, K)), "prediction": np.zeros((K, K))}
    for path in runs.root.glob("digits/dividemix+sfa/*/run.json"):
        if json.loads(path.read_text())["config"]["noise_ratio"] == 0.2:
            with np.load(path.parent / "predictions.npz") as z:
                total = sum(z[f"test_logits_{n}_{head}"] for n in (1, 2) for head in ("main", "abc"))
                np.add.at(expected["prediction"], (z["test_label"], total.argmax(axis=1)), 1)
            expected["noise"] += json.loads(path.read_text())["data"]["confusion"]
    for panel, matrix in expected.items():
        part = found[found["panel"] == panel].pivot(index="row", columns="column", values="share")
        assert part.to_numpy() == pytest.approx(matrix / matrix.sum(axis=1, keepdims=True))


def test_sensitivity_is_the_metric_at_each_setting(runs):
    found = numbers(runs, "sensitivity", over="noise_ratio").set_index(["series", "setting"])
    expected = frame(runs).groupby(["names.plugin", "noise_ratio"])["metrics.test/acc/final"].agg(["mean", "std"])
    for plugin, series in (("none", "dividemix"), ("sfa", "dividemix+sfa")):
        for ratio in (0.2, 0.5):
            mean, std = expected.loc[plugin, ratio]
            assert tuple(found.loc[series, ratio][["mean", "high"]]) == pytest.approx((mean, mean + std))


def test_gains_are_paired_with_the_interval_of_scipy(runs):
    found = numbers(runs, "gain").set_index("setting")
    wide = frame(runs).pivot_table(
        index=["noise_ratio", "seed"], columns="names.plugin", values="metrics.test/acc/final"
    )
    for ratio in (0.2, 0.5):
        test = stats.ttest_rel(wide.loc[ratio]["sfa"], wide.loc[ratio]["none"])
        line = found.loc[f"dividemix noise_ratio={ratio}"]
        assert (line["low"], line["high"]) == pytest.approx(tuple(test.confidence_interval()))
        assert line["n"] == 3
    assert found["mean"].is_monotonic_decreasing


def test_settings_that_have_a_row_of_their_own_are_not_said_to_be_mixed(runs, tmp_path, capsys):
    assert draw(tmp_path, runs, "gain") == 0
    out = capsys.readouterr().out
    assert "series differ" not in out
    assert "paired by seed and data_seed, 95 % t interval" in out


def test_labels_stay_inside_the_figure(runs):
    for kind, width in itertools.product(("gain", "sensitivity"), ("column", "text")):
        with house_style():
            drawn = KINDS[kind].draw(numbers(runs, kind, over="noise_ratio"), Options(over="noise_ratio", width=width))
            drawn.canvas.draw()
            box = drawn.axes[0].xaxis.label.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= drawn.bbox.width


@pytest.mark.parametrize("largest", [60, 130, 5000])
def test_labels_of_class_sizes_do_not_overlap(largest):
    sizes = np.geomspace(largest, largest / 10, 10)
    frame = pd.DataFrame(
        {"series": "ce", "class": range(10), "size": sizes, "mean": 50.0, "low": 40, "high": 60, "n": 3}
    )
    with house_style():
        drawn = KINDS["groups"].draw(frame, Options())
        drawn.canvas.draw()
        axis = drawn.axes[0].xaxis
        texts = [*axis.get_ticklabels(), *axis.get_ticklabels(minor=True)]
        inside = [
            text for text in texts if text.get_text() and sizes[-1] * 0.8 < text.get_position()[0] < largest * 1.2
        ]
        boxes = sorted((text.get_window_extent() for text in inside), key=lambda box: box.x0)
    assert len(boxes) >= 3
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def related(ledger, pairs, **other):
    for x, y in pairs:
        ledger.add(y, metrics={"test/acc/final": y, "test/acc/few": x}, method=f"m{x}", **other)


def test_a_relation_is_by_ranks_and_only_between_runs_on_the_same_labels(ledger):
    related(ledger, [(1, 10), (2, 30), (3, 20), (4, 40)])  # Spearman: 1 - 6 * 2 / (4 * 15) = 0.8
    related(ledger, [(11, 9), (12, 8), (13, 7)], replicate=1)  # -1, though all of x is higher than above
    related(ledger, [(20, 1), (21, 2)], replicate=2)  # too few to have an order
    related(ledger, [(30, None)], replicate=2)
    found = numbers(ledger, "relation", by=("dataset",), x="test/acc/few")
    assert len(found) == 9
    assert found.attrs["notes"] == [
        "Spearman's rank correlation between runs on the same labels: -0.10 on average over 2 sets of labels "
        "(-1.00 to +0.80)",
        "1 runs lack one of the two and are left out",
    ]


def test_two_runs_have_no_rank_correlation(ledger):
    related(ledger, [(1, 10), (2, 30)])
    assert "no rank correlation" in numbers(ledger, "relation", by=("dataset",), x="test/acc/few").attrs["notes"][0]


def test_costs_have_their_own_spread(runs):
    found = numbers(runs, "cost", by=("method", "plugin", "noise_ratio")).set_index("series")
    flops = frame(runs).groupby(["names.plugin", "noise_ratio"])["cost.flops"].agg(["mean", "std"])
    mean, std = flops.loc["sfa", 0.5]
    line = found.loc["dividemix+sfa noise_ratio=0.5"]
    assert (line["cost"], line["cost_low"]) == pytest.approx((mean, mean - std))


@pytest.mark.parametrize("kind", KINDS)
def test_one_replicate_is_drawn_without_a_spread(ledger, tmp_path, kind):
    generator = np.random.default_rng(0)
    for plugin, ratio in itertools.product(("none", "sfa"), (0.2, 0.5)):
        fill(ledger.add(50.0, plugin=plugin, noise_ratio=ratio), generator, plugin == "sfa")
    assert draw(tmp_path, ledger, kind) == 0


# ---- what is refused


@pytest.mark.parametrize(
    ("kind", "more", "sentence"),
    [
        (
            "curves",
            ["--where", "noise_ratio=0.2", "--metric", "test/ac"],
            "no epoch has a metric test/ac; did you mean",
        ),
        ("curves", [], "runs of one series differ in noise_ratio (0.2, 0.5): add noise_ratio to --by or --where"),
        ("curves", ["--by", "metod"], "no run has a key metod; did you mean method?"),
        ("selection", ["--where", "plugin=none,noise_ratio=0.2"], "none of these runs has a selector"),
        ("separation", ["--where", "plugin=none,noise_ratio=0.2"], "has no selector, so nothing separates"),
        ("separation", ["--where", "noise_ratio=0.2"], "separation shows one series and there are 2"),
        ("sensitivity", [], "sensitivity needs the key that varies: --over KEY"),
        ("gain", ["--of", "plugin=abc"], "no run has plugin=abc; there is none, sfa"),
        ("gain", ["--metric", "test/per_class"], "is not one number a run"),
        ("cost", ["--cost", "steps", "--by", "method,plugin,noise_ratio"], "no run has a metric cost/steps"),
        ("relation", ["--x", "selection/acu"], "no run has a metric selection/acu"),
        ("curves", ["--by", "method,plugin,noise_ratio,seed"], "12 series are too many to tell apart (at most 8)"),
        ("gain", ["--counts", "clean"], "gain takes no --counts; it takes --by"),
        ("curve", [], "there is no figure curve; did you mean curves?"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(runs, tmp_path, capsys, kind, more, sentence):
    assert main([kind, str(runs.root), "-o", str(tmp_path / "figure"), *more]) == 2
    out, err = capsys.readouterr()
    assert (out, err[:9]) == ("", "refused: ")
    assert sentence in err
    assert not list(tmp_path.glob("figure*"))


def test_an_empty_folder_and_missing_files_are_sentences(ledger, tmp_path, capsys):
    assert main(["curves", str(tmp_path)]) == 2
    assert "no finished run in" in capsys.readouterr().err
    ledger.add(50.0, plugin="sfa")
    assert draw(tmp_path, ledger, "curves", "--by", "method") == 2
    assert "there is nothing to draw by epoch: 1 runs without epochs to show" in capsys.readouterr().err
    assert draw(tmp_path, ledger, "separation", "--by", "method") == 2
    assert "has no predictions.npz, which this figure is drawn from" in capsys.readouterr().err


MISFITS = {
    "a record without class sizes": (["confusion", "separation"], {"observed_counts": None}, {}),
    "fewer class sizes than classes": (["confusion", "groups"], {"observed_counts": [1, 2]}, {}),
    "labels of other samples": (["confusion"], {}, {"test_label": np.zeros(M + 1, int)}),
    "labels beyond the classes": (["confusion"], {}, {"test_label": np.full(M, K + 7)}),
    "negative labels": (["confusion"], {}, {"test_label": np.full(M, -1)}),
    "logits of other classes": (["confusion"], {}, {"test_logits_1_main": np.zeros((M, K + 1))}),
    "probabilities of other samples": (["separation"], {}, {"clean_probability": np.zeros((2, N + 1))}),
    "probabilities without networks": (["separation"], {}, {"clean_probability": np.zeros(N)}),
    "a confusion that is no matrix": (["confusion"], {"confusion": [[1, 2], [3]]}, {}),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_run_whose_parts_do_not_fit_together_is_a_sentence_with_its_folder(ledger, tmp_path, capsys, case):
    kinds, data, changes = MISFITS[case]
    path = ledger.add(50.0, plugin="sfa")
    fill(path, np.random.default_rng(1), selects=True)
    record, folder = json.loads((path / "run.json").read_text()), RunFolder(path)
    record["data"] |= data
    (path / "run.json").write_text(json.dumps(record))
    folder.write_arrays("predictions.npz", folder.read_arrays("predictions.npz") | changes)
    for kind in kinds:
        assert draw(tmp_path, ledger, kind, "--by", "method") == 2
        err = capsys.readouterr().err
        assert err.startswith(f"refused: {path}")
        assert err.count("\n") == 1


def test_pairs_that_saw_other_labels_are_refused(ledger, tmp_path, capsys):
    ledger.add(10.0, plugin="sfa", labels="a")
    ledger.add(11.0, plugin="none", labels="b")
    assert draw(tmp_path, ledger, "gain", "--by", "method") == 2
    assert "saw different labels" in capsys.readouterr().err


# ---- names of classes


def test_classes_are_named_where_all_runs_name_them_alike(runs):
    def ticks(kind):
        files, _ = make(kind, load([runs.root], "plugin=sfa,noise_ratio=0.2")[0], ["svg"])
        return re.findall(r"<!-- (.*?) -->", files["svg"].decode())

    def name(folder, names):
        record = json.loads((folder / "run.json").read_text())
        record.pop("digest")
        record["data"]["classes"] = names
        RunFolder(folder).write_record(record)

    assert (ticks("confusion").count("2"), "flower 2" in ticks("confusion")) == (4, False)
    folders = [run.path for run in load([runs.root], "plugin=sfa,noise_ratio=0.2")[0]]
    for folder in folders:
        name(folder, [f"flower {k}" for k in range(K)])
    assert ticks("confusion").count("flower 2") == 4  # both axes of both panels
    assert ticks("separation").count("flower 2") == 1
    name(folders[-1], [f"tree {k}" for k in range(K)])
    assert {"flower 2", "tree 2"}.isdisjoint(ticks("confusion"))
