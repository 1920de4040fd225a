"""Contract tests pass for the examples and say of each broken class what is broken."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfa_bench.errors import ConfigError
from sfa_bench.methods.base import Method, RunningMean
from sfa_bench.parts.losses import make_loss
from sfa_bench.selectors.base import Selection, Selector
from sfa_bench.testing import check_loss, check_method, check_selector
from tools.docs_site import ROOT


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs/examples"))
    yield
    for name in ("bootstrapping", "neighbours"):
        sys.modules.pop(name, None)


def test_the_examples_of_the_guides_keep_their_contracts(examples):
    from bootstrapping import Bootstrapping
    from neighbours import NeighbourVote

    check_method(Bootstrapping, mode="hard", trust=0.8, from_epoch=2)
    check_selector(NeighbourVote, neighbours=5)


def test_what_is_no_method_and_no_selector_is_refused():
    with pytest.raises(AssertionError, match=r"is no subclass of sfa_bench.methods.base.Method"):
        check_method(dict)
    with pytest.raises(AssertionError, match=r"is no subclass of sfa_bench.selectors.base.Selector"):
        check_selector(lambda probe: probe)


class Own(Method):
    """Cross-entropy of both heads on the selected samples; what it does otherwise is in `broken`."""

    networks_used = 2

    def __init__(self, training, *, broken: str = ""):
        super().__init__(training)
        self.broken, self.seen = broken, 0.0

    def epoch(self, e):
        broken, losses = self.broken, []
        if self.selects_in(e) and broken != "unselecting":
            self.select(e)
        for k in range(1 if broken == "one network" else 2):
            self.begin(k, e, "training")
            if broken == "eval mode":
                self.networks[k].eval()
            losses.append(self.network(k, e, broken))
            self.seen += losses[-1] or 0.0
        figures = self.figures(e, losses)
        return {"lr": 0.1} if broken == "no loss" else figures

    def network(self, k, e, broken):
        mean, order = RunningMean(), self.epoch_order(k, e)
        if self.selects_in(e) and broken != "unselecting":
            order = order[torch.from_numpy(self.selections[k].mask)[order]]
            if broken == "empty selection":
                assert len(order), "nothing to learn from"
        parts = [rows for rows in self.plain_batches(order) if len(rows) > 1]
        for rows, images in self.views(k, parts, self.generator("augmentation", k, e), "training"):
            if broken == "global draw":
                images = images + 0.01 * torch.randn(images.shape)
            if broken == "NumPy's draw":
                images = images + np.random.normal()
            out = self.forward(k, images)
            if broken == "no head" and out.abc is None:
                raise KeyError("abc")
            loss = F.cross_entropy(out.main, self.labels[rows])
            if out.abc is not None and broken != "idle head":
                loss = loss + F.cross_entropy(out.abc, self.labels[rows])
            if broken == "forgotten state":
                loss = loss * (1 + self.seen)
            if broken == "not finite":
                loss = loss * float("nan")
            self.step(k, loss)
            mean.add(loss)
        return float(mean.total) / mean.steps if broken == "not finite" and mean.steps else mean.value(k, e)

    def predict(self, images):
        if self.broken == "noisy answers":
            self.seen += 1
            answers = super().predict(images)
            return [{"main": heads["main"] + self.seen} for heads in answers]
        if self.broken == "counted answers":
            self.cost.steps += 1
        if self.broken == "labels":
            return [{"main": heads["main"].argmax(axis=1)} for heads in super().predict(images)]
        if self.broken == "training mode":
            with torch.no_grad():
                for network in self.networks:
                    network.train()
                    network(images.float())
        return super().predict(images)

    def state(self):
        more = {"own": object()} if self.broken == "strange state" else {}
        return super().state() | more


class KeepsTooLittle(Own):
    kept_when_done = ("selections",)

    def load_trained(self, state):
        """Load nothing."""


def test_a_method_that_keeps_its_contract_passes():
    check_method(Own)
    check_method(Own, broken="nothing that is known")


class Refusing(Own):
    """Takes neither a selector nor a further head."""

    def __init__(self, training, *, how: type = ConfigError, **options):
        if training.selectors or training.build_network(0).abc is not None:
            raise how("it takes neither a selector nor a balanced head")
        super().__init__(training, **options)


@pytest.mark.parametrize("how", [ConfigError, ValueError])
def test_a_method_is_not_asked_for_what_it_refuses(how):
    check_method(Refusing, how=how)
    with pytest.raises(AssertionError, match="the main head of network 2 did not change"):
        check_method(Refusing, how=how, broken="one network")
    with pytest.raises(AssertionError, match="RuntimeError: it takes neither"):
        check_method(Refusing, how=RuntimeError)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("unselecting", "method=Own does not select in epoch 2"),
        ("one network", "no batch passed through network 2 in training mode in epoch 1: train each of self.networks"),
        ("eval mode", "no batch passed through network 1 in training mode in epoch 1"),
        ("no loss", "it must be a mapping of names to numbers, among them 'loss'"),
        ("empty selection", "Own.epoch(2) fails with a balanced head and an empty selection: AssertionError: nothing"),
        ("global draw", "Own draws from, or seeds, a global random generator"),
        ("NumPy's draw", "Own draws from, or seeds, a global random generator"),
        ("no head", "Own.epoch(1) fails with the main head alone and a selector: KeyError: 'abc'"),
        ("idle head", "the balanced head of network 1, which plugin=check adds, got no gradient in epoch 2"),
        ("forgotten state", "after epochs 3 and 4 from the state of epoch 2, state['networks']"),
        ("not finite", "the training loss is nan, not finite"),
        ("noisy answers", "Own.predict gives other logits the second time"),
        ("labels", "head main, are int64 [5]: they must be numbers [5, 4]"),
        ("training mode", "Own.predict gives other logits the second time: it must be in evaluation mode"),
        ("counted answers", "Own.predict changes state['cost']['steps']"),
        ("strange state", "Own.state() cannot be saved: state['own'] is a object"),
    ],
)
def test_a_method_that_breaks_its_contract_is_told_where(broken, sentence):
    with pytest.raises(AssertionError) as failed:
        check_method(Own, broken=broken)
    assert sentence in str(failed.value)


def test_a_method_that_keeps_too_little_of_a_finished_run_is_told():
    with pytest.raises(
        AssertionError, match="what kept_when_done names of its state does not give its predictions back"
    ):
        check_method(KeepsTooLittle)


def test_options_that_it_does_not_take_are_named():
    with pytest.raises(AssertionError, match=r"Own cannot be made.*unexpected keyword argument 'brocken'"):
        check_method(Own, brocken="")


class Odd(Selector):
    """Selects the labels that the network predicts."""

    def __init__(self, thresholds, *, broken: str = ""):
        self.thresholds, self.broken, self.calls = thresholds, broken, 0

    def select(self, probe, epoch):
        labels, broken = probe.observed_labels, self.broken
        score = (probe.logits.argmax(axis=1) == labels).astype(float)
        self.calls += 1
        if broken == "in place":
            probe.features[:] = 0
        if broken == "global draw":
            score = score * np.random.random(len(score))
        if broken == "first come":
            score = (np.arange(len(labels)) < len(labels) // 2).astype(float)
        if broken == "empty class":
            score = score / np.bincount(labels, minlength=probe.num_classes).min()
        if broken == "spread":
            score = score * probe.features[:, 0] / probe.features.std()
        if broken == "forgotten state" and self.calls == 3:
            score = 1 - score
        mask = score > 0.5
        counts = np.bincount(labels[mask], minlength=probe.num_classes)
        return mask if broken == "mask" else Selection(mask, np.clip(score, 0, 1), score, counts)


class Fresh(Odd):
    """Draws from the generator that it is given."""

    def __init__(self, thresholds, *, generator, broken: str = ""):
        super().__init__(thresholds, broken=broken)
        self.generator = generator

    def select(self, probe, epoch):
        mask = self.generator(epoch).random(len(probe.observed_labels)) < 0.5
        return Selection.by_rule(probe, mask, mask * 1.0, mask * 1.0)


def test_selectors_that_keep_their_contract_pass():
    check_selector(Odd)
    check_selector(Fresh)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("mask", "Odd.select in epoch 1: it must return a Selection, not ndarray"),
        ("in place", "Odd.select changes the probe in place"),
        ("global draw", "Odd draws from, or seeds, a global random generator"),
        ("first come", "Odd: its selection depends on the order of the samples"),
        ("empty class", "has values that are not numbers (NaN)"),
        ("spread", "has values that are not numbers (NaN)"),
        ("forgotten state", "Odd: epoch 3 from the state of epoch 2 selects otherwise"),
    ],
)
def test_a_selector_that_breaks_its_contract_is_told_where(broken, sentence):
    with pytest.raises(AssertionError) as failed:
        check_selector(Odd, broken=broken)
    assert sentence in str(failed.value)


def rows(logits, labels, class_counts, *, broken: str = ""):
    values = F.cross_entropy(logits, labels, reduction="none")
    if broken == "mean":
        return values.mean()
    if broken == "probabilities":
        return -torch.log(logits.softmax(dim=1))[torch.arange(len(labels)), labels]
    if broken == "counts":
        return values + (1.0 / class_counts).sum()
    if broken == "order":
        return values * torch.arange(len(values))
    if broken == "in place":
        labels += 1
    if broken == "no gradient":
        return values.detach()
    if broken == "constant":
        return values * 0
    if broken == "draw":
        return values + torch.rand(len(values))
    if broken == "steep":
        return values + (logits[:, 0] - logits[:, 0].detach()).abs().sqrt()
    return values


def test_losses_that_keep_their_contract_pass():
    check_loss(rows)
    for name in ("ce", "focal", "ldam", "gce", "mae", "balanced_softmax", "logit_adjust"):
        check_loss(make_loss(name))


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("mean", "rows gives [] for 12 rows: it must give one value for each row, as with reduction='none'"),
        ("probabilities", "rows: not every value is finite, with logits up to 50"),
        ("counts", "rows: not every value is finite, with logits up to 1 and a class without samples"),
        ("order", "rows: a row's value depends on the order of the rows"),
        ("in place", "rows changes its arguments in place"),
        ("no gradient", "rows: its values have no gradient"),
        ("constant", "rows: its gradient is zero"),
        ("draw", "rows draws from, or seeds, a global random generator"),
        ("steep", "rows: its gradient is not finite"),
    ],
)
def test_a_loss_that_breaks_its_contract_is_told_where(broken, sentence):
    with pytest.raises(AssertionError) as failed:
        check_loss(rows, broken=broken)
    assert sentence in str(failed.value)


def test_an_option_that_a_loss_does_not_take_is_named():
    with pytest.raises(AssertionError, match=r"rows fails for logits.*unexpected keyword argument 'gamma'"):
        check_loss(rows, gamma=2)
