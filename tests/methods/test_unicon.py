"""One step of UNICON against algorithms/unicon.md written out again in plain Torch; what tells the release apart."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.dividemix import DivideMixInputs
from sfa_bench.methods.unicon import Unicon
from sfa_bench.selectors.base import Probe
from sfa_bench.selectors.quota import Quota

LABELS = [0] * 6 + [1] * 4 + [2] * 2
X, U = torch.tensor([0, 6, 10, 3]), torch.tensor([1, 7, 11])
W = torch.linspace(0.1, 0.95, 12, dtype=torch.float64)
LOG_COUNTS = torch.tensor([5.0, 3.0, 1.0]).log()
LAM, WEIGHT = 0.3, 7.0
OPTIONS = {
    "lambda_u": 30,
    "alpha": 4,
    "temperature": 0.5,
    "penalty": "uniform",
    "guess_mode": "train",
    "ramp_origin": "one_based",
    "ramp_epochs": 16,
    "contrastive": 0.025,
    "contrastive_temperature": 0.05,
    "by_divergence": True,
}


@pytest.fixture
def learner(make_view, make_training, scripted):
    def make(head=None, mask=(True, False, True, True) * 3, selectors=None, **options):
        selectors = selectors or [scripted(mask), scripted(mask)]
        training = make_training(make_view(LABELS), head=head, warmup=1, selectors=selectors)
        return Unicon(training, **{**OPTIONS, **options})

    return make


def views_of(method, u_rows=U):
    """Two weak and two strong views of both batches, all different: picture + 0.2·i."""
    pictures = (method.training.view.images.float() / 255 - 0.4) / 0.3
    return [pictures[rows] + 0.2 * i for i, rows in enumerate((X, X, X, X, u_rows, u_rows, u_rows, u_rows))]


def step(method, k=0, u_rows=U):
    given = DivideMixInputs(W, LOG_COUNTS, torch.Generator().manual_seed(2))
    method.networks[k].train()
    method.networks[1 - k].eval()
    return method._loss(k, given, X, tuple(views_of(method, u_rows)), LAM, WEIGHT)


def softmax(z):
    return z.exp() / z.exp().sum(1, keepdim=True)


def reference(method, k):
    """The step as the page writes it, on copies of the networks."""
    mine, other = copy.deepcopy(method.networks[k]).train(), copy.deepcopy(method.networks[1 - k]).eval()
    x1, x2, x3, x4, u1, u2, u3, u4 = views_of(method)
    with torch.no_grad():
        q = sum(softmax(network(u).main) for network in (mine, other) for u in (u1, u2)) / 4
        t_u = q**2 / (q**2).sum(1, keepdim=True)
        p = (softmax(mine(x1).main) + softmax(mine(x2).main)) / 2
        w = W[X, None].float()
        r = w * torch.eye(3)[torch.tensor(LABELS)[X]] + (1 - w) * p
        t_x = r**2 / (r**2).sum(1, keepdim=True)
    inputs, targets = torch.cat([x3, x4, u3, u4]), torch.cat([t_x, t_x, t_u, t_u])
    pi = torch.randperm(14, generator=torch.Generator().manual_seed(2))
    mixed, wanted = (0.7 * rows + 0.3 * rows[pi] for rows in (inputs, targets))
    features = mine.features(mixed)
    loss = torch.zeros(())
    heads = [mine.main(features)] + ([] if mine.abc is None else [mine.abc(features) + LOG_COUNTS])
    for z in heads:
        log_p = z - z.logsumexp(1, keepdim=True)
        loss = loss - (wanted[:8] * log_p[:8]).sum() / 8 + WEIGHT * ((log_p[8:].exp() - wanted[8:]) ** 2).sum() / 18
    mean = softmax(heads[0]).mean(0)
    loss = loss + sum(1 / 3 * torch.log((1 / 3) / mean[c]) for c in range(3))
    r = mine.projector(mine.features(torch.cat([u3, u4])))
    for i in range(6):
        s = (r @ r[i]) / 0.05
        rest = torch.arange(6) != i
        loss = loss + 0.025 * (s[rest].logsumexp(0) - s[(i + 3) % 6]) / 6
    return loss


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("head", [None, BalancedHead()], ids=["", "balanced head"])
def test_the_loss_is_that_of_the_page(learner, k, head):
    method = learner(head=head)
    expected = reference(method, k)
    loss, images = step(method, k)
    assert images == 20
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.networks[k].parameters())


def test_without_unlabelled_samples_or_weight_there_is_no_contrastive_term(learner):
    for method, u_rows, count in ((learner(), U[:0], 8), (learner(contrastive=0.0), U, 14)):
        loss, images = step(method, u_rows=u_rows)
        assert images == count
        loss.backward()
        assert all(p.grad is None for p in method.networks[0].get_submodule("projector").parameters())


def test_labels_are_refined_by_the_divergence_of_the_quotas_and_else_by_the_clean_probability(learner):
    method, plain = learner(), learner(by_divergence=False)
    method.select(2)
    selection = method.selections[0]
    divergence = np.array([0.0, 0.499, 0.501, 0.69] * 3)
    object.__setattr__(selection, "clean_probability", 1 - divergence / math.log(2))
    assert method._refined_by(selection).tolist() == pytest.approx([1, 1, 1 - 0.501, 1 - 0.69] * 3)
    assert plain._refined_by(selection).tolist() == pytest.approx((1 - divergence / math.log(2)).tolist())


def test_network_2_learns_from_a_selection_that_is_made_after_network_1_was_trained(learner):
    method = learner()
    method.epoch(1)
    before = method.networks[0].state_dict()["main.weight"].clone()
    first, second = method.training.selectors
    method.epoch(2)
    assert len(first.probes) == len(second.probes) == 1  # a selector that remembers is asked once an epoch
    assert not torch.equal(before, method.networks[0].main.weight)
    assert [probe is seen for probe, seen in zip(method.probes, (first.probes[0], second.probes[0]), strict=True)]


def test_selectors_of_both_networks_see_network_1_before_and_after_it_was_trained(learner, scripted):
    class OfBoth(scripted):
        all_networks = True

    selectors = [OfBoth([True, False, True, True] * 3) for _ in range(2)]
    method = learner(selectors=selectors)
    method.epoch(1)
    method.epoch(2)
    (one,), (other,) = (selector.probes for selector in selectors)
    assert (one.logits != other.others[0].logits).any()  # network 1 had been trained
    assert (one.others[0].logits == other.logits).all()  # network 2 not yet


def judged(far, rows=None):
    """What the quota rule selects among the samples at `rows` where only those at `far` disagree with their labels."""
    rows = np.arange(12) if rows is None else np.asarray(rows)
    labels = np.array(LABELS)[rows]
    logits = np.where(labels[:, None] == np.arange(3), 8.0, 0.0).astype(np.float32)
    logits[np.isin(rows, far)] *= -1
    probe = Probe(np.zeros((len(rows), 2), np.float32), logits, None, labels, rows)
    return Quota().select(probe, 2).among(12, None if len(rows) == 12 else rows)


def labelled(learner, selection, fill):
    method = learner(selectors=[Quota(), Quota()], fill=fill)
    return torch.cat(method._co_divided(0, 2, selection)[0]).sort().values.tolist()


@pytest.mark.parametrize("fill", ["none", "release"])
def test_the_release_has_image_0_where_no_class_took_a_place(learner, fill):
    # Ten are near: three of each class, of the last both. Two places are left, one of which no class can have.
    filled = [0, 0] if fill == "release" else []
    assert labelled(learner, judged(far=[0, 9]), fill) == [*filled, 1, 2, 3, 6, 7, 8, 10, 11]


@pytest.mark.parametrize("fill", ["none", "release"])
def test_of_a_draw_it_has_the_first_sample(learner, fill):
    filled = [4] if fill == "release" else []  # seven are near, two of each class are taken
    assert labelled(learner, judged(far=[9], rows=range(4, 12)), fill) == [*filled, 4, 5, 6, 7, 10, 11]


def test_where_all_places_are_taken_the_fill_changes_nothing(learner):
    selection = judged(far=[0, 3, 4, 5, 8, 9])
    one, other = (learner(selectors=[Quota(), Quota()], fill=fill) for fill in ("none", "release"))
    steps = [method._co_divided(0, 2, selection)[0] for method in (one, other)]
    assert all(torch.equal(a, b) for a, b in zip(*steps, strict=True))


def test_a_watching_selector_sees_the_batches_of_a_step_once(learner, scripted):
    class Watching(scripted):
        watches = True
        seen = 0

        def watch(self, logits):
            self.seen += 1

    selectors = [Watching([True, False, True, True] * 3) for _ in range(2)]
    method = learner(selectors=selectors)
    method.training = replace(method.training, watched=True)
    method.epoch(1)
    before = [selector.seen for selector in selectors], method.cost.steps
    method.epoch(2)
    assert [b - a for a, b in zip(before[0], [selector.seen for selector in selectors], strict=True)] == [
        (method.cost.steps - before[1]) // 2
    ] * 2
