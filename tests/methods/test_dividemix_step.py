"""One step of DivideMix against algorithms/methods.md §7 and algorithms/sfa.md §7 written out again, in plain Torch."""

import copy

import pytest
import torch

from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.dividemix import DivideMix, DivideMixInputs

LABELS = [0] * 6 + [1] * 4 + [2] * 2
X, U = torch.tensor([0, 6, 10, 3]), torch.tensor([1, 7, 11])
W = torch.linspace(0.1, 0.95, 12, dtype=torch.float64)
LOG_COUNTS = torch.tensor([5.0, 3.0, 1.0]).log()
SHARE, WEIGHT, T = 0.3, 7.0, 0.5
EQUAL = torch.ones(2 * len(X))
# Labels of their own for three heads: observed ones, and mixtures that differ from row to row.
MIXED = torch.softmax(torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(4)), dim=2)
OWN = {"main": torch.eye(3)[LABELS], "abc": MIXED[0], "medium_head": MIXED[1]}


@pytest.fixture
def learner(make_view, make_training):
    def make(penalty="uniform", guess_mode="train", temperature=T, forwarded="all", partner="updated", **heads):
        return DivideMix(
            make_training(make_view(LABELS), **heads),
            lambda_u=25,
            alpha=4,
            temperature=temperature,
            penalty=penalty,
            guess_mode=guess_mode,
            ramp_origin="one_based",
            ramp_epochs=16,
            forwarded=forwarded,
            partner=partner,
        )

    return make


def four_views(method):
    """Make the four views of a step differ, though there is no augmentation: i-th view = image + 0.2·i."""
    loader, seen = method.loaders[torch.device("cpu")], []

    def train_view(rows, generator):
        seen.append(rows)
        return loader.test_view(rows) + 0.2 * len(seen)

    loader.train_view = train_view
    return seen


def loss_of(method, k=0, u_rows=U, log_counts=LOG_COUNTS, class_weights=None, weight=WEIGHT, own=None):
    given = DivideMixInputs(W, log_counts, torch.Generator().manual_seed(2), class_weights, own or {})
    stream = method.loaders[torch.device("cpu")].train_views([X, u_rows], torch.Generator().manual_seed(1), copies=2)
    loss, images = method._loss(k, given, X, (*next(stream), *next(stream)), SHARE, weight)
    method.trained_on = images
    return loss


def reference(method, k, u_rows, class_weights=None, own=None):
    """The step as the specification writes it: on copies of the networks, without the code under test. own: head →
    labels [N, K] of its own (algorithms/ibc.md §5), in place of refined ones.
    """
    trained, other = copy.deepcopy(method.networks[k]).train(), copy.deepcopy(method.networks[1 - k]).eval()
    view, labels = method.training.view, torch.tensor(LABELS)
    images = (view.images.float() / 255 - 0.4) / 0.3
    x1, x2, u1, u2 = (images[rows] + 0.2 * i for i, rows in enumerate((X, X, u_rows, u_rows), start=1))

    def p(network, images):
        z = network(images).main
        return z.exp() / z.exp().sum(1, keepdim=True)

    with torch.no_grad():
        trained.train(method.guess_mode == "train")
        t_u = torch.zeros(0, 3)
        if len(u_rows):
            q = p(trained, u1) + p(trained, u2) + p(other, u1) + p(other, u2)
            t_u = q ** (1 / T) / (q ** (1 / T)).sum(1, keepdim=True)
        half = 0.5 * (p(trained, x1) + p(trained, x2))
        w = W[X, None].float()
        r = w * torch.eye(3)[labels[X]] + (1 - w) * half
        t_x = r ** (1 / T) / (r ** (1 / T)).sum(1, keepdim=True)
    trained.train()
    share = max(SHARE, 1 - SHARE)
    rows = torch.cat([x1, x2, u1, u2])
    pi = torch.randperm(len(rows), generator=torch.Generator().manual_seed(2))
    mixed = share * rows + (1 - share) * rows[pi]
    if method.forwarded == "labelled":  # unlabelled images are partners alone
        mixed = mixed[:8]
    features = trained.features(mixed)

    def two_terms(logits, rows=EQUAL, head="main"):
        labels_x = own[head][X] if own else t_x
        targets = torch.cat([labels_x, labels_x, t_u, t_u])
        targets = share * targets + (1 - share) * targets[pi]
        log_p = logits - logits.logsumexp(1, keepdim=True)
        labelled = -(rows * (targets[:8] * log_p[:8]).sum(1)).sum() / rows.sum()
        if not len(log_p[8:]):
            return labelled
        return labelled + WEIGHT * ((log_p[8:].exp() - targets[8:]) ** 2).sum() / (3 * len(log_p[8:]))

    z = trained.main(features)
    # Deferred weights are those of a row's own observed label, not of its partner's (algorithms/methods.md §9).
    loss = two_terms(z) if class_weights is None else two_terms(z, torch.cat([class_weights[labels[X]]] * 2))
    if method.training.head.detach:
        features = features.detach()
    if trained.abc is not None:
        loss = loss + two_terms(trained.abc(features) + LOG_COUNTS, head="abc")
    if trained.medium_head is not None:
        loss = loss + two_terms(trained.medium_head(features) + 0.5 * LOG_COUNTS, head="medium_head")
    if method.penalty == "uniform":
        mean = torch.softmax(z, 1).mean(0)
        loss = loss + sum(1 / 3 * torch.log((1 / 3) / mean[c]) for c in range(3))
    return loss, trained, other


VARIANTS = {
    "dividemix": {},
    "without the penalty": {"penalty": "none"},
    "guesses in eval mode": {"guess_mode": "eval"},
    "balanced head": {"head": BalancedHead()},
    "balanced head, detached": {"head": BalancedHead(detach=True)},
    "balanced head, no penalty": {"head": BalancedHead(), "penalty": "none"},
    "class weights": {"class_weights": torch.tensor([0.3, 0.7, 2.0])},
    "labelled rows alone": {"forwarded": "labelled"},
    "labelled rows alone, no penalty": {"forwarded": "labelled", "penalty": "none"},
    "labelled rows alone, balanced head": {"forwarded": "labelled", "head": BalancedHead()},
    "labelled rows alone, class weights": {
        "forwarded": "labelled",
        "head": BalancedHead(),
        "class_weights": torch.tensor([0.3, 0.7, 2.0]),
    },
    "class weights, which the balanced head does not need": {
        "head": BalancedHead(),
        "class_weights": torch.tensor([0.3, 0.7, 2.0]),
    },
    "three heads": {"head": BalancedHead(), "heads": ("abc", "medium_head")},
    "three heads, detached": {"head": BalancedHead(detach=True), "heads": ("abc", "medium_head")},
    "three heads, labels of their own": {"head": BalancedHead(), "heads": ("abc", "medium_head"), "own": OWN},
    "labelled rows alone, labels of their own": {
        "forwarded": "labelled",
        "head": BalancedHead(),
        "heads": ("abc", "medium_head"),
        "own": OWN,
    },
    "class weights, labels of their own": {
        "head": BalancedHead(),
        "heads": ("abc", "medium_head"),
        "own": OWN,
        "class_weights": torch.tensor([0.3, 0.7, 2.0]),
    },
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("u_rows", [U, U[:0]], ids=["", "no unlabelled"])
def test_loss_gradients_and_batch_statistics_are_those_of_the_specification(learner, options, k, u_rows):
    options = dict(options)
    class_weights, own = options.pop("class_weights", None), options.pop("own", None)
    method = learner(**options)
    expected, trained, other = reference(method, k, u_rows, class_weights, own)
    four_views(method)
    method.networks[1 - k].eval()
    loss = loss_of(method, k, u_rows, class_weights=class_weights, own=own)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    loss.backward()
    for (name, ours), theirs in zip(method.networks[k].named_parameters(), trained.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5), name
    # The order of the forwards shows in the running statistics, which weigh later batches more.
    for ours, theirs in ((method.networks[k], trained), (method.networks[1 - k], other)):
        for (name, a), b in zip(ours.named_buffers(), theirs.buffers(), strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-6), name
    assert all(parameter.grad is None for parameter in method.networks[1 - k].parameters())


def test_with_the_previous_partner_network_2s_targets_come_from_network_1_as_the_epoch_found_it(learner):
    """Network 1 is moved after the epoch's start, as its own training does; the reference is given the old one."""
    expected, trained, old = reference(learner(), 1, U)
    losses = {}
    for partner in ("updated", "previous"):
        method = learner(partner=partner)
        with torch.no_grad():
            for parameter in method.networks[0].parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        four_views(method)
        method.networks[0].eval()
        losses[partner] = loss_of(method, 1)
    assert losses["previous"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["updated"].item() != pytest.approx(expected.item(), rel=1e-2)
    expected.backward()
    losses["previous"].backward()
    for (name, ours), theirs in zip(method.networks[1].named_parameters(), trained.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5), name
    assert not method.earlier.training
    for a, b in zip(method.earlier.state_dict().values(), old.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_each_image_is_augmented_twice(learner):
    method = learner()
    seen = four_views(method)
    loss_of(method)
    assert [rows.tolist() for rows in seen] == [X.tolist(), X.tolist(), U.tolist(), U.tolist()]


@pytest.mark.parametrize(("mode", "updates"), [("train", 5), ("eval", 1)])
def test_the_trained_network_updates_its_batch_statistics_five_times_and_the_frozen_one_never(learner, mode, updates):
    method = learner(guess_mode=mode)
    method.networks[1].eval()
    loss_of(method, k=0)
    counts = [{int(b) for n, b in net.named_buffers() if n.endswith("num_batches_tracked")} for net in method.networks]
    assert counts == [{updates}, {0}]
    assert method.networks[0].training
    assert method.cost.guessed == 4 * len(U) + 2 * len(X)
    assert method.trained_on == 2 * (len(X) + len(U))


def test_where_labelled_rows_alone_are_forwarded_unlabelled_images_are_their_partners(learner):
    forwarded, losses = [], []
    for u_rows in (U, torch.tensor([5, 9, 2])):
        method = learner(forwarded="labelled")
        four_views(method)
        method.networks[1].eval()
        method.networks[0].backbone.register_forward_pre_hook(lambda _, given: forwarded.append(len(given[0])))
        losses.append(loss_of(method, u_rows=u_rows).item())
        assert method.trained_on == 2 * len(X)
        assert method.cost.guessed == 4 * len(U) + 2 * len(X)
    assert forwarded == 2 * [len(U), len(U), len(X), len(X), 2 * len(X)]
    assert losses[0] != pytest.approx(losses[1])


def test_without_an_unlabelled_weight_all_rows_are_forwarded_unless_told_otherwise(learner):
    """They act on the penalty and on the batch statistics still."""
    losses = {}
    for forwarded in ("all", "labelled"):
        method = learner(forwarded=forwarded)
        four_views(method)
        method.networks[1].eval()
        losses[forwarded] = loss_of(method, weight=0.0).item()
        assert method.trained_on == 2 * (len(X) + (len(U) if forwarded == "all" else 0))
    assert losses["all"] != pytest.approx(losses["labelled"])


def test_the_targets_come_from_the_main_head_only(learner):
    gradients = []
    for scale in (0, 50):
        method = learner(head=BalancedHead())
        for network in method.networks:
            torch.nn.init.normal_(network.abc.weight, std=scale, generator=torch.Generator().manual_seed(3))
        four_views(method)
        loss_of(method).backward()
        gradients.append(method.networks[0].main.weight.grad)
    assert torch.allclose(*gradients, atol=1e-7)


def test_no_gradient_flows_through_the_targets(learner):
    method = learner(penalty="none")
    seen = []
    method.networks[0].backbone.register_forward_pre_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    loss_of(method)
    assert seen == [False] * 4 + [True]


def test_the_penalty_acts_on_the_main_head_only(learner):
    gradients = {}
    for penalty in ("uniform", "none"):
        method = learner(head=BalancedHead(), penalty=penalty)
        loss_of(method).backward()
        gradients[penalty] = (method.networks[0].main.weight.grad, method.networks[0].abc.weight.grad)
    assert torch.equal(gradients["uniform"][1], gradients["none"][1])
    assert not torch.allclose(gradients["uniform"][0], gradients["none"][0], atol=1e-4)


@pytest.mark.parametrize("count", [1.0, 17.0])
def test_with_equal_counts_the_balanced_terms_are_the_main_terms_of_the_other_head(learner, count):
    """Property 9 of algorithms/sfa.md §10, with both heads given the same weights."""
    plain, both = learner(penalty="none"), learner(head=BalancedHead(), penalty="none")
    for network in both.networks:
        network.abc.load_state_dict(network.main.state_dict())
    counts = torch.full((3,), count).log()
    assert loss_of(both, log_counts=counts).item() == pytest.approx(2 * loss_of(plain).item(), rel=1e-5)
