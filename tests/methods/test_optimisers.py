"""The suite's optimisers take Torch's steps, without importing Torch's compiler."""

import subprocess
import sys

import pytest
import torch

from sfa_bench.methods import optimisers

OPTIONS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
    "Adam": {"lr": 1e-3, "weight_decay": 5e-4},
    "AdamW": {"lr": 1e-3, "weight_decay": 1e-2},
}


def trained(made, name, steps, after=None):
    generator = torch.Generator().manual_seed(1)
    weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), (3,))]
    optimiser = made(weights, **OPTIONS[name])
    if after is not None:
        optimiser.load_state_dict(after)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss = torch.tanh(torch.randn(5, 4, generator=generator) @ weights[0] + weights[1]).square().mean()
        loss.backward()
        optimiser.step()
    return weights, optimiser


@pytest.mark.parametrize("name", OPTIONS)
def test_steps_have_the_same_bits_also_after_a_resume(name):
    ours, theirs = (trained(getattr(module, name), name, 5) for module in (optimisers, torch.optim))
    assert all(torch.equal(a, b) for a, b in zip(ours[0], theirs[0], strict=True))
    assert ours[1].state_dict()["param_groups"] == theirs[1].state_dict()["param_groups"]
    resumed = [
        trained(getattr(module, name), name, 3, after=made[1].state_dict())[0]
        for module, made in ((optimisers, ours), (torch.optim, theirs))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*resumed, strict=True))


def test_a_step_records_no_gradient():
    weights, _ = trained(optimisers.SGD, "SGD", 2)
    assert all(weight.grad_fn is None and weight.requires_grad for weight in weights)


def test_no_compiler_is_imported():
    code = (
        "import sys, torch\nfrom sfa_bench.methods import optimisers\nw = torch.nn.Parameter(torch.ones(2))\n"
        "for made in (optimisers.SGD, optimisers.Adam, optimisers.AdamW):\n"
        "    o = made([w], lr=0.1); o.zero_grad(); w.sum().backward(); o.step(); o.load_state_dict(o.state_dict())\n"
        "print('torch._dynamo' in sys.modules)\ntorch.optim.SGD([w], lr=0.1)\nprint('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]  # Torch's own do import it: else this test shows nothing
