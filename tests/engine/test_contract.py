"""What a run relies on of its method and selector: what is not kept fails by name, with what to write; and a run that
diverges says what is not finite.
"""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from sfa_bench import models
from sfa_bench.choices.heads import ALL, BALANCED, MEDIUM
from sfa_bench.choices.models import ModelConfig
from sfa_bench.config.compose import compose
from sfa_bench.engine import posthoc
from sfa_bench.engine.contract import HeadWatch, check_answers
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.main import main

CODE = '''
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from sfa_bench.methods.base import Method
from sfa_bench.selectors.base import Selection, Selector


class Plain(Method):
    """Cross-entropy of the main head; with `head_from` of the balanced one, too, from that epoch on."""

    networks_used = 2

    def __init__(self, training, *, head_from: int = 99, selects: bool = True, answers: str = "", figures: str = "",
                 frozen: bool = False, only: int = -1, trains: int = 2):
        super().__init__(training)
        self.head_from, self.may_select, self.what, self.figures = head_from, selects, answers, figures
        self.only, self.trains = only, trains
        if frozen:
            for network in self.networks:
                network.abc.requires_grad_(False)

    def epoch(self, e):
        if self.selects_in(e) and self.may_select:
            self.select(e)
        for k in range(self.trains):
            self.prepare(k, e)
            self.networks[k].train()
            parts, augmentation = self.plain_batches(self.epoch_order(k, e)), self.generator("augmentation", k, e)
            for rows, images in self.views(k, parts, augmentation, "training"):
                out = self.forward(k, images)
                labels = self.labels[rows]
                loss = F.cross_entropy(out.main, labels)
                if out.abc is not None and e >= self.head_from and self.only in (-1, k):
                    loss = loss + F.cross_entropy(out.abc, labels)
                self.step(k, loss)
        return eval(self.figures) if self.figures else {"loss": 1.0}

    def predict(self, images):
        found = super().predict(images)
        return eval(self.what) if self.what else found


class Odd(Selector):
    def __init__(self, thresholds, *, change: str = ""):
        self.change = change

    def select(self, probe, epoch):
        n, k = len(probe.observed_labels), probe.num_classes
        mask = np.arange(n) % 2 == 0
        counts = np.bincount(probe.observed_labels[mask], minlength=k)
        given = {"mask": mask, "clean_probability": mask * 0.9, "score": mask * 0.9, "class_counts": counts}
        if self.change == "nothing":
            return mask
        return Selection(**(given | (eval(self.change) if self.change else {})))
'''
SMALL = "dataset=synthetic dataset.classes=4 dataset.size=24 dataset.dim=6 dataset.groups=2 dataset.test_size=4"
SMALL += " epochs=3 warmup_epochs=1 batch_size=8 imb_factor=0.3 threads=1"


@pytest.fixture
def train(tmp_path):
    """Words → the run's record after it ended, and the sentence it failed with; `mine` and `odd` are classes above."""
    module = f"held_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{module}.py").write_text(CODE)
    for group, name, text in (
        (
            "method",
            "mine",
            "Plain\nhead_from: 99\nselects: true\nanswers: ''\nfigures: ''\nfrozen: false\nonly: -1\ntrains: 2\n",
        ),
        ("plugin", "odd", "Odd\nchange: ''\nhead: none\nmain_subset: selected\np_threshold: 0.5\n"),
    ):
        (tmp_path / "conf" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / group / f"{name}.yaml").write_text(f"_target_: {module}.{text}revision: 1\n")

    def run(text, **values):
        typed = [*SMALL.split(), *text.split(), *(f"{key}={json.dumps(value)}" for key, value in values.items())]
        typed.append(f"runs_dir={tmp_path / 'runs'}")
        sentence = None
        try:
            posthoc.start(compose(typed, tmp_path / "conf"), "python run.py x", Console(file=io.StringIO()))
        except RunError as error:
            sentence = str(error)
        (path,) = (tmp_path / "runs").glob("*/*/*/run.json")
        record = json.loads(path.read_text())
        assert record["state"] == ("failed" if sentence else "done")
        assert (record["error"] or {}).get("message") == sentence
        return sentence

    return run


@pytest.mark.parametrize("plugin", ["abc", "sfa"])
def test_a_method_that_ignores_the_balanced_head_is_refused_by_name_after_its_first_training_epoch(train, plugin):
    sentence = train(f"method=mine plugin={plugin}")
    epoch = 2 if plugin == "sfa" else 1  # the warm-up tells nothing
    assert f"method=mine: the balanced head of network 1, which plugin={plugin} adds, got no gradient" in sentence
    assert f"in epoch {epoch}," in sentence
    for way in ("self.counts_for_head", "plugin.head=none", "eval.ensemble=main"):
        assert way in sentence


@pytest.mark.parametrize(
    "text",
    [
        "method=mine plugin=none",
        "method=mine plugin=sfa plugin.head=none",
        "method=mine plugin=abc plugin.head=none",
        "method=mine plugin=abc eval.ensemble=main",
        "method=mine plugin=abc method.head_from=1",
        "method=mine plugin=sfa method.head_from=2",  # a head that rests in the warm-up
        "method=mine plugin=abc method.frozen=true",  # who freezes it means it
        "method=mine plugin=odd",
    ],
)
def test_the_ways_out_that_it_names_and_what_trains_its_head_are_runs(train, text):
    assert train(text) is None


def test_a_head_of_one_network_alone_is_seen(train):
    assert "balanced head of network 2" in train("method=mine plugin=abc method.head_from=1 method.only=0")


@pytest.mark.parametrize(("plugin", "epoch"), [("none", 1), ("sfa plugin.head=none", 2)])
def test_a_network_that_is_never_trained_is_refused_by_name(train, plugin, epoch):
    sentence = train(f"method=mine plugin={plugin} method.trains=1")
    assert f"method=mine: the main head of network 2 did not change in epoch {epoch}, though" in sentence
    assert "call self.step(k, loss) for each of self.networks" in sentence


def test_an_epoch_without_a_loss_may_train_nothing(train):
    assert train("method=mine plugin=none method.trains=0", **{"method.figures": "{'loss': None}"}) is None


def test_a_medium_head_that_rests_is_seen_and_its_loss_is_written_out(train):
    sentence = train("method=mine plugin=sfa plugin.head=experts method.head_from=2")
    assert "method=mine: the medium head of network 1, which plugin=sfa adds, got no gradient in epoch 2" in sentence
    assert "F.cross_entropy(out.medium_head + 0.5 * self.counts_for_head(selection).clamp(min=1).log()" in sentence


def test_a_medium_head_may_rest_where_the_main_head_predicts(train):
    assert train("method=mine plugin=sfa plugin.head=experts eval.ensemble=main") is None


def test_each_head_is_watched():
    network = models.build(ModelConfig(name="convnet", width=4), 1, (8, 8), 3, ALL, seed=0)
    images = torch.rand(4, 1, 8, 8)
    for learning, resting in ((("main", "abc"), MEDIUM), (("main", "medium_head"), BALANCED), (ALL, None)):
        watch, out = HeadWatch([network]), network(images)
        sum(getattr(out, head).sum() for head in learning).backward()
        assert watch.saw_training()
        assert watch.idle() == (None if resting is None else (0, resting))


def test_a_method_that_does_not_train_on_the_labels_of_a_plugin_is_refused(train):
    with pytest.raises(ConfigError, match=r"Plain does not train on.*self.selections\[k\].targets"):
        train("method=mine plugin=ibc")


def test_a_method_that_never_selects_is_told_what_to_write(train):
    sentence = train("method=mine plugin=sfa plugin.head=none method.selects=false")
    assert "method=mine does not select in epoch 2, though plugin=sfa brings a selector" in sentence
    assert "call self.select(e)" in sentence
    assert "set plugin=none" in sentence


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ("None", "epoch(1) returns NoneType None: it must be a mapping"),
        ("[1.0]", "it must be a mapping of names to numbers, among them 'loss'"),
        ("{'lr': 1.0}", "among them 'loss'"),
        ("{'loss': 'low'}", "loss=str 'low': it must be a number, or None"),
        ("{'loss': float('nan')}", "the training loss is nan, not finite; a smaller lr may help"),
        ("{'loss': torch.tensor(float('inf'))}", "the training loss is inf"),
        ("{'loss': 1.0, 'net': {'of': object}}", "returns net=dict {'of': <class 'object'>}: it must be a number"),
        ("{'loss': 1.0, 'epoch': 7}", "'epoch', a name that is the suite's own"),
        ("{'loss': 1.0, 'test/acc': 100.0}", "'test/acc', a name that is the suite's own"),
        ("{'loss': 1.0, 'val/acc': 100.0}", "'val/acc', a name that is the suite's own"),
        ("{'loss': 1.0, 3: 1.0}", "returns 3, a name"),
    ],
)
def test_an_epoch_that_returns_something_else_is_told_what(train, figures, said):
    sentence = train("method=mine plugin=none", **{"method.figures": figures})
    assert "method=mine: epoch(1)" in sentence
    assert said in sentence


@pytest.mark.parametrize(
    "figures", ["{'loss': None}", "{'loss': torch.tensor(0.5), 'kept': np.float32(1), 'share': float('nan'), 'n': [1]}"]
)
def test_whatever_a_record_takes_may_be_logged(train, figures):
    assert train("method=mine plugin=none", **{"method.figures": figures}) is None


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ("None", "must return a list with a mapping for each network"),
        ("[]", "must return a list with a mapping for each network"),
        ("found[0]['main']", "must return a list with a mapping for each network"),
        ("[{'logits': heads['main']} for heads in found]", "have the heads logits: main lacks"),
        ("[{'main': heads['main'][:, :3]} for heads in found]", "are float32 [16, 3]: they must be numbers [16, 4]"),
        ("[{'main': heads['main'][:5]} for heads in found]", "are float32 [5, 4]: they must be numbers [16, 4]"),
        ("[{'main': heads['main'].argmax(1)} for heads in found]", "are int64 [16]: they must be numbers [16, 4]"),
        ("[{'main': heads['main'] * 1j} for heads in found]", "are complex64 [16, 4]: they must be numbers"),
        ("[{'main': heads['main'].astype(object)} for heads in found]", "are object [16, 4]"),
        ("[found[0], {'main': found[1]['main'] * np.nan}]", "of network 2, head main, are not finite in epoch 1"),
        ("[{**heads, 'mean': heads['main'][:3]} for heads in found]", "head mean, are float32 [3, 4]"),
        (
            "[{**heads, 'medium_head': heads['main'][:, :2]} for heads in found]",
            "head medium_head, are float32 [16, 2]",
        ),
    ],
)
def test_a_method_that_predicts_something_else_is_told_what(train, answers, said):
    sentence = train("method=mine plugin=none", **{"method.answers": answers})
    assert sentence.startswith("method=mine: the test logits")
    assert said in sentence


def test_further_heads_of_a_methods_own_are_kept():
    check_answers([{"main": np.zeros((3, 2)), "near": np.zeros(3)}], 3, 2, "the test logits", "epoch 1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("nothing", "it must return a Selection, not ndarray"),
        ("{'mask': mask[:-1]}", "mask is bool [56]: it must be a NumPy array bool [57]"),
        ("{'mask': mask.astype(np.int64)}", "mask is int64 [57]: it must be a NumPy array bool [57]"),
        ("{'mask': mask.tolist()}", "mask is list: it must be a NumPy array bool"),
        ("{'clean_probability': mask[:3] * 0.5}", "clean_probability is float64 [3]"),
        ("{'clean_probability': mask * 1.5}", "clean_probability lies in [0, 1.5]: it must lie in [0, 1]"),
        ("{'clean_probability': mask - 0.5}", "clean_probability lies in [-0.5, 1]"),
        ("{'clean_probability': np.full(n, np.nan)}", "clean_probability has values that are not numbers (NaN)"),
        ("{'score': np.full(n, np.nan)}", "score has values that are not numbers (NaN)"),
        ("{'score': torch.zeros(n)}", "score is Tensor: it must be a NumPy array float64"),
        ("{'class_counts': counts[:3]}", "class_counts is int64 [3]: it must be a NumPy array int64 [4]"),
        ("{'class_counts': counts + 1}", "they must be np.bincount(labels[mask], minlength=num_classes)"),
        ("{'class_counts': counts - 100.0}", "they must be np.bincount(labels[mask], minlength=num_classes)"),
    ],
)
def test_a_selector_that_answers_something_else_is_told_what(train, change, said):
    sentence = train("method=ce plugin=odd", **{"plugin.change": change})
    assert sentence.startswith("Odd.select in epoch 2: ")
    assert said in sentence


@pytest.mark.parametrize("change", ["{'class_counts': counts * 0.5}", "{'score': np.where(mask, 1.0, -np.inf)}"])
def test_selectors_may_weigh_samples_and_rule_them_out(train, change):
    assert train("method=ce plugin=odd", **{"plugin.change": change}) is None


def test_a_head_that_is_set_without_a_gradient_is_no_idle_one_and_watching_leaves_no_trace():
    network = models.build(ModelConfig(name="convnet", width=4), 1, (8, 8), 3, ("main", "abc"), seed=0)
    idle, moved = HeadWatch([network]), HeadWatch([network])
    network(torch.rand(4, 1, 8, 8)).main.sum().backward()
    assert idle.saw_training()
    assert idle.idle() == (0, BALANCED)
    with torch.no_grad():
        network.abc.weight += 1
    assert moved.saw_training()
    assert moved.idle() is None
    assert not any(p._backward_hooks for p in network.parameters())


# ---- runs that diverge


STEPS = "batch_size=32"  # the losses of an epoch's later steps tell
STEP = "batch_size=2000"  # one step an epoch: its loss is whole, and what comes of it tells


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (f"method=ce plugin=none {STEPS}", "the loss of network 1 is not finite in epoch 1"),
        (f"method=coteaching plugin=none {STEPS}", "the loss of network 1 is not finite in epoch 1"),
        (f"method=mae plugin=none {STEPS}", "the loss of network 1 is not finite in epoch 1"),
        (f"method=dividemix plugin=sfa {STEPS}", "the loss of network 1 is not finite in epoch 1"),
        (
            f"method=ce plugin=none {STEP}",
            "method=ce: the test logits of network 1, head main, are not finite in epoch 1",
        ),
        (f"method=rolt plugin=none {STEP}", "method=rolt: the test logits of network 1, head main, are not finite"),
        (f"method=mae plugin=none {STEP}", "method=mae: the test logits of network 1, head main, are not finite"),
        (f"plugin=sfa {STEP}", "method=dividemix: the test logits of network 1, head main, are not finite in epoch 1"),
        (
            f"plugin=sfa eval.every=9 epochs=11 {STEP}",
            "the features of network 1 are not finite in the selection pass of",
        ),
        (f"method=ce plugin=abc dataset.val=noisy {STEP}", "the test logits of network 1, head main, are not finite"),
    ],
)
def test_a_run_that_diverges_fails_with_what_is_not_finite_and_when(tmp_path, capsys, typed, said):
    first = ["dataset=digits", "epochs=2", "warmup_epochs=1", "lr=1e12", "threads=1", f"runs_dir={tmp_path}"]
    assert main([*first, *typed.split()]) == 1
    sentence = capsys.readouterr().err
    assert said in sentence
    assert "a smaller lr may help" in sentence
    (path,) = tmp_path.glob("*/*/*/run.json")
    record = json.loads(path.read_text())
    assert record["state"] == "failed"
    assert said in record["error"]["message"]


@pytest.mark.parametrize("name", ["crt", "lws"])
def test_a_classifier_that_diverges_fails_with_a_sentence(tmp_path, capsys, name):
    typed = ["method=ce", "plugin=none", f"classifier={name}", "classifier.lr=1e38", f"runs_dir={tmp_path}"]
    assert main([*SMALL.split(), *typed]) == 1
    said = capsys.readouterr().err
    assert "not finite" in said
    assert "classifier" in said
    assert "Traceback" not in said
