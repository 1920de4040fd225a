"""What is typed becomes the configuration that explanation/runs.md §2 describes."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import yaml

from sfa_bench.choices.methods import lambda_u
from sfa_bench.config.compose import compose, values_of
from sfa_bench.config.overrides import CONF, check_overrides, choices, split_sweep
from sfa_bench.config.schema import GROUPS, RunConfig
from sfa_bench.errors import ConfigError


def test_nothing_typed_is_sfa_on_dividemix_on_digits():
    run = compose([])
    assert run.names == {
        "dataset": "digits",
        "noise": "joint",
        "imbalance": "exp",
        "method": "dividemix",
        "plugin": "sfa",
        "classifier": "joint",
        "model": "auto",
        "recipe": "matched",
    }
    assert (run.noise_ratio, run.imb_factor, run.seed, run.data_seed) == (0.4, 0.1, 0, 0)
    assert (run.method.learner, run.method.selector.name, run.plugin.head) == ("dividemix", "sfa", "abc")
    assert (run.plugin.beta, run.plugin.phi, run.plugin.sample_min) == (0.99, 1.005, "auto")
    assert (run.method.lambda_u, run.method.alpha, run.method.temperature) == (25.0, 4.0, 0.5)
    assert (run.data_dir, run.runs_dir, run.checkpoint_seconds, run.eval.batch_size) == ("data", "runs", 30.0, 256)


def test_replicate_sets_both_seeds_and_a_typed_seed_wins():
    assert (compose(["replicate=3"]).seed, compose(["replicate=3"]).data_seed) == (3, 3)
    run = compose(["replicate=3", "seed=7"])
    assert (run.seed, run.data_seed) == (7, 3)


SELECTS_ITSELF = ("elr", "har", "har_drw", "coteaching")
SELECTS_BY = {
    "dividemix": "loss_gmm",
    "dasc": "dacc",
    "dasc_release": "dacc",
    "unicon": "quota",
    "unicon_release": "quota",
    **dict.fromkeys(("rolt_plus", "rolt", "rolt_drw"), "proto"),
}


def test_every_valid_pair_of_method_and_plugin_composes():
    for method, plugin in itertools.product(choices("method"), choices("plugin")):
        brings, brought = plugin.startswith(("sfa", "ibc")), plugin.removesuffix("_release")
        no_pair = (
            (brings and method in ("rolt_plus", *SELECTS_ITSELF))
            or (brought == "ibc" and method != "dividemix")
            or (plugin == "none" and method.startswith("dasc"))
            or (brings and method == "unicon_release")  # which fills up a quota
        )
        if no_pair:
            with pytest.raises(ConfigError) as refused:
                compose([f"method={method}", f"plugin={plugin}"])
            assert refused.value.invalid_combination
            continue
        run = compose([f"method={method}", f"plugin={plugin}"])
        own = SELECTS_BY.get(method, "none")
        assert run.method.selector.name == (brought if brings else own)
        assert run.plugin.head == {"none": "none", "ibc": "experts"}.get(brought, "abc")


@pytest.mark.parametrize(
    ("method", "learner", "loss", "schedule", "mixup", "networks"),
    [
        ("ce_mixup", "single", "ce", "none", True, 1),
        ("ce_drw", "single", "ce", "drw", False, 1),
        ("ldam_drw", "single", "ldam", "drw", False, 1),
        ("cb_ce", "single", "cb_ce", "none", False, 1),
        ("nce_rce", "single", "nce_rce", "none", False, 1),
        ("elr", "elr", "elr", "none", False, 1),
        ("coteaching", "coteaching", "ce", "none", False, 2),
        ("rolt_drw", "rolt", "ce", "drw", False, 1),
        ("dividemix", "dividemix", "ce", "none", False, 2),
    ],
)
def test_what_a_method_is_made_of(method, learner, loss, schedule, mixup, networks):
    m = compose([f"method={method}", "plugin=none"]).method
    assert (m.learner, m.loss.name, m.schedule, m.mixup, m.networks) == (learner, loss, schedule, mixup, networks)


@pytest.mark.parametrize("noise", [n for n in choices("noise") if n != "matrix"])
def test_every_noise_and_imbalance_composes(noise):
    for imbalance in choices("imbalance"):
        run = compose(["dataset=cifar10n", f"noise={noise}", f"imbalance={imbalance}"])
        assert (run.noise.name, run.imbalance.name) == (noise, imbalance)


# Values that make a choice what it is, so they differ from the schema's defaults.
MADE_OF = {
    ("dataset", "human"),
    ("model", "library"),
    ("method", "learner"),
    ("method", "loss.name"),
    ("method", "selector.name"),
    ("method", "selector.networks"),
    ("method", "selector.mean_limit"),
    ("method", "schedule"),
    ("method", "mixup"),
    ("method", "refinement"),
    ("method", "positive"),
    ("method", "fill"),
    ("classifier", "epochs"),
    ("classifier", "batch_size"),
    ("classifier", "lr"),
    ("classifier", "tau"),
    ("plugin", "selector"),
    ("plugin", "head"),
    ("plugin", "moments"),
    ("plugin", "sample_min"),
    ("plugin", "samples"),
    ("plugin", "empty_class"),
    ("plugin", "query_centre"),
    ("plugin", "medium_warmup"),
}


def test_yaml_files_repeat_the_defaults_of_the_schema():
    """A default that differed would put the key into the hash of every run."""

    def leaves(node, prefix=""):
        for key, value in node.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    def default(section, path):
        for part in path.split("."):
            section = getattr(section, part)
        return section

    for group, choice in [(g, c) for g in GROUPS for c in choices(g)]:
        text = (CONF / group / f"{choice}.yaml").read_text(encoding="utf-8")
        for path, value in leaves(values_of(group, choice)):
            if path in ("name", "source") or (group, path) in MADE_OF:
                continue
            assert value == default(getattr(RunConfig(), group), path), f"{group}={choice} {path}"
        assert text.startswith("# "), f"{group}/{choice}.yaml is not explained"


def test_the_data_set_chooses_its_noise_a_preset_beats_it_and_typing_beats_both(tmp_path):
    conf = tmp_path
    (conf / "preset").mkdir()
    (conf / "preset" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /noise: pair\n  - override /plugin: none\nseed: 5\nlr: 0.5\n"
    )
    arrays = ["dataset=arrays", "dataset.name=mine"]
    run = compose(arrays, conf)
    assert (run.noise.name, run.imbalance.name) == ("none", "none")
    assert compose([*arrays, "imbalance=step"], conf).imbalance.name == "step"
    run = compose([*arrays, "+preset=mine"], conf)
    assert (run.noise.name, run.imbalance.name, run.names["plugin"], run.seed) == ("pair", "none", "none", 5)
    run = compose([*arrays, "+preset=mine", "noise=flip", "plugin=abc", "lr=0.25"], conf)
    assert (run.noise.name, run.names["plugin"], run.seed, run.lr) == ("flip", "abc", 5, 0.25)


@pytest.mark.parametrize(("dataset", "labels"), [("cifar10n", "worst"), ("cifar100n", "noisy")])
def test_cifar_n_has_the_labels_that_people_gave_unless_other_noise_is_typed(dataset, labels):
    run = compose([f"dataset={dataset}"])
    assert (run.noise.name, run.noise.labels, run.imbalance.name) == ("human", labels, "none")
    assert (run.dataset.name, run.dataset.source) == (dataset, dataset.removesuffix("n"))
    assert (run.names["noise"], run.names["imbalance"]) == ("human", "none")
    run = compose([f"dataset={dataset}", "imbalance=exp", "imb_factor=0.1", "noise.labels=clean"])
    assert (run.imbalance.name, run.imb_factor, run.noise.labels) == ("exp", 0.1, "clean")
    run = compose([f"dataset={dataset}", "noise=joint"])
    assert (run.noise.name, run.noise.labels, run.imbalance.name) == ("joint", None, "none")
    run = compose([f"dataset={dataset}", "+preset=release_sfa_cifar"])
    assert (run.noise.name, run.imbalance.name, run.dataset.name) == ("joint", "exp", dataset)
    assert compose(["noise=human", f"dataset={dataset}", "dataset.name=mine"]).noise.labels == labels


def test_release_presets_are_the_bundles_of_the_specification():
    run = compose(["dataset=cifar10", "+preset=release_sfa_cifar"])
    assert (run.seed, run.data_seed, run.dataset.generator) == (123, 123, "legacy")
    assert (run.names["plugin"], run.names["recipe"], run.plugin.moments) == ("sfa_release", "native", "release")
    assert (run.plugin.sample_min, run.plugin.abc.count_floor, run.plugin.empty_class) == (300, 0.0, "error")
    assert (run.method.selector.no_clean_class, run.noise.name, run.imbalance.name) == ("none", "joint", "exp")
    run = compose(["dataset=cifar100", "+preset=release_rolt_plus"])
    assert (run.names["method"], run.names["plugin"], run.method.selector.name) == ("rolt_plus", "none", "proto")
    assert (run.dataset.generator, run.seed, run.data_seed) == ("legacy", 0, 123)
    assert run.method.selector.no_clean_class == "none"
    run = compose(["dataset=cifar10", "+preset=release_dividemix"])
    assert (run.names["method"], run.names["plugin"], run.method.ramp_origin) == ("dividemix", "none", "zero_based")
    assert (run.noise.name, run.noise.include_self, run.imbalance.name) == ("symmetric", True, "none")


def test_sample_min_of_the_release_is_300_on_cifar_and_auto_elsewhere():
    for dataset in ("cifar100", "cifar10n", "cifar100n"):
        assert compose(["plugin=sfa_release", f"dataset={dataset}"]).plugin.sample_min == 300
    assert compose(["plugin=sfa_release", "dataset=fashion_mnist"]).plugin.sample_min == "auto"
    assert compose(["plugin=sfa_release", "dataset=cifar10", "plugin.sample_min=5"]).plugin.sample_min == 5


def test_a_validation_set_holds_out_a_tenth_unless_said_otherwise():
    assert compose([]).dataset.val_fraction is None
    assert compose(["dataset.val=noisy"]).dataset.val_fraction == 0.1
    assert compose(["dataset.val=noisy", "dataset.val_fraction=0.2"]).dataset.val_fraction == 0.2


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["noise_ratio=0.2"], 0.0),
        (["noise_ratio=0.21"], 25.0),
        (["noise=asymmetric", "noise_ratio=0.5"], 0.0),
        (["noise_ratio=0.2", "noise.assumed_rate=0.5"], 25.0),
        (["noise_ratio=0.5", "noise.assumed_rate=0.1"], 0.0),
        (["noise=none"], 0.0),
    ],
)
def test_lambda_u_of_the_paper_is_0_at_little_and_at_asymmetric_noise(typed, expected):
    assert lambda_u(compose(["dataset=cifar10", "method.lambda_u=paper", *typed])) == expected


def test_plain_form_has_plain_types_under_the_typed_paths():
    plain = compose(["device=[cuda:0,cuda:1]", "plugin.abc.detach=true"]).to_plain()
    assert plain["device"] == ["cuda:0", "cuda:1"]
    assert plain["plugin"]["abc"]["detach"] is True
    assert plain["eval"] == {"every": 1, "ensemble": "logit_sum", "batch_size": 256, "test": True}
    assert "names" not in plain
    assert yaml.safe_load(yaml.safe_dump(plain)) == plain


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        compose([]).lr = 1.0


def test_hydras_own_output_stays_in_runs_dir_and_logs_nothing():
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    hydra = yaml.safe_load(text)["hydra"]
    assert hydra["run"]["dir"] == hydra["sweep"]["dir"] == "${runs_dir}/.hydra"
    assert hydra["output_subdir"] is None
    assert "override hydra/job_logging: none" in text
    assert "override hydra/hydra_logging: none" in text


def test_a_sweep_is_split_into_every_combination_the_last_key_fastest():
    jobs = split_sweep(["method=ce,dividemix", "plugin=none", "seed=range(0,2)", "lr=choice(0.1,0.2)"])
    assert jobs == [
        [f"method={m}", "plugin=none", f"seed={s}", f"lr={lr}"]
        for m in ("ce", "dividemix")
        for s in (0, 1)
        for lr in (0.1, 0.2)
    ]
    assert all(compose(job).names["method"] == job[0].removeprefix("method=") for job in jobs)


def test_a_sweep_over_a_glob_takes_the_choices_it_matches():
    assert split_sweep(["plugin=glob(sfa*)"]) == [["plugin=sfa"], ["plugin=sfa_release"]]


def test_a_sweep_keeps_presets_lists_quoted_texts_and_hydras_own():
    typed = [
        "+preset=release_dividemix,release_rolt_plus",
        "device=[cpu,cpu]",
        "data_dir='a,b c'",
        "hydra/launcher=joblib",
    ]
    jobs = split_sweep(typed)
    assert [j[0] for j in jobs] == ["+preset=release_dividemix", "+preset=release_rolt_plus"]
    assert all(compose([*j[1:], "plugin=none"]).data_dir == "a,b c" for j in jobs)
    assert all(j[3] == "hydra/launcher=joblib" for j in jobs)


def test_a_value_that_exists_nowhere_refuses_the_whole_sweep():
    with pytest.raises(ConfigError, match=r"imb_factor=100.*0\.01"):
        split_sweep(["imb_factor=0.1,100"])
    with pytest.raises(ConfigError, match=r"method=dividemx.*dividemix"):
        check_overrides(["method=ce,dividemx"], sweep=True)
    with pytest.raises(ConfigError, match="interval"):
        split_sweep(["lr=interval(0,1)"])


def test_conf_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert compose(["seed=4"]).seed == 4
    assert list(Path(tmp_path).iterdir()) == []
