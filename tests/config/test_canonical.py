"""Two runs are one exactly when nothing that acts differs (explanation/runs.md §5)."""

import hashlib
import json
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sfa_bench.choices.sources import named
from sfa_bench.config.canonical import canonical, run_hash
from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import CONF, choices


def identity(typed=""):
    return run_hash(compose(typed.split()))


def test_the_hash_is_sha256_of_what_acts_and_differs_from_the_defaults():
    by_hand = {
        "batch_size": 32,
        "dataset.name": "digits",
        "epochs": 60,
        "lr": 0.02,
        "model.name": "convnet",
        "model.width": 16,
        "recipe.effective.lr_drop_epoch": 46,
        "recipe.momentum": 0.9,
        "recipe.weight_decay": 0.0005,
    }
    assert canonical(compose(["method=ce", "plugin=none"])) == by_hand
    text = json.dumps(by_hand, sort_keys=True, separators=(",", ":"))
    assert identity("method=ce plugin=none") == hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        ("", "9a8891012d3b"),
        ("plugin=none", "8d9d69d2cc3f"),
        ("plugin=sfa_release", "38eeb1bbb03e"),
        ("method=ce plugin=none replicate=2", "124d3a99f1ee"),
        ("method=balanced_softmax plugin=abc noise=symmetric", "6995433c9672"),
        ("dataset=fashion_mnist noise_ratio=0.5 imb_factor=0.01", "5cb2d7ab16e5"),
        ("dataset=cifar10 +preset=release_sfa_cifar", "8bba1cb40bc6"),
        ("dataset=cifar100 +preset=release_rolt_plus", "762f25151ace"),
        ("dataset=cifar10 +preset=release_dividemix", "17c74e490908"),
        ("dataset=arrays dataset.name=mine", "13c9d7eee9d3"),
        ("method=elr plugin=none", "d91461180b4c"),
        ("method=elr plugin=none dataset=cifar10", "f52e5abf22f6"),
        ("method=coteaching plugin=none", "d7e25972e998"),
        ("method=ngce plugin=none", "1a4daf0bcbd6"),
        ("method=ngce plugin=none noise=pair dataset=fashion_mnist", "5704f665c2c7"),
        ("method=nfl plugin=none", "445e6f9c57e1"),
        ("dataset=webvision", "d07aff015d30"),
        ("dataset=cifar10 plugin=none recipe=native", "0258594bbfed"),
    ],
)
def test_hashes_of_old_runs_stay_what_they_were(typed, recorded):
    """A change here orphans every finished run of that configuration: raise a `revision` instead."""
    assert identity(typed) == recorded


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        ("method=elr plugin=none method.plus=true", "370f51d07063"),
        ("method=elr plugin=none method.plus=true dataset=cifar10", "c8ec554e6a0f"),
        ("method=coteaching plugin=none dataset=cifar10 recipe=native", "8e208d66b021"),
        ("method=ngce plugin=none noise=symmetric", "88b0b8811a0e"),
        ("method=nfl plugin=none noise=symmetric dataset=cifar10", "adfaa91e2515"),
        ("dataset=webvision plugin=none recipe=native", "ded1f43677d8"),
        ("dataset=webvision +preset=release_sfa_webvision", "78a6ddbec934"),
    ],
)
def test_runs_of_before_a_change_of_results_are_other_runs(typed, recorded):
    assert identity(typed) != recorded


SAME = [
    ("noise_ratio=0.1", "noise_ratio=0.10"),
    ("noise_ratio=0.1", "noise_ratio=1e-1"),
    ("imb_factor=1", "imb_factor=1.0"),
    ("", "noise_ratio=0.4 plugin.beta=0.99 eval.every=1"),
    ("", "epochs=60 warmup_epochs=9 batch_size=32 lr=0.02 model=convnet model.width=16 recipe.momentum=0.9"),
    ("", "threads=1 device=cpu data_dir=/x runs_dir=/y checkpoint_seconds=0 keep_checkpoint=all eval.batch_size=8"),
    ("dataset=cifar10", "dataset=cifar10 dataset.checksum=true"),
    ("replicate=3", "seed=3 data_seed=3"),
    ("plugin=sfa", "plugin=abc method.selector.name=sfa"),
    ("plugin=sfa plugin.head=none", "plugin=none method.selector.name=sfa"),
    ("method=rolt_plus plugin=none", "method=dividemix plugin=none method.selector.name=proto"),
    ("imbalance=none", "imbalance=none imb_factor=0.01"),
    ("noise=none", "noise=none noise_ratio=0.2"),
    ("noise=joint", "noise=joint noise.count=exact"),
    ("noise=pair", "noise=pair noise.count=bernoulli"),
    ("method=ce plugin=none", "method=ce plugin=none warmup_epochs=3"),
    ("method=ce plugin=none", "method=ce plugin=none plugin.p_threshold=0.9 method.selector.view=train"),
    ("method=ce plugin=abc", "method=ce plugin=abc plugin.abc.counts=observed"),
    ("plugin.draw=false", "plugin.draw=false plugin.samples=4 plugin.sample_min=9 plugin.var_floor=1e-9"),
    ("plugin.moments=none", "plugin.moments=none plugin.beta=0.5 plugin.draw=false plugin.samples=3"),
    ("method.lambda_u=0", "method.lambda_u=0 method.ramp_epochs=4 method.ramp_origin=zero_based"),
    ("plugin=ibc plugin.epsilon=0", "plugin=ibc plugin.epsilon=0 plugin.kappa=0.5 plugin.query_centre=sample"),
    ("plugin=ibc plugin.head=none", "plugin=ibc plugin.head=none plugin.epsilon=0.3 plugin.medium_warmup=false"),
    ("plugin=ibc warmup_epochs=0", "plugin=ibc warmup_epochs=0 plugin.medium_warmup=false"),
    (
        "plugin=ibc_release plugin.moments=persistent plugin.sample_min=auto plugin.empty_class=carry",
        "plugin=ibc plugin.medium_warmup=false plugin.query_centre=sample",
    ),
    ("dataset=cifar10 plugin=ibc recipe=native", "dataset=cifar10 plugin=ibc"),
    ("", "plugin.main_subset=all"),
    ("", "method.partner=updated"),
    ("method=ngce plugin=none", "method=ngce plugin=none method.loss.scale=1"),
    ("plugin=none method.selector.name=oracle", "plugin=none method.selector.name=oracle plugin.p_threshold=0.9"),
    ("recipe.milestone=1", "recipe.milestone=1 recipe.lr_drop=0.5"),
    ("epochs=60 recipe.milestone=0.75", "recipe.milestone=0.76"),
    ("dataset=cifar10 plugin=sfa recipe=native", "dataset=cifar10 plugin=sfa"),
    ("method.lambda_u=paper noise_ratio=0.5", "noise_ratio=0.5"),
    ("method=coteaching plugin=none", "method=coteaching plugin=none noise.assumed_rate=0.4"),
    ("method=coteaching plugin=none noise=none", "method=coteaching plugin=none noise=none noise.assumed_rate=0"),
    (
        "dataset=cifar10n",
        "dataset=cifar10n noise=human imbalance=none noise.labels=worst noise_ratio=0.2 imb_factor=0.3",
    ),
    ("dataset=cifar100n", "dataset=cifar100n noise.labels=noisy dataset.checksum=true"),
    ("dataset=cifar10n noise=pair imbalance=none", "dataset=cifar10n noise=pair"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_these_are_one_run(one, other):
    assert identity(one) == identity(other)


BASES = [
    (
        "",
        "noise_ratio=0.5 imb_factor=0.2 seed=1 data_seed=1 epochs=61 warmup_epochs=8 batch_size=16 lr=0.1",
    ),
    (
        "",
        "eval.every=2 eval.ensemble=main noise=pair imbalance=step noise.include_self=true noise.count=bernoulli",
    ),
    ("", "dataset.normalise=cifar10 dataset.generator=legacy dataset.val=noisy dataset.shots.basis=observed"),
    ("dataset.val=noisy", "dataset.val_fraction=0.3"),
    ("", "method.selector.view=train method.selector.no_clean_class=none method.lambda_u=1 method.alpha=1"),
    ("", "method.temperature=1 method.penalty=none method.guess_mode=eval method.ramp_origin=zero_based"),
    (
        "",
        "method.ramp_epochs=20 plugin.moments=release plugin.beta=0.9 plugin.phi=1.01 plugin.tau0=0.2 plugin.samples=2",
    ),
    ("", "plugin.distance=relative"),
    ("", "plugin.draw=false plugin.sample_min=3 plugin.head=none plugin.empty_class=error plugin.p_threshold=0.6"),
    ("", "plugin.var_floor=1e-9 plugin.abc.counts=observed plugin.abc.count_floor=0 plugin.abc.detach=true"),
    ("", "plugin.gmm.min_samples=3 model.width=8 recipe.momentum=0 recipe.weight_decay=0 recipe.lr_drop=0.2"),
    ("", "recipe.milestone=0.5 plugin=none plugin=abc plugin=sfa_release method=ce dataset=cifar10"),
    ("", "plugin=ibc plugin=ibc_release plugin.head=experts plugin.empty_class=zero"),
    ("plugin=ibc", "plugin.epsilon=0.2 plugin.kappa=0.5 plugin.query_centre=sample plugin.medium_warmup=false"),
    ("plugin=ibc", "plugin.samples=1 plugin.head=abc plugin.head=none plugin.moments=release plugin.abc.detach=true"),
    ("method=ce", "precision=bf16 plugin.main_subset=all warmup_epochs=3"),
    ("plugin=none", "method.selector.name=loss_gmm_cls method.selector.name=proto method=rolt_plus"),
    ("dataset=cifar10", "model=resnet32 model.variant=canonical dataset=cifar100"),
    ("dataset=cifar100 noise=asymmetric", "noise.map=block5"),
    ("method=ce plugin=none", "method.loss.name=balanced_softmax"),
    ("method=coteaching plugin=none noise=none", "noise.assumed_rate=0.4"),  # told is 0 there, whatever noise_ratio
    ("dataset=cifar10n", "noise.labels=aggre noise.labels=clean imbalance=exp noise=none dataset=cifar10"),
    ("dataset=cifar10n method=coteaching plugin=none noise.assumed_rate=0.4", "noise.assumed_rate=0.3"),
    ("dataset=cifar10n plugin=none", "noise.assumed_rate=0.9"),  # averaged losses, and nothing is told without it
    ("noise=instance", "noise_ratio=0.3"),
    ("method=elr method.plus=true plugin=none", "method.predict=trained"),
    ("dataset=cifar10", "dataset.checksum=false"),
    ("dataset=cifar100n", "dataset.checksum=false"),
    ("dataset=fashion_mnist dataset.name=mine", "dataset.checksum=false"),
]


@pytest.mark.parametrize(("base", "change"), [(b, c) for b, changes in BASES for c in changes.split()])
def test_what_can_change_a_result_makes_another_run(base, change):
    assert identity(base) != identity(f"{base} {change}")


def test_whoever_may_skip_official_checksums_says_so_in_the_hash():
    def skips(choice):
        node = yaml.safe_load((CONF / "dataset" / f"{choice}.yaml").read_text())
        return "checksum" in node.get("dataset", node)

    skipping = [choice for choice in choices("dataset") if skips(choice)]
    assert {compose([f"dataset={choice}"]).dataset.source for choice in skipping} == set(named("checked"))
    assert all("dataset.checksum" not in canonical(compose([f"dataset={choice}"])) for choice in skipping)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 0.99), st.floats(1e-4, 1))
def test_no_spelling_of_a_number_makes_another_run(noise_ratio, imb_factor):
    plain = identity(f"noise_ratio={noise_ratio!r} imb_factor={imb_factor!r}")
    assert plain == identity(f"imb_factor={imb_factor:.17e} noise_ratio={noise_ratio:.17e}")


def test_a_noise_matrix_counts_by_content_not_by_name(tmp_path):
    for name, text in (("a.txt", "0.5 0.5\n0 1\n"), ("b.txt", "0.5 0.5\n0 1\n"), ("c.txt", "0.6 0.4\n0 1\n")):
        (tmp_path / name).write_text(text)
    a, b, c = (identity(f"noise=matrix noise.file={tmp_path / n}") for n in ("a.txt", "b.txt", "c.txt"))
    assert a == b != c
    assert a == identity(f"noise=matrix noise.file={tmp_path / 'a.txt'} noise_ratio=0.1")


@pytest.mark.parametrize("noise", ["dataset=cifar10n", "noise=matrix noise.file={}"])
def test_where_noise_ratio_does_not_act_it_says_nothing_of_what_is_told(tmp_path, noise):
    (tmp_path / "t.txt").write_text("0.5 0.5\n0 1\n")
    base = f"{noise.format(tmp_path / 't.txt')} method=coteaching plugin=none"
    usual = identity(f"{base} noise.assumed_rate=0.4")
    assert usual == identity(f"{base} noise.assumed_rate=0.4 noise_ratio=0.3")
    assert usual != identity(f"{base} noise.assumed_rate=0.3 noise_ratio=0.3")


@pytest.mark.parametrize(
    ("group", "choice"), [("method", "dividemix"), ("plugin", "sfa"), ("noise", "joint"), ("dataset", "digits")]
)
def test_a_raised_revision_makes_another_run(group, choice, tmp_path):
    (tmp_path / group).mkdir()
    (tmp_path / group / "raised.yaml").write_text(f"defaults:\n  - {choice}\n  - _self_\n\nrevision: 2\n")
    assert run_hash(compose([f"{group}=raised"], tmp_path)) != identity()


def test_composing_hashing_and_helping_import_no_torch():
    code = (
        "import sys; from sfa_bench.config.compose import compose; from sfa_bench.config.canonical import run_hash;"
        "from sfa_bench.config.help import help_text; run_hash(compose([])); help_text();"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
