"""The documented example of a method: its loss against numbers worked by hand, its epochs by what they depend on."""

import copy
import importlib.util
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

PATH = Path(__file__).resolve().parents[2] / "docs" / "examples" / "bootstrapping.py"
spec = importlib.util.spec_from_file_location("bootstrapping", PATH)
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)

# Logits (0, log 3) are the probabilities (1/4, 3/4); the label is the first class.
LOGITS = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
LABEL = torch.tensor([0])


@pytest.mark.parametrize(
    ("mode", "trust", "target"),
    [("soft", 0.8, (0.85, 0.15)), ("hard", 0.8, (0.8, 0.2)), ("soft", 0.0, (0.25, 0.75)), ("hard", 1.0, (1.0, 0.0))],
)
def test_the_loss_is_the_cross_entropy_to_the_mixed_target(mode, trust, target):
    expected = target[0] * math.log(4) + target[1] * math.log(4 / 3)
    assert example.bootstrap_loss(LOGITS, LABEL, trust, mode).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_the_gradient_is_that_of_the_whole_loss(mode):
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 1])
    torch.autograd.gradcheck(lambda z: example.bootstrap_loss(z, labels, 0.7, mode), logits)


def test_the_loss_is_the_mean_over_the_batch_and_cross_entropy_where_labels_are_trusted():
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 1, 2, 0, 1, 2])
    loss = example.bootstrap_loss(logits, labels, 1.0, "soft")
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)


def trained(make_training, view, epochs=2, **options):
    method = example.Bootstrapping(make_training(view), **options)
    for e in range(1, epochs + 1):
        method.epoch(e)
    return torch.cat([p.detach().flatten() for p in method.networks[0].parameters()])


def test_labels_are_corrected_from_the_named_epoch_on(make_training, make_view):
    view = make_view([0, 1, 2] * 6)
    never = trained(make_training, view, trust=0.5, from_epoch=9)
    assert torch.equal(trained(make_training, view, trust=0.5, from_epoch=3), never)
    assert torch.equal(trained(make_training, view, trust=1.0, from_epoch=1), never)
    second = trained(make_training, view, trust=0.5, from_epoch=2)
    assert not torch.equal(second, never)
    assert not torch.equal(trained(make_training, view, trust=0.5, from_epoch=2, mode="hard"), second)


def test_only_selected_samples_are_trained_on(make_training, make_view, scripted):
    labels = torch.tensor([0, 1, 2] * 6)
    mask = torch.arange(18) < 12
    wrong = torch.where(mask, labels, (labels + 1) % 3)
    weights = []
    for observed in (labels, wrong):
        method = example.Bootstrapping(
            make_training(make_view(observed), selectors=[scripted(mask.numpy())], plain_batch=18)
        )
        method.epoch(1)
        weights.append(method.networks[0].main.weight.detach().clone())
        assert method.cost.trained == 12
    assert torch.equal(*weights)


def test_a_run_that_goes_on_equals_one_that_never_stopped(make_training, make_view):
    view = make_view([0, 1, 2] * 6, padding=1, flip=True)
    straight = example.Bootstrapping(make_training(view), from_epoch=1)
    straight.epoch(1)
    state = copy.deepcopy(straight.state())
    resumed = example.Bootstrapping(make_training(view), from_epoch=1)
    resumed.load_state(state)
    assert straight.epoch(2) == resumed.epoch(2)
    for a, b in zip(straight.networks[0].parameters(), resumed.networks[0].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("trust", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(make_training, make_view, trust):
    with pytest.raises(ValueError, match="allowed is 0 <= trust <= 1"):
        example.Bootstrapping(make_training(make_view([0, 1, 2])), trust=trust)
