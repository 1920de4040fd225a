"""Jobs that differ in their seeds alone are composed once, to what each is by itself (explanation/runs.md §5)."""

import copy
import json
import operator
import os

import one_by_one
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sfa_bench.sweep.settings
from sfa_bench.config import compose as composing
from sfa_bench.config.overrides import choices
from sfa_bench.config.unseen import UNSEEN, LookedError, Unseen
from sfa_bench.errors import ConfigError
from sfa_bench.sweep.plan import plan

HUGE = str(2**32)  # a seed that the legacy generator does not take
AXES = {
    "dataset": ["digits", "synthetic", "webvision", "cifar10", "arrays", "digits,fashion_mnist"],
    "method": ["ce,dividemix", "ce", "gce,unicon", "elr,ce_drw", "rolt_plus", "coteaching,dividemix", "dasc"],
    "loss": ["gce", "auto", "sce,focal"],
    "plugin": ["none,sfa", "none", "abc,sfa_release", "ibc"],
    "noise": ["none,joint", "asymmetric", "symmetric,pair"],
    "classifier": ["joint,crt", "joint"],
    "recipe": ["matched", "native"],
    "+preset": ["release_rolt", "release_sfa_cifar", "release_tabasco"],
    "replicate": ["0,1,2", "range(0,4)", "7", HUGE],
    "seed": ["0,3", "5", "${data_seed}", "1,${replicate}", "${oc.env:SFA_BENCH_TEST_SEED}", "${oc.decode:3}", "null"],
    "data_seed": ["0,1", f"1,{HUGE}", "${replicate}", "${seed}", "${epochs}"],
    "noise_ratio": ["0.2,0.4", "0", "${imb_factor}"],
    "imb_factor": ["0.1,1", "0.01"],
    "epochs": ["3,200", "10", "${replicate}"],
    "warmup_epochs": ["0,2", "1"],
    "lr": ["0.1,0.02"],
    "share_warmup": ["false"],
    "data_dir": ["x_${seed}", "${oc.env:SFA_BENCH_TEST_SEED}", "there"],
    "runs_dir": ["r_${data_seed}"],
    "dataset.generator": ["legacy", "project,legacy"],
    "dataset.val": ["noisy"],
    "dataset.fold": ["1/3,2/3"],
    "method.loss.q": ["0.5,0.7"],
    "method.lambda_u": ["0,25"],
    "plugin.beta": ["0.9"],
    "plugin.gmm.fit": ["batched,sklearn"],
    "model.width": ["8,${seed}"],
    "recipe.ema": ["0.9"],
}
SEEDED = st.sampled_from(["replicate", "replicate", "seed", "data_seed"])
KEYS = st.tuples(SEEDED, st.lists(st.sampled_from([*AXES]), min_size=1, max_size=6)).map(
    lambda drawn: {*drawn[1], drawn[0]}
)
SWEEPS = KEYS.flatmap(lambda keys: st.permutations(sorted(keys))).flatmap(
    lambda keys: st.tuples(*(st.sampled_from([f"{key}={value}" for value in AXES[key]]) for key in keys))
)
EXAMPLES = 1000 if os.environ.get("SFA_BENCH_FULL") == "1" else 60


def outcome(make):
    try:
        return make()
    except ConfigError as error:
        return str(error)


def planned(overrides, conf=None):
    """What `plan` makes of a sweep, as `one_by_one.plan` says it."""
    made = plan(overrides, conf)
    assert made.asked == len(made.runs) + made.duplicates + len(made.not_valid)
    assert sorted(map(str, made.missing)) == sorted(map(str, made.runs.values()))
    return {
        "runs": list(made.runs.items()),
        "configs": dict(made.configs),
        "warmups": made.warmups,
        "not valid": made.not_valid,
        "repeats": made.duplicates,
    }


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(SWEEPS)
def test_any_sweep_is_planned_as_if_each_job_were_composed_by_itself(tmp_path_factory, sweep):
    os.environ["SFA_BENCH_TEST_SEED"] = "11"
    there = tmp_path_factory.getbasetemp() / "nothing"
    words = [word.replace("runs_dir=", f"runs_dir={there}/") for word in sweep]
    words += [] if any(word.startswith("runs_dir=") for word in words) else [f"runs_dir={there}"]
    assert outcome(lambda: planned(words)) == outcome(lambda: one_by_one.plan(words))


def test_where_a_users_own_choice_takes_the_seed_each_job_is_composed_by_itself(tmp_path):
    conf = tmp_path / "conf"
    (conf / "loss").mkdir(parents=True)
    (tmp_path / "seeded_loss.py").write_text(
        "def seeded(logits, labels, class_counts, *, salt: int = 0): return logits\n"
    )
    (conf / "loss" / "seeded.yaml").write_text("_target_: seeded_loss.seeded\nsalt: ${seed}\n")
    (conf / "preset").mkdir()
    (conf / "preset" / "fixed.yaml").write_text("# @package _global_\nseed: 5\ndata_seed: ${seed}\n")
    (conf / "preset" / "far.yaml").write_text("# @package _global_\nnoise_ratio: ${noise_of}\nnoise_of: 0.1\n")
    for words in (
        ["method=ce", "plugin=none", "loss=seeded,gce", "replicate=0,1,2"],
        ["method=ce", "plugin=none", "loss=seeded", "loss.salt=3", "replicate=0,1,2"],
        ["method=ce", "+preset=fixed", "replicate=0,1,2"],
        ["method=ce", "+preset=fixed", "seed=0,1,2"],
        ["method=ce", "+preset=fixed", "data_seed=0,1,2", "replicate=0,1"],
        ["method=ce", "+preset=far", "replicate=0,1"],
    ):
        typed = [*words, f"runs_dir={tmp_path}/runs"]
        found = outcome(lambda typed=typed: planned(typed, conf))
        assert found == outcome(lambda typed=typed: one_by_one.plan(typed, conf)), words
    seeded = plan(["method=ce", "plugin=none", "loss=seeded", "replicate=1,2", f"runs_dir={tmp_path}/runs"], conf)
    assert [json.loads(text)["method"]["loss"]["arguments"] for text in seeded.configs.values()] == [
        {"salt": 1},
        {"salt": 2},
    ]


def test_a_condition_on_a_seed_that_somebody_adds_is_met_by_each_job(tmp_path, monkeypatch):
    words = ["method=ce", "plugin=none", "noise_ratio=0.2,0.4", "replicate=range(0,6)", f"runs_dir={tmp_path}/runs"]
    usual = composing.validate

    def stricter(config, given):
        usual(config, given)
        if config.seed * 2 > 6 and config.noise_ratio == 0.4:
            raise ConfigError(f"seed={config.seed} is too large", invalid_combination=True)

    monkeypatch.setattr(composing, "validate", stricter)
    found = planned(words)
    assert [reason for _, reason in found["not valid"]] == ["seed=4 is too large", "seed=5 is too large"]
    assert found == one_by_one.plan(words)


def test_replicates_of_the_suites_own_methods_are_composed_once(tmp_path, monkeypatch):
    def alone(job, conf):
        raise AssertionError(f"composed by itself: {[override.text for override in job]}")

    monkeypatch.setattr(sfa_bench.sweep.settings, "compose_checked", alone)
    words = [f"method={','.join(choices('method'))}", "plugin=none,sfa", "replicate=0,1", f"runs_dir={tmp_path}/runs"]
    made = plan(words)
    assert {json.loads(text)["names"]["method"] for text in made.configs.values()} == set(choices("method"))


def test_nothing_but_passing_it_on_is_possible_with_an_unseen_value():
    looks = [bool, str, repr, int, float, hash, len, iter, operator.index, operator.neg, abs, round, json.dumps]
    looks += [lambda v: isinstance(v, int), lambda v: f"{v}", lambda v: v == 3, lambda v: v in (1, 2), lambda v: v >= 3]
    looks += [lambda v: v + 1, lambda v: 1 - v, lambda v: v // 2, lambda v: v & 1, lambda v: range(v), lambda v: {v}]
    looks += [lambda v: v.bit_length(), lambda v: 7 % v, lambda v: v**2, lambda v: not v]
    for look in looks:
        with pytest.raises((LookedError, TypeError)):
            look(UNSEEN)
    assert type(copy.copy({"seed": UNSEEN})["seed"]) is Unseen


def test_configurations_are_made_when_they_are_asked_for(tmp_path):
    made = plan(["method=ce", "plugin=none", "replicate=range(0,3)", f"runs_dir={tmp_path}/runs"])
    assert len(made.configs) == 3
    assert list(made.configs) == list(made.runs)
    assert [json.loads(text).get("seed", 0) for text in made.configs.values()] == [0, 1, 2]
