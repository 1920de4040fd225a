"""WebVision and Clothing1M: recipes, constants, and a backbone that starts from a file (protocol.md §3,
algorithms/methods.md §7).
"""

import hashlib
import os

import pytest

from sfa_bench.choices.methods import lambda_u
from sfa_bench.choices.noises import told_rate
from sfa_bench.config import canonical as module
from sfa_bench.config.canonical import canonical, hashes, run_hash
from sfa_bench.config.compose import compose
from sfa_bench.config.replayed import with_setting
from sfa_bench.errors import ConfigError

WEBVISION = ["dataset=webvision"]
CLOTHING = ["dataset=clothing1m", "model.pretrained=false"]
NONE = "plugin=none"


def schedule(run):
    recipe = run.recipe
    rate = (run.lr, recipe.weight_decay, recipe.momentum, recipe.lr_drop, recipe.effective.lr_drop_epoch)
    return (run.model.name, run.epochs, run.warmup_epochs, run.batch_size, recipe.effective.plain_batch, *rate)


# protocol.md §3
MATCHED = {
    "webvision": ("inception_resnet_v2", 100, 1, 32, 64, 0.01, 5e-4, 0.9, 0.1, 50),
    "clothing1m": ("resnet50", 80, 1, 32, 64, 0.002, 1e-3, 0.9, 0.1, 41),
}


@pytest.mark.parametrize("data", [WEBVISION, CLOTHING])
@pytest.mark.parametrize(
    "method", ["method=dividemix", "method=rolt_plus plugin=none", "method=ce", "method=elr plugin=none"]
)
def test_matched_recipe(data, method):
    run = compose([*data, *method.split()])
    assert schedule(run) == MATCHED[run.dataset.source]
    assert run.model.width is None


@pytest.mark.parametrize(
    ("data", "method", "plugin", "epochs", "drop"),
    [
        (WEBVISION, "dividemix", "none", 101, 51),
        (WEBVISION, "rolt_plus", "none", 101, 51),
        (WEBVISION, "dividemix", "sfa", 100, 50),
        (WEBVISION, "dividemix", "sfa_release", 100, 50),
        (CLOTHING, "dividemix", "none", 81, 41),
        (CLOTHING, "rolt_plus", "none", 81, 41),
    ],
)
def test_native_recipe(data, method, plugin, epochs, drop):
    run = compose([*data, f"method={method}", f"plugin={plugin}", "recipe=native"])
    model, _, warmup, batch, plain, lr, decay, momentum, factor, _ = MATCHED[run.dataset.source]
    assert schedule(run) == (model, epochs, warmup, batch, plain, lr, decay, momentum, factor, drop)
    assert (run.recipe.effective.beta, run.recipe.effective.phi) == (0.9, 1.005)
    own = run.dataset.source == "webvision" and plugin == "none"
    assert run.method.selector.variant == ("webvision" if own else "usual")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (
            "dataset=clothing1m model.pretrained=false",
            "plugin=sfa on dataset=clothing1m (only for method=dividemix plugin=none, method=rolt_plus plugin=none)",
        ),
        ("dataset=webvision plugin=abc", "plugin=abc on dataset=webvision (only"),
        (
            "dataset=webvision method=ce plugin=none",
            "method=dividemix plugin=none, method=dividemix plugin=sfa, method=dividemix plugin=sfa_release, "
            "method=rolt_plus plugin=none)",
        ),
    ],
)
def test_what_has_no_native_recipe_is_refused(typed, sentence):
    with pytest.raises(ConfigError) as refused:
        compose([*typed.split(), "recipe=native"])
    assert sentence in str(refused.value)
    assert refused.value.invalid_combination


# ---- constants of DivideMix and SFA


@pytest.mark.parametrize("recipe", ["matched", "native"])
@pytest.mark.parametrize("data", [WEBVISION, CLOTHING])
def test_dividemix_has_its_own_constants_on_web_data(data, recipe):
    method = compose([*data, NONE, f"recipe={recipe}"]).method
    assert (method.alpha, method.lambda_u, method.forward, method.temperature) == (0.5, 0.0, "labelled", 0.5)


def test_and_elsewhere_those_of_cifar():
    for typed in (
        [],
        ["dataset=cifar10"],
        ["dataset=folder", "dataset.name=mine"],
        ["dataset=cifar10", "method.lambda_u=0"],
    ):
        method = compose(typed).method
        assert (method.alpha, method.forward) == (4.0, "all")
        assert method.lambda_u == (0.0 if "method.lambda_u=0" in typed else 25.0)
    assert "method.forward" not in canonical(compose(["dataset=cifar10", "method.lambda_u=0"]))


@pytest.mark.parametrize(
    ("typed", "forward"),
    [
        ("method.lambda_u=5", "all"),  # who wants an unlabelled term gets it
        ("method.lambda_u=paper", "labelled"),
        ("method.forward=all", "all"),
        ("method.lambda_u=0", "labelled"),
        ("method=ce plugin=none", "all"),
    ],
)
def test_unlabelled_rows_are_forwarded_where_something_weighs_them(typed, forward):
    assert compose([*WEBVISION, *typed.split()]).method.forward == forward


def test_rows_that_are_not_forwarded_cannot_be_weighed():
    for typed in (["method.forward=labelled"], [*WEBVISION, "method.forward=labelled", "method.lambda_u=3"]):
        with pytest.raises(ConfigError, match=r"set method\.lambda_u=0, or method\.forward=all") as refused:
            compose(typed)
        assert refused.value.invalid_combination
    assert compose(["method.forward=labelled", "method.lambda_u=0"]).method.forward == "labelled"


def test_the_papers_lambda_u_is_0_on_web_data_and_needs_to_be_told_nothing():
    for data in (WEBVISION, CLOTHING):
        assert lambda_u(compose([*data, "method.lambda_u=paper"])) == 0.0


@pytest.mark.parametrize(
    "data", ["webvision", "clothing1m model.pretrained=false", "folder dataset.name=m", "csv dataset.name=m"]
)
def test_nobody_knows_the_rate_of_the_noise_that_labels_have_already(data):
    typed = f"dataset={data}".split()
    assert told_rate(compose(typed)) is None
    assert told_rate(compose([*typed, "noise.assumed_rate=0.3"])) == 0.3
    with pytest.raises(ConfigError, match=r"set noise\.assumed_rate=RATE"):
        compose([*typed, "method=coteaching", NONE])


@pytest.mark.parametrize("data", [WEBVISION, CLOTHING])
def test_sfa_averages_over_ten_epochs_and_draws_every_class_on_web_data(data):
    for plugin in ("sfa", "sfa_release"):
        run = compose([*data, f"plugin={plugin}"])
        assert (run.plugin.beta, run.plugin.sample_min) == (0.9, 0)
        assert (run.recipe.effective.beta, run.recipe.effective.phi) == (0.9, 1.005)  # E is the nominal length
        half = compose([*data, f"plugin={plugin}", f"epochs={run.epochs // 2}"])
        assert half.recipe.effective.beta == pytest.approx(0.9**2)
        assert half.recipe.effective.ramp_epochs == 8
    assert compose([*data, "plugin.beta=0.99", "plugin.sample_min=7"]).plugin.beta == 0.99


def test_elr_is_at_home_on_both():
    for data in (WEBVISION, CLOTHING):
        loss = compose([*data, "method=elr", NONE]).method.loss
        assert (loss.beta, loss.weight, loss.transferred) == (0.7, 3.0, False)
    assert compose([*CLOTHING, "method=sce", NONE]).method.loss.alpha == 10.0


# ---- presets and variants


def test_release_sfa_webvision_is_the_bundle_of_the_specification():
    run = compose(["+preset=release_sfa_webvision"])
    assert (run.dataset.source, run.noise.name, run.imbalance.name) == ("webvision", "none", "none")
    assert (run.seed, run.data_seed, run.names["recipe"], run.names["plugin"]) == (123, 123, "native", "sfa_release")
    plugin, method = run.plugin, run.method
    assert (plugin.moments, plugin.beta, plugin.sample_min, plugin.selection_at) == ("release", 0.9, 0, "end")
    assert (plugin.abc.count_floor, plugin.empty_class, method.selector.no_clean_class) == (0.0, "error", "none")
    assert (method.lambda_u, method.forward, method.alpha) == (0.0, "labelled", 0.5)
    short = compose(["+preset=release_sfa_webvision", "epochs=10"])
    assert short.recipe.effective.beta == 0.9  # literal
    assert run_hash(run) == run_hash(compose(["+preset=release_sfa_webvision", "dataset=webvision"]))


def test_a_variant_of_mixtures_is_refused_where_there_is_none_and_acts_where_there_is():
    for typed in (
        ["method.selector.variant=webvision"],
        [NONE, "method.selector.name=oracle", "method.selector.variant=usual"],
    ):
        with pytest.raises(ConfigError, match=r"method\.selector\.name=loss_gmm or proto"):
            compose(typed)
    assert run_hash(compose([NONE])) != run_hash(compose([NONE, "method.selector.variant=webvision"]))
    assert run_hash(compose([NONE])) == run_hash(compose([NONE, "method.selector.variant=usual"]))


def test_a_replay_keeps_the_variant_of_the_selector_it_keeps():
    base = compose([*WEBVISION, NONE, "recipe=native"])
    assert with_setting(base, ["plugin.p_threshold=0.6"]).method.selector.variant == "webvision"
    assert with_setting(base, ["method.selector.variant=usual"]).method.selector.variant == "usual"
    other = with_setting(base, ["method.selector.name=loss_gmm_cls"])
    assert other.method.selector.variant == "usual"
    assert with_setting(base, ["plugin=sfa"]).plugin.beta == 0.9


# ---- model.pretrained


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"a" * 1000)
    return path


def test_clothing1m_asks_for_weights_and_names_both_ways():
    with pytest.raises(ConfigError) as refused:
        compose(["dataset=clothing1m"])
    for part in ("model.pretrained=FILE", ".pth file of torchvision's ResNet-50", "model.pretrained=false"):
        assert part in str(refused.value)
    assert not refused.value.invalid_combination
    assert compose(["dataset=clothing1m", "model=convnet"]).model.pretrained is False
    assert compose(["dataset=webvision", "model=resnet50"]).model.pretrained is False
    assert compose(CLOTHING).model.pretrained is False


def test_pretrained_false_is_what_runs_always_did():
    assert run_hash(compose(["model.pretrained=false"])) == run_hash(compose([]))
    assert "model.pretrained" not in canonical(compose(CLOTHING))


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("model.pretrained=true", "model.pretrained=true: must be a text or false or null"),
        ("dataset=webvision model.pretrained=/nowhere.pth", "model.pretrained=/nowhere.pth: there is no such file"),
        (
            "dataset=cifar10 model.pretrained=/nowhere.pth",
            "with model=preact_resnet18, which starts from random weights",
        ),
        ("dataset=cifar10 model=resnet32 model.pretrained=false", "it belongs to model=auto or inception_resnet_v2 or"),
        ("dataset=cifar10 model=resnet50", "model=resnet50 cannot take the 32x32 images of dataset=cifar10"),
        (
            "dataset=webvision dataset.crop=64",
            "dataset.crop=64 pixels: set dataset.crop=107 or more, or model=convnet",
        ),
        ("dataset=webvision model=resnet50 dataset.crop=32", "set dataset.crop=33 or more"),
        (
            "dataset=webvision model.width=8",
            "with model=inception_resnet_v2, which has one width: leave model.width out",
        ),
    ],
)
def test_models_that_do_not_go_are_refused(typed, sentence):
    with pytest.raises(ConfigError) as refused:
        compose(typed.split())
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


DRAWN = "dataset=clothing1m model.pretrained=false"


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (f"{DRAWN} method=rolt", "method=rolt keeps a running average for every sample"),
        (f"{DRAWN} method=ce plugin=none method.schedule=drs", "method.schedule=drs resamples classes"),
        (f"{DRAWN} record.probes=1", "record.probes keeps selections among all samples"),
        (f"{DRAWN} dataset.warmup_draw=63", "a draw of 63 samples is less than one batch: set 64 or more, or 0"),
        (f"{DRAWN} dataset.selection_draw=63", "a draw of 63 samples is less than one batch"),
        (f"{DRAWN} dataset.resize=223", "dataset.resize=223 leaves no square of dataset.crop=224 pixels"),
    ],
)
def test_draws_and_crops_that_make_no_sense_are_not_valid(typed, sentence):
    with pytest.raises(ConfigError) as refused:
        compose(typed.split())
    assert sentence in str(refused.value)
    assert refused.value.invalid_combination


def test_all_samples_in_every_epoch_are_valid_with_everything():
    for more in ("method=rolt", "method.schedule=drs method=ce plugin=none", "record.probes=1"):
        compose(f"{DRAWN} dataset.warmup_draw=0 dataset.selection_draw=0 {more}".split())


@pytest.mark.parametrize("own", ["arrays", "folder", "csv"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100n", "webvision", "synthetic"])
def test_own_data_have_a_name_of_their_own(own, name):
    with pytest.raises(ConfigError, match=f"dataset.name={name} is the name of a built-in data set"):
        compose([f"dataset={own}", f"dataset.name={name}"])


def test_smaller_crops_are_taken_as_far_as_the_network_can():
    assert compose(["dataset=webvision", "dataset.crop=107"]).dataset.crop == 107
    assert compose(["dataset=folder", "dataset.name=m", "dataset.crop=8"]).model.name == "convnet"


def test_weights_count_by_content_not_by_name(weights, tmp_path):
    copy, other = tmp_path / "copy.pth", tmp_path / "other.pth"
    copy.write_bytes(weights.read_bytes())
    other.write_bytes(b"a" * 999 + b"b")
    base = ["dataset=clothing1m"]
    runs = [compose([*base, f"model.pretrained={path}"]) for path in (weights, copy, other)]
    assert run_hash(runs[0]) == run_hash(runs[1]) != run_hash(runs[2])
    assert run_hash(runs[0]) != run_hash(compose(CLOTHING))
    assert canonical(runs[0])["model.pretrained"] == hashlib.sha256(b"a" * 1000).hexdigest()
    # They act from the first epoch on.
    assert len({hashes(run).warmup for run in (runs[0], runs[2], compose(CLOTHING))}) == 3
    assert runs[0].to_plain()["model"]["pretrained"] == str(weights)


def test_a_file_is_read_once_and_again_when_it_has_changed(weights, monkeypatch):
    read = []
    original = hashlib.file_digest
    monkeypatch.setattr(module.hashlib, "file_digest", lambda *a: read.append(1) or original(*a))
    first = run_hash(compose(["dataset=clothing1m", f"model.pretrained={weights}"]))
    for replicate in range(5):
        run_hash(compose(["dataset=clothing1m", f"model.pretrained={weights}", f"replicate={replicate}"]))
    assert len(read) == 1
    before = os.stat(weights)
    weights.write_bytes(b"c" * 1000)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copy that keeps times
    assert run_hash(compose(["dataset=clothing1m", f"model.pretrained={weights}"])) != first
    assert len(read) == 2


def test_weights_that_are_gone_are_refused_when_hashed(weights):
    run = compose(["dataset=clothing1m", f"model.pretrained={weights}"])
    weights.unlink()
    with pytest.raises(ConfigError, match=r"model\.pretrained=.*cannot be read"):
        run_hash(run)
