"""Co-teaching against algorithms/methods.md §6 written out again: who hands what to whom, and how much of it."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfa_bench.config.compose import compose
from sfa_bench.engine.build import build_method, knows
from sfa_bench.methods.base import BalancedHead, Optimisation
from sfa_bench.methods.coteaching import CoTeaching

LABELS = [0] * 7 + [1] * 4 + [2] * 2
CPU = torch.device("cpu")


@pytest.fixture
def learner(make_view, make_training):
    """By default one batch of all 13 samples an epoch."""

    def make(*, head=None, plain_batch=13, view=None, adam=None, **rest):
        own = {name: rest.pop(name) for name in ("forget_rate", "double_mean", "native") if name in rest}
        training = make_training(view or make_view(LABELS), head=head, plain_batch=plain_batch, **rest)
        training.optimisation = adam or training.optimisation
        return CoTeaching(training, **{"forget_rate": 0.4, **own})

    return make


def outputs(method):
    """What both networks give for all samples in train mode, before the epoch."""
    images = (method.training.view.images.float() / 255 - 0.4) / 0.3
    return [copy.deepcopy(network).train()(images) for network in method.networks]


def reference(each, keep):
    """(L₁, L₂) from the cross-entropies of both networks: means over what the *other* one finds easiest."""
    count = max(1, int(keep * len(each[0])))
    easiest = [
        sorted(range(len(values)), key=lambda i: (values[i], i))[:count] for values in (v.tolist() for v in each)
    ]
    return each[0][easiest[1]].mean(), each[1][easiest[0]].mean()


def table(epochs, forget_rate):
    """F by epoch, as algorithms/methods.md §6 lists it."""
    entries = np.concatenate([np.linspace(0, forget_rate, 10), np.full(max(0, epochs - 10), forget_rate)])
    return [entries[min(e, epochs - 1)] for e in range(1, epochs + 1)]


def test_each_network_learns_the_samples_of_small_loss_of_the_other(learner):
    method = learner(forget_rate=0.5)
    # Logits by hand: network 1 finds samples 0 and 1 easy, network 2 samples 2 and 3; all losses differ.
    z1 = torch.tensor([[3.0, 0], [2, 0], [0, 1], [0, 2]])
    z2 = torch.tensor([[0, 4.0], [0, 3], [5, 0], [6, 0]])
    method.labels = torch.zeros(4, dtype=torch.int64)
    method.forward = lambda k, images: SimpleNamespace(main=(z1, z2)[k], abc=None)
    losses = method._losses(torch.arange(4), torch.zeros(4, 1, 8, 8), 0.5)

    def ce(margin):
        return float(np.log1p(np.exp(-margin)))

    assert losses[0].item() == pytest.approx((ce(-1) + ce(-2)) / 2, rel=1e-6)  # z¹ on samples 2, 3
    assert losses[1].item() == pytest.approx((ce(-4) + ce(-3)) / 2, rel=1e-6)  # z² on samples 0, 1


@pytest.mark.parametrize("e", [1, 4, 9, 15])
@pytest.mark.parametrize("double_mean", [False, True])
@pytest.mark.parametrize("head", [None, BalancedHead()])
def test_an_epoch_is_the_specified_losses_and_one_step_of_each_network(learner, e, double_mean, head):
    method = learner(head=head, double_mean=double_mean, momentum=0.0, weight_decay=0.0)
    images, labels = (method.training.view.images.float() / 255 - 0.4) / 0.3, torch.tensor(LABELS)
    keep = 1 - table(20, 0.4)[e - 1]
    networks = [copy.deepcopy(network).train() for network in method.networks]
    outs = [network(images) for network in networks]
    losses = list(reference([F.cross_entropy(out.main, labels, reduction="none") for out in outs], keep))
    for k in (0, 1):
        if double_mean:
            losses[k] = losses[k] / int(keep * 13)
        if head is not None:
            losses[k] = losses[k] + F.cross_entropy(outs[k].abc + torch.tensor([7.0, 4.0, 2.0]).log(), labels)
        losses[k].backward()
    figures = method.epoch(e)
    assert figures["loss"] == pytest.approx(float(sum(losses)) / 2, rel=1e-5)
    assert figures["kept"] == pytest.approx(keep)
    for ours, before in zip(method.networks, networks, strict=True):
        for p, q in zip(ours.parameters(), before.parameters(), strict=True):
            torch.testing.assert_close(p, q - 0.1 * q.grad, rtol=1e-3, atol=1e-5)


def test_equal_losses_are_taken_in_order(learner):
    method = learner()
    z1, z2 = torch.zeros(4, 2), torch.arange(8.0).reshape(4, 2)  # network 1 finds all alike: samples 0 and 1
    z2[:, 1] *= 2
    method.labels = torch.zeros(4, dtype=torch.int64)
    method.forward = lambda k, images: SimpleNamespace(main=(z1, z2)[k], abc=None)
    expected = F.cross_entropy(z2[:2], torch.zeros(2, dtype=torch.int64))
    assert method._losses(torch.arange(4), torch.zeros(4, 1, 8, 8), 0.5)[1].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.4, 0.9, 0.99])
def test_the_share_kept_follows_the_table_and_at_least_one_sample_is(learner, rate):
    method, seen = learner(forget_rate=rate, plain_batch=5), []
    cut, forward = [], method.forward
    method.forward = lambda k, images: (cut.append(len(images)), forward(k, images))[1]
    for e in (1, 2, 8, 9, 10, 19, 20):
        figures = method.epoch(e)
        assert np.isfinite(figures["loss"])
        seen.append(1 - figures["kept"])
    assert seen == pytest.approx([table(20, rate)[e - 1] for e in (1, 2, 8, 9, 10, 19, 20)])
    assert cut[:6] == [5, 5, 5, 5, 3, 3], "both networks see the same batches"


def test_a_batch_of_one_is_learned_from(learner):
    method = learner(forget_rate=0.99)
    out = SimpleNamespace(main=torch.zeros(1, 3), abc=None)
    method.forward = lambda k, images: out
    losses = method._losses(torch.tensor([0]), torch.zeros(1, 1, 8, 8), 0.01)
    assert [loss.item() for loss in losses] == pytest.approx([np.log(3)] * 2)


def test_the_networks_start_apart_and_see_the_same_views(learner, make_view):
    method, shown = learner(view=make_view(LABELS, padding=2, flip=True), plain_batch=5), {0: [], 1: []}
    forward = method.forward
    method.forward = lambda k, images: (shown[k].append(images.clone()), forward(k, images))[1]
    assert not torch.equal(method.networks[0].main.weight, method.networks[1].main.weight)
    method.epoch(1)
    assert all(torch.equal(a, b) for a, b in zip(shown[0], shown[1], strict=True))


def test_native_pixels_are_only_scaled_in_training_and_prediction(learner, make_view):
    view = make_view(LABELS, padding=2, flip=True)
    method, shown = learner(view=view, native=True), []
    forward = method.forward
    method.forward = lambda k, images: (shown.append(images.clone()), forward(k, images))[1]
    scaled = view.images.float() / 255
    with torch.no_grad():
        expected = [copy.deepcopy(network).eval()(scaled).main.numpy() for network in method.networks]
    for answer, logits in zip(method.predict(view.images), expected, strict=True):
        assert answer["main"] == pytest.approx(logits, abs=1e-5)
    method.epoch(1)
    order = torch.randperm(13, generator=method.generator("shuffle", 0, 1))
    assert torch.equal(shown[0], scaled[order])


def test_with_adam_the_memory_shortens_where_the_rate_begins_to_fall_and_a_restart_changes_nothing(learner):
    adam = Optimisation(0.001, 0.9, 0.0, 99, 0.1, "coteaching_cifar10", 20, adam=True)  # from 0.4·20 = 8
    whole, second = learner(adam=adam, plain_batch=5), learner(adam=adam, plain_batch=5)
    rates = [whole.epoch(e)["lr"] for e in range(1, 8)]
    assert rates == pytest.approx([0.001] * 7)
    assert [o.param_groups[0]["betas"] for o in whole.optimisers] == [(0.9, 0.999)] * 2
    second.load_state(copy.deepcopy(whole.state()))
    assert whole.epoch(8) == second.epoch(8)
    assert [o.param_groups[0]["betas"] for o in second.optimisers] == [(0.1, 0.999)] * 2
    assert whole.optimisers[0].param_groups[0]["lr"] == 0.001
    for e in (9, 10):
        assert whole.epoch(e) == second.epoch(e)
    assert whole.optimisers[0].param_groups[0]["lr"] == pytest.approx(0.001 * 10 / 12)
    assert [o.param_groups[0]["betas"] for o in second.optimisers] == [(0.1, 0.999)] * 2
    for a, b in zip(whole.networks, second.networks, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_method_is_told_the_rate_of_wrong_labels_unless_it_is_given_one(make_view):
    def built(*typed):
        config = compose(["method=coteaching", "plugin=none", "epochs=3", *typed])
        return build_method(config, SimpleNamespace(view=make_view(LABELS)), [CPU]), knows(config)

    method, known = built("noise_ratio=0.3")
    assert (method.forget_rate, known) == (0.3, ["rate"])
    method, known = built("noise_ratio=0.3", "noise.assumed_rate=0.2")
    assert (method.forget_rate, known) == (0.2, ["rate"])
    method, known = built("noise_ratio=0.3", "method.forget_rate=0.1", "method.double_mean=true")
    assert (method.forget_rate, known, method.double_mean) == (0.1, [], True)
    assert method.training.view.transform.mean != (0.0,)


def test_its_native_recipe_is_the_originals(make_view):
    config = compose(["method=coteaching", "plugin=none", "dataset=cifar100", "recipe=native"])
    view = make_view(LABELS, side=32)
    method = build_method(config, SimpleNamespace(view=replace(view, images=view.images.repeat(1, 3, 1, 1))), [CPU])
    assert method.training.view.transform.mean == (0.0, 0.0, 0.0)
    assert (method.training.plain_batch, method.training.drop_last, method.training.epochs) == (128, True, 200)
    assert [isinstance(optimiser, torch.optim.Adam) for optimiser in method.optimisers] == [True] * 2
    assert method.optimisers[0].param_groups[0]["weight_decay"] == 0
    assert [method.training.optimisation.rate(e) for e in (1, 100, 150, 199)] == pytest.approx(
        [0.001, 0.001, 0.0005, 1e-5]
    )
    assert method.networks[0].feature_width == 128
    assert config.eval.ensemble == "prob_mean"
