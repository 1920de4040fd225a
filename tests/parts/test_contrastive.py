"""The contrastive losses of algorithms/dasc.md, against its worked numbers and plain loops."""

import math

import numpy as np
import pytest
import torch

from sfa_bench.parts.contrastive import balanced_contrastive, instance_contrastive, masked_mean, view_contrastive

QUERIES = torch.tensor([[0.980581, 0.196116], [0.099504, 0.995037], [0.948683, 0.316228], [0.196116, 0.980581]])
PROTOTYPES = torch.eye(2)
HARD = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
SOFT = torch.tensor([[0.95, 0.05], [0.2, 0.8], [0.95, 0.05], [0.2, 0.8]])


def of(queries, prototypes, targets, temperature=0.1):
    entries = torch.cat([queries, prototypes])
    return balanced_contrastive(entries, torch.cat([targets, torch.eye(len(prototypes))]), len(queries), temperature)


def plainly(queries, prototypes, targets, temperature):
    """The same with loops over numbers."""
    entries = [*queries.tolist(), *prototypes.tolist()]
    wanted = [*targets.tolist(), *torch.eye(len(prototypes)).tolist()]
    favourite = [row.index(max(row)) for row in wanted]
    values = []
    for i, query in enumerate(queries.tolist()):
        similarity = [sum(a * b for a, b in zip(query, entry, strict=True)) / temperature for entry in entries]
        agree = [sum(a * b for a, b in zip(wanted[i], other, strict=True)) for other in wanted]
        agree[i] = 0.0
        below = 0.0
        for j, s in enumerate(similarity):
            if j != i:
                below += math.exp(s) / (favourite.count(favourite[j]) - agree[j])
        values.append(-sum(m * (s - math.log(below)) for m, s in zip(agree, similarity, strict=True)) / sum(agree))
    return values


def test_the_worked_numbers():
    assert float(of(QUERIES, PROTOTYPES, HARD).mean()) == pytest.approx(0.009582, abs=1e-5)
    confident = SOFT.amax(dim=1) > 0.9
    assert float(masked_mean(of(QUERIES, PROTOTYPES, SOFT), confident)) == pytest.approx(1.267813, abs=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 100])
def test_it_is_the_sum_written_out(classes):
    rng = np.random.default_rng(classes)
    rows = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(12, 5))), dim=1)
    prototypes = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(classes, 5))), dim=1)
    targets = torch.from_numpy(rng.dirichlet(np.full(classes, 0.2), 12))
    found = balanced_contrastive(torch.cat([rows, prototypes]), torch.cat([targets, torch.eye(classes)]), 12, 0.3)
    assert found.tolist() == pytest.approx(plainly(rows, prototypes, targets, 0.3), rel=1e-9)


def test_the_order_of_the_contrast_set_does_not_matter():
    entries, targets = torch.cat([QUERIES, PROTOTYPES]), torch.cat([SOFT, torch.eye(2)])
    order = torch.tensor([0, 3, 5, 1, 4, 2])
    one, other = (balanced_contrastive(e, t, 1, 0.1) for e, t in ((entries, targets), (entries[order], targets[order])))
    assert float(one) == pytest.approx(float(other), abs=1e-6)


def test_a_class_that_nobody_else_has_leaves_it_finite():
    alone = of(QUERIES[:1], PROTOTYPES, HARD[:1])
    assert torch.isfinite(alone).all()


def test_an_unconfident_sample_is_pulled_to_its_own_key_and_in_the_release_to_another():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    keys, memory = torch.tensor([[0.6, 0.8], [0.8, -0.6]]), torch.tensor([[-1.0, 0.0], [0.0, -1.0]])
    by_hand = []
    for q, key in zip(query.tolist(), keys.tolist(), strict=True):
        terms = [math.exp(sum(a * b for a, b in zip(q, v, strict=True)) / 0.5) for v in (key, *memory.tolist())]
        by_hand.append(-math.log(terms[0] / sum(terms)))
    own = instance_contrastive(query, keys, memory, 0.5)
    assert own.tolist() == pytest.approx(by_hand)
    (towards,) = torch.autograd.grad(-own.sum(), query)
    assert ((towards * keys).sum(dim=1) > 0).all()
    released = instance_contrastive(query, keys, memory, 0.5, torch.arange(2))
    assert float(released[0]) == pytest.approx(by_hand[0])  # the first row alone has its own key
    (towards,) = torch.autograd.grad(-released[1], query)
    assert float((towards[1] * keys[1]).sum()) < 0 < float((towards[1] * memory[0]).sum())


def test_without_a_memory_there_is_nothing_to_tell_apart_and_fewer_columns_are_no_error():
    keys = torch.tensor([[0.6, 0.8], [0.8, -0.6]])
    assert instance_contrastive(keys, keys, torch.zeros(0, 2), 0.5).tolist() == [0, 0]
    assert instance_contrastive(keys, keys, torch.zeros(0, 2), 0.5, torch.arange(2)).tolist() == [0, 0]


def test_a_mean_over_nobody_is_zero():
    values = torch.tensor([1.0, 2.0, 4.0])
    assert float(masked_mean(values, torch.tensor([True, False, True]))) == 2.5
    assert float(masked_mean(values, torch.zeros(3, dtype=torch.bool))) == 0


def test_views_of_a_sample_find_each_other_as_written_out():
    rng = np.random.default_rng(1)
    first, second = (torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(5, 7))), dim=1) for _ in "ab")
    views = [*first.tolist(), *second.tolist()]
    values = []
    for i, one in enumerate(views):
        terms = [math.exp(sum(a * b for a, b in zip(one, other, strict=True)) / 0.05) for other in views]
        values.append(-math.log(terms[(i + 5) % 10] / (sum(terms) - terms[i])))
    assert float(view_contrastive(first, second, 0.05)) == pytest.approx(sum(values) / 10)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert float(view_contrastive(first[order], second[order], 0.05)) == pytest.approx(sum(values) / 10)


def test_two_views_of_one_sample_alone_have_nothing_to_be_told_from():
    view = torch.tensor([[0.6, 0.8]])
    assert float(view_contrastive(view, view.flip(1), 0.05)) == 0
    assert float(view_contrastive(view[:0], view[:0], 0.05)) == 0
