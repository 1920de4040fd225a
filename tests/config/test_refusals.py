"""Every configuration error is a sentence that names the key, the value, what is allowed and what to set."""

import math

import pytest

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.config.values import alternatives_of, options
from sfa_bench.errors import ConfigError
from sfa_bench.selectors.base import Thresholds
from sfa_bench.selectors.sfa import HIGHEST_GATE, StochasticFeatureAveraging

EXISTS_NOWHERE = [
    ("noize=sym", "unknown key noize; did you mean noise?"),
    ("noise_ration=0.2", "unknown key noise_ration; did you mean noise_ratio?"),
    ("beta=0.9", "did you mean plugin.beta?"),
    ("sfa.beta=0.9", "did you mean plugin.beta?"),
    ("ssl.ramp_origin=zero_based", "did you mean method.ramp_origin?"),
    ("data.noise.count=exact", "did you mean noise.count?"),
    ("++noize=sym", "did you mean noise?"),
    ("+plugin.bta=0.9", "did you mean plugin.beta?"),
    ("qqq=1", "--help"),
    ("method=dividemx", "one of balanced_softmax, cb_ce, ce, ce_drw"),
    ("method=sfa", "did you mean method=dividemix plugin=sfa?"),
    ("noise=imb", "did you mean noise=joint?"),
    ("noise=sym_incl", "did you mean noise=symmetric noise.include_self=true?"),
    ("plugin=null", "plugin=null: must be one of abc, ibc, ibc_release, none, sfa, sfa_release"),
    ("+preset=release_sfa", "did you mean +preset=release_sfa_cifar?"),
    ("preset=release_dividemix", "set +preset=NAME"),
    ("eval.ensemble=logitsum", "did you mean eval.ensemble=logit_sum?"),
    ("epochs=abc", "epochs=abc: must be a whole number"),
    ("epochs=1.5", "epochs=1.5: must be a whole number"),
    ("epochs=true", "epochs=true: must be a whole number"),
    ("epochs=0", "allowed is 1 <= epochs"),
    ("batch_size=1", "allowed is 2 <= batch_size"),
    ("lr=nan", "lr=nan: must be a number"),
    ("lr=0", "allowed is 0 < lr"),
    ("noise_ratio=null", "noise_ratio=null: must be a number"),
    ("eval.every=null", "eval.every=null: must be a whole number"),
    ("dataset.checksum=1", "must be true or false"),
    ("plugin.sample_min=few", "must be a whole number or one of auto, release"),
    ("imb_factor=100", "imb_factor=100: allowed is 0 < imb_factor <= 1; did you mean 0.01?"),
    ("imb_factor=50", "did you mean 0.02?"),
    ("imb_factor=0", "allowed is 0 < imb_factor <= 1"),
    ("noise_ratio=1", "noise_ratio=1: allowed is 0 <= noise_ratio < 1"),
    ("noise_ratio=40", "did you mean 0.4?"),
    ("noise_ratio=-0.1", "allowed is 0 <= noise_ratio < 1"),
    ("seed=-1", "allowed is 0 <= seed < 2^63"),
    ("seed=null", "seed=null: must be a whole number; leave seed out for its default"),
    ("device=gpu", "device=gpu: must be auto cpu cuda"),
    ("device=[cuda:0,cuda:1,cuda:2]", "a list of two names"),
    ("+noise_ratio=0.2", "without +"),
    ("++noise_ratio=0.2", "without +"),
    ("~plugin", "cannot be removed"),
    ("noise@other=pair", "packages cannot be changed"),
    ("eval=3", "set eval.KEY=VALUE"),
    ("noise.name=pair", "set noise=pair"),
    ("plugin.revision=2", "is fixed by the choice of plugin"),
    ("noise_ratio=0.2,0.5", "a sweep is started by python run.py -m noise_ratio=0.2,0.5"),
    ("method=ce,dividemix", "several values make a sweep, and this is one run"),
    ("noise_ratio", "write KEY=VALUE"),
    ("data_dir=a=b", "put it in quotes"),
    ("lr=${nothing}", "nothing"),
    ("epochs=${data_dir}", "epochs=data: must be a whole number"),
    ("dataset=arrays", "needs dataset.name=NAME"),
    ("dataset.name=../up", "beginning with a letter or digit"),
    ("noise=matrix", "needs noise.file=FILE"),
    ("dataset.fold=4/3", "dataset.fold=4/3: set i/k with 2 <= k and 1 <= i <= k, such as 1/3"),
    ("dataset.fold=1/1", "such as 1/2"),
    ("dataset.fold=0/3", "i/k with 1 <= i <= k"),
    ("dataset.fold=2", "i/k"),
    ("hydra/launcher=nope", "hydra/launcher=nope: must be one of basic"),
    ("hydra.launcher.nope=1", "hydra.launcher.nope"),
]


@pytest.mark.parametrize(("typed", "sentence"), EXISTS_NOWHERE, ids=[t for t, _ in EXISTS_NOWHERE])
def test_what_exists_nowhere_is_refused(typed, sentence):
    with pytest.raises(ConfigError) as refused:
        compose([typed])
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not refused.value.invalid_combination


MAKES_NO_SENSE = [
    ("plugin=none method.selector.name=file", "needs method.selector.file=FILE, a .csv with columns index (or path)"),
    ("plugin=none method.selector.name=file method.selector.file=no.csv", "no.csv: there is no such file"),
    ("plugin=none method.selector.file=keep.csv", "set plugin=none (or abc) with method.selector.name=file"),
    ("method.selector.name=proto", "set plugin=abc or plugin=none"),
    ("plugin=sfa_release method.selector.name=sfa", "with plugin=sfa_release, which brings its own selector"),
    ("method=rolt_plus", "method=dividemix plugin=sfa"),
    ("method=rolt_plus plugin=none method.selector.name=sfa", "method=dividemix plugin=sfa"),
    ("plugin=none method.selector.name=none", "needs a selector"),
    ("plugin=none plugin.abc.counts=observed", "no effect with plugin=none: it belongs to plugin=abc"),
    ("plugin.head=none plugin.abc.detach=true", "set plugin.head=abc"),
    ("plugin=none eval.ensemble=abc", "eval.ensemble=abc without the balanced head"),
    ("plugin=none plugin.tau0=0.1", "it belongs to plugin=ibc or ibc_release or sfa or sfa_release"),
    ("plugin=sfa plugin.epsilon=0.2", "it belongs to plugin=ibc or ibc_release"),
    ("method=ce plugin=ibc", "which method=ce does not train on: set method=dividemix, or plugin=sfa"),
    ("method=rolt plugin=ibc_release", "plugin=ibc_release gives each head labels of its own, which method=rolt"),
    ("method=elr plugin=ibc", "add plugin=none, or plugin=abc"),
    ("method=rolt_plus plugin=ibc", "method=rolt_plus with ibc is method=dividemix plugin=ibc"),
    ("method=ce plugin=abc plugin.head=experts", "method=ce, which does not train a medium head: set plugin.head=abc"),
    ("method=elr plugin=abc plugin.head=experts", "plugin.head=experts with method=elr"),
    (
        "plugin=ibc dataset=clothing1m model.pretrained=false dataset.selection_draw=2048",
        "set dataset.selection_draw=0",
    ),
    ("plugin=ibc recipe=native dataset=webvision", "does not exist for method=dividemix plugin=ibc on dataset=webvisi"),
    ("method=ce method.lambda_u=3", "it belongs to method=dasc or dasc_release or dividemix or rolt_plus or"),
    ("noise=pair noise.include_self=true", "it belongs to noise=joint or symmetric"),
    ("warmup_epochs=60", "warmup_epochs=60 leaves nothing of epochs=60"),
    ("epochs=1", "warmup_epochs=1 leaves nothing of epochs=1"),
    ("method=ce epochs=5 warmup_epochs=5", "leaves nothing"),
    ("noise=asymmetric", "no class map for dataset=digits"),
    ("dataset=cifar10 noise=asymmetric noise.map=block5", "made for dataset=cifar100"),
    ("dataset.generator=legacy noise=pair", "set dataset.generator=project"),
    ("dataset.generator=legacy noise.include_self=true", "set dataset.generator=project"),
    ("dataset.generator=legacy noise.count=bernoulli", "noise.count=bernoulli"),
    ("dataset.val_fraction=0.2", "set dataset.val=noisy or clean_balanced"),
    ("model=preact_resnet18", "model=preact_resnet18 cannot take the 8x8 images of dataset=digits"),
    ("model=resnet32", "model=resnet32 cannot take the 8x8 images of dataset=digits"),
    ("recipe=native", "dataset=cifar10, cifar100, webvision, clothing1m, not for digits"),
    ("recipe=native dataset=cifar10 method=ce plugin=none", "does not exist for method=ce plugin=none"),
    ("recipe=native dataset=cifar10 plugin=abc", "does not exist for method=dividemix plugin=abc"),
    ("method=ce plugin=none device=[cuda:0,cuda:1]", "set one device"),
    ("dataset=arrays dataset.name=digits", "a name of its own"),
    ("dataset=arrays dataset.name=cifar10n", "a name of its own"),
    ("noise=human", "dataset=digits has none: set dataset=cifar10n or dataset=cifar100n, or another noise"),
    ("dataset=cifar10 noise=human", "dataset=cifar10 has none"),
    ("dataset=cifar10n noise.labels=noisy", "it has worst, aggre, rand1, rand2, rand3, clean"),
    ("dataset=cifar100n noise.labels=worst", "does not exist for dataset=cifar100n: it has noisy, clean"),
    ("dataset=cifar10n noise=joint noise.labels=worst", "it belongs to noise=human"),
    ("dataset=cifar10n noise.count=exact", "no effect with noise=human"),
    ("noise=instance noise.count=exact", "no effect with noise=instance"),
    ("dataset=cifar10n dataset.generator=legacy", "not human: set dataset.generator=project"),
    ("noise=instance dataset.generator=legacy", "not instance: set dataset.generator=project"),
    ("dataset=cifar10n model=preact_resnet18 noise=asymmetric noise.map=block5", "made for dataset=cifar100"),
    ("method=elr", "add plugin=none, or plugin=abc for the balanced head alone"),
    ("method=coteaching plugin=sfa_release", "add plugin=none, or plugin=abc"),
    ("method=elr plugin=none method.loss.name=ce", "it takes elr"),
    ("method=rolt plugin=none method.loss.name=focal", "it takes ce or ldam"),
    ("method=ce plugin=none method.loss.name=elr", "set method=elr"),
    ("method=rolt plugin=none method.schedule=drs", "set drw or none"),
    ("method=rolt_plus plugin=none method.schedule=drs", "set drw or none"),
    ("method=cb_ce plugin=none method.schedule=drw", "set method=ce_drw"),
    ("method=elr plugin=none method.plus=true method.networks=1", "leave method.networks out"),
    ("method=ce_mixup plugin.main_subset=all", "set method.mixup=false"),
    ("method=ldam plugin=none classifier=lws", "set classifier=crt"),
    ("method=ldam plugin=none classifier=tau_norm", "set classifier=crt"),
    ("method=rolt plugin=none method.loss.name=ldam classifier=lws", "set classifier=crt"),
    ("classifier=crt keep_checkpoint=none", "leave keep_checkpoint=none out"),
    ("classifier=crt eval.ensemble=abc", "leave eval.ensemble=abc out"),
    ("method=elr plugin=none method.plus=true classifier=crt", "predicts by averages"),
    ("method=elr plugin=none method.predict=trained", "set method.plus=true, or leave method.predict out"),
    ("method=ce plugin=none method.predict=trained", "has no effect with method=ce: it belongs to method=elr"),
    ("method=elr plugin=none method.loss.beta=5", "allowed is 0 <= method.loss.beta < 1 with method=elr"),
    ("method=elr plugin=none method.loss.beta=1", "allowed is 0 <= method.loss.beta < 1 with method=elr"),
    ("method=ce plugin=none epochs=2 record.probes=1000", "record.probes=1000 keeps nothing of epochs=2"),
    ("epochs=10 warmup_epochs=9 record.probes=9", "whose first selection is in epoch 10: set record.probes=1"),
    (f"dataset.generator=legacy data_seed={2**32}", "allowed is 0 <= data_seed < 2^32"),
    *(
        (f"{typed} plugin=none {unknown}", "share of noisy labels, which is unknown here: set noise.assumed_rate=")
        for typed in (
            "method=coteaching",
            "method=dividemix method.lambda_u=paper",
            "method=rolt_plus method.lambda_u=paper",
        )
        for unknown in ("dataset=arrays dataset.name=mine", "dataset=cifar10n", f"noise=matrix noise.file={__file__}")
    ),
]


@pytest.mark.parametrize(("typed", "sentence"), MAKES_NO_SENSE, ids=[t for t, _ in MAKES_NO_SENSE])
def test_what_does_not_go_together_is_refused_as_a_combination(typed, sentence):
    with pytest.raises(ConfigError) as refused:
        compose(typed.split())
    assert sentence in str(refused.value)
    assert refused.value.invalid_combination


@pytest.mark.parametrize(
    "typed",
    [
        "method=ce plugin=none epochs=5 warmup_epochs=5",
        "method=ce plugin=none method.selector.name=loss_gmm",
        "plugin=abc method.selector.name=oracle",
        "plugin.head=none",
        "device=[cuda:0,cuda:1]",
        "dataset=cifar100 noise=asymmetric noise.map=block5",
        "dataset.generator=legacy noise=none",
        "noise_ratio=0 imb_factor=1",
        "epochs=null lr=null dataset.normalise=null",
        "hydra/launcher=joblib hydra.launcher.n_jobs=2",
        "lr=${noise_ratio}",
        "method=coteaching plugin=none noise=none",  # the suite's own labels are right as they are
        "method=coteaching plugin=none dataset=arrays dataset.name=mine noise.assumed_rate=0.1",
        "method=coteaching plugin=none dataset=arrays dataset.name=mine method.forget_rate=0.1",
        "method=coteaching plugin=none dataset=arrays dataset.name=mine noise=pair",
        f"plugin=none noise=matrix noise.file={__file__} method.lambda_u=paper noise.assumed_rate=0.3",
        f"plugin=none noise=matrix noise.file={__file__}",  # needs no rate
        "dataset=cifar10n method=coteaching plugin=none noise.assumed_rate=0.4",
        "dataset=cifar10n method=coteaching plugin=none noise=none",  # the clean labels are CIFAR's own
        "dataset=cifar100n noise=asymmetric noise.map=block5",
        "method=coteaching plugin=none noise=instance",
        "epochs=1e2",
    ],
)
def test_what_makes_sense_is_not_refused(typed):
    assert compose(typed.split()).epochs >= 1


def test_a_missing_matrix_file_is_refused_before_training(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        compose(["noise=matrix", f"noise.file={tmp_path / 'no.txt'}"])


def test_an_unknown_key_in_a_users_yaml_is_refused(tmp_path):
    conf = tmp_path
    (conf / "plugin").mkdir()
    (conf / "plugin" / "mine.yaml").write_text("# mine\nselector: sfa\nhead: abc\nbetta: 0.9\n")
    with pytest.raises(ConfigError, match=r"unknown key plugin\.betta; did you mean plugin\.beta\?"):
        compose(["plugin=mine"], conf)
    (conf / "plugin" / "broken.yaml").write_text("# mine\nselector: [sfa\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        compose(["plugin=broken"], conf)


BEYOND = [
    ("replicate", 2**63 - 1, 2**63),
    ("seed", 2**63 - 1, 2**63),
    ("data_seed", 2**63 - 1, 2**63),
    ("threads", 4096, 4097),
    ("dataset.workers", 4096, 4097),
    ("epochs", 10**6, 10**30),
    ("epochs", 10**6, 10**400),
    ("warmup_epochs", 59, 10**6 + 1),
    ("batch_size", 10**9, 10**19),
    ("eval.batch_size", 10**9, 10**19),
    ("plugin.phi", 10, 1e300),
    ("plugin.samples", 10_000, 1_000_000),
    ("method.alpha", 1e6, 1e300),
    ("method.ramp_epochs", 1000, 1e308),
]


@pytest.mark.parametrize(("key", "largest", "beyond"), BEYOND)
def test_a_number_beyond_any_machine_is_refused_with_its_range_and_the_largest_one_is_not(key, largest, beyond):
    files = ["dataset=folder", "dataset.name=mine"] if key == "dataset.workers" else []
    run_hash(compose([*files, f"{key}={largest}"]))
    with pytest.raises(ConfigError, match=rf"{key}=\S+: allowed is .* <=? {key} <=? "):
        compose([*files, f"{key}={beyond}"])


def test_the_range_of_seeds_is_shown_in_full():
    with pytest.raises(ConfigError, match=r"^seed=9223372036854775808: allowed is 0 <= seed < 2\^63$"):
        compose([f"seed={2**63}"])


def test_every_whole_number_has_an_end():
    whole = {k: limits for k, (kind, limits) in options().items() if int in alternatives_of(kind)}
    assert {k for k, limits in whole.items() if not {"high", "below"} & set(limits)} == {
        key for key in whole if key.endswith(".revision")
    }


def test_the_largest_numbers_make_finite_schedules():
    for words in (
        "plugin.phi=10 epochs=2 warmup_epochs=1",
        "plugin.phi=1e-300",
        "method.ramp_epochs=1e6 epochs=1000000",
    ):
        effective = compose(words.split()).recipe.effective
        assert all(math.isfinite(v) for v in (effective.phi, effective.beta, effective.ramp_epochs))
    gate = StochasticFeatureAveraging(Thresholds(), phi=10.0, generator=None).gate_threshold
    assert gate(1000, 10) == gate(3, 10) == HIGHEST_GATE


@pytest.mark.parametrize(
    "key",
    [
        "plugin.schedule",
        "colour",
        "x.name",
        "plugin.optimizer",
        "dataset.root",
        "model.dropout",
        "name",
    ],
)
def test_no_suggestion_is_better_than_a_wrong_one(key):
    with pytest.raises(ConfigError, match=rf"^unknown key {key}; python run.py --help lists them$"):
        compose([f"{key}=1"])


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("method.beta", "method.loss.beta"),
        ("dataset.noise_ratio", "noise_ratio"),
        ("method.lr", "lr"),
        ("method.imbalance", "imbalance"),
        ("gmm.monotone", "plugin.gmm.monotone"),
        ("replicates", "replicate"),
        ("batchsize", "batch_size"),
        ("plugin.abc.count_flor", "plugin.abc.count_floor"),
        ("weight_dekay", "recipe.weight_decay"),
    ],
)
def test_a_slip_is_recognised(key, meant):
    with pytest.raises(ConfigError, match=rf"^unknown key {key}; did you mean {meant}\?$"):
        compose([f"{key}=1"])


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("noise_ratio=0.2method=ce", "is a space missing before method=ce? Else put it in quotes"),
        ("seed=1,plugin.beta=0.9", "is a space missing before plugin.beta=0.9?"),
        ("data_dir=/x/a=b", "put it in quotes, inside those of the shell: write \"data_dir='/x/a=b'\""),
        ("data_dir=/data/résumé", "put it in quotes"),
        ("epochs", "write KEY=VALUE, without spaces around ="),
        ("epochs =5", "write KEY=VALUE, without spaces around ="),
        ("lr=range(a,b)", "start: str is incompatible with Union[int, float]"),
        ("lr=nope(1)", "Unknown function 'nope' Available: bool,choice,"),
        (f"lr={'[' * 3000}", "cannot read 'lr=[[["),
        (f"lr={'[' * 3000}{']' * 3000}", "too many levels of brackets"),
        (f"epochs={'9' * 5000}", "must be a whole number"),
    ],
)
def test_what_cannot_be_read_says_what_to_type(typed, sentence):
    with pytest.raises(ConfigError) as refused:
        compose([typed])
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["seed=${oc.env:SFA_TEST_UNSET}"],
            "seed=${oc.env:SFA_TEST_UNSET}: .*Environment variable 'SFA_TEST_UNSET' not found",
        ),
        (["seed=${oc.env:SFA_TEST_WORD}"], "seed=three: must be a whole number .*seed=${oc.env:SFA_TEST_WORD}"),
        (["lr=${nope}"], "lr=${nope}: .*'nope' not found"),
        (["seed=${epochs}"], "seed=null: must be a whole number.*seed=${epochs}"),
        (["seed=${data_seed}", "data_seed=${seed}"], "seed=${data_seed}: .*Recursive"),
        (["noise_ratio=${oc.env:SFA_TEST_SEVEN}"], "noise_ratio=7: allowed is .*noise_ratio=${oc.env:SFA_TEST_SEVEN}"),
        (["dataset.normalise=${oc.env:SFA_TEST_WORD}"], "dataset.normalise=three: must be one of"),
    ],
)
def test_an_interpolation_that_gives_nothing_names_its_key(words, sentence, monkeypatch):
    monkeypatch.setenv("SFA_TEST_WORD", "three")
    monkeypatch.setenv("SFA_TEST_SEVEN", "7")
    with pytest.raises(ConfigError, match=sentence.replace("$", r"\$").replace("{", r"\{")):
        compose(words)


def test_an_environment_variable_is_a_number_where_one_is_wanted(monkeypatch):
    monkeypatch.setenv("SFA_TEST", "3")
    run = compose(
        ["seed=${oc.env:SFA_TEST}", "lr=0.${oc.env:SFA_TEST}", "runs_dir=r/${oc.env:SFA_TEST}", "data_dir=${seed}"]
    )
    assert (run.seed, run.lr, run.runs_dir, run.data_dir) == (3, 0.3, "r/3", "3")
    monkeypatch.setenv("SFA_TEST", "false")
    assert compose(["share_warmup=${oc.env:SFA_TEST}"]).share_warmup is False
