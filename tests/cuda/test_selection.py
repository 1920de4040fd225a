"""What a device's networks show the selectors, what these answer, and what the metrics say of it."""

import made
import numpy as np
import pytest
import torch

from sfa_bench.engine.metrics import test_metrics as figures_of
from sfa_bench.models.network import Network

SELECTORS = {
    "loss_gmm": ("method=dividemix", "plugin=none"),
    "loss_gmm_cls": ("method=dividemix", "plugin=none", "method.selector.name=loss_gmm_cls"),
    "proto": ("method=rolt_plus", "plugin=none"),
    "sfa": ("method=dividemix", "plugin=sfa"),
    "sfa_release": ("method=dividemix", "plugin=sfa_release"),
    "oracle": ("method=dividemix", "plugin=abc", "method.selector.name=oracle"),
}


def trained(typed, device):
    """After one warm-up epoch on the CPU, so that both sides have the same weights to the bit."""
    source = made.learner(typed, "cpu", scripted=False)
    source.epoch(1)
    method = made.learner(typed, device, scripted=False)
    for network, values in zip(method.networks, source.networks, strict=True):
        network.load_state_dict(values.state_dict())
    return method


@pytest.mark.parametrize("name", SELECTORS)
def test_the_same_weights_select_the_same_samples(name, device, measured):
    typed = SELECTORS[name]
    here, there = (trained(typed, where) for where in ("cpu", device))
    for method in (here, there):
        method.select(2)
    for k in range(len(here.networks)):
        one, other = here.probes[k], there.probes[k]
        # Selectors see half precision: numbers of two devices lie on the same grid, at most one step of it apart where
        # fp32's rounding falls on a border.
        error = np.abs(one.features - other.features).max() / np.abs(one.features).max()
        assert error <= 2**-10
        assert np.abs(one.logits - other.logits).max() <= 1e-4 * np.abs(one.logits).max()
        apart = float((here.selections[k].mask != there.selections[k].mask).mean())
        measured(**{f"features_{k + 1}": float(error), f"masks_apart_{k + 1}": apart})
        assert apart <= 0.01


def test_a_selector_answers_the_same_to_the_same_probe(device):
    """Selectors compute on the host: the same bits, whatever device the networks are on."""
    for typed in SELECTORS.values():
        here, there = (trained(typed, where) for where in ("cpu", device))
        probe = here.probe(0, 2)
        one, other = (method.training.selectors[0].select(probe, 2) for method in (here, there))
        assert np.array_equal(one.mask, other.mask)
        assert np.array_equal(one.clean_probability, other.clean_probability)


def test_metrics_of_the_devices_answers(device, measured):
    typed = ("method=dividemix", "plugin=sfa")
    here, there = (trained(typed, where) for where in ("cpu", device))
    images, labels = here.training.view.images, here.labels.numpy()
    groups = {name: [0, 1] for name in ("many", "medium", "few", "head", "mid", "tail")}
    one, other = (figures_of(m.predict(images), labels, "logit_sum", groups) for m in (here, there))
    for key, value in one.items():
        if isinstance(value, float):
            # One of the 96 images may lie on a border between two classes; calibration and F1 follow it.
            assert abs(value - other[key]) <= 100 / 96 + 1e-3, key
    measured(accuracy_cpu=one["test/acc"], accuracy_device=other["test/acc"])


def test_selection_and_evaluation_run_in_fp32_whatever_training_does(device, measured):
    """TF32 would round the inputs of each product to ten bits: errors of 3e-4, where fp32 has 1e-6."""
    typed = ("method=ce", "plugin=none", "precision=tf32")
    method = made.learner(typed, device)
    double = made.learner(typed, "cpu").networks[0].double().eval()
    double.load_state_dict({name: value.double().cpu() for name, value in method.networks[0].state_dict().items()})
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        answers = method.predict(method.training.view.images)[0]["main"]
        assert device.type != "cuda" or torch.backends.cudnn.allow_tf32  # training may still use it
    finally:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    expected = _logits(double, method)
    error = float(np.linalg.norm(answers - expected) / np.linalg.norm(expected))
    measured(error=error)
    assert error <= 1e-5


def _logits(network: Network, method) -> np.ndarray:
    images = made.learner(("method=ce", "plugin=none"), "cpu").loaders[torch.device("cpu")]
    with torch.no_grad():
        return network(images.test_view(torch.arange(len(method.training.view.images))).double()).main.numpy()
