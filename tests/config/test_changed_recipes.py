"""What a user changes of a recipe: refused where it cannot act, in the hash where it does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sfa_bench.choices.code import load
from sfa_bench.choices.methods import LEARNERS, augmentations
from sfa_bench.config.canonical import canonical, hashes, run_hash
from sfa_bench.config.compose import compose, requested
from sfa_bench.data import build
from sfa_bench.data.types import Transform
from sfa_bench.engine.build import build_method
from sfa_bench.errors import ConfigError

CE = ["method=ce", "plugin=none"]
NATIVE = "dataset=cifar10 method=coteaching plugin=none recipe=native"

REFUSED = {
    "recipe.optimizer=adam": "must be one of sgd, adamw or null",
    "recipe.schedule=linear": "must be one of step, cosine, onecycle or null",
    "recipe.lr_warmup=-1": "allowed is 0 <= recipe.lr_warmup",
    "recipe.lr_warmup=1.5": "must be a whole number",
    "recipe.nesterov=2": "must be true or false",
    "recipe.clip=0": "allowed is 0 < recipe.clip",
    "recipe.ema=1": "allowed is 0 < recipe.ema < 1",
    "recipe.ema=0": "allowed is 0 < recipe.ema < 1",
    "recipe.nesterov=true recipe.optimizer=adamw": "set recipe.optimizer=sgd",
    "recipe.nesterov=true recipe.momentum=0": "set a momentum above 0",
    f"{NATIVE} recipe.nesterov=true": "with this original's Adam",
    "recipe.lr_warmup=60": "set recipe.lr_warmup below 60",
    "recipe.lr_warmup=1": "has no effect in this run",
    "recipe.schedule=onecycle recipe.lr_warmup=2": "set recipe.schedule=step or cosine",
    f"{NATIVE} recipe.lr_warmup=2": "with this original's schedule",
    "recipe.schedule=onecycle epochs=3": "set epochs=4 or more",
    "recipe.schedule=cosine recipe.milestone=0.5": "recipe.milestone=0.5 has no effect",
    "recipe.schedule=cosine recipe.lr_drop=0.5": "recipe.lr_drop=0.5 has no effect",
    "recipe.optimizer=adamw recipe.momentum=0.5": "recipe.momentum=0.5 has no effect",
    "method=elr method.plus=true recipe.ema=0.9": "set method.predict=trained",
    "dataset.augment=mixup": "must be one of standard, randaugment, autoaugment, trivial",
    "dataset=synthetic dataset.augment=trivial": "dataset.augment has no effect with dataset=synthetic",
    f"{NATIVE} dataset.augment=trivial": "with method.native=true",
    "dataset=cifar10 method=dasc plugin=abc dataset.augment=autoaugment": "dataset.augment=autoaugment has no effect",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_act_is_refused_with_the_way_out(words):
    with pytest.raises(ConfigError) as refused:
        requested([*CE, *words.split()])
    assert REFUSED[words] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("recipe.optimizer=sgd recipe.schedule=step recipe.lr_warmup=0 recipe.nesterov=false", {}),
        ("recipe.optimizer=adamw", {"recipe.optimizer": "adamw", "recipe.momentum": None}),
        ("recipe.schedule=onecycle", {"recipe.effective.schedule": "onecycle", "recipe.effective.lr_drop_epoch": None}),
        ("recipe.clip=1 recipe.ema=0.5", {"recipe.clip": 1.0, "recipe.ema": 0.5}),
        ("recipe.lr_warmup=2 recipe.nesterov=true", {"recipe.lr_warmup": 2, "recipe.nesterov": True}),
    ],
)
def test_the_hash_has_what_acts(words, found):
    before, after = canonical(compose(CE)), canonical(compose([*CE, *words.split()]))
    assert {key: after.get(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == found


def test_an_originals_schedule_that_is_replaced_is_the_matched_one():
    rolt = ["dataset=cifar10", "method=rolt", "plugin=none", "recipe=native"]
    assert "recipe.effective.schedule" in canonical(compose(rolt))
    replaced = canonical(compose([*rolt, "recipe.schedule=step"]))
    assert "recipe.effective.schedule" not in replaced
    assert replaced["recipe.effective.lr_drop_epoch"] == 151


def test_runs_with_other_rates_share_no_warm_up():
    def of(*words):
        return hashes(compose(["epochs=20", "warmup_epochs=3", *words])).warmup

    same = of()
    assert of("plugin=sfa_release") == same
    changed = ["optimizer=adamw", "schedule=cosine", "lr_warmup=2", "nesterov=true", "clip=1", "ema=0.9"]
    others = [of(f"recipe.{word}") for word in changed]
    assert len({same, *others}) == 7
    assert of("recipe.schedule=cosine", "epochs=30", "warmup_epochs=3") not in (same, *others)
    assert of("recipe.lr_warmup=2", "epochs=30", "warmup_epochs=3") == of("recipe.lr_warmup=2")


def test_adamw_for_an_originals_adam_is_another_run():
    native = NATIVE.split()
    assert run_hash(compose(native)) != run_hash(compose([*native, "recipe.optimizer=adamw"]))
    assert run_hash(compose(native)) != run_hash(compose([*native, "recipe.optimizer=sgd"]))


def test_methods_with_strong_views_are_those_that_say_so_and_have_other_ones():
    for learner, described in LEARNERS.items():
        if described.code is not None:
            assert described.strong is (getattr(load(described.code), "strong_views", 0) > 0), learner
    words = ["dataset=cifar10", "dataset.augment=trivial", "plugin=abc"]
    assert augmentations(compose([*words, "method=dasc"])) == {"strong": "sfa_bench.data.strong.trivial"}
    assert augmentations(compose([*words, "method=ce"])) == {"policy": "sfa_bench.data.strong.trivial"}


@pytest.mark.parametrize("channels", [2, 0])
def test_images_of_two_channels_and_vectors_are_not_changed(channels, tmp_path):
    shape = (8, 8, 8, 2) if channels else (8, 8, 8)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    labels = np.arange(8) % 2
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    words = ["dataset=arrays", "dataset.name=mine", f"data_dir={tmp_path}/mine.npz", "dataset.augment=trivial", *CE]
    config = compose([*words, "model.width=2"])
    data = build(config)
    if not channels:  # as a function of a user's own may give
        view = replace(data.view, images=data.view.images.flatten(1).float(), transform=Transform((), ()))
        data = replace(data, view=view)
    with pytest.raises(ConfigError, match="these are " + ("images of 2 channels" if channels else "vectors")):
        build_method(config, data, [torch.device("cpu")])
