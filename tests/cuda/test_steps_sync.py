"""No step waits for the device: shown with Torch's own debug mode, which fails where the host does."""

import made
import pytest
import torch

TYPED = [
    ("method=ce", "plugin=none"),
    ("method=ce", "plugin=sfa"),
    ("method=ce_mixup", "plugin=sfa"),
    ("method=gce", "plugin=abc"),
    ("method=ldam_drw", "plugin=none"),
    ("method=balanced_softmax", "plugin=sfa", "method.schedule=drw"),
    ("method=elr", "plugin=abc"),
    ("method=elr", "plugin=none", "method.plus=true"),
    ("method=coteaching", "plugin=none"),
    ("method=rolt", "plugin=none"),
    ("method=rolt", "plugin=sfa"),
    ("method=dividemix", "plugin=none"),
    ("method=dividemix", "plugin=sfa"),
    ("method=rolt_plus", "plugin=none", "method.schedule=drw"),
]


class Guard:
    """Torch's debug mode from an epoch's second step to the beginning of its last: what comes before and after may
    wait, since it comes once an epoch.
    """

    def __init__(self, device):
        self.watched, self.steps = device.type == "cuda", 0

    def __call__(self, phase, network, step, steps):
        inside = 1 <= step < steps - 1
        self.steps += inside
        if self.watched:
            torch.cuda.set_sync_debug_mode("error" if inside else "default")


@pytest.mark.parametrize("typed", TYPED, ids=" ".join)
@pytest.mark.parametrize("epoch", [1, 2, 9])  # warm-up, training, after the switch of DRW and of soft targets
def test_no_step_waits_for_the_device(typed, epoch, device):
    method = made.learner(typed, device)
    method.epoch(1)  # kernels are chosen and memory is taken in it
    guard = Guard(device)
    method.training.on_step = guard
    try:
        method.epoch(epoch)
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert guard.steps >= 1
