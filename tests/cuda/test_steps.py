"""Three optimisation steps of every method with every plug-in, against the CPU in float64 and in float32."""

from contextlib import contextmanager

import made
import pytest
from torch import Tensor

# The device adds in another order than the CPU: its error against float64 is of the same size as the CPU's own in
# float32, but not the same. Eight times leaves room for sums that one of them adds as a tree and the other in a row
# (their errors grow with log n and with n; here n is at most some hundreds), and for a step through a kink.
FACTOR, FLOOR = 8.0, 2e-6


@contextmanager
def in_double(monkeypatch):
    """Inside, what the suite casts to float32 becomes float64: the reference."""
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        yield


def doubled(method):
    """The learner with its networks, tables and views in float64."""
    for network in (*method.networks, *getattr(method, "twins", [])):
        network.double()
    for name in ("targets", "memories"):
        if hasattr(method, name):
            setattr(method, name, [table.double() for table in getattr(method, name)])
    for loader in method.loaders.values():
        test, changed = loader.test_view, loader._view
        loader.test_view = lambda index, view=test: view(index).double()
        loader._view = lambda index, generator, policy, view=changed: view(index, generator, policy).double()
    return method


def update(typed, epoch, device, double=False):
    """What an epoch of three steps adds to the weights."""
    method = made.learner(typed, device)
    if double:
        doubled(method)
    steps = method.cost.steps
    before = made.weights(method)
    method.epoch(epoch)
    assert method.cost.steps - steps == 3 * len(method.networks)
    return made.weights(method) - before


def relative(update, reference):
    return float((update - reference).norm() / reference.norm())


COMBINATIONS = made.combinations()


@pytest.mark.parametrize("typed", COMBINATIONS, ids=" ".join)
def test_three_steps_round_as_the_cpu_does(typed, device, rehearse, measured, monkeypatch):
    if rehearse and typed not in COMBINATIONS[::4]:
        pytest.skip("rehearsed with every fourth: the CPU rounds as it does itself")
    for name, epoch in (("warm-up", 1), ("training", 2)):
        with in_double(monkeypatch):
            reference = update(typed, epoch, "cpu", double=True)
        ours, theirs = (relative(update(typed, epoch, where), reference) for where in ("cpu", device))
        measured(**{f"{name}_cpu": ours, f"{name}_device": theirs})
        assert theirs <= FACTOR * ours + FLOOR, f"{name}: {theirs:.2e} against {ours:.2e} on the CPU"
