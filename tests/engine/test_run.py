"""The course of a run, its folder and its record (explanation/runs.md §4, §7)."""

import io
import json
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from analysis.metrics import exists as known_metric
from sfa_bench.config.compose import compose
from sfa_bench.data import build as build_data
from sfa_bench.data.tools.fake import make_fake
from sfa_bench.engine.build import build_method
from sfa_bench.engine.run import run
from sfa_bench.engine.session import Session, banner
from sfa_bench.errors import ConfigError, Interrupted, RunError
from sfa_bench.main import main

CE = ["method=ce", "plugin=none", "epochs=4", "threads=1"]
SFA = ["epochs=4", "warmup_epochs=1", "imb_factor=0.05", "threads=1"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code handles it."""


def train(runs, *overrides):
    """Run in this process. Returns the record, and what was printed."""
    printed = io.StringIO()
    typed = [*overrides, f"runs_dir={runs}"]
    path = run(compose(typed), shlex.join(typed), Console(file=printed, width=200))
    return json.loads((path / "run.json").read_text()), printed.getvalue()


def kill_in_epoch(monkeypatch, epoch, error):
    """Let a run raise `error` when this epoch begins, once."""
    original = Session._one_epoch

    def one_epoch(self, e):
        if e == epoch:
            monkeypatch.setattr(Session, "_one_epoch", original)
            error()
        original(self, e)

    monkeypatch.setattr(Session, "_one_epoch", one_epoch)


def killed():
    raise Killed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run of SFA on DivideMix and its folder."""
    runs = tmp_path_factory.mktemp("runs")
    record, printed = train(runs, *SFA)
    (path,) = runs.glob("*/*/*")
    return record, printed, path


def test_the_record_of_a_done_run_keeps_the_contract(finished):
    record, _, path = finished
    assert path.parts[-3:-1] == ("digits", "dividemix+sfa")
    assert path.name == record["hash"]
    assert record["schema"] == 1
    assert record["state"] == "done"
    assert record["error"] is None
    assert record["names"]["method"] == "dividemix"
    assert record["config"]["plugin"]["moments"] == "persistent"
    metrics = ("final", "last", "last10", "best", "many", "medium", "few", "head", "mid", "tail", "worst", "gmean")
    for name in (*metrics, "main", "abc"):
        assert 0 <= record["metrics"][f"test/acc/{name}"] <= 100
    assert record["metrics"]["test/acc/at_best_val"] is None
    assert len(record["metrics"]["test/per_class"]) == 10
    selection = record["selection"]
    for name in ("precision", "recall", "f1", "auc", "ap", "auc_score", "tv_to_clean_prior", "agreement", "memorised"):
        assert 0 <= selection[name] <= 1
    assert {"counts", "imbalance_ratio", "pseudo_label_acc", "classes_drawn", "fallbacks"} <= selection.keys()
    assert record["knows"] == []
    assert set(record["cost"]["seconds"]) == {"data", "warm-up", "selection", "training", "evaluation", "storage"}
    assert record["cost"]["parameters"] == 2 * (144 + 4608 + 9216 + 32 + 64 + 64 + 2 * 330)
    assert record["environment"]["threads"] == 1
    assert record["environment"]["precision"] == "fp32"


def test_the_final_accuracy_and_the_selection_are_those_of_the_saved_predictions(finished):
    record, _, path = finished
    with np.load(path / "predictions.npz") as arrays:
        logits = sum(arrays[f"test_logits_{k}_{head}"] for k in (1, 2) for head in ("main", "abc"))
        accuracy = 100 * (logits.argmax(axis=1) == arrays["test_label"]).mean()
        right = arrays["observed_label"] == arrays["clean_label"]
        selected = arrays["selected"]
        assert selected.shape == (2, len(right))
        assert arrays["clean_probability"].shape == selected.shape
    assert record["metrics"]["test/acc/last"] == pytest.approx(accuracy)
    assert record["metrics"]["test/acc/final"] == pytest.approx(accuracy)  # int(0.05·4) = 0: one epoch
    precision = np.mean([right[mask].mean() for mask in selected])
    assert record["selection"]["precision"] == pytest.approx(precision)
    assert record["data"]["noise_rate"] == pytest.approx(1 - right.mean())
    assert np.trace(record["data"]["confusion"]) == right.sum()


def test_the_folder_of_a_done_run_holds_weights_and_moments_but_nothing_to_go_on_with(finished):
    _, _, path = finished
    assert {p.name for p in path.iterdir() if not p.name.startswith(".")} == {
        *(
            "run.json",
            "metrics.jsonl",
            "config.yaml",
            "log.txt",
            "last.pt",
            "predictions.npz",
            "data.npz",
            "thumbs.npz",
        ),
    }
    state = torch.load(path / "last.pt", weights_only=True)
    assert set(state["method"]) == {"networks", "selectors", "selections"}
    assert state["method"]["selectors"][0]["mean"].shape == (10, 32)


def test_the_recorded_command_re_creates_the_run(finished, tmp_path):
    record, _, _ = finished
    # `command` is what was typed; only the folder is changed here.
    words = [w for w in shlex.split(record["command"]) if not w.startswith("runs_dir=")]
    again, _ = train(tmp_path, *words)
    assert again["hash"] == record["hash"]
    assert again["metrics"] == record["metrics"]


def test_the_banner_says_what_runs(finished):
    _, printed, _ = finished
    assert "dividemix + sfa · digits exp 0.05 · joint 0.4 · replicate 0" in printed
    plain = compose(["method=ce", "plugin=none", "noise=none", "imbalance=none", "seed=3"])
    assert banner(plain) == "ce · digits balanced · no noise · seed 3 · data_seed 0"
    people = compose(["method=ce", "plugin=none", "dataset=cifar10n", "imbalance=exp", "noise.labels=aggre"])
    assert banner(people) == "ce · cifar10n exp 0.1 · human aggre · replicate 0"


NATURAL = {
    "webvision": ["model=convnet"],
    "clothing1m": ["model.pretrained=false"],
    **{name: ["dataset.name=mine", "model=convnet"] for name in ("folder", "csv", "arrays")},
}


@pytest.mark.parametrize("name", NATURAL)
def test_natural_data_are_announced_as_they_come_and_not_as_clean(name):
    typed = ["method=ce", "plugin=none", f"dataset={name}", *NATURAL[name]]
    config = compose(typed)
    assert banner(config) == f"ce · {config.dataset.name} as it comes · noise unknown · replicate 0"
    assert banner(config, 0.30349) == f"ce · {config.dataset.name} as it comes (30.3 % mislabelled) · replicate 0"
    added = compose([*typed, "noise=symmetric", "noise_ratio=0.2", "imbalance=exp", "imb_factor=0.1"])
    assert banner(added, 0.5) == f"ce · {config.dataset.name} exp 0.1 · symmetric 0.2 · replicate 0"


def test_the_banner_shows_no_rate_that_does_not_act(tmp_path):
    people = compose(["method=ce", "plugin=none", "dataset=cifar10n"])
    assert banner(people) == "ce · cifar10n as it comes · human worst · replicate 0"
    told = compose(["method=ce", "plugin=none", "dataset=cifar10n", "noise=none"])
    assert banner(told) == "ce · cifar10n as it comes · no noise · replicate 0"
    (tmp_path / "t.txt").write_text("1 0\n0 1\n")
    matrix = compose(["method=ce", "plugin=none", "noise=matrix", f"noise.file={tmp_path}/t.txt"])
    assert banner(matrix) == "ce · digits exp 0.1 · matrix · replicate 0"


def own_arrays(folder):
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).integers(0, 256, (60, 9, 9), dtype=np.uint8)
    np.savez(folder / "a.npz", x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])
    return [*CE, "dataset=arrays", "dataset.name=flowers-v2", f"data_dir={folder}/a.npz"]


def test_a_users_data_are_called_by_their_name_in_folders_and_records(tmp_path):
    record, _ = train(tmp_path / "runs", *own_arrays(tmp_path))
    (path,) = (tmp_path / "runs").glob("*/*/*")
    assert path.parts[-3:-1] == ("flowers-v2", "ce")
    assert record["names"]["dataset"] == "flowers-v2"
    assert "dataset=arrays" in record["command"]
    assert record["data"]["classes"] is None


@pytest.mark.parametrize("state", ["interrupted", "failed", "done"])
def test_a_run_under_the_folder_of_its_choice_is_gone_on_with_there(tmp_path, monkeypatch, state):
    """Before data had their names in folders, `dataset=arrays` kept its runs in RUNS_DIR/arrays."""
    typed, runs = [*own_arrays(tmp_path), "checkpoint_seconds=0"], tmp_path / "runs"
    if state == "done":
        train(runs, *typed)
    else:
        kill_in_epoch(monkeypatch, 3, killed if state == "interrupted" else lambda: 1 / 0)
        with pytest.raises((Killed, RunError)):
            train(runs, *typed)
    (runs / "flowers-v2").rename(runs / "arrays")
    record, printed = train(runs, *typed)
    assert record["state"] == "done"
    assert ("already done" if state == "done" else "going on after epoch 2 of 4") in printed
    assert [path.parts[-4] for path in runs.glob("*/*/*/run.json")] == ["arrays"]


def test_the_record_names_the_classes_where_the_data_have_names(tmp_path):
    words = make_fake("folder", tmp_path / "d", 6, side=24)
    (tmp_path / "d/train/notes.txt").write_text("x")
    record, printed = train(tmp_path / "runs", *words, *CE, "epochs=1", "dataset.workers=0")
    names = sorted(path.name for path in (tmp_path / "d/train").iterdir() if path.is_dir())
    assert (record["data"]["classes"], record["data"]["left_out"]) == (names, {".txt": 1})
    assert "left out 1 file that is not an image: 1 .txt" in printed
    (log,) = (tmp_path / "runs").glob("*/*/*/log.txt")
    assert "left out 1 file that is not an image: 1 .txt" in log.read_text()


def test_a_done_run_is_found_under_other_names_and_not_trained_again(tmp_path, monkeypatch):
    train(tmp_path, "plugin=none", *SFA)
    monkeypatch.setattr(Session, "execute", lambda self: pytest.fail("trained again"))
    other = ["method=rolt_plus", "plugin=none", "method.selector.name=loss_gmm", *SFA]
    _, printed = train(tmp_path, *other)
    assert "already done" in printed
    assert len(list(tmp_path.glob("*/*/*/run.json"))) == 1


def test_methods_share_their_labels_and_the_training_seed_changes_none(tmp_path):
    prints = [
        train(tmp_path, *overrides, "threads=1", "epochs=2", "warmup_epochs=1")[0]["data"]["fingerprints"]
        for overrides in (
            ["method=ce", "plugin=none"],
            ["method=balanced_softmax", "plugin=abc"],
            ["method=ce", "plugin=none", "seed=5"],
            ["method=ce", "plugin=none", "data_seed=5"],
        )
    ]
    assert prints[0] == prints[1] == prints[2]
    assert prints[3]["observed_labels"] != prints[0]["observed_labels"]


def test_a_killed_run_goes_on_from_its_checkpoint_and_cuts_its_metrics_back(tmp_path, monkeypatch):
    straight, _ = train(tmp_path / "straight", *SFA)
    kill_in_epoch(monkeypatch, 4, killed)
    with pytest.raises(Killed):
        train(tmp_path / "killed", *SFA, "checkpoint_seconds=3600")  # checkpoint after the warm-up only
    (metrics,) = (tmp_path / "killed").glob("*/*/*/metrics.jsonl")
    assert len(metrics.read_text().splitlines()) == 3
    again, printed = train(tmp_path / "killed", *SFA)
    assert "going on after epoch 1 of 4" in printed
    assert again["metrics"] == straight["metrics"]
    assert again["selection"] == straight["selection"]
    assert [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()] == [1, 2, 3, 4]


def test_a_checkpoint_cut_in_half_falls_back_to_the_previous_one_and_says_so(tmp_path, monkeypatch):
    straight, _ = train(tmp_path / "straight", *CE)
    kill_in_epoch(monkeypatch, 4, killed)
    with pytest.raises(Killed):
        train(tmp_path / "cut", *CE, "checkpoint_seconds=0")
    (last,) = (tmp_path / "cut").glob("*/*/*/last.pt")
    last.write_bytes(last.read_bytes()[:1000])
    again, printed = train(tmp_path / "cut", *CE, "checkpoint_seconds=0")
    assert "going on from previous.pt" in printed
    assert "going on after epoch 2 of 4" in printed
    assert again["metrics"] == straight["metrics"]


def test_a_signal_saves_the_state_in_memory_and_sets_the_exit_status(tmp_path, monkeypatch):
    straight, _ = train(tmp_path / "straight", *SFA)
    before = signal.getsignal(signal.SIGINT)  # a test run in the background of a shell inherits SIG_IGN
    kill_in_epoch(monkeypatch, 4, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted) as caught:
        train(tmp_path / "stopped", *SFA, "checkpoint_seconds=3600")
    assert caught.value.exit_status == 130
    (path,) = (tmp_path / "stopped").glob("*/*/*/run.json")
    assert json.loads(path.read_text())["state"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before
    again, printed = train(tmp_path / "stopped", *SFA)
    assert "going on after epoch 3 of 4" in printed
    assert again["metrics"] == straight["metrics"]


def test_a_loss_that_is_not_finite_fails_the_run_and_the_record_says_so(tmp_path, capsys):
    diverging = [*CE, "lr=1e30", f"runs_dir={tmp_path}"]
    assert main(diverging) == 1
    assert "not finite in epoch" in capsys.readouterr().err
    (path,) = tmp_path.glob("*/*/*/run.json")
    record = json.loads(path.read_text())
    assert record["state"] == "failed"
    assert "a smaller lr may help" in record["error"]["message"]
    assert "not finite" in (path.parent / "log.txt").read_text()
    assert main(diverging) == 1  # tried again, not skipped


def test_an_unexpected_error_is_one_line_for_the_user_and_a_traceback_in_the_log(tmp_path, monkeypatch):
    def broken():
        raise ZeroDivisionError("by hand")

    kill_in_epoch(monkeypatch, 2, broken)
    with pytest.raises(RunError, match="ZeroDivisionError: by hand"):
        train(tmp_path, *CE)
    (log,) = tmp_path.glob("*/*/*/log.txt")
    assert "Traceback" in log.read_text()


def test_keep_checkpoint_decides_what_stays(tmp_path):
    for keep, files in (("none", set()), ("all", {"last.pt", "previous.pt"}), ("final", {"last.pt"})):
        train(tmp_path / keep, *CE, f"keep_checkpoint={keep}", "checkpoint_seconds=0")
        assert {p.name for p in (tmp_path / keep).glob("*/*/*/*.pt")} == files
    (full,) = (tmp_path / "all").glob("*/*/*/last.pt")
    assert "optimisers" in torch.load(full, weights_only=True)["method"]


def test_epochs_that_the_final_figures_need_are_always_evaluated(tmp_path):
    train(tmp_path, "method=ce", "plugin=none", "threads=1", "epochs=14", "eval.every=3")
    (metrics,) = tmp_path.glob("*/*/*/metrics.jsonl")
    evaluated = [row["epoch"] for row in map(json.loads, metrics.read_text().splitlines()) if "test/acc" in row]
    assert evaluated == [3, *range(5, 15)]


def test_validation_is_reported_beside_the_test_accuracy(tmp_path):
    record, _ = train(tmp_path, *CE, "dataset.val=clean_balanced", "dataset.val_fraction=0.2")
    rows = [json.loads(x) for x in next(tmp_path.glob("*/*/*/metrics.jsonl")).read_text().splitlines()]
    best = max(rows, key=lambda row: row["val/acc"])
    assert record["metrics"]["test/acc/at_best_val"] == best["test/acc"]
    assert record["metrics"]["val/acc/best"] == best["val/acc"]
    assert record["metrics"]["val/epoch"] == best["epoch"]
    assert record["metrics"]["val/acc"] == record["metrics"]["val/acc/last"] == rows[-1]["val/acc"]  # a window of one
    for name in ("val/acc/many", "val/acc/few", "val/macro_f1", "val/per_class"):
        assert record["metrics"][name] == rows[-1][name] is not None
    assert all(known_metric(name) for name in record["metrics"] if name.startswith("val/") and "per_class" not in name)
    assert record["knows"] == ["clean_val"]
    assert record["data"]["samples"]["val"] > 0


def arrays_file(path, seed=0, channels=1):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(2), 30)
    shift = 100 * labels.astype(np.uint8)[:, None, None, None]
    images = rng.integers(0, 100, (60, 9, 9, channels), dtype=np.uint8) + shift
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return [f"data_dir={path}", "dataset=arrays", "dataset.name=two"]


@pytest.mark.parametrize("plugin", ["none", "sfa"])
def test_two_classes_of_a_users_own_arrays_train_with_unknown_truth(tmp_path, plugin):
    data = arrays_file(tmp_path / "own.npz", channels=3)
    short = ["epochs=3", "warmup_epochs=1", "threads=1"]
    record, _ = train(tmp_path, *data, "method=dividemix", f"plugin={plugin}", *short)
    assert record["data"]["noise_rate"] is None
    assert record["data"]["clean_counts"] is None
    assert record["selection"]["precision"] is None
    assert sum(record["selection"]["counts"]) > 0
    assert record["metrics"]["test/acc/final"] > 60


def test_a_run_is_refused_on_other_data_than_its_record(tmp_path):
    data = arrays_file(tmp_path / "own.npz")
    train(tmp_path / "runs", *data, *CE)
    arrays_file(tmp_path / "own.npz", seed=1)
    with pytest.raises(ConfigError, match=r"other data \(different: images\)"):
        train(tmp_path / "runs", *data, *CE)


def test_the_oracle_needs_clean_labels_and_is_marked(tmp_path):
    oracle = ["plugin=none", "method.selector.name=oracle", "epochs=2", "warmup_epochs=1", "threads=1"]
    with pytest.raises(ConfigError, match="needs clean labels"):
        train(tmp_path, *arrays_file(tmp_path / "own.npz"), *oracle)
    record, _ = train(tmp_path, *oracle)
    assert record["knows"] == ["clean_labels"]
    assert record["selection"]["precision"] == record["selection"]["recall"] == 1


def test_a_runs_folder_that_cannot_be_written_refuses_before_training(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert main([*CE, f"runs_dir={tmp_path}/file"]) == 2
    assert "runs_dir=PATH" in capsys.readouterr().err


def test_a_device_that_is_not_there_refuses_before_training(tmp_path, capsys):
    assert main([*CE, "device=cuda:7", f"runs_dir={tmp_path}"]) == 2
    assert "device=auto" in capsys.readouterr().err
    assert not list(Path(tmp_path).glob("*/*/*/run.json"))


def test_bfloat16_trains_and_is_recorded(tmp_path):
    low, _ = train(tmp_path, *CE, "precision=bf16")
    full, _ = train(tmp_path, *CE)
    assert low["environment"]["precision"] == "bf16"
    assert low["hash"] != full["hash"]
    assert low["metrics"]["test/acc/final"] != full["metrics"]["test/acc/final"]
    assert low["metrics"]["test/acc/final"] == pytest.approx(full["metrics"]["test/acc/final"], abs=15)


def test_two_devices_give_the_numbers_of_one(finished, tmp_path):
    record, _, _ = finished
    two, _ = train(tmp_path, *SFA, "device=[cpu,cpu:0]")
    assert two["environment"]["device"] == ["cpu", "cpu:0"]
    assert two["metrics"] == record["metrics"]


@pytest.mark.parametrize("how", ["logit_sum", "prob_mean", "abc"])
def test_what_networks_say_of_training_samples_is_kept_as_they_predict(tmp_path, how):
    record, _ = train(tmp_path, *SFA, f"eval.ensemble={how}", "keep_checkpoint=all")
    (path,) = tmp_path.glob("digits/*/*")
    config = compose([*SFA, f"eval.ensemble={how}"])
    method = build_method(config, build_data(config), [torch.device("cpu")])
    method.load_trained(torch.load(path / "last.pt", weights_only=True)["method"])
    with np.load(path / "predictions.npz") as arrays:
        kept = arrays["train_probability"]
    assert kept.shape == (2, record["data"]["samples"]["train"], 10)
    assert kept.dtype == np.float16
    for heads, probability in zip(method.predict(method.training.view.images), kept, strict=True):
        main, abc = (torch.from_numpy(heads[head]).double() for head in ("main", "abc"))
        expected = {
            "logit_sum": ((main + abc) / 2).softmax(1),
            "prob_mean": (main.softmax(1) + abc.softmax(1)) / 2,
            "abc": abc.softmax(1),
        }[how]
        np.testing.assert_allclose(probability, expected, atol=1e-3)


def test_what_networks_say_of_a_fold_that_they_were_not_trained_on_is_kept(tmp_path):
    typed = [*SFA, "dataset.fold=2/3"]
    record, _ = train(tmp_path, *typed, "keep_checkpoint=all")
    (path,) = tmp_path.glob("digits/*/*")
    with np.load(path / "predictions.npz") as file:
        arrays = dict(file)
    config = compose([*SFA])
    whole = build_data(config)
    place = {i: row for row, i in enumerate(whole.index.tolist())}
    rows = [place[i] for i in arrays["held_out_index"].tolist()]
    assert sorted([*rows, *(place[i] for i in arrays["index"].tolist())]) == list(range(len(place)))
    assert record["data"]["samples"]["train"] + record["data"]["samples"]["fold"] == len(place)
    assert arrays["held_out_label"].tolist() == whole.view.observed_labels[rows].tolist()
    method = build_method(config, whole, [torch.device("cpu")])
    method.load_trained(torch.load(path / "last.pt", weights_only=True)["method"])
    assert arrays["held_out_probability"].dtype == np.float16
    for heads, probability in zip(method.predict(whole.view.images[rows]), arrays["held_out_probability"], strict=True):
        main, abc = (torch.from_numpy(heads[head]).double() for head in ("main", "abc"))
        np.testing.assert_allclose(probability, ((main + abc) / 2).softmax(1), atol=1e-3)


@pytest.mark.parametrize(("wanted", "most", "kept"), [("auto", 5820, True), ("auto", 5819, False), ("true", 0, True)])
def test_where_they_are_many_numbers_they_are_kept_only_where_asked_for(tmp_path, monkeypatch, wanted, most, kept):
    monkeypatch.setattr("sfa_bench.engine.report.MOST_NUMBERS", most)
    record, _ = train(tmp_path, *CE, "imb_factor=0.1", "epochs=1", f"record.train_probability={wanted}")
    assert record["data"]["samples"]["train"] == 582
    (path,) = tmp_path.glob("digits/*/*")
    assert ("train_probability" in np.load(path / "predictions.npz").files) is kept
