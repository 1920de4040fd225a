"""`compile=true`: the same steps through torch.compile, of full batches alone."""

import os
import shutil

import pytest
import torch

from sfa_bench.methods.dividemix import DivideMix
from sfa_bench.methods.single import Single
from sfa_bench.parts.losses import make_loss

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler on a CPU"
)
LABELS = [0] * 9 + [1] * 8 + [2] * 5  # plain batches of 8, 8 and 6; labelled ones of 4, 4 and 3


def dividemix(training):
    return DivideMix(
        training,
        lambda_u=25,
        alpha=4,
        temperature=0.5,
        penalty="uniform",
        guess_mode="train",
        ramp_origin="one_based",
        ramp_epochs=16,
    )


def ce(training):
    return Single(training, loss=make_loss("ce"), loss_name="ce", main_subset="all")


@needs_compiler
@pytest.mark.parametrize(
    ("make", "sizes"), [(ce, {8}), (dividemix, {16})], ids=["cross-entropy", "both views of both batches"]
)
def test_an_epoch_is_the_same_to_rounding_and_only_full_batches_are_compiled(
    make_view, make_training, scripted, monkeypatch, make, sizes
):
    compiled, seen = torch.compile, set()

    def watching(function, **options):
        made = compiled(function, **options)

        def call(images):
            seen.add(len(images))
            return made(images)

        return call

    monkeypatch.setattr(torch, "compile", watching)
    found = []
    for through in (False, True):
        selectors = [] if make is ce else [scripted([True] * 11 + [False] * 11) for _ in range(2)]
        method = make(make_training(make_view(LABELS), selectors=selectors, compiled=through, lr=0.02))
        assert bool(seen) is False  # nothing yet, and nothing at all without the option
        figures = method.epoch(1)
        found.append(([p.detach().clone() for n in method.networks for p in n.state_dict().values()], figures["loss"]))
    (plain, loss), (through, same_loss) = found
    assert seen == sizes
    assert same_loss == pytest.approx(loss, rel=1e-5)
    for a, b in zip(plain, through, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
