"""Single-network learners against algorithms/sfa.md §8 (first row and "ABC without SFA") and algorithms/methods.md
§3.5–4.
"""

import copy

import numpy as np
import pytest
import torch

from sfa_bench import streams
from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.single import Single
from sfa_bench.parts.losses import make_loss
from sfa_bench.parts.reweighting import class_balanced_weights

LABELS = [0] * 7 + [1] * 4 + [2] * 2
MASK = np.array([1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0], dtype=bool)  # counts 5 1 0
OBSERVED, SELECTED = [7.0, 4.0, 2.0], [5.0, 1.0, 1.0]  # the selected ones floored at 1


@pytest.fixture
def learner(make_view, make_training, scripted):
    """By default one batch of all 13 samples an epoch."""

    def make(loss="ce", mask=None, *, main_subset="selected", padding=0, options=None, constants=None, **rest):
        options = {"main_subset": main_subset, **(options or {})}
        count = options.get("networks", 1)
        selectors = [] if mask is None else [scripted(mask) for _ in range(count)]
        training = make_training(make_view(LABELS, padding=padding), selectors=selectors, **{"batch_size": 7, **rest})
        return Single(training, loss=make_loss(loss, **(constants or {})), loss_name=loss, **options)

    return make


def cross_entropies(logits, counts=None):
    shifted = logits if counts is None else logits + torch.tensor(counts).log()
    return shifted.logsumexp(1) - shifted[torch.arange(13), LABELS]


def outputs(method):
    """What the network gives for all samples in train mode, before the epoch."""
    images = method.training.view.images.float() / 255
    with torch.no_grad():
        return copy.deepcopy(method.networks[0]).train()((images - 0.4) / 0.3)


def watch(method, seen):
    """Collect the rows of every training batch."""
    loader = method.loaders[torch.device("cpu")]
    train_view = loader.train_view
    loader.train_view = lambda rows, generator: (seen.append(rows.tolist()), train_view(rows, generator))[1]


def parameters(method):
    return {name: p.detach().clone() for name, p in method.networks[0].named_parameters()}


@pytest.mark.parametrize("main_subset", ["selected", "all"])
def test_what_a_loss_keeps_changes_for_the_samples_that_it_is_trained_on(learner, main_subset):
    method = learner(
        "sop", MASK, main_subset=main_subset, warmup=1, options={"networks": 2}, constants={"lr_u": 1e8, "lr_v": 1e8}
    )
    first, second = ([loss.u.clone(), loss.v.clone()] for loss in method.remembering)
    assert not torch.equal(first[0], second[0])
    method.epoch(2)
    trained = torch.from_numpy(MASK) if main_subset == "selected" else torch.ones(13, dtype=torch.bool)
    for before, loss in zip((first, second), method.remembering, strict=True):
        moved = loss.u != before[0]
        assert torch.equal(moved, trained)
        assert torch.equal((loss.v != before[1]).any(dim=1) & ~trained, torch.zeros(13, dtype=torch.bool))


def test_without_a_selector_the_loss_is_the_mean_over_the_batch(learner):
    for loss, counts in (("ce", None), ("balanced_softmax", OBSERVED)):
        method = learner(loss)
        expected = cross_entropies(outputs(method).main, counts).mean().item()
        assert method.epoch(1)["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("e", [1, 7])
def test_the_balanced_head_alone_learns_from_all_samples_from_the_first_epoch_on(learner, e):
    method = learner(head=BalancedHead(), warmup=5)
    out = outputs(method)
    expected = cross_entropies(out.main).mean() + cross_entropies(out.abc, OBSERVED).mean()
    assert method.epoch(e)["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_until_the_selection_starts_all_samples_and_observed_counts_are_used(learner):
    method = learner("balanced_softmax", MASK, head=BalancedHead(), warmup=1)
    out = outputs(method)
    expected = cross_entropies(out.main, OBSERVED).mean() + cross_entropies(out.abc, OBSERVED).mean()
    assert method.epoch(1)["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert not method.selections


@pytest.mark.parametrize(("loss", "counts"), [("ce", None), ("balanced_softmax", SELECTED)])
@pytest.mark.parametrize("main_subset", ["selected", "all"])
@pytest.mark.parametrize("abc", ["selected", "observed", None])
def test_with_a_selector_each_term_is_a_mean_over_the_samples_it_uses(learner, loss, counts, main_subset, abc):
    method = learner(loss, MASK, main_subset=main_subset, head=abc and BalancedHead(abc), warmup=1)
    out = outputs(method)
    s = torch.from_numpy(MASK).float()
    main = cross_entropies(out.main, counts)
    expected = main.mean() if main_subset == "all" else (s * main).sum() / 6
    if abc:
        balanced = cross_entropies(out.abc, SELECTED if abc == "selected" else OBSERVED)
        expected = expected + (s * balanced).sum() / 6
    assert method.epoch(2)["loss"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("abc", [True, False])
def test_a_batch_can_be_averaged_over_all_of_its_samples(learner, abc):
    method = learner("ce", MASK, head=BalancedHead() if abc else None, options={"average_over": "batch"}, warmup=1)
    out = outputs(method)
    assert method.epoch(1)["loss"] == pytest.approx(  # where nobody selects it makes no difference
        (cross_entropies(out.main).mean() + (cross_entropies(out.abc, OBSERVED).mean() if abc else 0)).item(), rel=1e-5
    )
    out, s = outputs(method), torch.from_numpy(MASK).float()
    expected = (s * cross_entropies(out.main)).sum() / 13
    if abc:
        expected = expected + (s * cross_entropies(out.abc, SELECTED)).sum() / 13
    assert method.epoch(2)["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_weighted_batch_can_be_averaged_over_all_of_its_samples(learner):
    method = learner("ce", MASK, options={"schedule": "drw", "average_over": "batch", **OPTIONS})
    losses, s = cross_entropies(outputs(method).main), torch.from_numpy(MASK).float()
    w = OF_SELECTED[torch.tensor(LABELS)]
    assert method.epoch(17)["loss"] == pytest.approx(((w * s * losses).sum() / w.sum()).item(), rel=1e-5)


@pytest.mark.parametrize("mask", [None, MASK])
def test_a_loss_that_remembers_follows_each_sample_from_the_warm_up_on(learner, mask):
    method = learner("ccs", mask, constants={"level": 0.45, "window": 4}, warmup=3, lr=0.5)
    (memory,) = method.remembering
    for e in range(1, 8):
        out, left_out = outputs(method), memory.rising(torch.arange(13)).clone()
        left_out[torch.arange(13), LABELS] = False
        losses = cross_entropies(out.main.masked_fill(left_out, -torch.inf))
        s = torch.ones(13) if mask is None or e <= 3 else torch.from_numpy(mask).float()
        assert method.epoch(e)["loss"] == pytest.approx(((s * losses).sum() / s.sum()).item(), rel=1e-4)
        assert memory.kept.tolist() == [e] * 13  # selected or not
        seen = memory.history[torch.arange(13), (e - 1) % 4].float()
        assert seen.numpy() == pytest.approx(out.main.softmax(1).numpy(), abs=1e-3)
    assert left_out.any()


def test_two_networks_remember_for_themselves(learner):
    method = learner("ccs", constants={"level": 0.1, "window": 4}, options={"networks": 2})
    method.epoch(1)
    first, second = method.remembering
    assert not torch.equal(first.history, second.history)


def test_the_floor_of_the_head_acts_on_the_head_alone(learner):
    method = learner("balanced_softmax", MASK, head=BalancedHead(count_floor=4), warmup=0)
    out = outputs(method)
    s = torch.from_numpy(MASK).float()
    main, balanced = cross_entropies(out.main, SELECTED), cross_entropies(out.abc, [5.0, 4.0, 4.0])
    assert method.epoch(1)["loss"] == pytest.approx((s * (main + balanced)).sum().item() / 6, rel=1e-5)


def test_a_floor_of_zero_does_not_hurt_where_the_missing_class_has_no_selected_sample(learner):
    assert np.isfinite(learner(mask=MASK, head=BalancedHead(count_floor=0)).epoch(1)["loss"])


def test_nobody_selected_costs_nothing_and_only_decays_the_weights(learner):
    method = learner(mask=np.zeros(13, dtype=bool), head=BalancedHead(), weight_decay=0.5, momentum=0)
    before = parameters(method)
    assert method.epoch(1)["loss"] == 0
    for name, p in parameters(method).items():
        assert torch.allclose(p, before[name] * (1 - 0.1 * 0.5)), name


def test_a_detached_head_leaves_the_rest_of_the_network_as_without_it(learner):
    plain, detached = learner(mask=MASK, warmup=1), learner(mask=MASK, head=BalancedHead(detach=True), warmup=1)
    attached = learner(mask=MASK, head=BalancedHead(), warmup=1)
    for method in (plain, detached, attached):
        method.epoch(1)
        method.epoch(2)
    a, b, c = parameters(plain), parameters(detached), parameters(attached)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_batches_hold_twice_the_labelled_batch_and_every_sample_once(learner):
    method, seen = learner(batch_size=3), []
    watch(method, seen)
    method.epoch(1)
    method.epoch(2)
    # 13 samples: 6 and 7, because a batch of one row joins the one before.
    assert [len(rows) for rows in seen] == [6, 7, 6, 7]
    assert sorted(seen[0] + seen[1]) == sorted(seen[2] + seen[3]) == list(range(13))
    assert seen[0] != seen[2]


def test_the_selection_looks_at_all_samples_in_order_without_augmentation_in_eval_mode(learner):
    method = learner(mask=MASK, head=BalancedHead(), padding=1)
    images = (method.training.view.images.float() / 255 - 0.4) / 0.3
    with torch.no_grad():
        expected = copy.deepcopy(method.networks[0]).eval()(images)
    before = copy.deepcopy(method.networks[0].state_dict())
    method.select(1)
    probe = method.training.selectors[0].probes[0]
    for ours, theirs in zip((probe.features, probe.logits, probe.abc_logits), expected[:3], strict=True):
        assert ours == pytest.approx(theirs.numpy(), abs=1e-5, rel=5e-4)  # features come in half precision
    assert probe.observed_labels.tolist() == LABELS
    after = method.networks[0].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after)


def test_the_selection_can_look_at_augmented_views(learner):
    method = learner(mask=MASK, padding=1, selection_view="train")
    plain = learner(mask=MASK, padding=1)
    method.select(1)
    plain.select(1)
    assert not np.allclose(
        method.training.selectors[0].probes[0].features, plain.training.selectors[0].probes[0].features
    )


def test_augmented_views_do_not_depend_on_how_many_are_looked_at_at_once(learner):
    """`eval.batch_size` is the machine's: no part of a run's identity."""
    seen = []
    for size in (5, 7, 1000):
        method = learner(mask=MASK, padding=1, selection_view="train", evaluation_batch=size)
        method.select(1)
        seen.append(method.training.selectors[0].probes[0].features)
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])


def test_the_learning_rate_drops_before_the_first_step_of_its_epoch(learner):
    method = learner(drop_from=3, momentum=0, weight_decay=0)
    for e, rate in ((1, 0.1), (2, 0.1), (3, 0.01), (4, 0.01)):
        gradient_of, before = copy.deepcopy(method.networks[0]).train(), parameters(method)
        images = (method.training.view.images.float() / 255 - 0.4) / 0.3
        cross_entropies(gradient_of(images).main).mean().backward()
        assert method.epoch(e)["lr"] == pytest.approx(rate)
        bias = before["main.bias"] - rate * gradient_of.main.bias.grad
        assert torch.allclose(parameters(method)["main.bias"], bias, atol=1e-6)


def test_the_weight_decay_acts_on_every_parameter(learner):
    with_decay, without = learner(weight_decay=0.5, head=BalancedHead()), learner(weight_decay=0, head=BalancedHead())
    start = parameters(without)
    with_decay.epoch(1)
    without.epoch(1)
    for name, p in parameters(without).items():
        decayed = parameters(with_decay)[name]
        assert torch.allclose(decayed, p - 0.1 * 0.5 * start[name], atol=1e-6), name
    assert any("1.weight" in name for name in start)  # BatchNorm's among them


def test_the_optimiser_has_plain_momentum(learner):
    method = learner(momentum=0.9)
    defaults = method.optimisers[0].defaults
    assert (defaults["momentum"], defaults["nesterov"], defaults["dampening"]) == (0.9, False, 0)


def test_phases_are_called_by_their_names(learner):
    always, later = ["training", "training"], ["warm-up", "selection", "training"]
    for mask, warmup, expected in ((None, 5, always), (MASK, 1, later)):
        phases = []
        method = learner(mask=mask, warmup=warmup)
        method.training.on_phase = phases.append
        for e in (1, 2):
            method.epoch(e)
        assert phases == expected


WEIGHTS = class_balanced_weights(torch.tensor([7, 4, 2]), 0.9)  # a β at which classes this small differ
OF_SELECTED = class_balanced_weights(torch.tensor([5, 1, 0]), 0.9)
OPTIONS = {"class_beta": 0.9}


@pytest.mark.parametrize(
    ("loss", "schedule", "e", "weighted"),
    [("ce", "drw", 16, False), ("ce", "drw", 17, True), ("cb_ce", "none", 1, True), ("ce", "none", 20, False)],
)
def test_classes_are_weighted_from_the_switch_on(learner, loss, schedule, e, weighted):
    method = learner(loss, options={"schedule": schedule, **OPTIONS})  # of 20 epochs: e > 16
    losses = cross_entropies(outputs(method).main)
    w = WEIGHTS[torch.tensor(LABELS)] if weighted else torch.ones(13)
    assert method.epoch(e)["loss"] == pytest.approx(((w * losses).sum() / w.sum()).item(), rel=1e-5)


def test_weights_follow_the_selected_samples(learner):
    method = learner("ce", MASK, head=BalancedHead(), options={"schedule": "drw", **OPTIONS})
    out = outputs(method)
    s = torch.from_numpy(MASK).float()
    w = s * OF_SELECTED[torch.tensor(LABELS)]
    main = (w * cross_entropies(out.main)).sum() / w.sum()
    balanced = (s * cross_entropies(out.abc, SELECTED)).sum() / 6  # the balanced head has its prior instead
    assert method.epoch(17)["loss"] == pytest.approx((main + balanced).item(), rel=1e-5)


def test_a_weighted_focal_loss_is_a_plain_mean_with_the_unweighted_probability(learner):
    method = learner("focal", options={"schedule": "drw", **OPTIONS}, constants={"gamma": 1.0})
    ce = cross_entropies(outputs(method).main)
    expected = (WEIGHTS[torch.tensor(LABELS)] * (1 - (-ce).exp()) * ce).mean()
    assert method.epoch(17)["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_resampling_starts_at_the_switch_and_repeats_rows(learner):
    method, seen = learner(options={"schedule": "drs", **OPTIONS}), []
    watch(method, seen)
    method.epoch(16)
    assert sorted(seen.pop()) == list(range(13))
    drawn = []
    for e in (17, 18, 19, 20):
        method.epoch(e)
        drawn += seen.pop()
    assert len(drawn) == 4 * 13
    assert len(set(drawn[:13])) < 13
    tail = np.isin(drawn, [11, 12]).mean()
    assert tail > 2 / 13 * 1.2  # two of thirteen samples, whose class is a third of the weight


@pytest.mark.parametrize(("mask", "counts"), [(None, OBSERVED), (MASK, SELECTED)])
def test_resampling_follows_the_samples_in_use(learner, mask, counts):
    method, seen = learner(mask=mask, options={"schedule": "drs", **OPTIONS}), []
    watch(method, seen)
    method.epoch(17)
    of_class = torch.tensor([0.1 / (1 - 0.9**n) for n in counts], dtype=torch.float64)
    stream = streams.torch_generator(0, "resample", 0, 17)
    assert seen == [torch.multinomial(of_class[LABELS], 13, replacement=True, generator=stream).tolist()]


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("loss", ["ce", "balanced_softmax"])
def test_mixup_mixes_what_is_used_and_weighs_both_labels(learner, loss, mask):
    method = learner(loss, mask, head=BalancedHead(), options={"mixup": True})
    used = torch.arange(13) if mask is None else torch.from_numpy(mask).nonzero()[:, 0]
    order = torch.randperm(13, generator=streams.torch_generator(0, "shuffle", 0, 3))
    rows = order[torch.isin(order, used)]
    share = float(streams.numpy_generator(0, "mixup_share", 0, 3).beta(1, 1))
    partner = torch.randperm(len(rows), generator=streams.torch_generator(0, "mixup", 0, 3))
    images = (method.training.view.images.float() / 255 - 0.4) / 0.3
    mixed = share * images[rows] + (1 - share) * images[rows[partner]]
    with torch.no_grad():
        out = copy.deepcopy(method.networks[0]).train()(mixed)
    counts = torch.tensor(OBSERVED if mask is None else SELECTED)
    expected = 0
    for weight, of in ((share, rows), (1 - share, rows[partner])):
        labels = torch.tensor(LABELS)[of]
        main = out.main if loss == "ce" else out.main + counts.log()
        expected += weight * torch.nn.functional.cross_entropy(main, labels)
        expected += weight * torch.nn.functional.cross_entropy(out.abc + counts.log(), labels)
    assert method.epoch(3)["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_two_networks_are_two_independent_runs_that_vote(learner):
    both = learner("ce", MASK, options={"networks": 2}, padding=1)
    alone = learner("ce", MASK, padding=1)
    both.epoch(1)
    alone.epoch(1)
    first, second = both.networks
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), alone.networks[0].parameters(), strict=True))
    assert not any(
        torch.equal(a, b) for a, b in zip(first.backbone.parameters(), second.backbone.parameters(), strict=True)
    )
    assert len(both.selections) == len(both.predict(both.training.view.images)) == 2


# of 13; where one row remains, it does not take a whole batch with it
@pytest.mark.parametrize(("size", "done"), [(5, (2, 10)), (20, (1, 13)), (6, (2, 12))])
def test_an_incomplete_last_batch_can_be_left_out(learner, size, done):
    method = learner(plain_batch=size, drop_last=True)
    method.epoch(1)
    assert (method.cost.steps, method.cost.trained) == done
