"""ELR against the numbers of algorithms/numbers.md §1 and by hand; ELR+'s averages and targets (algorithms/methods.md
§5).
"""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from sfa_bench import streams
from sfa_bench.config.compose import compose
from sfa_bench.data import build as build_data
from sfa_bench.engine import build
from sfa_bench.engine.run import run
from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.elr import Elr, early_targets, regulariser

LOGITS = torch.tensor([[2, 0.5, -1, 0], [0.1, 0.2, 0.3, 0.4], [-1, 3, 0.5, 0.2]], dtype=torch.float64)
ROWS = torch.tensor([0, 2, 3])
LABELS = [0] * 7 + [1] * 4 + [2] * 2


@pytest.fixture
def learner(make_view, make_training):
    def make(head=None, plain_batch=13, **options):
        training = make_training(make_view(LABELS), head=head, plain_batch=plain_batch)
        return Elr(training, **{"beta": 0.7, "weight": 3.0, **options})

    return make


def test_two_steps_on_one_batch_give_the_specified_losses():
    targets = early_targets(torch.zeros(3, 4, dtype=torch.float64), LOGITS, 0.7)
    per_sample = (1 - (targets * F.softmax(LOGITS, dim=1)).sum(1)).log()
    assert per_sample.tolist() == pytest.approx([-0.176677, -0.078972, -0.254738], abs=1e-6)
    ce = F.cross_entropy(LOGITS, ROWS)
    assert (ce + 3 * regulariser(targets, LOGITS)).item() == pytest.approx(1.034396, abs=1e-6)
    targets = early_targets(targets, LOGITS, 0.7)
    assert (ce + 3 * regulariser(targets, LOGITS)).item() == pytest.approx(0.602804, abs=1e-6)


def test_the_gradient_goes_through_the_prediction_only_and_stops_at_the_clamp():
    logits = LOGITS.clone().requires_grad_()
    targets = early_targets(torch.full((3, 4), 0.1, dtype=torch.float64), logits, 0.7)
    assert not targets.requires_grad
    assert torch.autograd.gradcheck(lambda z: regulariser(targets, z), logits)
    certain = torch.tensor([[100.0, 0.0]], requires_grad=True)
    regulariser(torch.tensor([[0.9, 0.1]]), certain).backward()
    assert certain.grad.abs().max() == 0


def test_an_epoch_is_cross_entropy_and_the_pull_to_the_targets(learner):
    method = learner(head=BalancedHead())
    images = (method.training.view.images.float() / 255 - 0.4) / 0.3
    labels = torch.tensor(LABELS)
    for e in (1, 2):
        before = method.targets[0].clone()
        with torch.no_grad():
            out = copy.deepcopy(method.networks[0]).train()(images)
        p = F.softmax(out.main, dim=1).clamp(1e-4, 1 - 1e-4)
        targets = 0.7 * before + 0.3 * p / p.sum(1, keepdim=True)
        expected = F.cross_entropy(out.main, labels) + 3 * (1 - (targets * p).sum(1)).log().mean()
        expected += F.cross_entropy(out.abc + torch.tensor([7.0, 4.0, 2.0]).log(), labels)
        assert method.epoch(e)["loss"] == pytest.approx(expected.item(), rel=1e-5)
        assert torch.allclose(method.targets[0], targets, atol=1e-6)


def test_targets_of_a_sample_follow_its_row_however_the_batches_fall(learner):
    method = learner(plain_batch=4)
    method.epoch(1)
    assert torch.allclose(method.targets[0].sum(1), torch.full((13,), 0.3), atol=1e-5)  # every row once


def test_mixup_mixes_inputs_labels_and_targets(learner):
    method = learner(mixup=True)
    order = torch.randperm(13, generator=streams.torch_generator(0, "shuffle", 0, 1))
    share = float(streams.numpy_generator(0, "mixup_share", 0, 1).beta(1, 1))
    partner = torch.randperm(13, generator=streams.torch_generator(0, "mixup", 0, 1))
    images = ((method.training.view.images.float() / 255 - 0.4) / 0.3)[order]
    network = copy.deepcopy(method.networks[0]).train()
    with torch.no_grad():
        p = F.softmax(network(images).main, dim=1).clamp(1e-4, 1 - 1e-4)
        targets = 0.3 * p / p.sum(1, keepdim=True)
        logits = network(share * images + (1 - share) * images[partner]).main
    hot = F.one_hot(torch.tensor(LABELS)[order], 3).float()
    mixed = share * hot + (1 - share) * hot[partner]
    q = share * targets + (1 - share) * targets[partner]
    guess = F.softmax(logits, dim=1).clamp(1e-4, 1 - 1e-4)
    expected = -(mixed * F.log_softmax(logits, 1)).sum(1).mean() + 3 * (1 - (q * guess).sum(1)).log().mean()
    assert method.epoch(1)["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_plus_predicts_by_averages_that_follow_the_networks(learner):
    method = learner(plus=True)
    start = [copy.deepcopy(network) for network in method.networks]
    method.epoch(1)
    decay = 0.997 * math.exp(-5 * (1 - 2 / 40_000) ** 2)
    for twin, before, network in zip(method.twins, start, method.networks, strict=True):
        triples = zip(twin.parameters(), before.parameters(), network.parameters(), strict=True)
        for average, old, new in triples:
            assert torch.allclose(average, decay * old + (1 - decay) * new, atol=1e-6)
    images = method.training.view.images
    with torch.no_grad():
        expected = method.twins[1].eval()((images.float() / 255 - 0.4) / 0.3).main
    assert method.predict(images)[1]["main"] == pytest.approx(expected.numpy(), abs=1e-5)


def test_pluss_targets_come_from_the_other_networks_average(learner):
    method = learner(plus=True)
    images = (method.training.view.images.float() / 255 - 0.4) / 0.3
    with torch.no_grad():
        guess = copy.deepcopy(method.twins[1]).eval()(images).main
    method.epoch(1)
    assert torch.allclose(method.targets[0], 0.3 * F.softmax(guess, dim=1), atol=1e-6)


# The release's counters, by hand: its step is 1 in the first batch, in the loss; its averages go by step + 1.
STEPS = {1: (1, 2), 2: (2, 3), 3: (3, 4), 39_999: (39_999, 40_000), 40_000: (40_000, 40_000)}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("source", "ramped", "twin_decay"), [("cifar100", True, 0.997), ("webvision", False, 0.997), ("c1m", False, 0.9999)]
)
def test_steps_count_as_in_the_release(make_view, make_training, source, ramped, twin_decay, step):
    training = make_training(make_view(LABELS, num_classes=100), plain_batch=13)
    method = Elr(training, beta=0.9, weight=7.0, plus=True, ramped=ramped, twin_decay=twin_decay)
    method.updates = [step - 1] * 2
    twin = copy.deepcopy(method.twins[0])
    seen, ramp = [], method._ramp
    method._ramp = lambda at: (seen.append(at), ramp(at))[1]
    method.descend(0, 1, method._losses(0, 1))
    in_loss, in_average = STEPS[step]
    if ramped:
        assert [min(at, 40_000) for at in seen] == [in_loss, in_average]
        decay = 0.997 * math.exp(-5 * (1 - in_average / 40_000) ** 2)
    else:
        assert seen == []
        decay = min(step / (step + 1), twin_decay)  # 1/2, 2/3, 3/4 … of the past
    for average, old, new in zip(*(m.parameters() for m in (method.twins[0], twin, method.networks[0])), strict=True):
        assert torch.allclose(average, decay * old + (1 - decay) * new, atol=1e-6)
    assert method.updates == [step, step - 1]


def test_sure_twins_make_targets_of_one_class_alone_as_in_the_release(make_view, make_training):
    """With a clamp in the targets, too, a sure twin of 100 classes would leave 1 % of the pull to the other 99."""
    training = make_training(make_view(range(13), num_classes=100), plain_batch=13)
    method = Elr(training, beta=0.9, weight=7.0, plus=True)
    classes = torch.arange(13)
    sure = 200 * F.one_hot(classes, 100).float()
    method.twins[1] = lambda images: SimpleNamespace(main=sure)
    method.forward = lambda k, images: SimpleNamespace(main=sure, abc=None)
    method.updates[0] = 40_000 - 1  # the ramp's end
    images = torch.zeros(13, 1, 8, 8)
    losses = [method._mixed_loss(0, classes, images, 1.0, torch.Generator()).item() for _ in range(200)]
    assert torch.allclose(method.targets[0], (1 - 0.9**200) * F.one_hot(classes, 100).float(), atol=1e-6)
    in_closed_form = 7 * math.log(1 - (1 - 0.9**200) * (1 - 1e-4))
    clamped = (1 - 1e-4) / (1 - 1e-4 + 99e-4)  # of the sure class, with 1e-4 for each of the others
    as_it_was = 7 * math.log(1 - clamped * (1 - 1e-4) - (1 - clamped) * 1e-4)
    assert losses[0] == pytest.approx(7 * math.log(1 - 0.1 * (1 - 1e-4)), rel=1e-4)
    assert losses[-1] == pytest.approx(in_closed_form, rel=1e-3)
    assert as_it_was - losses[-1] == pytest.approx(32.16, abs=0.1)


def test_labels_that_a_sure_twin_all_but_rules_out_keep_their_proportion(make_view, make_training):
    training = make_training(make_view([0, 1], num_classes=100), plain_batch=2)
    method = Elr(training, beta=0.5, weight=0.0, plus=True)
    guess = torch.zeros(2, 100)
    guess[:, 5] = 45.0  # e^-45 = 3e-20 for each of the others
    guess[:, 1] = math.log(3.0)  # and three times as much for class 1
    logits = torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    method.twins[1] = lambda images: SimpleNamespace(main=guess)
    method.forward = lambda k, images: SimpleNamespace(main=logits, abc=None)
    swap = next(s for s in range(9) if torch.randperm(2, generator=torch.Generator().manual_seed(s)).tolist() == [1, 0])
    images = torch.zeros(2, 1, 8, 8)
    loss = method._mixed_loss(0, torch.arange(2), images, 0.6, torch.Generator().manual_seed(swap))
    log_p = F.log_softmax(logits, dim=1)
    rows = [(0.6 * 1, 0.4 * 3), (0.4 * 1, 0.6 * 3)]  # share · target of class 0 and of class 1
    each = [-(a * log_p[i, 0] + b * log_p[i, 1]) / (a + b) for i, (a, b) in enumerate(rows)]
    assert loss.item() == pytest.approx(float(sum(each)) / 2, rel=1e-5)
    guess[:, 5] = 200.0  # nothing left of them in 32 bits: 0/0 in the release
    method.targets[0].zero_()
    loss = method._mixed_loss(0, torch.arange(2), images, 0.6, torch.Generator().manual_seed(swap))
    assert loss.item() == 0


@pytest.mark.parametrize("classes", [3, 100])
@pytest.mark.parametrize("ramped", [True, False])
def test_plus_mixes_nearer_partners_and_on_cifar_100_sharpens_labels_by_targets(
    make_view, make_training, classes, ramped
):
    training = make_training(make_view(LABELS, num_classes=classes), plain_batch=13)
    method = Elr(training, beta=0.7, weight=3.0, plus=True, ramped=ramped)
    order = torch.randperm(13, generator=streams.torch_generator(0, "shuffle", 0, 1))
    share = float(streams.numpy_generator(0, "mixup_share", 0, 1).beta(1, 1))
    share = max(share, 1 - share)
    partner = torch.randperm(13, generator=streams.torch_generator(0, "mixup", 0, 1))
    images = ((method.training.view.images.float() / 255 - 0.4) / 0.3)[order]
    with torch.no_grad():
        p = F.softmax(copy.deepcopy(method.twins[1]).eval()(images).main, dim=1)
        logits = copy.deepcopy(method.networks[0]).train()(share * images + (1 - share) * images[partner]).main
    targets = 0.3 * p
    hot = F.one_hot(torch.tensor(LABELS)[order], classes).float()
    mixed, q = (share * rows + (1 - share) * rows[partner] for rows in (hot, targets))
    guess = F.softmax(logits, dim=1).clamp(1e-4, 1 - 1e-4)
    strength = 3.0
    if classes == 100 and ramped:
        mixed = mixed * q / (mixed * q).sum(1, keepdim=True)
        strength *= math.exp(-5 * (1 - 1 / 40_000) ** 2)
    expected = -(mixed * F.log_softmax(logits, 1)).sum(1).mean() + strength * (1 - (q * guess).sum(1)).log().mean()
    assert method.descend(0, 1, method._losses(0, 1)) == pytest.approx(expected.item(), rel=1e-5)


def test_the_ramp_of_plus_ends_at_its_last_step(learner):
    method = learner(plus=True, ramp_steps=2)
    method.epoch(1)
    assert method.updates == [1, 1]
    before = copy.deepcopy(method.twins)
    method.updates = [2, 2]
    method.epoch(2)
    for average, old, new in zip(
        *(m.parameters() for m in (method.twins[0], before[0], method.networks[0])), strict=True
    ):
        assert torch.allclose(average, 0.997 * old + 0.003 * new, atol=1e-6)


@pytest.mark.parametrize(
    ("dataset", "ramped"), [("cifar10", True), ("cifar100", True), ("cifar10n", True), ("digits", False)]
)
def test_the_averages_are_ramped_on_cifar_alone(make_view, make_training, dataset, ramped):
    config = compose([f"dataset={dataset}", "method=elr", "method.plus=true", "plugin=none"])
    method = build._learner(config, make_training(make_view(LABELS)))
    assert (method.ramped, method.plus, method.mixup) == (ramped, True, True)


@pytest.mark.parametrize(
    ("dataset", "mixup_alpha", "twin_decay"),
    [
        ("digits", 1.0, 0.997),
        ("cifar10", 1.0, 0.997),
        ("cifar100n", 1.0, 0.997),
        ("webvision", 1.5, 0.997),
        ("clothing1m model.pretrained=false", 1.0, 0.9999),
    ],
)
def test_the_constants_of_plus_are_those_of_its_configuration_files(
    make_view, make_training, dataset, mixup_alpha, twin_decay
):
    config = compose([*f"dataset={dataset}".split(), "method=elr", "method.plus=true", "plugin=none"])
    method = build._learner(config, make_training(make_view(LABELS)))
    assert (method.mixup_alpha, method.twin_decay) == (mixup_alpha, twin_decay)
    single = compose([*f"dataset={dataset}".split(), "method=elr", "method.mixup=true", "plugin=none"])
    assert build._learner(single, make_training(make_view(LABELS))).mixup_alpha == 1


@pytest.mark.parametrize("which", ["twins", "trained"])
def test_the_twins_or_the_trained_networks_predict(make_view, make_training, which):
    config = compose(["method=elr", "method.plus=true", "plugin=none", f"method.predict={which}"])
    method = build._learner(config, make_training(make_view(LABELS), plain_batch=13))
    method.epoch(1)
    images = method.training.view.images
    with torch.no_grad():
        networks = method.twins if which == "twins" else copy.deepcopy(method.networks)
        expected = [network.eval()((images.float() / 255 - 0.4) / 0.3).main.numpy() for network in networks]
    for answer, logits in zip(method.predict(images), expected, strict=True):
        assert answer["main"] == pytest.approx(logits, abs=1e-5)


def test_what_is_kept_of_a_finished_run_predicts_by_the_averages(tmp_path):
    typed = ["method=elr", "method.plus=true", "plugin=none", "epochs=1", "threads=1", f"runs_dir={tmp_path}"]
    config = compose(typed)
    path = run(config, "", Console(quiet=True))
    state = torch.load(path / "last.pt", weights_only=True)["method"]
    data = build_data(config)
    method = build.build_method(config, data, [torch.device("cpu")])
    method.load_trained(state)
    with np.load(path / "predictions.npz") as saved:
        for k, heads in enumerate(method.predict(data.test.images), start=1):
            assert heads["main"] == pytest.approx(saved[f"test_logits_{k}_main"], abs=1e-4)
    assert not torch.equal(method.twins[0].main.weight, method.networks[0].main.weight)
