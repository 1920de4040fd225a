"""One step of DaSC against algorithms/dasc.md written out again in plain Torch, and what tells the release apart."""

import copy

import numpy as np
import pytest
import torch

from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.dasc import Dasc
from sfa_bench.methods.dividemix import DivideMixInputs
from sfa_bench.selectors.base import Selection

LABELS = [0] * 6 + [1] * 4 + [2] * 2
X, U = torch.tensor([0, 6, 10, 3]), torch.tensor([1, 7, 11])
W = torch.linspace(0.1, 0.95, 12, dtype=torch.float64)
LOG_COUNTS = torch.tensor([5.0, 3.0, 1.0]).log()
LAM, WEIGHT, T, CONFIDENT = 0.3, 7.0, 0.5, 0.55
OPTIONS = {
    "lambda_u": 25,
    "alpha": 4,
    "temperature": T,
    "penalty": "uniform",
    "guess_mode": "train",
    "ramp_origin": "one_based",
    "ramp_epochs": 16,
    "sbcl": 0.5,
    "midl": 0.3,
    "sbcl_temperature": 0.1,
    "midl_temperature": 0.5,
    "sbcl_from": 1,
    "memory": 10,
    "confidence": CONFIDENT,
    "refinement": "own",
    "positive": "own",
}


@pytest.fixture
def learner(make_view, make_training, scripted):
    def make(warmup=2, **options):
        mask = [True, False, True, True] * 3
        training = make_training(
            make_view(LABELS), head=BalancedHead(), warmup=warmup, selectors=[scripted(mask), scripted(mask)]
        )
        return Dasc(training, **{**OPTIONS, **options})

    return make


def views_of(method):
    """A weak and two strong views of both batches, all different: picture + 0.2·i."""
    pictures = (method.training.view.images.float() / 255 - 0.4) / 0.3
    return [pictures[rows] + 0.2 * i for i, rows in enumerate((X, X, X, U, U, U))]


def step(method, k=0):
    given = DivideMixInputs(W, LOG_COUNTS, torch.Generator().manual_seed(2))
    method.networks[k].train()
    method.networks[1 - k].eval()
    return method._loss(k, given, X, tuple(views_of(method)), LAM, WEIGHT)


def softmax(z):
    return z.exp() / z.exp().sum(1, keepdim=True)


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


def reference(method, k=0, release=False):
    """The step as the page writes it, on copies of the networks. Returns the loss and what is remembered."""
    mine, other = copy.deepcopy(method.networks[k]).train(), copy.deepcopy(method.networks[1 - k]).eval()
    x3, x1, x2, u3, u1, u2 = views_of(method)
    with torch.no_grad():
        q = (softmax(mine(u3).main) + softmax(other(u3).main)) / 2
        t_u = q**2 / (q**2).sum(1, keepdim=True)
        seen = [network(x3) for network in (mine, other)]
        p = sum(softmax(out.main) + softmax(out.abc) for out in seen) / 4
        w = W[X, None].float()
        r = w * torch.eye(3)[torch.tensor(LABELS)[X]] + (1 - w) * p
        t_x = r**2 / (r**2).sum(1, keepdim=True)
    inputs, targets = torch.cat([x1, x2, u1, u2]), torch.cat([t_x, t_x, t_u, t_u])
    pi = torch.randperm(14, generator=torch.Generator().manual_seed(2))
    mixed, wanted = (0.7 * rows + 0.3 * rows[pi] for rows in (inputs, targets))
    features = mine.features(mixed)
    loss = torch.zeros(())
    for z in (mine.main(features), mine.abc(features) + LOG_COUNTS):
        log_p = z - z.logsumexp(1, keepdim=True)
        loss = loss - (wanted[:8] * log_p[:8]).sum() / 8 + WEIGHT * ((log_p[8:].exp() - wanted[8:]) ** 2).sum() / 18
    mean = softmax(mine.main(features)).mean(0)
    loss = loss + sum(1 / 3 * torch.log((1 / 3) / mean[c]) for c in range(3))
    e = mine.projector(mine.features(inputs))
    entries = torch.cat([e, mine.prototype_projector(mine.main.weight)])
    y = torch.cat([targets, torch.eye(3)])
    favourite = y.argmax(1)
    count = torch.tensor([int((favourite == c).sum()) for c in favourite])
    confident = []
    for i in range(14):
        if targets[i].max() > CONFIDENT:
            s, m = (entries @ entries[i]) / 0.1, y @ y[i]
            rest = torch.arange(17) != i
            below = (s[rest].exp() / (count[rest] - m[rest])).sum()
            confident.append(-(m[rest] * (s[rest] - below.log())).sum() / m[rest].sum())
    loss = loss + 0.5 * sum(confident) / max(1, len(confident))
    rows = [(i, i + 4) for i in range(4)] + [(8 + i, 11 + i) for i in range(3)]  # first and second view of a sample
    unsure = [pair for pair in rows if targets[pair[0]].max() <= CONFIDENT]
    pulled = []
    for number, (one, two) in enumerate(unsure):
        logits = torch.stack([e[one] @ e[two].detach(), *(e[one] @ past for past in method.memories[k])]) / 0.5
        pulled.append(logits.logsumexp(0) - logits[min(number, len(logits) - 1) if release else 0])
    assert confident
    assert len(pulled) > 1  # the example has both kinds
    loss = loss + 0.3 * sum(pulled) / len(pulled)
    with torch.no_grad():
        remembered = mine.projector(features)[[4, 5, 6, 7, 11, 12, 13]]
    return loss, remembered


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("positive", ["own", "release"])
def test_loss_gradients_and_memory_are_those_of_the_page(learner, k, positive):
    method = learner(positive=positive)
    method.memories[k] = unit(torch.randn(6, 128, generator=torch.Generator().manual_seed(1)))
    expected, remembered = reference(method, k, positive == "release")
    before = method.memories[k]
    trained = copy.deepcopy(method.networks[k])
    loss, images = step(method, k)
    assert images == 28  # mixed ones, and those as they are
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert torch.allclose(method.memories[k], torch.cat([before, remembered])[-10:], atol=1e-5)
    loss.backward()
    gradients = [p.grad for p in method.networks[k].parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert any(not torch.equal(a, b) for a, b in zip(trained.buffers(), method.networks[k].buffers(), strict=True))


def test_the_two_targets_differ_where_there_is_a_memory_and_agree_where_there_is_none(learner):
    memory = unit(torch.randn(6, 128, generator=torch.Generator().manual_seed(1)))
    found = {}
    for kind in ("own", "release"):
        for size in (0, 6):
            method = learner(positive=kind)
            method.memories[0] = memory[:size]
            found[kind, size] = float(step(method)[0].detach())
    assert found["own", 0] == found["release", 0]
    assert found["own", 6] != pytest.approx(found["release", 6], abs=1e-4)


def test_without_contrastive_losses_nothing_is_projected_or_remembered(learner):
    method = learner(sbcl=0.0, midl=0.0)
    loss, images = step(method)
    assert images == 14
    assert len(method.memories[0]) == 0
    loss.backward()
    assert all(p.grad is None for p in method.networks[0].get_submodule("projector").parameters())


def test_a_label_is_refined_by_its_own_probability_and_in_the_release_by_that_of_another_sample(learner):
    method = learner()
    method.select(3)
    selection = method.selections[0]
    assert torch.equal(method._refined_by(selection), torch.from_numpy(selection.clean_probability))
    released = learner(refinement="release")
    probability = np.linspace(0.1, 0.9, 12)
    object.__setattr__(selection, "clean_probability", probability)
    found = released._refined_by(selection).numpy()
    rows = np.flatnonzero(selection.mask)
    assert (found[rows] == probability[: len(rows)]).all()  # the j-th selected has what sample j has
    object.__setattr__(selection, "mask", np.ones(12, dtype=bool))  # all selected: nothing is displaced
    assert (released._refined_by(selection).numpy() == probability).all()


def test_a_probe_has_projections_beside_the_heads_input(learner):
    method = learner()
    probe = method.probe(0, 3)
    assert probe.features.shape == (12, method.networks[0].feature_width)
    assert probe.projections.shape == (12, 128)
    assert np.linalg.norm(probe.projections, axis=1) == pytest.approx(np.ones(12), abs=1e-3)
    with torch.no_grad():
        again = method.networks[0].eval().projector(torch.from_numpy(probe.features))
    np.testing.assert_allclose(probe.projections, again.numpy(), atol=2e-3)


def test_of_a_draw_the_release_refines_by_the_probability_of_the_sample_in_the_same_place(learner):
    rows = np.arange(4, 12)
    drawn = Selection(np.arange(8) % 2 == 1, np.linspace(0.1, 0.8, 8), np.zeros(8), np.array([1, 2, 1]))
    weights = learner(refinement="release")._refined_by(drawn.among(12, rows)).numpy()
    assert weights[rows[1::2]].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_the_warm_up_contrasts_from_its_epoch_on_and_memories_change_hands(learner):
    method = learner(warmup=3)
    method.epoch(1)
    assert [len(memory) for memory in method.memories] == [0, 0]
    method.epoch(2)
    assert [len(memory) for memory in method.memories] == [10, 10]
    before = [memory.clone() for memory in method.memories]
    method.sbcl_from = 99  # nothing is added: what is left is the exchange
    method.epoch(3)
    assert torch.equal(method.memories[0], before[1])
    assert torch.equal(method.memories[1], before[0])


def test_another_process_goes_on_where_this_one_stopped(learner):
    whole, first, second = learner(), learner(), learner()
    for e in (1, 2, 3, 4):
        whole.epoch(e)
    for e in (1, 2, 3):
        first.epoch(e)
    second.load_state(first.state())
    second.epoch(4)
    for a, b in zip(whole.networks, second.networks, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole.memories, second.memories, strict=True))
