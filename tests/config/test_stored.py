"""A configuration that is written for another process is the same one there, and nothing else is taken for one."""

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.config.stored import from_stored, to_json
from sfa_bench.errors import ConfigError

RESULTS = Path(__file__).resolve().parents[2] / "results"


def again(config):
    return from_stored(json.loads(to_json(config)))


def kept_commands():
    for path in sorted(RESULTS.glob("*/runs.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            yield from (shlex.split(row["command"])[2:] for row in csv.DictReader(file))


def test_every_20th_kept_command_comes_back_as_it_was_composed():
    for words in [*kept_commands()][::20]:
        config = compose(words)
        assert again(config) == config
        assert run_hash(again(config)) == run_hash(config)


@pytest.mark.parametrize(
    "words",
    [
        ["device=[cpu,cuda:1]", "data_dir='a, ü\udc80'"],
        ["dataset=webvision", "classifier=crt", "classifier.epochs=3"],
        ["dataset=clothing1m", "model.pretrained=false", "method=rolt_plus", "plugin=none"],
        ["noise_ratio=0.30000000000000004", "lr=1e-300", f"seed={2**63 - 1}"],
        ["plugin=sfa_release", "method=dividemix", "recipe=native", "dataset=cifar100"],
    ],
)
def test_odd_values_come_back_bit_for_bit(words):
    config = compose(words)
    assert again(config) == config


def test_arguments_of_a_class_of_the_users_own_come_back_with_the_types_of_their_keys():
    config = compose(["method=ce", "plugin=none"])
    arguments = {"by_class": {0: 1.5, 9: None}, "words": {"mapping": [1, [True]]}, "shape": [1, {}], "networks": 5}
    own = replace(config.method, learner="external", target="mine.Mine", arguments=arguments, networks=5)
    found = again(replace(config, method=own))
    assert found.method.arguments == arguments
    assert [type(key) for key in found.method.arguments["by_class"]] == [int, int]
    assert (found.method.networks, found.method.target) == (5, "mine.Mine")


def changed(path, value):
    stored = json.loads(to_json(compose([])))
    *parents, leaf = path.split(".")
    node = stored
    for parent in parents:
        node = node.setdefault(parent, {})
    node[leaf] = value
    return stored


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("epochs", value) for value in (0, 1.5, "60", True, [60], {})),
        *(("epoch", 60), ("method.epochs", 60), ("recipe.effective.gamma", 1.0), ("__class__", "x")),
        *(("method", 3), ("method", None), ("recipe.effective", {"beta": 1.0}), ("recipe.effective.beta", "1")),
        *(("method.selector.name", value) for value in ("sfa2", None, [], 1)),
        *(("method.networks", "2"), ("method.target", 1), ("method.arguments", []), ("names", {"method": 1})),
        *(("device", ["cpu", "gpu"]), ("device", ["cpu"]), ("runs_dir", ""), ("runs_dir", "a\0b")),
        ("method.arguments", {"a": {"mapping": 1}}),
    ],
)
def test_what_the_schema_does_not_have_is_refused(path, value):
    with pytest.raises(ConfigError):
        from_stored(changed(path, value))


@pytest.mark.parametrize("stored", [None, [], "x", 1, {}])
def test_what_is_no_resolved_configuration_is_refused(stored):
    with pytest.raises(ConfigError):
        from_stored(stored)
