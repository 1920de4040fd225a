"""IBC in training (algorithms/ibc.md §1–2, §5–6): three heads, their labels, and what hard labels leave of it."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfa_bench.config.compose import compose
from sfa_bench.data import build as build_data
from sfa_bench.engine.build import build_method
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.methods.base import BalancedHead, Method
from sfa_bench.methods.dividemix import DivideMix
from sfa_bench.parts import mixmatch
from sfa_bench.selectors.base import Selection, Selector

SMALL = "dataset=synthetic dataset.classes=10 dataset.size=60 dataset.dim=6 dataset.groups=2 dataset.test_size=4"
SMALL += " epochs=4 warmup_epochs=1 batch_size=8 model.width=4 imb_factor=0.3"
HEADS = ("main", "abc", "medium_head")
LABELS = [0] * 8 + [1] * 4 + [2] * 2


def learner_of(text):
    config = compose([*SMALL.split(), *text.split()])
    return build_method(config, build_data(config), [torch.device("cpu")])


def after(text, epochs=4):
    method = learner_of(text)
    method.figures = [method.epoch(e) for e in range(1, epochs + 1)]
    return method


def weights(method):
    return [{name: value.clone() for name, value in network.state_dict().items()} for network in method.networks]


def differing(a, b):
    """Names of the weights and statistics that are not the same to the bit, over both networks."""
    assert [state.keys() for state in a] == [state.keys() for state in b]
    return {name for x, y in zip(a, b, strict=True) for name in x if not torch.equal(x[name], y[name])}


# ---- hard labels: what an ablation without neighbours is


@pytest.mark.parametrize("options", ["", "plugin.abc.detach=true", "plugin.head=abc", "plugin.moments=release"])
def test_without_a_share_it_is_to_the_bit_sfa_whose_heads_learn_hard_labels(options, monkeypatch):
    ours = after(f"method=dividemix plugin=ibc plugin.epsilon=0 {options}")

    def hard(observed, clean_probability, guess, temperature):
        return F.one_hot(observed, guess.shape[1]).to(guess.dtype)

    monkeypatch.setattr(mixmatch, "refine_labels", hard)
    head = "" if "plugin.head" in options else "plugin.head=experts"
    plain = after(f"method=dividemix plugin=sfa plugin.samples=5 {head} {options}")
    assert ours.figures == plain.figures
    assert not differing(weights(ours), weights(plain))
    for a, b in zip(ours.selections, plain.selections, strict=True):
        assert np.array_equal(a.mask, b.mask)
        assert np.array_equal(a.clean_probability, b.clean_probability)
    for a, b in zip(ours.training.selectors, plain.training.selectors, strict=True):
        assert np.array_equal(a.mean, b.mean)


@pytest.mark.parametrize("option", ["epsilon=0.1", "epsilon=0.3 plugin.kappa=0.6"])
def test_with_a_share_it_is_something_else(option):
    base = "method=dividemix plugin=ibc"
    hard, soft = after(f"{base} plugin.epsilon=0", 2), after(f"{base} plugin.{option}", 2)
    assert {"main.weight", "abc.weight", "medium_head.weight"} <= differing(weights(hard), weights(soft))


def test_of_two_heads_the_balanced_one_has_the_labels_that_it_has_of_three():
    three, two = (learner_of(f"method=dividemix plugin=ibc plugin.head={head}") for head in ("experts", "abc"))
    for method in (three, two):
        method.select(2)
    for a, b in zip(three.selections, two.selections, strict=True):
        assert list(a.targets) == list(HEADS)
        assert list(b.targets) == ["main", "abc"]
        assert (a.targets["abc"] != a.targets["main"]).any()  # each has something to share
        assert (a.targets["medium_head"] != a.targets["main"]).any()


# ---- whose labels


class Scripted(Selector):
    """The same selection every time, with labels that say whose they are: network k's all name class k."""

    gives_targets = True

    def __init__(self, k, mask, rows=None):
        self.mask = np.asarray(mask)
        self.rows = np.eye(3, dtype=np.float32)[np.full(len(mask), k)] if rows is None else rows

    def select(self, probe, epoch):
        counts = np.bincount(probe.observed_labels[self.mask], minlength=3)
        return Selection(self.mask, self.mask * 0.8, self.mask * 1.0, counts, targets=dict.fromkeys(HEADS, self.rows))


def dividemix(training, **options):
    values = {"lambda_u": 25, "alpha": 4, "temperature": 0.5, "penalty": "none", "guess_mode": "train"}
    return DivideMix(training, **{**values, "ramp_origin": "one_based", "ramp_epochs": 16, **options})


def test_a_network_learns_its_own_labels_of_what_the_other_selected(make_view, make_training, monkeypatch):
    masks = [np.arange(14) < 10, np.arange(14) >= 4]
    selectors = [Scripted(k, mask) for k, mask in enumerate(masks)]
    training = make_training(make_view(LABELS), head=BalancedHead(), selectors=selectors, batch_size=16)
    method = dividemix(training)
    seen = []
    loss_of = method._loss

    def watched(k, given, x_rows, *rest):
        seen.append(
            (k, sorted(x_rows.tolist()), {head: rows.argmax(1).unique() for head, rows in given.targets.items()})
        )
        return loss_of(k, given, x_rows, *rest)

    monkeypatch.setattr(method, "_loss", watched)
    method.epoch(1)
    assert [k for k, _, _ in seen] == [0, 1]
    for k, rows, named in seen:
        assert rows == np.flatnonzero(masks[1 - k]).tolist()
        assert named == dict.fromkeys(HEADS, torch.tensor([k]))


def test_labels_of_heads_are_not_part_of_a_checkpoint_and_all_else_is():
    method = after("method=dividemix plugin=ibc", 2)
    (stored, _) = method.state()["selections"]
    assert "targets" not in stored
    assert method.selections[0].labels is None
    assert stored.keys() == vars(method.selections[0]).keys() - {"targets", "labels"}
    other = learner_of("method=dividemix plugin=ibc")
    other.load_state(method.state())
    assert other.selections[0].targets is None
    assert np.array_equal(other.selections[0].mask, method.selections[0].mask)


def test_a_method_that_knows_nothing_of_such_labels_is_told_what_to_write(make_view, make_training):
    selectors = [Scripted(0, [True] * 14)]
    with pytest.raises(ConfigError, match=r"which Method does not train on.*takes_targets = True in the class"):
        Method(make_training(make_view(LABELS), selectors=selectors))


@pytest.mark.parametrize(
    "rows", [np.ones((14, 3)), np.full((14, 3), [1.5, -0.5, 0.0]), np.eye(3)[[0] * 13], np.full((14, 3), np.nan)]
)
def test_labels_that_are_no_distributions_are_refused(make_view, make_training, rows):
    selectors = [Scripted(k, [True] * 14, rows) for k in (0, 1)]
    method = dividemix(make_training(make_view(LABELS), head=BalancedHead(), selectors=selectors))
    with pytest.raises(RunError, match=r"targets\['main'\] must be a NumPy array \[14, 3\] whose rows are distribut"):
        method.select(1)


# ---- the warm-up


@pytest.mark.parametrize("medium", [True, False])
def test_the_warm_up_loss_is_that_of_the_specification(make_view, make_training, medium):
    head = BalancedHead(medium_warmup=medium)
    method = dividemix(make_training(make_view(LABELS), head=head, heads=HEADS[1:], warmup=1, batch_size=7))
    labels, images = torch.tensor(LABELS), (method.training.view.images.float() / 255 - 0.4) / 0.3
    log_counts, expected = torch.tensor([8.0, 4.0, 2.0]).log(), 0.0
    for network in method.networks:
        out = copy.deepcopy(network).train()(images)
        parts = [out.main, out.abc + log_counts] + [out.medium_head + 0.5 * log_counts] * medium
        expected += sum(F.cross_entropy(logits, labels).item() for logits in parts) / 2
    before = weights(method)
    assert method.epoch(1)["loss"] == pytest.approx(expected, rel=1e-5)
    resting = set() if medium else {"medium_head.weight", "medium_head.bias"}
    assert before[0].keys() - differing(before, weights(method)) == resting


def test_the_release_leaves_the_medium_head_out_of_the_warm_up_and_trains_it_afterwards():
    ours, theirs = learner_of("method=dividemix plugin=ibc"), learner_of("method=dividemix plugin=ibc_release")
    start = weights(theirs)
    assert not differing(start, weights(ours))
    for method in (ours, theirs):
        method.epoch(1)
    assert {"medium_head.weight", "medium_head.bias"} <= differing(start, weights(ours))
    assert not {"medium_head.weight", "medium_head.bias"} & differing(start, weights(theirs))
    # Its loss shapes the backbone, too; without it the warm-up is SFA's.
    sfa = learner_of("method=dividemix plugin=sfa")
    sfa.epoch(1)
    shared = [
        {name: state[name] for name in reference}
        for state, reference in zip(weights(theirs), weights(sfa), strict=True)
    ]
    assert not differing(shared, weights(sfa))
    assert differing(weights(ours), weights(theirs)) >= {"main.weight", "abc.weight"}
    theirs.epoch(2)
    assert {"medium_head.weight", "medium_head.bias"} <= differing(start, weights(theirs))


# ---- prediction


def test_three_heads_of_two_networks_predict():
    method = after("method=dividemix plugin=ibc", 2)
    images = method.training.view.images[:7]
    answers = method.predict(images)
    assert [list(heads) for heads in answers] == [list(HEADS)] * 2
    for network, heads in zip(method.networks, answers, strict=True):
        with torch.no_grad():
            features = network.eval().features(method.loader_of(images).test_view(torch.arange(7)))
            for head, layer in (("main", network.main), ("abc", network.abc), ("medium_head", network.medium_head)):
                expected = features @ layer.weight.T + layer.bias
                assert heads[head] == pytest.approx(expected.numpy(), abs=1e-5), head
