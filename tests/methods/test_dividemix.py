"""DivideMix over an epoch: who trains on whose selection and when, warm-up, ramp, cycling, empty sets, head options."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfa_bench.config.compose import compose
from sfa_bench.engine.build import averages_losses
from sfa_bench.errors import RunError
from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.dividemix import DivideMix

LABELS = [0] * 8 + [1] * 4 + [2] * 2
FIRST = np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0], dtype=bool)  # counts 4 2 1
SECOND = np.array([1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0], dtype=bool)  # counts 6 1 0
NONE, ALL = np.zeros(14, dtype=bool), np.ones(14, dtype=bool)


@pytest.fixture
def learner(make_view, make_training, scripted):
    def make(masks=(FIRST, SECOND), *, head=None, warmup=0, **rest):
        own = ("ramp_origin", "ramp_epochs", "confidence_penalty", "penalty", "schedule", "class_beta", "count_floor")
        own = (*own, "partner")
        options = {"ramp_origin": "one_based", "ramp_epochs": 16, "penalty": "uniform"}
        options |= {name: rest.pop(name) for name in own if name in rest}
        selectors = [scripted(mask, np.where(mask, p, 0.2)) for mask, p in zip(masks, (0.8, 0.7), strict=True)]
        training = make_training(make_view(LABELS), head=head, selectors=selectors, warmup=warmup, **rest)
        return DivideMix(training, lambda_u=25, alpha=4, temperature=0.5, guess_mode="train", **options)

    return make


def watched(method):
    """Record the arguments of every step."""
    steps, loss = [], method._loss
    loader, asked = method.loaders[torch.device("cpu")], []
    train_views = loader.train_views

    def ask(parts, generator, copies=1, strong=0):
        asked[:] = [rows.tolist() for rows in parts]
        return train_views(parts, generator, copies, strong)

    def spy(k, given, x_rows, views, share, weight):
        x, u = asked[:2]  # of this step: labelled and unlabelled batches come in turn
        del asked[:2]
        assert x == x_rows.tolist()
        steps.append({"k": k, "x": x, "u": u, "share": share, "weight": weight})
        steps[-1] |= {"w": given.clean_probability, "counts": given.log_counts.exp(), "weights": given.class_weights}
        return loss(k, given, x_rows, views, share, weight)

    method._loss, loader.train_views = spy, ask
    return steps


def weights(network):
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_each_network_trains_on_the_selection_of_the_other(learner):
    method = learner()
    steps = watched(method)
    method.epoch(1)
    for k, mask, p in ((0, SECOND, 0.7), (1, FIRST, 0.8)):
        mine = [step for step in steps if step["k"] == k]
        assert sorted(row for step in mine for row in step["x"]) == np.flatnonzero(mask).tolist()
        assert not {row for step in mine for row in step["u"]} & set(np.flatnonzero(mask))
        assert np.unique(mine[0]["w"]).tolist() == [0.2, p]


def test_both_select_before_either_trains_and_the_second_sees_the_first_already_trained(learner):
    method, phase, seen = learner(), [], []
    method.training.on_phase = phase.append
    method.training.on_step = lambda name, k, b, n: phase.append((name, k))

    def watch(j):
        network = method.networks[j]
        network.backbone.register_forward_pre_hook(
            lambda *_: seen.append((phase[-1], j, network.training, torch.is_grad_enabled(), weights(network)))
        )

    watch(0)
    watch(1)
    start = [weights(network) for network in method.networks]
    method.epoch(1)
    end = [weights(network) for network in method.networks]

    selecting = [entry for entry in seen if entry[0] == "selection"]
    assert seen[: len(selecting)] == selecting
    assert {entry[1] for entry in selecting} == {0, 1}
    for _, j, training, gradient, w in selecting:
        assert (training, gradient) == (False, False)
        assert torch.equal(w, start[j])
    for frozen, trained, expected in ((1, 0, start[1]), (0, 1, end[0])):
        entries = [entry for entry in seen if entry[0] == ("training", trained)]
        assert {j for _, j, *_ in entries} == {0, 1}
        for _, j, training, gradient, w in entries:
            assert training == (j == trained)
            if j == frozen:
                assert not gradient
                assert torch.equal(w, expected)
    assert not torch.equal(start[0], end[0])
    order = [entry for entry in phase if entry in (("training", 0), ("training", 1))]
    assert order == sorted(order)


def test_with_the_previous_partner_the_second_network_trains_as_if_the_first_had_not(learner):
    both, alone = learner(partner="previous"), learner()
    for e in (1, 2):
        alone.networks[0].load_state_dict(both.networks[0].state_dict())
        both.epoch(e)
        alone.select(e)
        alone.descend(1, e, alone._losses(1, e, alone.selections[0]))
        assert same(both.networks[1], alone.networks[1])
    updated = learner()
    updated.epoch(1)
    once = learner(partner="previous")
    once.epoch(1)
    assert same(once.networks[0], updated.networks[0])
    assert not same(once.networks[1], updated.networks[1])


def test_with_the_previous_partner_a_resume_at_an_epochs_end_is_exact_and_keeps_nothing_more(learner):
    whole, resumed = learner(partner="previous"), learner(partner="previous")
    whole.epoch(1)
    state = copy.deepcopy(whole.state())
    assert state.keys() == learner().state().keys()
    resumed.load_state(state)
    assert whole.epoch(2) == resumed.epoch(2)
    assert all(same(a, b) for a, b in zip(whole.networks, resumed.networks, strict=True))


@pytest.mark.parametrize(("counts", "floor"), [("selected", 1.0), ("selected", 0.5), ("observed", 1.0)])
def test_the_balanced_head_uses_the_counts_of_the_selection_it_trains_on(learner, counts, floor):
    method = learner(head=BalancedHead(counts, floor))
    steps = watched(method)
    method.epoch(1)
    own = {0: [6, 1, floor], 1: [4, 2, 1]} if counts == "selected" else {0: [8, 4, 2], 1: [8, 4, 2]}
    for step in steps:
        assert step["counts"].tolist() == pytest.approx(own[step["k"]], rel=1e-6)


def test_every_option_of_the_balanced_head_changes_what_is_learnt(learner):
    results = []
    for option in ({}, {"counts": "observed"}, {"count_floor": 0.1}, {"detach": True}):
        method = learner(head=BalancedHead(**option))
        method.epoch(1)
        results.append(weights(method.networks[0]))
    for i, a in enumerate(results):
        for b in results[:i]:
            assert not torch.allclose(a, b, atol=1e-4)


def test_a_detached_head_leaves_the_rest_of_the_network_as_without_it(learner):
    plain, detached = learner(warmup=1), learner(head=BalancedHead(detach=True), warmup=1)
    for e in (1, 2):
        plain.epoch(e)
        detached.epoch(e)
    for a, b in zip(plain.networks, detached.networks, strict=True):
        assert same(a.backbone, b.backbone)
        assert same(a.main, b.main)


def test_a_floor_of_zero_fails_with_a_sentence_where_a_class_is_not_selected(learner):
    with pytest.raises(RunError, match=r"network 1 is not finite in epoch 1.*count_floor"):
        learner(head=BalancedHead(count_floor=0.0)).epoch(1)


def test_the_unlabelled_samples_go_round_in_a_fresh_order_each_time(learner):
    mask = np.array([1] * 11 + [0] * 3, dtype=bool)
    method = learner((mask, mask), batch_size=2)
    steps = watched(method)
    method.epoch(1)
    taken = [step["u"] for step in steps if step["k"] == 0]
    # 11 labelled in batches of 2, the last one of 3; 3 unlabelled are one batch of 3 (no batch of one row).
    assert [len(step["x"]) for step in steps if step["k"] == 0] == [2, 2, 2, 2, 3]
    assert [sorted(u) for u in taken] == [[11, 12, 13]] * 5
    assert len({tuple(u) for u in taken}) > 1


def test_many_unlabelled_samples_come_without_repetition(learner):
    method = learner(batch_size=2)
    steps = watched(method)
    method.epoch(1)
    taken = [row for step in steps if step["k"] == 1 for row in step["u"]]  # 7 labelled, 7 not
    assert sorted(taken) == np.flatnonzero(~FIRST).tolist()


def test_orders_and_shares_differ_between_networks_and_epochs(learner):
    method = learner((FIRST, FIRST), batch_size=2)
    steps = watched(method)
    for e in (1, 2):
        method.epoch(e)
    assert len({str([step["x"] for step in steps[i : i + 3]]) for i in (0, 3, 6, 9)}) == 4
    assert len({step["share"] for step in steps}) == len(steps)


def test_an_empty_labelled_set_skips_the_network_that_would_train_on_it(learner):
    method = learner((FIRST, NONE))
    before = copy.deepcopy(method.networks)
    assert np.isfinite(method.epoch(1)["loss"])
    assert same(before[0], method.networks[0])
    assert not same(before[1], method.networks[1])
    assert learner((NONE, NONE)).epoch(1)["loss"] is None


def test_an_empty_unlabelled_set_trains_on_the_labelled_one(learner):
    method = learner((ALL, ALL), head=BalancedHead())
    steps = watched(method)
    before = copy.deepcopy(method.networks[0])
    assert np.isfinite(method.epoch(1)["loss"])
    assert all(step["u"] == [] for step in steps)
    assert not same(before, method.networks[0])


@pytest.mark.parametrize(("origin", "start"), [("one_based", 1), ("zero_based", 0)])
def test_the_unlabelled_weight_rises_with_epoch_and_batch(learner, origin, start):
    method = learner((FIRST, SECOND), warmup=2, batch_size=2, ramp_origin=origin)
    steps = watched(method)
    logged = [method.epoch(e).get("lambda_u") for e in (2, 3, 4, 30)]
    # Network 1 trains on 7 samples: M = ⌊7/2⌋ + 1 = 4 counted steps, network 2 on 7 as well.
    expected = [25 / 16 * (start + e + b / 4) for e in (0, 1) for b in range(3)] + [25.0] * 3
    for k in (0, 1):
        assert [step["weight"] for step in steps if step["k"] == k] == pytest.approx(expected)
    assert logged[0] is None
    assert logged[1:] == pytest.approx([25 / 16 * start, 25 / 16 * (start + 1), 25])


def test_the_counted_steps_exceed_the_real_ones_where_the_batch_divides_the_set(learner):
    mask = np.array([1] * 8 + [0] * 6, dtype=bool)
    method = learner((mask, mask), batch_size=4)
    steps = watched(method)
    method.epoch(1)  # M = ⌊8/4⌋ + 1 = 3
    assert [step["weight"] for step in steps if step["k"] == 0] == pytest.approx([25 / 16, 25 / 16 * (1 + 1 / 3)])


@pytest.mark.parametrize(("schedule", "e", "floor"), [("drw", 16, 1), ("drw", 17, 1), ("drw", 17, 3), ("none", 17, 1)])
def test_labelled_rows_are_weighted_from_the_switch_on_by_the_observed_counts_of_the_whole_set(
    learner, schedule, e, floor
):
    method = learner(schedule=schedule, class_beta=0.9, count_floor=floor)  # of 20 epochs: e > 16
    steps = watched(method)
    method.epoch(e)
    # 8, 4 and 2 samples, whatever is selected: one over the effective number, scaled to a sum of 3.
    raw = np.array([0.1 / (1 - 0.9 ** max(n, floor)) for n in (8, 4, 2)])
    for step in steps:
        if (schedule, e) == ("drw", 17):
            assert step["weights"].tolist() == pytest.approx(list(3 * raw / raw.sum()), rel=1e-5)
        else:
            assert step["weights"] is None


@pytest.mark.parametrize(
    ("typed", "averages"),
    [
        ("noise_ratio=0.9", True),
        ("noise_ratio=0.5", False),
        ("noise_ratio=0.5 noise.assumed_rate=0.9", True),  # what it is told, not what is
        ("noise_ratio=0.9 noise.assumed_rate=0.5", False),
        (f"noise=matrix noise.file={__file__}", False),
        (f"noise=matrix noise.file={__file__} noise.assumed_rate=0.9", True),
        ("dataset=arrays dataset.name=mine noise.assumed_rate=0.9", True),
        ("noise_ratio=0.9 method.selector.name=loss_gmm_cls", False),
    ],
)
def test_losses_are_averaged_where_the_told_rate_is_nine_tenths(typed, averages):
    assert averages_losses(compose(["plugin=none", *typed.split()])) is averages


@pytest.mark.parametrize("confidence_penalty", [False, True])
@pytest.mark.parametrize("head", [None, BalancedHead(), BalancedHead(counts="selected", count_floor=3)])
def test_the_warm_up_loss_is_that_of_the_specification(learner, head, confidence_penalty):
    method = learner(head=head, warmup=1, batch_size=7, confidence_penalty=confidence_penalty)
    view, labels = method.training.view, torch.tensor(LABELS)
    images = (view.images.float() / 255 - 0.4) / 0.3
    expected = 0
    for network in method.networks:
        out = copy.deepcopy(network).train()(images)
        expected += F.cross_entropy(out.main, labels).item() / 2
        if confidence_penalty:
            p = out.main.softmax(1)
            expected += (p * p.log()).sum(1).mean().item() / 2
        if head is not None:  # observed counts 8 4 2, floored
            shift = torch.tensor([8.0, 4.0, max(2.0, head.count_floor)]).log()
            expected += F.cross_entropy(out.abc + shift, labels).item() / 2
    rows = []
    method.training.on_step = lambda *step: rows.append(step)
    figures = method.epoch(1)
    assert figures["loss"] == pytest.approx(expected, rel=1e-5)
    assert "lambda_u" not in figures
    assert rows == [("warm-up", 0, 0, 1), ("warm-up", 1, 0, 1)]  # 14 samples are one batch of 2B
    assert not method.selections
