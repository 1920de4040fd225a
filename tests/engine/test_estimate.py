"""The run that HAR makes first: one for all that need it, found by its hash, counted as cost (algorithms/har.md §3)."""

import io
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose, requested
from sfa_bench.data import build as build_data
from sfa_bench.engine import posthoc, session
from sfa_bench.engine.estimate import command_of, config_of, errors
from sfa_bench.engine.signals import StopAtStep
from sfa_bench.errors import ConfigError, Interrupted, RunError
from sfa_bench.methods.base import Method
from sfa_bench.methods.har import strengths
from sfa_bench.store.ledger import run_folders

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["dataset=synthetic", "dataset.size=60", "dataset.classes=4", "epochs=3", "batch_size=8", "threads=1"]
SMALL += ["imb_factor=0.1", "model.width=2"]
HALF = ["method=ce", "plugin=none", "dataset.val=noisy", "dataset.val_fraction=0.5"]


def asked(runs, *words):
    return compose([*SMALL, "method=har", "plugin=none", *words, f"runs_dir={runs}"])


def run(config, command="python run.py"):
    said = io.StringIO()
    path = posthoc.start(config, command, Console(file=said, width=200))
    return path, said.getvalue()


def record(path):
    return json.loads((path / "run.json").read_text())


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def estimates(runs):
    """Folders of all estimates; those of RUNS_DIR itself do not show them."""
    found = list(run_folders([runs / ".estimates"]))
    assert not set(found) & set(run_folders([runs]))
    return found


@pytest.fixture
def built(monkeypatch):
    """The methods that were made for runs, in order."""
    found = []
    real = session.build_method

    def build(*args, **options):
        found.append(real(*args, **options))
        return found[-1]

    monkeypatch.setattr(session, "build_method", build)
    return found


@pytest.mark.parametrize(
    ("typed", "alone"),
    [
        ([], []),
        (["method=har_drw", "plugin=abc", "method.networks=2", "eval.ensemble=abc", "method.gamma=3"], []),
        (["method.estimate_epochs=2", "lr=0.1"], ["epochs=2", "lr=0.1"]),
        (["noise=symmetric", "replicate=3", "precision=bf16"], ["noise=symmetric", "replicate=3", "precision=bf16"]),
        (["dataset=digits", "model=convnet"], ["dataset=digits", "model=convnet"]),
        (["recipe.milestone=0.3", "eval.every=2"], ["recipe.milestone=0.3", "eval.every=2"]),
    ],
)
def test_it_is_the_run_of_cross_entropy_on_half_of_the_training_set(typed, alone):
    def words(given):
        digits = "dataset=digits" in given
        return [*(word for word in SMALL if not (digits and word.startswith("dataset"))), *given]

    config = compose(words(["method=har", "plugin=none", *typed]))
    assert run_hash(config_of(config)) == run_hash(compose(words([*HALF, *alone])))


def test_the_command_of_its_record_makes_it_again():
    command = "python run.py method=har_drw method.gamma=3 plugin=abc eval.ensemble=abc 'runs_dir=my runs' device=cpu"
    command = shlex.join([*shlex.split(command), *SMALL, "classifier=joint"])
    first = config_of(compose(shlex.split(command)[2:]))
    words = shlex.split(command_of(first, command))
    assert words[:2] == ["python", "run.py"]
    again = requested(words[2:])
    assert run_hash(again) == run_hash(first)
    assert (again.runs_dir, again.device) == (first.runs_dir, "cpu") == ("my runs/.estimates", "cpu")


def test_two_networks_on_two_devices_share_the_first_ones_estimate():
    config = compose([*SMALL, "method=har", "plugin=none", "method.networks=2", "device=[cpu,cuda:0]"])
    assert config_of(config).device == "cpu"


def test_its_errors_by_class_make_the_weights(tmp_path, built):
    path, said = run(asked(tmp_path))
    (first,) = estimates(tmp_path)
    made, har = built
    assert type(made).__name__ == "Single"
    counts = np.bincount(har.labels.numpy(), minlength=4)
    held_out = counts // 2
    assert np.bincount(made.labels.numpy(), minlength=4).tolist() == (counts - held_out).tolist()
    data = build_data(config_of(asked(tmp_path)))
    predicted = made.predict(data.val.images)[0]["main"].argmax(axis=1)
    wrong = [np.mean(predicted[data.val.labels == k] != k) for k in range(4)]
    assert lines(first)[-1]["val/per_class"] == pytest.approx([100 * (1 - error) for error in wrong])
    assert har.strengths.tolist() == pytest.approx(strengths(np.array(wrong), counts).tolist(), abs=1e-6)
    each = " ".join(f"{100 * error:.1f}" for error in wrong)
    assert f"errors of the classes in %, as estimated by run {first.name}: {each}" in said
    assert f"errors of the classes in %, as estimated by run {first.name}" in (path / "log.txt").read_text()


def test_one_estimate_serves_all_who_need_it(tmp_path, built):
    run(asked(tmp_path))
    (first,) = estimates(tmp_path)
    before = (first / "run.json").read_bytes()
    for typed in (["method=har_drw"], ["method.gamma=1"], ["plugin=abc", "method.networks=2"]):
        built.clear()
        run(asked(tmp_path, *typed))
        assert len(built) == 1
    assert estimates(tmp_path) == [first]
    assert (first / "run.json").read_bytes() == before
    run(asked(tmp_path, "method.estimate_epochs=2"))
    run(asked(tmp_path, "data_seed=5"))
    assert len(estimates(tmp_path)) == 3


def test_two_processes_make_it_once(tmp_path):
    command = [sys.executable, str(ROOT / "run.py"), *SMALL, "plugin=none", f"runs_dir={tmp_path}"]
    jobs = [
        subprocess.Popen([*command, f"method={name}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name in ("har", "har_drw")
    ]
    said = [job.communicate(timeout=600)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    (first,) = estimates(tmp_path)
    trained = [row["epoch"] for row in lines(first)]
    assert trained == [1, 2, 3]
    assert (first / "log.txt").read_text().count("training samples in") == 1
    assert sum("already done" in text for text in said) == 1
    shared = {record(path)["cost"]["estimate"]["run"] for path in run_folders([tmp_path])}
    assert shared == {first.name}


def test_its_cost_is_the_runs(tmp_path):
    path, _ = run(asked(tmp_path))
    (first,) = estimates(tmp_path)
    cost, its = record(path)["cost"], record(first)["cost"]
    assert "estimate" not in its
    assert cost["estimate"] == {"run": first.name, "seconds": its["total_seconds"]}
    assert cost["seconds"]["estimate"] == its["total_seconds"]
    assert cost["total_seconds"] == pytest.approx(sum(cost["seconds"].values()), abs=0.01)
    samples = record(path)["data"]["samples"]
    half = record(first)["data"]["samples"]
    assert half["train"] + half["val"] == samples["train"]
    assert cost["samples"]["trained"] == 3 * (samples["train"] + half["train"])
    assert cost["samples"]["evaluated"] == 3 * (samples["test"] + half["test"] + half["val"])
    assert cost["steps"] > its["steps"] > 0
    evaluated = cost["samples"]["evaluated"]
    assert cost["flops"] == cost["flops_per_forward"] * (3 * cost["samples"]["trained"] + evaluated)


def test_a_run_that_is_done_needs_it_no_more(tmp_path, built):
    run(asked(tmp_path))
    for folder in estimates(tmp_path):
        (folder / "run.json").unlink()
    built.clear()
    assert "already done" in run(asked(tmp_path))[1]
    assert not built


@pytest.mark.parametrize("typed", ["method.gamma=0", "method.estimate_epochs=0"])
def test_none_is_made_where_none_is_needed(tmp_path, built, typed):
    config = asked(tmp_path, typed)
    path, _ = run(config)
    assert len(built) == 1
    assert not estimates(tmp_path)
    assert "estimate" not in record(path)["cost"]
    assert built[0].strengths.tolist() == pytest.approx(strengths(np.ones(4), np.bincount(built[0].labels)), abs=1e-6)


def test_without_penalty_a_run_is_that_of_cross_entropy_to_the_bit(tmp_path):
    har, _ = run(asked(tmp_path, "method.gamma=0"))
    plain, _ = run(compose([*SMALL, "method=ce", "plugin=none", f"runs_dir={tmp_path}"]))
    assert (har / "predictions.npz").read_bytes() == (plain / "predictions.npz").read_bytes()
    assert record(har)["metrics"] == record(plain)["metrics"]


class StopAt(StopAtStep):
    """A signal comes at the n-th question."""

    left = 0

    def check(self):
        StopAt.left -= 1
        if StopAt.left == 0:
            self.received = signal.SIGTERM
        super().check()


def test_an_interrupted_estimate_goes_on(tmp_path, monkeypatch):
    straight, _ = run(asked(tmp_path / "straight"))
    words = ["checkpoint_seconds=0"]
    with monkeypatch.context() as patch:
        patch.setattr("sfa_bench.engine.run.StopAtStep", StopAt)
        StopAt.left = 12  # in its second epoch
        with pytest.raises(Interrupted):
            run(asked(tmp_path / "runs", *words))
    (first,) = estimates(tmp_path / "runs")
    assert record(first)["state"] == "interrupted"
    assert not list(run_folders([tmp_path / "runs"]))
    again, said = run(asked(tmp_path / "runs", *words))
    assert "going on after epoch" in said
    assert (again / "predictions.npz").read_bytes() == (straight / "predictions.npz").read_bytes()


def test_a_run_that_stops_after_it_goes_on_with_the_same_weights(tmp_path, built, monkeypatch):
    straight, _ = run(asked(tmp_path / "straight"))

    def dies(self, k, loss, step=Method.step):
        if self.cost.steps == 20 and type(self).__name__ == "Har":
            raise OSError("gone")
        return step(self, k, loss)

    with monkeypatch.context() as patch:
        patch.setattr(Method, "step", dies)
        with pytest.raises(RunError, match="gone"):
            run(asked(tmp_path / "runs", "checkpoint_seconds=0"))
    again, said = run(asked(tmp_path / "runs", "checkpoint_seconds=0"))
    assert "going on after epoch" in said
    assert (again / "predictions.npz").read_bytes() == (straight / "predictions.npz").read_bytes()
    straight_cost, cost = record(straight)["cost"], record(again)["cost"]
    assert (cost["steps"], cost["samples"]) == (straight_cost["steps"], straight_cost["samples"])


def test_lost_figures_are_a_sentence(tmp_path):
    run(asked(tmp_path))
    (first,) = estimates(tmp_path)
    (first / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match=r"has lost its figures: delete that folder to make it again"):
        run(asked(tmp_path, "method.gamma=2"))


def test_a_class_without_held_out_samples_has_the_error_of_all():
    assert errors([90.0, None, 0.0], 60.0).tolist() == pytest.approx([0.1, 0.4, 1.0])


def test_classes_of_one_sample_are_estimated_by_all(tmp_path, built):
    run(asked(tmp_path, "imb_factor=0.0167", "noise=none"))
    (first,) = estimates(tmp_path)
    assert lines(first)[-1]["val/per_class"][-1] is None
    assert np.isfinite(built[-1].strengths.numpy()).all()
    assert built[-1].strengths.max() == 1


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("plugin=sfa", "plugin=sfa selects samples, which method=har does in its own way"),
        ("compile=true", "compile=true with method=har, which takes second derivatives: leave compile=false"),
        ("dataset.val=noisy", "dataset.val=noisy with method=har, whose estimate holds out half of the training set"),
        (
            "dataset=webvision model=inception_resnet_v2",
            "these are not known there: set model=convnet, preact",
        ),
        ("method.loss.name=gce", "method.loss.name=gce with method=har: it takes ce"),
        ("recipe=native dataset=cifar10", "recipe=native does not exist for method=har"),
    ],
)
def test_what_it_does_not_go_with_is_refused_by_name(typed, sentence):
    with pytest.raises(ConfigError, match=sentence) as refused:
        compose(["method=har", "plugin=none", *typed.split()])
    assert refused.value.invalid_combination


def test_the_epochs_of_an_estimate_that_is_not_made_have_no_effect():
    with pytest.raises(ConfigError, match=r"method\.estimate_epochs=3 has no effect in this run"):
        requested(["method=har", "plugin=none", "method.gamma=0", "method.estimate_epochs=3"])
