"""The tables of protocol.md §3 and of algorithms/methods.md §1, number by number."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfa_bench.config.compose import compose

NONE = ["plugin=none"]


def schedule(run):
    return run.model.name, run.model.width, run.epochs, run.warmup_epochs, run.batch_size, run.lr


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["dataset=digits"], ("convnet", 16, 60, 9, 32, 0.02)),
        (["dataset=synthetic"], ("convnet", 16, 60, 9, 64, 0.02)),
        (["dataset=arrays", "dataset.name=mine"], ("convnet", 16, 60, 9, 64, 0.02)),
        (["dataset=fashion_mnist"], ("preact_resnet18", 16, 30, 5, 64, 0.02)),
        (["dataset=cifar10"], ("preact_resnet18", 64, 200, 30, 64, 0.02)),
        (["dataset=cifar100"], ("preact_resnet18", 64, 200, 30, 64, 0.02)),
        (["dataset=cifar10n"], ("preact_resnet18", 64, 200, 30, 64, 0.02)),
        (["dataset=cifar100n"], ("preact_resnet18", 64, 200, 30, 64, 0.02)),
    ],
)
@pytest.mark.parametrize("method", ["method=dividemix", "method=ce"])
def test_matched_recipe(typed, expected, method):
    run = compose([*typed, method])
    assert schedule(run) == expected
    assert (run.recipe.momentum, run.recipe.weight_decay, run.recipe.lr_drop) == (0.9, 5e-4, 0.1)
    assert run.recipe.effective.lr_drop_epoch == expected[2] * 3 // 4 + 1


@pytest.mark.parametrize(
    ("typed", "epochs", "warmup", "drop", "ramp_origin"),
    [
        (["dataset=cifar10", "method=dividemix", "plugin=none"], 301, 10, 151, "zero_based"),
        (["dataset=cifar100", "method=dividemix", "plugin=none"], 301, 30, 151, "zero_based"),
        (["dataset=cifar10n", "method=dividemix", "plugin=none"], 301, 10, 151, "zero_based"),
        (["dataset=cifar100n", "method=rolt_plus", "plugin=none"], 300, 30, 151, "one_based"),
        (["dataset=cifar10", "method=dividemix", "plugin=sfa"], 200, 30, 151, "one_based"),
        (["dataset=cifar100", "method=dividemix", "plugin=sfa_release"], 200, 30, 151, "one_based"),
        (["dataset=cifar10", "method=dividemix", "plugin=ibc"], 200, 30, 151, "one_based"),
        (["dataset=cifar100", "method=dividemix", "plugin=ibc_release"], 200, 30, 151, "one_based"),
        (["dataset=cifar10", "method=rolt_plus", "plugin=none"], 300, 50, 151, "one_based"),
        (["dataset=cifar10", "method=rolt_plus", "plugin=none", "imb_factor=1"], 300, 10, 151, "one_based"),
        (["dataset=cifar100", "method=rolt_plus", "plugin=none", "imbalance=none"], 300, 30, 151, "one_based"),
    ],
)
def test_native_recipe(typed, epochs, warmup, drop, ramp_origin):
    run = compose([*typed, "recipe=native"])
    assert schedule(run) == ("preact_resnet18", 64, epochs, warmup, 64, 0.02)
    recipe, method = run.recipe, run.method
    assert (recipe.momentum, recipe.weight_decay, recipe.lr_drop) == (0.9, 5e-4, 0.1)
    assert (recipe.effective.plain_batch, recipe.effective.lr_drop_epoch) == (128, drop)
    assert (method.lambda_u, method.alpha, method.temperature, run.plugin.p_threshold) == (25, 4, 0.5, 0.5)
    assert method.ramp_origin == ramp_origin
    assert (run.recipe.effective.beta, run.recipe.effective.phi) == (0.99, 1.005)
    assert run.recipe.effective.ramp_epochs == 16


# model, epochs, batch, lr, weight decay, schedule, Adam, last batch dropped (algorithms/methods.md §1, §5, §6)
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("method=rolt", ("resnet32", 200, 128, 0.1, 2e-4, "cifar_lt", False, True)),
        ("method=rolt_drw dataset=cifar100", ("resnet32", 200, 128, 0.1, 2e-4, "cifar_lt", False, True)),
        ("method=ldam dataset=cifar100", ("resnet32", 200, 128, 0.1, 2e-4, "cifar_lt", False, False)),
        ("method=ldam_drw", ("resnet32", 200, 128, 0.1, 2e-4, "cifar_lt", False, False)),
        ("method=elr", ("resnet34", 150, 128, 0.02, 1e-3, "elr_cifar10", False, False)),
        ("method=elr noise=asymmetric", ("resnet34", 120, 128, 0.02, 1e-3, "elr_cifar10_asymmetric", False, False)),
        ("method=elr dataset=cifar100", ("resnet34", 150, 128, 0.02, 1e-3, "elr_cifar100", False, False)),
        ("method=coteaching", ("cnn9", 200, 128, 0.001, 0.0, "coteaching_cifar10", True, True)),
        ("method=coteaching dataset=cifar100", ("cnn9", 200, 128, 0.001, 0.0, "coteaching_cifar100", True, True)),
    ],
)
def test_native_recipe_of_single_batches(typed, expected):
    run = compose(["dataset=cifar10", *typed.split(), "plugin=none", "recipe=native"])
    e = run.recipe.effective
    found = (run.model.name, run.epochs, e.plain_batch, run.lr, run.recipe.weight_decay, e.schedule, e.adam)
    assert (*found, e.drop_last) == expected
    assert run.batch_size == 128
    assert run.method.native is ("coteaching" in typed)


def test_matched_plain_batches_are_twice_the_labelled_ones():
    e = compose(["method=rolt", "plugin=none"]).recipe.effective
    assert (e.plain_batch, e.schedule, e.adam, e.drop_last) == (64, "step", False, False)


def test_elr_plus_natively_runs_longer_on_a_hundred_classes():
    for dataset, epochs, drop in (("cifar10", 200, 151), ("cifar100", 250, 201)):
        run = compose([f"dataset={dataset}", "method=elr", "method.plus=true", "plugin=none", "recipe=native"])
        assert (run.model.name, run.epochs, run.recipe.effective.lr_drop_epoch) == ("preact_resnet18", epochs, drop)
        assert run.method.networks == 2
        assert (run.recipe.effective.plain_batch, run.lr, run.recipe.weight_decay) == (128, 0.02, 5e-4)
        assert (run.recipe.effective.schedule, run.recipe.lr_drop) == ("step", 0.1)


def test_per_epoch_constants_keep_their_meaning_on_digits():
    run = compose([])
    assert run.recipe.effective.beta == pytest.approx(0.9670538286, abs=1e-10)  # 0.99^(200/60)
    assert run.recipe.effective.phi == pytest.approx(1.0167641050, abs=1e-10)  # 1.005^(200/60)
    assert run.recipe.effective.ramp_epochs == pytest.approx(4.8)
    assert (run.plugin.beta, run.plugin.phi, run.method.ramp_epochs) == (0.99, 1.005, 16)


def test_at_200_epochs_nothing_is_scaled():
    effective = compose(["dataset=cifar10"]).recipe.effective
    assert (effective.beta, effective.phi, effective.ramp_epochs) == (0.99, 1.005, 16)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 1000))
def test_memory_and_threshold_after_a_whole_run_do_not_depend_on_its_length(epochs):
    effective = compose(["dataset=cifar10", f"epochs={epochs}"]).recipe.effective
    assert effective.beta**epochs == pytest.approx(0.99**200)
    assert effective.phi**epochs == pytest.approx(1.005**200)
    assert effective.ramp_epochs == pytest.approx(max(1, 16 * epochs / 200))


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 1000))
def test_warm_up_is_scaled_and_rounded_up(epochs):
    run = compose(["dataset=cifar10", f"epochs={epochs}"])
    assert run.warmup_epochs == math.ceil(30 * epochs / 200)
    drops = [e for e in range(1, epochs + 1) if 4 * e > 3 * epochs]
    assert run.recipe.effective.lr_drop_epoch == drops[0]


def test_a_typed_warm_up_wins_and_the_ramp_is_never_shorter_than_an_epoch():
    assert compose(["epochs=30", "warmup_epochs=2"]).warmup_epochs == 2
    assert compose(["epochs=10"]).recipe.effective.ramp_epochs == 1


def test_release_presets_and_native_keep_literal_values_at_other_lengths_and_sfa_release_is_scaled():
    preset = ["dataset=cifar10", "+preset=release_sfa_cifar", "epochs=20"]
    for typed in (preset, [*preset, "recipe=matched"], ["dataset=cifar10", "recipe=native", "epochs=20"]):
        run = compose(typed)
        assert (run.recipe.effective.beta, run.recipe.effective.ramp_epochs, run.warmup_epochs) == (0.99, 16, 3)
    scaled = compose(["dataset=cifar10", "plugin=sfa_release", "epochs=20"])
    assert scaled.recipe.effective.beta == pytest.approx(0.99**10)


def test_typed_values_beat_the_recipe():
    typed = ["epochs=8", "batch_size=16", "lr=0.3", "recipe.milestone=0.5", "recipe.weight_decay=0", "model.width=8"]
    run = compose([*typed, *NONE])
    assert schedule(run) == ("convnet", 8, 8, 2, 16, 0.3)
    assert (run.recipe.weight_decay, run.recipe.effective.lr_drop_epoch) == (0.0, 5)


def test_a_milestone_is_a_fraction_in_decimal_not_in_binary():
    assert compose(["epochs=100", "recipe.milestone=0.29"]).recipe.effective.lr_drop_epoch == 30


def test_another_backbone_has_its_own_width():
    assert compose(["dataset=cifar10", "model=resnet32"]).model.width == 16
    assert compose(["dataset=fashion_mnist", "model=preact_resnet18"]).model.width == 16
    assert compose(["dataset=arrays", "dataset.name=mine", "model=preact_resnet18"]).model.width == 64
