"""HAR's weights and penalty against closed forms, a plain second implementation and finite differences
(algorithms/har.md).
"""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sfa_bench.choices.models import LIBRARIES, MODELS, NAMES, ModelConfig
from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.har import Har, gradient_norms, strengths
from sfa_bench.methods.single import Single
from sfa_bench.models import build
from sfa_bench.models.network import batch_norms
from sfa_bench.parts.losses import make_loss
from sfa_bench.parts.reweighting import class_balanced_weights

LABELS = [0] * 7 + [1] * 4 + [2] * 2
CE = {"loss": make_loss("ce"), "loss_name": "ce"}


# ---- class weights


def test_the_weights_of_the_worked_example():
    found = strengths(np.array([0.1, 0.3, 0.6]), np.array([5000, 500, 50]))
    assert found == pytest.approx([0.054089, 0.262653, 1], abs=1e-6)


def test_a_class_without_errors_or_samples_is_not_penalised():
    assert strengths(np.array([0.0, 0.5, 0.9]), np.array([10, 10, 0])).tolist() == [0, 1, 0]
    assert strengths(np.zeros(3), np.array([4, 3, 2])).tolist() == [0, 0, 0]


def test_equal_errors_leave_the_counts():
    counts = np.array([32, 1024])
    assert strengths(np.ones(2), counts) == pytest.approx([1, (32 / 1024) ** 0.4])


# ---- norms of gradients


def recorded(norms, forward):
    """What the forward pass gives, and of each layer its weight and its output's place in the graph."""
    layers = []

    def record(norm, inputs, output):
        layers.append((norm.weight, torch.autograd.graph.get_gradient_edge(output)))

    handles = [norm.register_forward_hook(record) for norm in norms]
    out = forward()
    for handle in handles:
        handle.remove()
    return out, layers


@pytest.fixture
def toy():
    """Linear, BatchNorm with a weight that is not 1, linear; in double precision."""
    generator = torch.Generator().manual_seed(3)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return network, torch.randn(5, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])


def test_behind_the_last_layer_the_norm_is_that_of_the_weighted_residual(toy):
    """∂CE/∂o_i = w ⊙ Aᵀ(p_i − onehot(y_i))/B."""
    network, x, y = toy
    logits, layers = recorded([network[1]], lambda: network(x))
    found = gradient_norms(F.cross_entropy(logits, y), layers)
    residual = (torch.softmax(logits, dim=1) - F.one_hot(y, 3)) / 5
    expected = (network[1].weight * (residual @ network[2].weight)).norm(dim=1)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-9)


def test_the_norms_are_those_of_finite_differences_before_the_affine_part(toy):
    network, x, y = toy
    before = F.batch_norm(network[0](x), None, None, training=True).detach()

    def loss(shift):
        return F.cross_entropy(network[2](network[1].weight * (before + shift) + network[1].bias), y).item()

    expected, h = torch.zeros(5, 4), 1e-6
    for i in range(5):
        for c in range(4):
            shift = torch.zeros(5, 4, dtype=torch.float64)
            shift[i, c] = h
            expected[i, c] = (loss(shift) - loss(-shift)) / (2 * h)
    logits, layers = recorded([network[1]], lambda: network(x))
    found = gradient_norms(F.cross_entropy(logits, y), layers)
    assert found.tolist() == pytest.approx(expected.norm(dim=1).tolist(), rel=1e-5)


def test_the_penalty_s_own_gradient_agrees_with_finite_differences(toy):
    network, x, y = toy

    def penalty(*values):
        names = [name for name, _ in network.named_parameters()]
        parameters = dict(zip(names, values, strict=True))
        with torch.no_grad():
            for name, value in network.named_parameters():
                value.copy_(parameters[name])
        layers = []

        def record(norm, inputs, output):
            layers.append((parameters["1.weight"], torch.autograd.graph.get_gradient_edge(output)))

        handle = network[1].register_forward_hook(record)
        logits = torch.func.functional_call(network, parameters, x)
        handle.remove()
        return gradient_norms(F.cross_entropy(logits, y), layers).sum()

    start = tuple(parameter.detach().clone().requires_grad_() for parameter in network.parameters())
    assert torch.autograd.gradcheck(penalty, start, eps=1e-6, atol=1e-6)


def test_a_certain_batch_has_no_penalty_and_no_gradient_that_is_not_finite(toy):
    network, x, _ = toy
    with torch.no_grad():
        network[2].weight.zero_()
        network[2].bias.copy_(torch.tensor([2000.0, 0, 0]))
    logits, layers = recorded([network[1]], lambda: network(x))
    penalty = gradient_norms(F.cross_entropy(logits, torch.zeros(5, dtype=torch.int64)), layers).sum()
    penalty.backward()
    assert penalty.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


# ---- the method


@pytest.fixture
def learner(make_view, make_training):
    """One batch of all 13 samples an epoch, in its order and without augmentation."""

    def make(cls=Har, errors=None, head=None, **options):
        training = make_training(make_view(LABELS), batch_size=7, head=head, class_errors=errors)
        return cls(training, **CE, **options)

    return make


def by_hand(method, class_weights=None):
    """The main head's loss on all samples, and Σ_b ‖∂L/∂o_b,i‖, by a network that is written out with BatchNorm in two
    parts.
    """
    network = copy.deepcopy(method.networks[0])
    layers, maps = network.backbone.layers, (method.training.view.images.float() / 255 - 0.4) / 0.3
    kept = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            before = F.batch_norm(maps, None, None, training=True)
            kept.append(before)
            maps = layer.weight[:, None, None] * before + layer.bias[:, None, None]
        elif isinstance(layer, nn.ReLU):
            maps = maps.clamp(min=0)
        else:
            maps = layer(maps)
    values = F.cross_entropy(network.main(maps.mean(dim=(2, 3))), torch.tensor(LABELS), reduction="none")
    weights = torch.ones(13) if class_weights is None else class_weights[torch.tensor(LABELS)]
    loss = (weights * values).sum() / weights.sum()
    gradients = torch.autograd.grad(loss, kept[1:])
    norms = torch.stack([gradient.flatten(1).square().sum(dim=1).sqrt() for gradient in gradients])
    return loss.item(), norms.sum(dim=0)


@pytest.mark.parametrize("errors", [None, np.array([0.2, 0.5, 0.9])])
def test_an_epoch_s_loss_has_the_penalty_by_class(learner, errors):
    method = learner(errors=errors, gamma=10.0)
    loss, norms = by_hand(method)
    lam = strengths(np.ones(3) if errors is None else errors, np.array([7, 4, 2]))
    penalty = (torch.from_numpy(lam).float()[torch.tensor(LABELS)] * norms).mean().item()
    figures = method.epoch(1)
    assert penalty > 0.001
    assert figures["penalty"] == pytest.approx(penalty, rel=1e-4)
    assert figures["loss"] == pytest.approx(loss + 10 * penalty, rel=1e-5)


def test_deferred_weights_are_in_the_loss_whose_gradients_are_penalised(learner):
    method = learner(gamma=10.0, schedule="drw", class_beta=0.9)
    loss, norms = by_hand(method, class_balanced_weights(torch.tensor([7, 4, 2]), 0.9))
    penalty = (method.strengths[torch.tensor(LABELS)] * norms).mean().item()
    assert method.epoch(17)["loss"] == pytest.approx(loss + 10 * penalty, rel=1e-5)


def test_the_balanced_head_learns_as_ever(learner):
    method, plain = (learner(cls, head=BalancedHead(), **gamma) for cls, gamma in ((Har, {"gamma": 5.0}), (Single, {})))
    figures, without = method.epoch(1), plain.epoch(1)
    assert figures["loss"] == pytest.approx(without["loss"] + 5 * figures["penalty"], rel=1e-5)
    for ours, theirs in zip(method.networks[0].abc.parameters(), plain.networks[0].abc.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(method.networks[0].main.weight, plain.networks[0].main.weight)


@pytest.mark.parametrize("options", [{}, {"networks": 2}, {"schedule": "drw"}, {"schedule": "drs"}])
def test_without_penalty_it_is_the_plain_method_to_the_bit(learner, options):
    method, plain = learner(gamma=0.0, **options), learner(Single, **options)
    for e in (1, 2, 17, 18):
        figures = method.epoch(e)
        assert figures.pop("penalty") is None
        assert figures == plain.epoch(e)
    for ours, theirs in zip(method.networks, plain.networks, strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
        )


def test_the_weights_of_classes_go_on_with_the_run(learner):
    first, second = learner(errors=np.array([0.2, 0.5, 0.9]), gamma=10.0), learner(gamma=10.0)
    first.epoch(1)
    second.load_state(copy.deepcopy(first.state()))
    assert first.epoch(2) == second.epoch(2)


# ---- the layers


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("convnet", (8, 8), 2),  # of 3
        ("convnet", (), 1),  # of 2, of the perceptron
        ("resnet32", (32, 32), 30),  # two in each of 15 blocks
        ("preact_resnet18", (32, 32), 16),
        ("resnet34", (32, 32), 32),
        ("cnn9", (32, 32), 8),  # of 9
        ("resnet50", (33, 33), 48),  # three in each of 16 blocks
    ],
)
def test_which_layers_count(name, size, count):
    made = build(ModelConfig(name=name, pretrained=False), 3, size, 4, ("main",), 0).backbone
    found = made.block_norms()
    assert len(found) == len({id(norm) for norm in found}) == count
    assert {id(norm) for norm in found} <= {id(norm) for norm in batch_norms(made)}
    first = batch_norms(made)[0]
    assert all(norm is not first for norm in found)


def test_a_description_says_whether_its_code_names_them():
    small = {"preact_resnet18": 1, "resnet32": 1, "convnet": 1}
    for name in NAMES:
        if name not in (
            "inception_resnet_v2",
            *LIBRARIES,
        ):  # takes 3 s to import, and its BatchNorm has a rectifier inside
            side = MODELS[name].smallest
            config = ModelConfig(name=name, width=small.get(name), pretrained=False)
            made = build(config, 3, (side, side), 4, ("main",), 0)
            assert bool(made.backbone.block_norms()) is MODELS[name].block_norms
    assert not MODELS["inception_resnet_v2"].block_norms
    assert not MODELS["external"].block_norms
