"""A selector that asks for the other networks' probes is shown them, of the same samples and views."""

import numpy as np
import pytest
import torch

from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.engine.build import build_method
from sfa_bench.selectors.base import Selection, Selector

SMALL = ["dataset=digits", "epochs=3", "warmup_epochs=1", "imb_factor=0.1", "model.width=2", "threads=1"]
BOTH = ["plugin=none", "method.selector.name=quota", "method.selector.networks=both"]


class Seen(Selector):
    """Keeps what it is shown, and takes everything."""

    def __init__(self, all_networks):
        self.all_networks, self.probes = all_networks, []

    def select(self, probe, epoch):
        self.probes.append(probe)
        everything = np.ones(len(probe.observed_labels))
        counts = np.bincount(probe.observed_labels, minlength=probe.num_classes)
        return Selection(everything > 0, everything, everything, counts)


def method(*words, selectors=None, draw=0):
    config = compose([*SMALL, *words])
    made = build_method(config, build(config), [torch.device("cpu")])
    made.training.selectors = selectors or made.training.selectors
    made.training.selection_draw = draw
    return made


@pytest.mark.parametrize("learner", ["method=dividemix", "method=ce method.networks=2"])
@pytest.mark.parametrize(("view", "draw"), [("test", 0), ("train", 0), ("test", 100), ("train", 100)])
def test_both_networks_are_shown_the_same_samples_in_the_same_views(learner, view, draw):
    words = [*learner.split(), "plugin=none", "method.selector.name=proto", f"method.selector.view={view}"]
    asking, plain = [Seen(True), Seen(True)], [Seen(False), Seen(False)]
    one, other = method(*words, selectors=asking, draw=draw), method(*words, selectors=plain, draw=draw)
    for each in (one, other):
        each.select(2)
        assert len(each.selections) == 2
        assert each.selections[0].mask.sum() == (draw or len(each.labels))
    first, second = (selector.probes[0] for selector in asking)
    assert (first.others, second.others) == ((one.probes[1],), (one.probes[0],))
    assert first.logits is one.probes[0].logits
    assert np.array_equal(first.rows, second.rows)
    assert not np.array_equal(first.logits, second.logits)
    mine, theirs = (selector.probes[0] for selector in plain)
    assert (mine.others, theirs.others) == ((), ())
    assert np.array_equal(mine.rows, theirs.rows) is (draw == 0)
    # Network 1 sees what it would see without anybody asking.
    assert np.array_equal(first.logits, mine.logits)
    assert np.array_equal(second.logits, theirs.logits) is (view == "test" and draw == 0)


@pytest.mark.parametrize("view", ["test", "train"])
@pytest.mark.parametrize("learner", ["method=dividemix", "method=ce method.networks=2"])
def test_both_networks_have_one_selection_where_it_goes_by_their_mean(learner, view):
    made = method(*learner.split(), *BOTH, f"method.selector.view={view}")
    made.epoch(1)
    made.epoch(2)
    one, other = made.selections
    assert np.array_equal(one.mask, other.mask)
    assert np.array_equal(one.clean_probability, other.clean_probability)
    assert 0 < one.mask.mean() < 1
    own = method(*learner.split(), *BOTH[:2], f"method.selector.view={view}")
    own.epoch(1)
    own.epoch(2)
    assert not np.array_equal(own.selections[0].mask, own.selections[1].mask)
