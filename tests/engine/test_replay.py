"""What selectors saw is kept, and replayed to what training selected, or another setting would have
(explanation/runs.md §4).
"""

import errno
import io
import json
import math
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from sfa_bench import streams
from sfa_bench.config.compose import compose
from sfa_bench.config.replayed import with_setting
from sfa_bench.engine import probes
from sfa_bench.engine.run import run
from sfa_bench.errors import ConfigError
from sfa_bench.replay import UNCHANGED, Replay, ReplayedRun, main, replay
from sfa_bench.selectors.base import Probe, Thresholds
from sfa_bench.selectors.dacc import DistributionAwareCentroids
from sfa_bench.selectors.fine import Fine
from sfa_bench.selectors.loss import ClassLossMixture, LossMixture
from sfa_bench.selectors.oracle import Oracle
from sfa_bench.selectors.prototype import Prototype
from sfa_bench.selectors.quota import Quota
from sfa_bench.selectors.sfa import StochasticFeatureAveraging
from sfa_bench.selectors.tabasco import Tabasco
from sfa_bench.store.record import command

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "conf"
E, W = 4, 2
TINY = [
    *("dataset=synthetic", "dataset.size=60", "dataset.overlap=3", "dataset.classes=4", "imb_factor=0.3"),
    *(f"epochs={E}", f"warmup_epochs={W}", "batch_size=8", "threads=1", "record.probes=1"),
]
IMAGES = ["dataset=digits", "imb_factor=0.05"]
RUNS = {
    "sfa": ["method=dividemix", "plugin=sfa"],
    "release": ["method=dividemix", "plugin=sfa_release"],
    "ibc": ["method=dividemix", "plugin=ibc"],
    "averaged": ["method=dividemix", "plugin=none", "noise.assumed_rate=0.9"],
    "loss_gmm": ["method=dividemix", "plugin=abc"],
    "loss_gmm_cls": ["method=ce", "method.networks=2", "plugin=none", "method.selector.name=loss_gmm_cls"],
    "proto": ["method=ce", "plugin=abc", "method.selector.name=proto", "plugin.p_threshold=0.6"],
    "tabasco": ["method=dividemix", "plugin=none", "method.selector.name=tabasco"],
    "dacc": ["method=dividemix", "plugin=abc", "method.selector.name=dacc"],
    "dasc": ["method=dasc", "plugin=abc", *IMAGES],
    "unicon": ["method=unicon", "plugin=none", *IMAGES],
    "unicon alone": ["method=unicon", "plugin=none", "method.selector.networks=own", *IMAGES],
    "quota": [
        *("method=dividemix", "plugin=none", "method.selector.name=quota", "method.selector.networks=both"),
        *("method.selector.rate=0.3", "method.selector.rate_end=0.9", "method.selector.rate_epochs=2"),
    ],
    "rolt": ["method=rolt", "plugin=none"],
    "ce": ["method=ce", "plugin=none"],
    "gaps": ["method=ce", "plugin=sfa", "record.probes=2", "epochs=6"],
    "neighbours": ["method=ce", "plugin=neighbours"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """name -> the folder of that run, trained when it is first asked for."""
    root, paths = tmp_path_factory.mktemp("runs"), {}

    def get(name):
        if name not in paths:
            own = EXAMPLES if name == "neighbours" else None
            keys = {r.split("=")[0] for r in RUNS[name]}
            other = "dataset." if "dataset" in keys else "-"  # whose options are those of synthetic data
            typed = [*(t for t in TINY if t.split("=")[0] not in keys and not t.startswith(other)), *RUNS[name]]
            typed.append(f"runs_dir={root}/{name}")
            paths[name] = run(compose(typed, own), command(typed, own), Console(file=io.StringIO()))
        return paths[name]

    return get


def recorded(path):
    """epoch -> the selection figures that the run wrote."""
    rows = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return {row["epoch"]: row["selection"] for row in rows if row["selection"] is not None}


def saved(path, epoch, abc=True):
    """The probes of an epoch, read by hand."""
    arrays = np.load(path / "probes" / f"epoch_{epoch:04d}.npz")
    heads = arrays["logits_abc"] if abc and "logits_abc" in arrays else [None] * len(arrays["features"])
    parts = zip(arrays["features"].astype(np.float32), arrays["logits_main"], heads, strict=True)
    return [Probe(f, z, v, arrays["observed_label"]) for f, z, v in parts]


def same(value, other):
    return value == other or (other is None and np.isnan(value))


@pytest.mark.parametrize("name", [name for name in RUNS if name not in ("ce", "gaps", "neighbours", "unicon")])
def test_a_replay_of_a_run_as_it_was_gives_exactly_what_training_selected(trained, name):
    path = trained(name)
    table, notes = replay([path], [])
    truth = recorded(path)
    assert notes == []
    assert list(table["epoch"]) == list(truth) == list(range(1 if name == "rolt" else W + 1, E + 1))
    assert set(table["setting"]) == {UNCHANGED}
    assert (table["like_training"] == 1).all()
    for epoch, row in zip(table["epoch"], table.to_dict("records"), strict=True):
        assert {key for key, value in truth[epoch].items() if not same(row[key], value)} <= {"auc_bayes"}


@pytest.mark.parametrize("name", ["sfa", "release", "ibc", "averaged", "proto"])
def test_the_last_replayed_masks_and_probabilities_are_those_of_the_predictions(trained, name):
    arrays = np.load(trained(name) / "predictions.npz")
    opened = ReplayedRun.open(trained(name))
    again = Replay(opened, "", opened.config, [])
    for epoch in opened.files:
        again.epoch(epoch, *probes.load(opened.files[epoch]))
    for k, selection in enumerate(again.selections):
        assert np.array_equal(selection.mask, arrays["selected"][k])
        assert np.array_equal(selection.clean_probability.astype(np.float32), arrays["clean_probability"][k])


def averages(k, counts, *, moments="persistent", beta=0.99, epochs=E, samples=1, distance="own"):
    """SFA's selector of network k as algorithms/sfa.md and protocol.md §3 have it, for `replicate=0`."""
    return StochasticFeatureAveraging(
        Thresholds(),
        moments=moments,
        beta=beta ** (200 / epochs),
        phi=1.005 ** (200 / epochs),
        samples=samples,
        distance=distance,
        sample_min=int(0.06 * counts.max()),
        generator=partial(streams.numpy_generator, 0, "centroid_draw", k),
    )


# run, setting, whether the balanced head is seen, (network, observed counts, clean labels) -> selector
OTHERS = {
    "proto for sfa": ("sfa", "method.selector.name=proto", True, lambda k, n, y: Prototype(Thresholds())),
    "loss_gmm for sfa": ("sfa", "plugin=none", True, lambda k, n, y: LossMixture(Thresholds())),
    "tabasco for sfa": ("sfa", "method.selector.name=tabasco", True, lambda k, n, y: Tabasco(Thresholds())),
    "dacc for sfa": (
        "sfa",
        "method.selector.name=dacc method.selector.phi=1.1",
        True,
        lambda k, n, y: DistributionAwareCentroids(Thresholds(), phi=1.1),
    ),
    "quota for sfa": (
        "sfa",
        " ".join(f"method.selector.{word}" for word in ("name=quota", "rate=0.2", "rate_end=0.8", "rate_epochs=2")),
        True,
        lambda k, n, y: Quota(rate=0.2, rate_end=0.8, rate_epochs=2, first_epoch=W + 1),
    ),
    "both networks for sfa": (
        "sfa",
        "method.selector.name=quota method.selector.networks=both",
        True,
        lambda k, n, y: Quota(all_networks=True),
    ),
    "another rate": (
        "quota",
        "method.selector.rate=0.5",
        True,
        lambda k, n, y: Quota(all_networks=True, rate=0.5, rate_end=0.9, rate_epochs=2, first_epoch=W + 1),
    ),
    "oracle for sfa": ("sfa", "method.selector.name=oracle", True, lambda k, n, y: Oracle(y)),
    "stricter": (
        "loss_gmm_cls",
        "plugin.p_threshold=0.9",
        True,
        lambda k, n, y: ClassLossMixture(Thresholds(p_threshold=0.9)),
    ),
    "monotone": (
        "loss_gmm",
        "method.selector.name=loss_gmm_cls plugin.gmm.monotone=true",
        True,
        lambda k, n, y: ClassLossMixture(Thresholds(monotone=True)),
    ),
    "no average": ("averaged", "plugin=abc", True, lambda k, n, y: LossMixture(Thresholds(), average_losses=True)),
    "release for sfa": ("sfa", "plugin=sfa_release", True, lambda k, n, y: averages(k, n, moments="release")),
    "sfa for release": ("release", "plugin.moments=persistent", True, lambda k, n, y: averages(k, n)),
    "shorter memory": ("sfa", "plugin.beta=0.999", True, lambda k, n, y: averages(k, n, beta=0.999)),
    "relative": ("sfa", "plugin.distance=relative", True, lambda k, n, y: averages(k, n, distance="relative")),
    "ibc for sfa": ("sfa", "plugin=ibc", True, lambda k, n, y: averages(k, n, samples=5)),
    "sfa for ibc": ("ibc", "plugin=sfa", True, lambda k, n, y: averages(k, n)),
    "another average for ibc": (
        "ibc",
        "plugin.beta=0.999 plugin.samples=1",
        True,
        lambda k, n, y: averages(k, n, beta=0.999),
    ),
    "no head": ("sfa", "plugin.head=none", False, lambda k, n, y: averages(k, n)),
    "sfa for ce": ("ce", "plugin=sfa", True, lambda k, n, y: averages(k, n)),
    "sfa named": ("ce", "method.selector.name=sfa plugin.beta=0.999", True, lambda k, n, y: averages(k, n, beta=0.999)),
    "sfa for rolt": ("rolt", "plugin=sfa", True, lambda k, n, y: averages(k, n)),
    "missing epochs": ("gaps", "plugin.beta=0.999", True, lambda k, n, y: averages(k, n, beta=0.999, epochs=6)),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_setting_selects_what_its_selector_answers_by_hand(trained, case):
    name, setting, head, make = OTHERS[case]
    path = trained(name)
    table, _ = replay([path], setting.split())
    arrays = np.load(path / "predictions.npz")
    observed, clean = arrays["observed_label"], arrays["clean_label"]
    right, counts = observed == clean, np.bincount(observed)
    expected = [4, 6] if name == "gaps" else [3, 4]
    assert list(table["epoch"]) == expected
    selectors, before = None, None
    for row in table.to_dict("records"):
        seen = saved(path, row["epoch"], abc=head)
        selectors = selectors or [make(k, counts, clean) for k in range(len(seen))]
        others = [tuple(seen[:k] + seen[k + 1 :]) if s.all_networks else () for k, s in enumerate(selectors)]
        seen = [replace(probe, others=more) for probe, more in zip(seen, others, strict=True)]
        found = [selector.select(probe, row["epoch"]) for selector, probe in zip(selectors, seen, strict=True)]
        masks = np.stack([one.mask for one in found])
        assert row["auc"] == pytest.approx(np.mean([roc_auc_score(right, one.clean_probability) for one in found]))
        assert row["precision"] == pytest.approx(np.mean([right[mask].mean() for mask in masks]))
        assert row["recall"] == pytest.approx(np.mean([mask[right].mean() for mask in masks]))
        assert row["counts"] == np.mean([np.bincount(observed[mask], minlength=4) for mask in masks], axis=0).tolist()
        assert row["selected"] == masks.sum() / len(masks)
        assert same(row["stability"], None if before is None else (masks == before).mean())
        before = masks
    whole = recorded(path)
    if whole and case not in ("no average", "missing epochs"):
        figures = [(whole[e]["auc"], sum(whole[e]["counts"])) for e in table["epoch"]]
        assert list(zip(table["auc"], table["selected"], strict=True)) != figures


def test_projections_are_replayed_for_the_selector_that_takes_them_and_features_for_the_others(trained):
    path = trained("dasc")
    assert set(replay([path], [])[0]["like_training"]) == {1.0}
    table, _ = replay([path], ["method.selector.features=project,default"])
    of_projections, of_features = (rows for _, rows in table.groupby("setting", sort=False))
    assert set(of_projections["like_training"]) == {1.0}
    assert list(of_projections["auc"]) != list(of_features["auc"])
    seen = saved(path, E)
    table, _ = replay([path], ["method.selector.name=fine"])
    expected = [Fine(Thresholds()).select(probe, E) for probe in seen]
    assert seen[0].features.shape[1] != 128
    assert table["selected"].iloc[-1] == np.mean([one.mask.sum() for one in expected])


def test_of_a_run_without_projectors_projections_are_refused(trained):
    with pytest.raises(ConfigError, match="has no effect: the networks of dividemix have no projector"):
        replay([trained("dacc")], ["method.selector.features=default"])


def test_a_selection_by_both_networks_in_turn_is_said_to_be_replayed_by_what_is_saved(trained):
    table, (note,) = replay([trained("unicon")], [])
    assert "network 2 selected when network 1 had been trained" in note
    assert min(table["like_training"]) < 1
    table, notes = replay([trained("unicon alone")], [])
    assert notes == []
    assert set(table["like_training"]) == {1.0}


def test_several_runs_and_settings_are_every_combination_in_the_order_typed(trained):
    table, _ = replay(
        [trained("sfa"), trained("proto")], ["method.selector.name=proto,oracle", "plugin.p_threshold=0.2,0.9"]
    )
    last = table[table["epoch"] == E]
    words = [f"method.selector.name={name} plugin.p_threshold={p}" for name in ("proto", "oracle") for p in (0.2, 0.9)]
    assert list(last["setting"]) == 2 * words
    assert [name.split("/")[0] for name in last["run"]] == 4 * ["dividemix+sfa"] + 4 * ["ce+abc"]
    assert len(table) == 8 * (E - W)
    alone, _ = replay([trained("proto")], words[1].split())
    together = table[(table["setting"] == words[1]) & table["run"].str.startswith("ce")]
    assert list(together["selected"]) == list(alone["selected"])


def test_the_command_prints_a_table_and_a_csv_holds_all_of_it(trained, tmp_path, capsys):
    path, file = trained("sfa"), tmp_path / "all.csv"
    typed = [str(path), "--csv", str(file), "plugin.beta=0.9,0.999"]
    assert main(typed) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2 + 2  # the run's name, a blank; heading and rule; the last epoch of both settings
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["beta=0.9", "beta=0.999"]
    assert max(map(len, lines)) < 160
    assert main([*typed[:-1], "--per-epoch", typed[-1]]) == 0
    shown = capsys.readouterr().out.splitlines()[4:]
    table, _ = replay([path], typed[-1:])
    read = pd.read_csv(file)
    assert len(shown) == len(read) == len(table) == 2 * (E - W)
    assert list(read.columns) == list(table.columns)
    for column in table:
        values = [math.nan if v is None else v for v in table[column]]  # nobody is relabelled here
        as_text = [json.dumps(v) if isinstance(v, list | dict) else v for v in values]
        assert list(read[column]) == (
            as_text if isinstance(as_text[0], str) else pytest.approx(as_text, rel=1e-12, nan_ok=True)
        )
    assert [f"{value:.3f}" for value in table["auc"]] == [line.split("|")[3].strip() for line in shown]


def test_a_full_disk_leaves_the_old_csv_whole(trained, tmp_path, monkeypatch, capsys):
    file = tmp_path / "all.csv"
    file.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    assert main([str(trained("proto")), "--csv", str(file)]) == 1
    assert "disk is full" in capsys.readouterr().err
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("all.csv", "old")]


def test_missing_epochs_are_said_of_selectors_with_a_memory_only(trained):
    path = trained("gaps")
    assert [p.name for p in sorted((path / "probes").iterdir())] == ["epoch_0004.npz", "epoch_0006.npz"]
    (note,) = replay([path], [])[1]
    assert "not every epoch is saved" in note
    assert replay([path], ["method.selector.name=proto,loss_gmm,loss_gmm_cls"])[1] == []
    assert replay([path], ["plugin.moments=none"])[1] == []


def test_a_run_without_the_balanced_head_says_that_sfa_goes_by_the_main_one(trained):
    table, notes = replay([trained("ce")], ["plugin=sfa"])
    without, quiet = replay([trained("ce")], ["plugin=sfa", "plugin.head=none"])
    assert [("no balanced head" in note) for note in notes] == [True]
    assert quiet == []
    assert list(table["auc"]) == list(without["auc"])


def test_probing_a_run_that_selects_nothing_changes_neither_its_results_nor_its_cost(trained, tmp_path):
    path = trained("ce")
    typed = [*(t for t in TINY if not t.startswith("record.probes")), *RUNS["ce"], f"runs_dir={tmp_path}"]
    plain = run(compose(typed), command(typed), Console(file=io.StringIO()))
    assert plain.name == path.name
    assert not (plain / "probes").exists()
    assert len(list((path / "probes").iterdir())) == E
    one, other = (json.loads((p / "run.json").read_text()) for p in (path, plain))
    assert one["metrics"] == other["metrics"]
    times = {key for key in one["cost"] if "second" in key or "memory" in key}
    assert {k: v for k, v in one["cost"].items() if k not in times} == {
        k: v for k, v in other["cost"].items() if k not in times
    }


def test_a_selector_of_ones_own_is_replayed_and_tried_on_other_runs(trained, capsys):
    path = trained("neighbours")
    table, _ = replay([path], [])
    assert (table["like_training"] == 1).all()
    assert list(table["auc"]) == [row["auc"] for row in recorded(path).values()]
    usual = json.loads((path / "run.json").read_text())["config"]["plugin"]["neighbours"]
    more, _ = replay([path], [f"plugin.neighbours=3,{usual}"])
    assert list(more[more["setting"] == f"plugin.neighbours={usual}"]["auc"]) == list(table["auc"])
    assert list(more[more["setting"] == "plugin.neighbours=3"]["auc"]) != list(table["auc"])
    assert main([str(trained("sfa")), "plugin=neighbours", "--config-dir", str(EXAMPLES)]) == 0
    assert "plugin=neighbours" in capsys.readouterr().out
    assert main([str(trained("sfa")), "plugin=neighbours"]) == 2


@pytest.mark.parametrize(
    ("name", "typed", "sentence"),
    [
        ("sfa", "noise_ratio=0.1", "noise_ratio=0.1 acts in training"),
        ("sfa", "method=ce", "method=ce acts in training"),
        ("sfa", "epochs=9", "epochs=9 acts in training"),
        ("sfa", "plugin.main_subset=all", "acts in training"),
        ("sfa", "plugin.abc.detach=true", "acts in training"),
        *(("ibc", f"plugin.{key}", "acts in training") for key in ("epsilon=0.2", "kappa=1", "medium_warmup=false")),
        ("ibc", "plugin.query_centre=sample", "acts in training"),
        ("sfa", "method.selector.view=train", "acts in training"),
        ("sfa", "plugin.btea=0.9", "did you mean plugin.beta?"),
        ("sfa", "plugin.beta=2", "plugin.beta < 1"),
        ("sfa", "plugin=sfo", "did you mean plugin=sfa?"),
        ("sfa", "plugin.beta=${noise_ratio}", "plain values"),
        ("sfa", "method.selector.name=proto plugin.beta=0.9", "plugin.beta has no effect"),
        ("sfa", "plugin=sfa method.selector.name=proto", "brings its own selector"),
        ("loss_gmm", "method.selector.no_clean_class=none", "acts on a mixture per class"),
        ("ce", "method.selector.name=quota method.selector.networks=both", "which has one network"),
        ("ce", "", "set method.selector.name="),
        ("ce", "plugin.p_threshold=0.7", "set method.selector.name="),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_a_sentence(trained, name, typed, sentence, capsys):
    path = trained(name)
    assert main([str(path), *typed.split()]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1


def test_a_combination_that_makes_no_sense_is_named_and_the_others_are_shown(trained, capsys):
    assert main([str(trained("sfa")), "method.selector.name=sfa,proto", "plugin.beta=0.9"]) == 0
    printed = capsys.readouterr()
    assert "selector=sfa beta=0.9" in printed.out
    assert "selector=proto" not in printed.out
    assert "not valid: method.selector.name=proto plugin.beta=0.9" in printed.err


def changed(source, to, **changes):
    """A copy of a run with other values in its record."""
    shutil.copytree(source, to)
    record = json.loads((to / "run.json").read_text()) | changes
    (to / "run.json").write_text(json.dumps(record))
    return to


def test_runs_that_are_not_whole_are_refused_in_a_sentence(trained, tmp_path, capsys):
    source = trained("proto")
    bare = changed(source, tmp_path / "bare")
    shutil.rmtree(bare / "probes")
    broken = changed(source, tmp_path / "broken")
    (broken / "run.json").write_text("{")
    (tmp_path / "empty").mkdir()
    for path, sentence in {
        bare: "has no probes: run it with record.probes=N",
        broken: "cannot be read",
        changed(source, tmp_path / "going", state="running"): "is not done (running)",
        changed(source, tmp_path / "broke", state="failed"): "is not done (failed)",
        changed(source, tmp_path / "old", hash="0" * 12): "now gives another run",
        tmp_path / "nowhere": "there is no such folder",
        tmp_path / "empty": "no run is named",
    }.items():
        assert main([str(path)]) == 2
        printed = capsys.readouterr()
        assert sentence in printed.err
        assert len(printed.err.strip().splitlines()) == 1
    assert main([str(source), str(bare)]) == 0
    assert "bare has no probes and is left out" in capsys.readouterr().err


def test_damaged_files_of_a_run_are_refused_by_name(trained, tmp_path, capsys):
    source = trained("proto")
    for number, name in enumerate(("predictions.npz", "probes")):
        path = changed(source, tmp_path / str(number))
        file = path / name if name.endswith("npz") else sorted((path / name).iterdir())[0]
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 16
        file.write_bytes(content)
        assert main([str(path)]) == 2
        assert f"{file} cannot be read: its bytes do not match its digest" in capsys.readouterr().err
    strange = changed(source, tmp_path / "strange")
    (strange / "probes" / "epoch_x.npz").write_bytes(b"not ours")
    assert main([str(strange)]) == 0
    capsys.readouterr()
    first = sorted((strange / "probes").glob("epoch_0*.npz"))[0]
    arrays = dict(np.load(first))
    np.savez(first, **{**arrays, "logits_main": arrays["logits_main"][:, :-1]})
    assert main([str(strange)]) == 2
    assert f"{first} cannot be read: it holds no probes" in capsys.readouterr().err
    quoted = changed(source, tmp_path / "quoted", command="python run.py 'method=ce")
    assert main([str(quoted)]) == 2
    assert "the recorded command cannot be parsed" in capsys.readouterr().err


NATIVE = ["dataset=cifar10", "+preset=release_sfa_cifar"]


@pytest.mark.parametrize(
    ("overrides", "setting", "expected"),
    [
        # values of the run's own plug-in stay, those of another come with it
        (NATIVE, "plugin.beta=0.5", {"name": "sfa", "beta": 0.5, "moments": "release", "empty_class": "error"}),
        (NATIVE, "plugin=sfa", {"name": "sfa", "beta": 0.99, "moments": "persistent", "empty_class": "carry"}),
        (NATIVE, "method.selector.name=proto", {"name": "proto", "no_clean_class": "none", "head": "abc"}),
        (NATIVE, "method.selector.name=sfa", {"name": "sfa", "moments": "release", "sample_min": 300}),
        (["dataset=cifar10"], "plugin=sfa_release", {"name": "sfa", "beta": 0.99, "sample_min": 300}),
        (["epochs=50"], "plugin.beta=0.5", {"beta": 0.5**4, "phi": 1.005**4, "sample_min": "auto"}),
        (["plugin.p_threshold=0.7"], "plugin=none", {"name": "loss_gmm", "p_threshold": 0.7, "head": "none"}),
        (["plugin.head=none"], "method.selector.name=proto", {"name": "proto", "head": "none"}),
        (["plugin=ibc"], "method.selector.name=proto", {"name": "proto", "head": "abc"}),
        (["plugin=ibc"], "plugin=sfa", {"name": "sfa", "samples": 1, "head": "abc"}),
        (["plugin=ibc_release"], "plugin.beta=0.5", {"name": "ibc", "samples": 5, "moments": "release"}),
        (["plugin.gmm.min_samples=5"], "method.selector.name=proto", {"min_samples": 5, "monotone": False}),
        (["plugin.gmm.min_samples=5"], "plugin.gmm.monotone=true", {"min_samples": 5, "monotone": True}),
        (["plugin.gmm.fit=batched"], "plugin=none", {"name": "loss_gmm", "fit": "batched"}),
        # what trains so refuses to be combined; its probes do not
        (["method=elr", "plugin=none"], "plugin=sfa", {"name": "sfa"}),
        (["method=rolt_plus", "plugin=none"], "method.selector.name=sfa", {"name": "sfa", "moments": "persistent"}),
        (["method=rolt_plus", "plugin=none"], "plugin=abc", {"name": "proto", "head": "abc"}),
    ],
)
def test_a_setting_changes_what_is_typed_and_nothing_else(overrides, setting, expected):
    base = compose(overrides)
    config = with_setting(base, setting.split())
    effective, plugin = config.recipe.effective, config.plugin
    found = {**vars(plugin), **vars(plugin.gmm), **vars(config.method.selector)}
    found |= {"beta": effective.beta, "phi": effective.phi}
    for key, value in expected.items():
        assert found[key] == (pytest.approx(value) if isinstance(value, float) else value)
    assert (config.seed, config.epochs, config.method.learner) == (base.seed, base.epochs, base.method.learner)


def test_a_setting_of_another_kind_is_refused_without_a_run():
    with pytest.raises(ConfigError, match="acts in training"):
        with_setting(compose([]), ["imb_factor=0.1"])
