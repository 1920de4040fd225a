"""Decoupled classifiers against their formulas in NumPy and scikit-learn (algorithms/methods.md §10)."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from sfa_bench import models
from sfa_bench.choices.models import ModelConfig
from sfa_bench.classifiers.fit import cosine_rate, fit
from sfa_bench.classifiers.sampler import class_aware
from sfa_bench.data.types import EvaluationSet, LearnerView, Transform
from sfa_bench.errors import RunError
from sfa_bench.methods.base import Method, Optimisation, Training
from sfa_bench.selectors.base import Selection

LABELS = torch.tensor([0] * 30 + [1] * 12 + [2] * 6)


@pytest.fixture
def method():
    images = torch.randint(0, 256, (48, 1, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    images[torch.arange(48), 0, LABELS, :] = 255
    view = LearnerView(images, LABELS, 3, Transform((0.4,), (0.3,), 1))
    model = ModelConfig(name="convnet", width=4)
    return Method(
        Training(
            view=view,
            build_network=lambda k: models.build(model, 1, (8, 8), 3, ("main",), seed=k),
            optimisation=Optimisation(0.1, 0.9, 0, 99, 0.1),
            seed=0,
            epochs=5,
            warmup_epochs=0,
            batch_size=4,
            plain_batch=8,
            evaluation_batch=50,
            devices=[torch.device("cpu")],
        )
    )


def features(method, images=None):
    images = method.training.view.images if images is None else images
    with torch.no_grad():
        return method.networks[0].eval().features((images.float() / 255 - 0.4) / 0.3).numpy()


def select(method, mask, **more):
    mask = np.asarray(mask)
    counts = np.bincount(LABELS.numpy()[mask], minlength=3)
    method.selections = [Selection(mask, mask.astype(float), mask.astype(float), counts, **more)]


def logits(fitted, method):
    return fitted.predict(method.training.view.images)[0]["main"]


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0, 2.0])
def test_tau_norm_divides_by_a_power_of_the_norms_and_drops_the_bias(method, tau):
    w = method.networks[0].main.weight.detach().numpy()
    expected = features(method) @ (w / np.linalg.norm(w, axis=1, keepdims=True) ** tau).T
    assert logits(fit("tau_norm", method, tau=tau), method) == pytest.approx(expected, abs=1e-4)


def test_tau_is_the_best_of_its_curve_on_the_validation_set_or_on_resampled_classes(method):
    w, f = method.networks[0].main.weight.detach().numpy(), features(method)
    val = EvaluationSet(method.training.view.images[::3], LABELS[::3])
    figures = fit("tau_norm", method, val=val).figures["network_1"]
    for tau, accuracy in figures["curve"].items():
        guesses = (f[::3] @ (w / np.linalg.norm(w, axis=1, keepdims=True) ** tau).T).argmax(1)
        assert accuracy == pytest.approx(100 * (guesses == LABELS[::3].numpy()).mean(), abs=1e-3)
    assert list(figures["curve"]) == pytest.approx([i / 10 for i in range(21)])
    assert figures["curve"][figures["tau"]] == max(figures["curve"].values())
    assert len(fit("tau_norm", method).figures["network_1"]["curve"]) == 21


def test_logit_adjustment_subtracts_the_log_prior_of_what_is_used(method):
    out = method.predict(method.training.view.images)[0]["main"]
    shift = 0.5 * np.log([30, 12, 6])
    assert logits(fit("logit_adjust", method, tau=0.5), method) == pytest.approx(out - shift, abs=1e-5)
    select(method, np.arange(48) % 2 == 0)
    assert logits(fit("logit_adjust", method), method) == pytest.approx(out - np.log([15, 6, 3]), abs=1e-5)


def test_ncm_is_the_nearest_centroid_of_centred_unit_features(method):
    f = features(method)
    unit = f - f.mean(0)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    used = np.arange(48) % 3 != 0
    for mask in (np.ones(48, dtype=bool), used):
        if not mask.all():
            select(method, mask)
        expected = NearestCentroid().fit(unit[mask], LABELS.numpy()[mask]).predict(unit)
        assert (logits(fit("ncm", method), method).argmax(1) == expected).all()


def test_ncm_takes_the_running_means_where_there_are_some(method):
    prototypes, center = np.eye(3, 8), np.linspace(0, 1, 8)
    select(method, np.ones(48, dtype=bool), prototypes=prototypes, center=center)
    centred = features(method) - center
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    expected = -np.square(unit[:, None] - prototypes[None]).sum(2)
    assert logits(fit("ncm", method, running_means=True), method) == pytest.approx(expected, abs=1e-4)


def test_lws_learns_one_factor_a_class_that_scales_the_bias_too(method):
    w, b = (p.detach().numpy().copy() for p in method.networks[0].main.parameters())
    fitted = fit("lws", method, epochs=2, batch_size=8, lr=0.1)
    s = fitted.heads[0].scales.detach().numpy()
    assert not np.allclose(s, 1)
    assert logits(fitted, method) == pytest.approx(s * (features(method) @ w.T + b), abs=1e-4)
    assert sum(p.numel() for p in fitted.heads[0].parameters() if p.requires_grad) == 3


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
@pytest.mark.parametrize("name", ["crt", "lws"])
def test_the_backbone_is_frozen_and_its_statistics_move_in_train_mode_only(method, name, bn_mode):
    before = copy.deepcopy(method.networks[0].state_dict())
    fit(name, method, epochs=2, batch_size=8, lr=0.1, bn_mode=bn_mode)
    for key, value in method.networks[0].state_dict().items():
        if "running" in key and bn_mode == "train":
            assert not torch.equal(value, before[key]), key
        elif "num_batches" not in key:
            assert torch.equal(value, before[key]), key


def test_crt_starts_anew_and_learns_the_same_every_time(method):
    fitted = fit("crt", method, epochs=30, batch_size=12, lr=0.1)
    assert fitted.heads[0].weight.shape == method.networks[0].main.weight.shape
    assert not torch.allclose(fitted.heads[0].weight, method.networks[0].main.weight, atol=0.01)
    losses = fitted.figures["network_1"]["loss"]
    assert losses[-1] < losses[0] - 0.01
    again = fit("crt", method, epochs=30, batch_size=12, lr=0.1)
    assert torch.equal(again.heads[0].weight, fitted.heads[0].weight)


def test_the_rate_falls_as_a_cosine_from_its_peak_and_never_is_zero():
    rates = [cosine_rate(0.1, e, 10) for e in range(1, 11)]
    assert rates[0] == 0.1
    assert rates[5] == pytest.approx(0.05)
    assert rates[9] == pytest.approx(0.05 * (1 + math.cos(0.9 * math.pi))) != 0


def test_only_what_was_selected_is_used(method):
    select(method, np.isin(np.arange(48), [0, 1, 2, 30, 31, 42]))
    seen = []
    loader = method.loaders[torch.device("cpu")]
    view = loader.train_view
    loader.train_view = lambda rows, generator: (seen.extend(rows.tolist()), view(rows, generator))[1]
    fitted = fit("crt", method, epochs=3, batch_size=4, lr=0.1)
    assert set(seen) <= {0, 1, 2, 30, 31, 42}
    assert fitted.figures["network_1"]["samples"] == 6
    select(method, np.zeros(48, dtype=bool))
    with pytest.raises(RunError, match="nothing to fit"):
        fit("crt", method, epochs=1, batch_size=4, lr=0.1)


def test_the_sampler_visits_classes_in_cycles_and_takes_four_items_of_each():
    rows = torch.arange(48)
    drawn = class_aware(rows, LABELS, 240, torch.Generator().manual_seed(0))
    visits = LABELS[drawn].view(-1, 4)
    assert (visits == visits[:, :1]).all()
    for cycle in visits[:, 0].view(-1, 3):
        assert sorted(cycle.tolist()) == [0, 1, 2]
    of_tail = drawn[LABELS[drawn] == 2]  # 80 draws of 6 items: each round uses every item once
    for start in range(0, 78, 6):
        assert sorted(of_tail[start : start + 6].tolist()) == list(range(42, 48))
    assert (LABELS[class_aware(rows[:42], LABELS, 80, torch.Generator().manual_seed(0))] < 2).all()
