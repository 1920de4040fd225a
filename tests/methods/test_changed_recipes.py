"""What a user changes of a recipe does what Torch's own optimisers, schedulers and averages do."""

import copy
import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.engine.build import build_method
from sfa_bench.methods.base import Optimisation

SMALL = ["dataset=digits", "epochs=6", "warmup_epochs=1", "imb_factor=0.1", "model.width=2", "threads=1"]


def method(*words):
    config = compose([*SMALL, "method=ce", "plugin=abc", *words])
    return build_method(config, build(config), [torch.device("cpu")])


def rates(epochs, **given):
    o = Optimisation(0.3, 0.9, 0, drop_from=epochs // 2 + 1, drop=0.1, epochs=epochs, **given)
    return [o.rate(e) for e in range(1, epochs + 1)]


def of_torch(epochs, make):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler, found = make(optimiser), []
    for _ in range(epochs):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("epochs", [1, 2, 7, 60])
def test_cosine_is_torchs(epochs):
    assert rates(epochs, schedule="cosine") == pytest.approx(of_torch(epochs, lambda o: CosineAnnealingLR(o, epochs)))


@pytest.mark.parametrize("epochs", [4, 5, 7, 60, 200])
def test_onecycle_is_torchs(epochs):
    theirs = of_torch(epochs, lambda o: OneCycleLR(o, 0.3, total_steps=epochs))
    assert rates(epochs, schedule="onecycle") == pytest.approx(theirs, rel=1e-9)


def test_the_rate_rises_linearly_before_the_step_and_before_the_cosine():
    assert rates(8, warmup=3) == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.03, 0.03, 0.03, 0.03])
    assert rates(4, warmup=3) == pytest.approx([0.1, 0.2, 0.03, 0.03])  # the drop does not wait for it
    falling = [0.15 * (1 + math.cos(math.pi * i / 3)) for i in range(3)]
    assert rates(5, warmup=2, schedule="cosine") == pytest.approx([0.15, 0.3, *falling])


def steps(made, optimiser, clip=None):
    """Train a copy of the method's network by this optimiser on the batches of its first epoch; it after each step."""
    network = copy.deepcopy(made.networks[0]).train()
    optimiser = optimiser(network.parameters())
    labels = made.labels
    order = made.epoch_order(0, 1)
    prior = made.training.head.log_prior(made.observed_counts, torch.device("cpu"))
    for rows, images in made.views(0, made.plain_batches(order), made.generator("augmentation", 0, 1), "training"):
        out = network(images)
        loss = torch.nn.functional.cross_entropy(out.main, labels[rows])
        loss = loss + torch.nn.functional.cross_entropy(out.abc + prior, labels[rows])
        optimiser.zero_grad()
        loss.backward()
        if clip is not None:
            norm = sum(float((p.grad.double() ** 2).sum()) for p in network.parameters()) ** 0.5
            for p in network.parameters():
                p.grad *= min(1.0, clip / (norm + 1e-6))
        optimiser.step()
        yield network


OPTIMISERS = {
    "recipe.nesterov=true": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=5e-4, nesterov=True),
    "recipe.optimizer=adamw lr=0.002": lambda p: torch.optim.AdamW(p, lr=0.002, weight_decay=5e-4),
    "recipe.clip=0.5": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=5e-4),
}


@pytest.mark.parametrize("words", OPTIMISERS)
def test_an_epoch_is_that_of_torchs_optimiser(words):
    made, plain = method(*words.split()), method()
    *_, theirs = steps(made, OPTIMISERS[words], 0.5 if "clip" in words else None)
    made.epoch(1)
    plain.epoch(1)
    for ours, other, usual in zip(
        made.networks[0].parameters(), theirs.parameters(), plain.networks[0].parameters(), strict=True
    ):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(ours, usual, rtol=1e-4, atol=1e-6)


def test_the_average_is_that_of_a_loop_over_weights_and_statistics_and_predicts():
    made = method("recipe.ema=0.9")
    average = None
    for network in steps(made, lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=5e-4)):
        now = {name: value.double() for name, value in network.state_dict().items()}
        average = {
            name: value.clone() if average is None else 0.9 * average[name] + 0.1 * value for name, value in now.items()
        }
    made.epoch(1)
    (predictor,) = made.predictors()
    found = predictor.state_dict()
    assert found.keys() == average.keys()
    moved = [name for name in found if not torch.allclose(found[name], made.networks[0].state_dict()[name])]
    assert any("running_mean" in name for name in moved)
    assert any("main.weight" in name for name in moved)
    for name, value in found.items():
        if "num_batches" not in name:  # what it counts has no average
            torch.testing.assert_close(value.double(), average[name], rtol=1e-4, atol=1e-6)
    images = build(compose([*SMALL, "method=ce", "plugin=abc"])).test.images
    (answer,) = made.predict(images)
    predictor.eval()
    with torch.no_grad():
        expected = predictor(made.loader_of(images).test_view(torch.arange(len(images)))).main
    torch.testing.assert_close(torch.from_numpy(answer["main"]), expected, rtol=1e-4, atol=1e-5)


def test_training_and_selection_do_not_see_the_average():
    one, other = (method("plugin=sfa", *words) for words in ([], ["recipe.ema=0.9"]))
    for e in (1, 2):
        one.epoch(e)
        other.epoch(e)
    assert all(map(torch.equal, one.networks[0].state_dict().values(), other.networks[0].state_dict().values()))
    assert (one.selections[0].mask == other.selections[0].mask).all()


def test_an_original_keeps_its_adam_under_another_schedule_and_its_schedule_under_adamw():
    native = ["dataset=cifar10", "method=coteaching", "plugin=none", "recipe=native"]
    one = compose([*native, "recipe.schedule=cosine"]).recipe
    assert (one.effective.adam, one.effective.schedule, one.optimizer) == (True, "cosine", None)
    other = compose([*native, "recipe.optimizer=adamw"]).recipe
    assert (other.effective.adam, other.effective.schedule, other.schedule) == (False, "coteaching_cifar10", None)
    constant = Optimisation(0.1, 0.9, 0, 99, 0.1, schedule="cosine", epochs=200, adam=True)
    assert {constant.first_moment(e) for e in range(1, 201)} == {0.9}


def test_a_finished_runs_network_is_its_average():
    made, again = method("recipe.ema=0.9"), method("recipe.ema=0.9")
    made.epoch(1)
    again.load_trained({key: made.state()[key] for key in made.kept})
    expected = made.predictors()[0].state_dict().values()
    assert all(map(torch.equal, again.networks[0].state_dict().values(), expected))
    assert all(map(torch.equal, again.predictors()[0].state_dict().values(), expected))
