"""The second line of a run says what is trained how."""

import pytest

from sfa_bench.config.compose import compose
from sfa_bench.engine.session import setup


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("", "convnet · 1x8x8 · 60 epochs · cpu · sgd lr 0.02, step"),
        (
            "method=ce plugin=none model=timm model.name=resnet18.a1_in1k epochs=1 lr=1e-3 "
            "recipe.optimizer=adamw recipe.schedule=cosine",
            "resnet18.a1_in1k · 1x8x8 · 1 epoch · cpu · adamw lr 0.001, cosine",
        ),
        (
            "dataset=cifar10 method=coteaching plugin=none recipe=native",
            "cnn9 · 1x8x8 · 200 epochs · cpu · adam lr 0.001, coteaching_cifar10",
        ),
    ],
)
def test_it_names_model_size_epochs_device_optimiser_and_schedule(words, line):
    assert setup(compose(words.split()), (1, 8, 8), ["cpu"]) == line
    assert len(line) <= 80
