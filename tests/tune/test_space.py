"""What is tuned and what is compared (guides/tuning.md): Hydra's grammar, checked before anything is trained."""

import math

import pytest

from sfa_bench.errors import ConfigError
from sfa_bench.tune.space import Dimension, tasks

optuna = pytest.importorskip("optuna", reason="the extra `tune` is not installed")

BASE = ["method=ce", "plugin=none", "dataset.val=noisy"]


def space_of(*words):
    (task,), _ = tasks([*BASE, *words], None)
    return task.space


def distribution(word):
    """What Optuna is asked for."""
    (dimension,) = space_of(word)
    study = optuna.create_study()
    trial = study.ask()
    dimension.suggest(trial)
    return dimension, trial.distributions[dimension.key]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("lr=interval(1e-3,0.1)", optuna.distributions.FloatDistribution(0.001, 0.1)),
        ("lr=tag(log,interval(1e-3,0.1))", optuna.distributions.FloatDistribution(0.001, 0.1, log=True)),
        ("lr=interval(1,2)", optuna.distributions.FloatDistribution(1, 2)),
        ("epochs=interval(2,5)", optuna.distributions.IntDistribution(2, 5)),
        ("batch_size=tag(log,interval(8,64))", optuna.distributions.IntDistribution(8, 64, log=True)),
        ("lr=0.1,0.2", optuna.distributions.CategoricalDistribution(("lr=0.1", "lr=0.2"))),
        ("lr=choice(0.1,0.2)", optuna.distributions.CategoricalDistribution(("lr=0.1", "lr=0.2"))),
        ("batch_size=range(16,65,16)", optuna.distributions.IntDistribution(0, 3)),
    ],
)
def test_hydras_grammar_is_optunas_distribution(word, expected):
    assert distribution(word)[1] == expected


def test_a_value_is_an_override_that_reads_back():
    value = 0.012520653814999465
    trial = optuna.trial.FixedTrial({"lr": value, "batch_size": 2, "epochs": 3})
    assert Dimension("lr", 0.001, 0.1).suggest(trial) == "lr=0.012520653814999465"
    (batch,) = space_of("batch_size=range(16,65,16)")
    assert batch.suggest(trial) == "batch_size=48"
    assert space_of("epochs=interval(2,5)")[0].suggest(trial) == "epochs=3"


def test_groups_and_keys_of_the_data_are_compared_and_a_method_tunes_what_it_has():
    words = ["plugin=none", "dataset.val=noisy", "method=ce,gce", "noise_ratio=0.2,0.4", "lr=0.1,0.2"]
    made, compared = tasks([*words, "method.loss.q=interval(0.1,0.9)"], None)
    assert compared == ["method", "noise_ratio"]
    found = [(task.words[2:], [dimension.key for dimension in task.space]) for task in made]
    assert found == [
        (("method=ce", "noise_ratio=0.2"), ["lr"]),
        (("method=ce", "noise_ratio=0.4"), ["lr"]),
        (("method=gce", "noise_ratio=0.2"), ["lr", "method.loss.q"]),
        (("method=gce", "noise_ratio=0.4"), ["lr", "method.loss.q"]),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lr=0.1"], "nothing is tuned: give a key several values"),
        (["lr=interval(0.1,0.01)"], "from a smaller to a larger number"),
        (["lr=interval(0.1,0.1)"], "from a smaller to a larger number"),
        (["lr=tag(log,interval(0,0.1))"], "a logarithmic interval begins above 0"),
        (["lr=tag(lin,interval(0.1,1))"], "tag lin is unknown; there is log"),
        (["lr=interval(-1,1)"], "allowed is 0 < lr"),
        (["noise_ratio=interval(0.1,0.5)"], "noise_ratio is compared, not tuned; list its values"),
        (["threads=1,2"], "threads changes no result"),
        (["lr=0.1,0.2", "replicate=0"], "give --seeds for its trials and --report-seeds"),
        (["lr=0.1,0.2", "data_seed=0,1"], "give --seeds for its trials"),
        (["lr=0.1,0.2", "eval.test=true"], "leave eval.test out"),
        (["lr=0.1,0.2", "classifier=crt"], "scored on the test set alone"),
        (["lr=0.1,0.2", "+sweep=digits"], "takes the keys themselves"),
        (["lr=0.1,0.2", "method.loss.q=interval(0.1,0.9)"], "method.loss.q"),
        (["lrr=0.1,0.2"], "did you mean lr?"),
        (["warmup_epochs=interval(1,5)"], "has no effect"),
        (["method=cee,ce", "lr=0.1,0.2"], "did you mean method=ce?"),
    ],
)
def test_what_cannot_be_tuned_is_said_in_a_sentence(words, sentence):
    given = {word.partition("=")[0] for word in words}
    with pytest.raises(ConfigError) as refused:
        tasks([*(word for word in BASE if word.partition("=")[0] not in given), *words], None)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_a_validation_set_it_says_what_to_write():
    with pytest.raises(ConfigError, match=r"add dataset\.val=noisy .* or dataset\.val=clean_balanced"):
        tasks(["method=ce", "plugin=none", "lr=0.1,0.2"], None)


def test_an_interval_on_a_log_scale_has_as_many_values_below_its_geometric_mean():
    (dimension,) = space_of("lr=tag(log,interval(1e-4,1))")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [float(dimension.suggest(study.ask()).partition("=")[2]) for _ in range(200)]
    below = sum(value < 0.01 for value in drawn)
    assert abs(below - 100) < 3 * math.sqrt(50)
