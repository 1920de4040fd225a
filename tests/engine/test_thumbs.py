"""`thumbs.npz`: the wrongly labelled images of a run (explanation/runs.md §4)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sfa_bench.engine.report import thumbs


def method(*clean_probabilities):
    return SimpleNamespace(selections=[SimpleNamespace(clean_probability=p) for p in clean_probabilities])


def data(size=(8, 8), channels=1, n=300, wrong=range(0, 300, 2), unknown=()):
    clean = np.zeros(n, dtype=np.int64)
    observed = clean.copy()
    observed[list(wrong)] = 1
    clean[list(unknown)] = -1
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.integers(0, 256, (n, channels, *size), dtype=np.uint8))
    view = SimpleNamespace(images=images, observed_labels=torch.from_numpy(observed))
    return SimpleNamespace(view=view, clean_labels=clean, index=np.arange(n) + 1000)


def test_those_that_fooled_the_selection_most_come_first():
    one, two = np.random.default_rng(1).random((2, 300))
    found = thumbs(method(one, two), data(unknown=[4]))
    wrong = [i for i in range(0, 300, 2) if i != 4]
    expected = sorted(wrong, key=lambda i: -(one[i] + two[i]))[:64]
    assert found["index"].tolist() == [i + 1000 for i in expected]
    assert found["clean_probability"] == pytest.approx([(one[i] + two[i]) / 2 for i in expected], abs=1e-6)
    assert (found["observed_label"] != found["clean_label"]).all()
    assert np.array_equal(found["image"][3, :, :, 0], data().view.images[expected[3], 0])


def test_without_a_selector_they_are_spread_over_the_data():
    found = thumbs(method(), data())
    assert len(found["index"]) == 64
    assert (found["index"][0], found["index"][-1]) == (1000, 1298)
    assert "clean_probability" not in found


def test_large_images_become_small_ones_of_the_same_shape_and_mean():
    source = data(size=(96, 48), channels=3, wrong=[5])
    found = thumbs(method(), source)["image"]
    assert found.shape == (1, 32, 16, 3)
    blocks = source.view.images[5].double().reshape(3, 32, 3, 16, 3).mean(dim=(2, 4))
    assert np.abs(found[0].transpose(2, 0, 1) - blocks.numpy()).max() <= 0.5


@pytest.mark.parametrize("case", [data(wrong=[]), data(channels=2)])
def test_no_wrong_label_or_no_image_makes_no_file(case):
    assert thumbs(method(), case) is None


def test_vectors_make_no_file():
    case = data()
    case.view.images = torch.zeros(300, 7)
    assert thumbs(method(), case) is None
