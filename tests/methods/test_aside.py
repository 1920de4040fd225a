"""Selectors beside the training: the same epoch to the bit, and nothing that waits for what it does not need."""

import threading

import pytest
import torch

from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.engine.build import build_method
from sfa_bench.errors import RunError
from sfa_bench.methods.aside import Aside
from sfa_bench.selectors.base import Selector

DIGITS = ("dataset=digits", "imb_factor=0.1", "epochs=4", "warmup_epochs=1", "threads=1")


def learner(aside, *typed):
    config = compose([*DIGITS, *typed])
    method = build_method(config, build(config), [torch.device("cpu")])
    method.training.select_aside = aside
    return method


def flat(state):
    """Every number of a state, with where it is."""
    if isinstance(state, dict):
        return {f"{key}.{inner}": v for key, value in state.items() for inner, v in flat(value).items()}
    if isinstance(state, (list, tuple)):
        return flat(dict(enumerate(state)))
    return {"": state.numpy().tobytes() if isinstance(state, torch.Tensor) else state}


@pytest.mark.parametrize(
    "typed",
    [("method=dividemix", "plugin=sfa"), ("method=dividemix", "plugin=none"), ("method=rolt", "plugin=none")],
    ids=" ".join,
)
def test_an_epoch_has_the_same_bits(typed):
    states = []
    for aside in (False, True):
        method = learner(aside, *typed)
        for e in (1, 2, 3):
            method.epoch(e)
        states.append(flat(method.state()))
    assert states[0] == states[1]


class Patient(Selector):
    """Answers once the event is set."""

    def __init__(self, selector, event):
        self.selector, self.event = selector, event

    def select(self, probe, epoch):
        assert self.event.wait(60), "nobody trained while it waited"
        return self.selector.select(probe, epoch)


def test_network_one_trains_while_its_own_selector_is_at_work():
    method, trains = learner(True, "method=dividemix", "plugin=sfa"), threading.Event()
    method.training.selectors[0] = Patient(method.training.selectors[0], trains)
    method.training.on_step = lambda phase, network, step, steps: trains.set()
    method.epoch(2)
    assert [bool(selection.mask.any()) for selection in method.selections] == [True, True]


def test_what_a_selector_raises_is_raised_where_its_answer_is_read():
    def fails():
        raise RunError("no sample of class 3 passes the gate")

    answers = Aside([fails, lambda: "selection"])
    assert (len(answers), answers[1], answers[1:]) == (2, "selection", ["selection"])
    with pytest.raises(RunError, match="class 3"):
        list(answers)
