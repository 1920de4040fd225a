"""Every switch acts: set away from its default where it is valid, it makes another run with another result.

What belongs to the machine makes the same run, with the same result, and is seen elsewhere.
"""

import io
import json
import os
import pickle
import shutil
from dataclasses import is_dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import cifar_n
import numpy as np
import pytest
import small_images
import torch
import torchvision
from rich.console import Console

from sfa_bench import numerics
from sfa_bench.choices.losses import LOSSES
from sfa_bench.choices.methods import LEARNERS
from sfa_bench.choices.selectors import OPTIONS as SELECTOR_OPTIONS
from sfa_bench.config.canonical import hashes, run_hash
from sfa_bench.config.compose import compose, values_of
from sfa_bench.config.overrides import choices
from sfa_bench.config.schema import GROUPS
from sfa_bench.config.values import options
from sfa_bench.data.cache import Cache
from sfa_bench.data.images import ImageFiles
from sfa_bench.data.sources import glyphs
from sfa_bench.data.tools.fake import make_fake
from sfa_bench.engine import posthoc
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.models import Network
from sfa_bench.parts import batched
from sfa_bench.store.folder import RunFolder

SMALL = "plugin=none classifier=joint epochs=3 warmup_epochs=1 batch_size=8 imb_factor=0.3 threads=1 method=ce"
VECTORS = "dataset=synthetic dataset.classes=4 dataset.size=24 dataset.dim=6 dataset.groups=2 dataset.test_size=8"
SFA = "method=dividemix plugin=sfa"
IBC = "method=dividemix plugin=ibc dataset.classes=10 dataset.size=60"  # three classes of ten are few-shot
DRAWN = f"{SFA} plugin.phi=1 plugin.tau0=0.05 plugin.sample_min=0"  # the gate lets samples of every class through
NARROW = "replicate=4 plugin.p_threshold=0.99999"  # nobody of some class is sure enough
BROAD = "replicate=1 noise_ratio=0.7 dataset.size=80 dataset.overlap=4"  # many samples between clean and wrong
CIFAR = "dataset=cifar10 data_dir={files} dataset.checksum=false imbalance=none epochs=1 model=convnet"
PEOPLE = f"{CIFAR} dataset=cifar10n noise=human"
DIGITS = "dataset=digits imb_factor=0.01 epochs=1"
MINE = "dataset=arrays dataset.name=mine data_dir={files}/mine.npz"
IMAGES = (
    "dataset=folder dataset.name=mine data_dir={files}/images dataset.resize=12 dataset.crop=8 dataset.cache=off"
    " dataset.workers=0"
)
BROKEN = IMAGES.replace("/images", "/broken").replace("=off", "=on")
COLOUR = "dataset=arrays dataset.name=mine data_dir={files}/colour.npz epochs=1"
ALL_LEARNERS = ("ce", "elr", "har", "coteaching", "rolt", "dividemix")
SELECTING = ("ce", "rolt", "dividemix")
WEIGHTED = [f"method={m} method.schedule=drw" for m in (*SELECTING, "har")] + [
    "method=ce method.schedule=drs",
    "method=cb_ce",
]
MIXTURES = [f"method=ce method.selector.name={s}" for s in ("loss_gmm", "loss_gmm_cls", "proto")] + [SFA]
NEWER = (
    *("tabasco", "dacc", "quota", "base", "mda", "confident_learning", "self_confidence", "normalised_margin"),
    *("ssr_knn", "fine", "scs"),
)
QUOTA = "method.selector.name=quota"
SLOW = f"{QUOTA} method.selector.rate=0.1"
GLYPHS = "dataset=glyphs data_dir={files}/fonts dataset.fonts=own imb_factor=0.01 epochs=1 batch_size=64"
TINY = "dataset=arrays dataset.name=mine data_dir={files}/tiny.npz epochs=3"
DASC, UNICON = f"method=dasc plugin=abc {TINY}", f"method=unicon plugin=none {TINY}"
LISTED = "method.selector.name=file method.selector.file={files}/keep.csv"
HEIRS = (DASC, UNICON)  # which train on images alone
AUGMENTS = ("randaugment", "autoaugment", "trivial")
RECIPES = tuple(f"epochs=5 {base}" for base in ("", "method=dividemix plugin=sfa", "method=coteaching", "method=elr"))

# key → (what it is tried on, its new value); what is tried on comes on top of SMALL
SWITCHES: dict[str, list[tuple[str, object]]] = {
    "replicate": [("", 1)],
    "seed": [("", 1)],
    "data_seed": [("", 1)],
    "noise_ratio": [("", 0.2)],
    "imb_factor": [("", 0.5)],
    "epochs": [("", 2)],
    "warmup_epochs": [(f"method={m} plugin=sfa", 2) for m in SELECTING],
    "batch_size": [("", 4), (SFA, 4)],
    "lr": [("", 0.1)],
    "precision": [("", "bf16")],
    "eval.every": [("epochs=12", 3)],
    "eval.ensemble": [("plugin=abc", how) for how in ("prob_mean", "main", "abc")],
    "eval.test": [("dataset.val=noisy", "false")],
    "dataset.name": [("", "mine")],
    "dataset.normalise": [(DIGITS, "fashion_mnist"), (CIFAR, "cifar100"), (MINE, "fashion_mnist")],
    "dataset.augment": [(f"{TINY} {base}", a) for base in ("", "method=dividemix") for a in AUGMENTS]
    + [(f"{base} epochs=3", "trivial") for base in HEIRS],
    "dataset.checksum": [(CIFAR, "true")],  # whose files are then refused
    "dataset.generator": [(DIGITS, "legacy")],
    "dataset.val": [("", "noisy"), ("", "clean_balanced")],
    "dataset.val_fraction": [("dataset.val=noisy", 0.3)],
    "dataset.fold": [("", "1/3"), ("dataset.fold=1/3", "2/3"), ("dataset.val=noisy", "1/3")],
    "dataset.shots.basis": [("replicate=2", "observed")],
    "dataset.resize": [(IMAGES, 16)],
    "dataset.crop": [(IMAGES, 10)],
    "dataset.random_crop": [(IMAGES, "plain")],
    "dataset.flip": [(IMAGES, "false")],
    "dataset.warmup_draw": [
        (f"{IMAGES} {base}", 16)
        for base in ("", "method=elr", "method=coteaching noise.assumed_rate=0.2", "method=dividemix")
    ],
    "dataset.selection_draw": [(f"{IMAGES} {base}", 16) for base in ("plugin=sfa", SFA)],
    "dataset.classes": [("", 5)],
    "dataset.size": [("", 30)],
    "dataset.test_size": [("", 9)],
    "dataset.dim": [("", 7)],
    "dataset.groups": [("", 3)],
    "dataset.overlap": [("", 2)],
    "dataset.submodes": [("", 2)],
    "dataset.characters": [(GLYPHS, "letters")],
    "dataset.fonts": [(GLYPHS, "debian")],
    "noise.count": [(f"noise={n}", "bernoulli") for n in ("joint", "symmetric", "asymmetric")]
    + [("noise=pair", "exact")],
    "noise.include_self": [(f"noise={n}", "true") for n in ("joint", "symmetric")],
    "noise.map": [(f"{CIFAR} dataset=cifar100 noise=asymmetric noise.count=exact", "block5")],
    "noise.labels": [(PEOPLE, which) for which in ("aggre", "rand1", "rand2", "rand3", "clean")],
    "noise.file": [("noise=matrix noise.file={files}/same.npy", "{files}/swap.npy")],
    "noise.assumed_rate": [
        ("method=coteaching", 0.1),
        ("method=dividemix method.lambda_u=paper", 0.1),
        ("method=dividemix", 0.9),
        (f"{PEOPLE} method=dividemix plugin=none epochs=4", 0.9),
    ],
    "method.networks": [(f"method={m}", 2) for m in ("ce", "elr", "har", "rolt")],
    "method.mixup": [(f"method={m}", "true") for m in ("ce", "elr")],
    "method.average_over": [("plugin=sfa", "batch")],
    "method.schedule": [(f"method={m}", "drw") for m in (*SELECTING, "har")] + [("", "drs"), ("method=har", "drs")],
    "method.gamma": [("method=har", 3), ("method=har", 0)],
    "method.estimate_epochs": [("method=har", 1), ("method=har", 0)],
    "method.class_beta": [(base, 0.5) for base in WEIGHTED],
    "method.count_floor": [(base, 15) for base in WEIGHTED],
    "method.plus": [("method=elr", "true")],
    "method.predict": [("method=elr method.plus=true", "trained")],
    "method.forget_rate": [("method=coteaching", 0.1)],
    "method.double_mean": [("method=coteaching", "true")],
    "method.native": [("method=coteaching", "true")],
    "method.ensemble_bias": [("method=rolt", "release")],
    "method.loss.name": [("", "mae"), ("method=rolt", "ldam")],
    "method.loss.alpha": [(f"method={m}", 3) for m in ("sce", "nce_rce", "nce_mae", "jal_ce", "jal_fl")],
    "method.loss.beta": [(f"method={m}", 0.3) for m in ("sce", "nce_rce", "nce_mae", "elr", "jal_ce", "jal_fl")],
    "method.loss.q": [(f"method={m}", 0.5) for m in ("gce", "ngce")],
    "method.loss.gamma": [(f"method={m}", 2) for m in ("focal", "nfl", "jal_fl")],
    "method.loss.a": [(f"method={m}", 10) for m in ("jal_ce", "jal_fl")],
    "method.loss.scale": [
        (m, 10) for m in ("method=nfl", "method=ngce", "method=ldam", "method=rolt method.loss.name=ldam")
    ],
    "method.loss.tau": [("method=logit_adjust", 2)],
    "method.loss.margin": [(m, 0.1) for m in ("method=ldam", "method=rolt method.loss.name=ldam")],
    "method.loss.weight": [("method=elr", 1)],
    "method.loss.lr_u": [("method=sop", 1e9)],  # in three epochs noise hardly grows from its 1e-8
    "method.loss.lr_v": [("method=sop", 1e9)],
    "method.loss.level": [("loss=ccs epochs=6", 0.4)],
    "method.loss.window": [("loss=ccs epochs=8 method.loss.level=0.4", 4)],
    "method.selector.name": [("", s) for s in ("loss_gmm", "loss_gmm_cls", "proto", "oracle", *NEWER)]
    + [(f"method={m}", s) for m in ("rolt", "dividemix") for s in ("loss_gmm_cls", "oracle", *NEWER)]
    + [(base, "loss_gmm_cls") for base in HEIRS],
    "method.selector.prior": [
        (f"method={m} method.selector.name=mda", p) for m in SELECTING for p in ("observed", "estimated")
    ],
    "method.selector.momentum": [
        (f"method={m} method.selector.name={s}", 0.5) for m in SELECTING for s in ("mda", "scs")
    ],
    "method.selector.source": [(f"method={m} method.selector.name=mda", "training") for m in SELECTING],
    "method.selector.variant": [
        (f"method={m} method.selector.name={s}", "webvision") for m in SELECTING for s in ("loss_gmm", "proto")
    ]
    + [(f"{base} method.selector.name=proto", "webvision") for base in HEIRS],
    "method.selector.view": [(f"method={m} plugin=sfa", "train") for m in SELECTING]
    + [(f"method=dividemix method.selector.name={s}", "train") for s in NEWER if s != "ssr_knn"]
    + [("method=dividemix method.selector.name=ssr_knn method.selector.neighbours=9", "train")]
    + [(f"method={m} method.selector.name=loss_gmm {IMAGES}", "train") for m in ("dasc plugin=abc", "unicon")],
    "method.selector.no_clean_class": [(f"method={m} plugin=sfa {NARROW}", "none") for m in SELECTING]
    + [(f"{base} method.selector.name=loss_gmm_cls plugin.p_threshold=0.99999", "none") for base in HEIRS],
    "method.selector.phi": [(f"method={m} method.selector.name=dacc", 2) for m in SELECTING]
    + [(f"{base} method.selector.name=dacc", 2) for base in HEIRS],
    "method.selector.temperature": [(f"method={m} method.selector.name=dacc", 5) for m in SELECTING]
    + [(f"{base} method.selector.name=dacc", 5) for base in HEIRS],
    "method.selector.features": [(DASC, "default")],
    "method.selector.score": [(f"method={m} {QUOTA}", "loss") for m in SELECTING]
    + [(f"{base} {QUOTA}", "loss") for base in HEIRS],
    "method.selector.rate": [(f"method={m} {QUOTA}", 0.1) for m in SELECTING]
    + [(f"{base} {QUOTA}", 0.1) for base in HEIRS],
    "method.selector.rate_end": [(f"method={m} {SLOW} method.selector.rate_epochs=1", 0.9) for m in SELECTING]
    + [(f"{base} {SLOW} method.selector.rate_epochs=1", 0.9) for base in HEIRS],
    "method.selector.rate_epochs": [(f"method={m} {SLOW} method.selector.rate_end=0.9", 1) for m in SELECTING]
    + [(f"{base} {SLOW} method.selector.rate_end=0.9", 1) for base in HEIRS],
    "method.selector.mean_limit": [(f"method={m} {QUOTA} dataset.size=80", 0.01) for m in SELECTING]
    + [(f"{base} {QUOTA} replicate=2 method.selector.mean_limit=null", 0.01) for base in HEIRS],
    "method.selector.networks": [
        (f"method={m} {QUOTA}", "both") for m in ("ce method.networks=2", "rolt method.networks=2", "dividemix")
    ]
    + [(f"{DASC} {QUOTA}", "both"), (UNICON, "own")],
    "method.selector.prune": [
        (f"method={m} method.selector.name=confident_learning", p)
        for m in SELECTING
        for p in ("class", "both", "off_diagonal")
    ],
    "method.selector.counting": [
        (f"method={m} method.selector.name={s} {BROAD}", "paper")
        for m in SELECTING
        for s in ("confident_learning", "self_confidence", "normalised_margin")
    ],
    "method.selector.neighbours": [(f"method={m} method.selector.name=ssr_knn", 5) for m in SELECTING],
    "method.selector.relabel_above": [
        (f"method={m} method.selector.name=ssr_knn method.selector.neighbours=9", 0.3) for m in SELECTING
    ],
    "method.selector.agreement": [
        (f"method={m} method.selector.name=ssr_knn method.selector.neighbours=9", 0.4) for m in SELECTING
    ],
    "method.selector.direction": [(f"method={m} method.selector.name=fine", "mean") for m in SELECTING],
    "method.selector.split": [(f"method={m} method.selector.name=fine", "kmeans") for m in SELECTING],
    "method.selector.quantile": [
        (f"method={m} method.selector.name=scs method.selector.momentum=0", q) for m in SELECTING for q in (0.3, "mean")
    ],
    "method.selector.file": [(f"method={m} {LISTED}", "{files}/others.csv") for m in SELECTING],
    "method.lambda_u": [("method=dividemix", 3), ("method=dividemix noise_ratio=0.2", "paper")]
    + [(base, 3) for base in HEIRS],
    "method.alpha": [(base, 1) for base in ("method=dividemix", *HEIRS)],
    "method.forward": [("method=dividemix method.lambda_u=0", "labelled")],
    "method.partner": [("method=dividemix", "previous")],
    "method.temperature": [(base, 1) for base in ("method=dividemix", *HEIRS)],
    "method.penalty": [(base, "none") for base in ("method=dividemix", *HEIRS)],
    "method.guess_mode": [(base, "eval") for base in ("method=dividemix", *HEIRS)],
    "method.ramp_origin": [(f"{base} method.ramp_epochs=1000", "zero_based") for base in ("method=dividemix", *HEIRS)],
    "method.ramp_epochs": [(base, 1000) for base in ("method=dividemix", *HEIRS)],
    "method.sbcl": [(DASC, 0.1)],
    "method.midl": [(DASC, 0.1)],
    "method.sbcl_temperature": [(DASC, 1)],
    "method.midl_temperature": [(DASC, 0.1)],
    "method.sbcl_from": [(DASC, 0)],
    "method.memory": [(DASC, 3)],
    "method.confidence": [(f"{DASC} method.temperature=1", 0.3)],
    "method.refinement": [(DASC, "release")],
    "method.positive": [(DASC, "release")],
    "method.contrastive": [(UNICON, 1)],
    "method.contrastive_temperature": [(UNICON, 1)],
    "method.fill": [(f"{UNICON} method.selector.rate=0.9", "release")],
    "plugin.moments": [(DRAWN, "release"), (DRAWN, "none")],
    "plugin.selection_at": [
        (DRAWN, "end"),
        (f"{DRAWN} plugin.moments=release", "end"),
        (f"{SFA} plugin.moments=none", "end"),
    ],
    "plugin.beta": [(DRAWN, 0.5)],
    "plugin.phi": [(SFA, 1)],
    "plugin.tau0": [(SFA, 0.05)],
    "plugin.samples": [(DRAWN, 3)],
    "plugin.draw": [(DRAWN, "false")],
    "plugin.distance": [(SFA, "relative")],
    "plugin.sample_min": [(DRAWN, 1000)],
    "plugin.epsilon": [(IBC, 0), (IBC, 0.5)],
    "plugin.kappa": [(IBC, 1)],
    "plugin.query_centre": [(IBC, "sample")],
    "plugin.medium_warmup": [(IBC, "false"), (f"{SFA} plugin.head=experts", "false")],
    "plugin.head": [(f"method={m} plugin=sfa", "none") for m in SELECTING]
    + [(IBC, "abc"), (IBC, "none"), (SFA, "experts")],
    "plugin.main_subset": [("plugin=sfa", "all")],
    "plugin.empty_class": [(f"{SFA} plugin.tau0=0.9", "error"), (f"{SFA} plugin.tau0=0.4", "zero")],
    "plugin.p_threshold": [(f"{base} replicate=4", 0.9999) for base in MIXTURES],
    "plugin.var_floor": [(DRAWN, 0.01)],
    "plugin.abc.counts": [(f"method={m} plugin=sfa", "observed") for m in SELECTING],
    "plugin.abc.count_floor": [(f"method={m} plugin=abc", 15) for m in ALL_LEARNERS],
    "plugin.abc.detach": [(f"method={m} plugin=abc", "true") for m in ALL_LEARNERS],
    "plugin.gmm.min_samples": [(base, 15) for base in MIXTURES[1:]],
    "plugin.gmm.monotone": [(f"{base} {BROAD}", "true") for base in MIXTURES],
    "classifier.bn_mode": [(f"classifier={c} classifier.batch_size=8", "train") for c in ("crt", "lws")],
    "classifier.epochs": [(f"classifier={c}", 2) for c in ("crt", "lws")],
    "classifier.batch_size": [(f"classifier={c}", 8) for c in ("crt", "lws")],
    "classifier.lr": [(f"classifier={c}", 0.5) for c in ("crt", "lws")],
    "classifier.tau": [("classifier=tau_norm", 1.9), ("classifier=logit_adjust", 2)],
    "model.width": [("", 3)],
    "model.pretrained": [
        (f"{COLOUR} model=resnet50 model.pretrained=false", "{files}/resnet50.pth"),
        (f"{COLOUR} model=resnet50 model.pretrained={{files}}/resnet50.pth", "{files}/other.pth"),
    ],
    "model.name": [(f"{TINY} model=timm model.name=regnetx_002", "mobilenetv3_small_050")],
    "model.variant": [(f"{CIFAR} model=preact_resnet18 model.width=1", "canonical")],
    "recipe.optimizer": [(base, "adamw") for base in RECIPES],
    "recipe.schedule": [(base, s) for base in RECIPES for s in ("cosine", "onecycle")]
    + [(f"{CIFAR} method=rolt recipe=native epochs=3", "step")],
    "recipe.lr_warmup": [(base, 2) for base in RECIPES] + [("recipe.schedule=cosine", 1)],
    "recipe.nesterov": [(base, "true") for base in RECIPES],
    "recipe.clip": [(base, 0.01) for base in RECIPES],
    "recipe.ema": [(base, 0.5) for base in RECIPES],
    "recipe.momentum": [("", 0.5)],
    "recipe.weight_decay": [("", 0.1)],
    "recipe.milestone": [("", 0.3)],
    "recipe.lr_drop": [("", 0.5)],
}
# The same for what acts by the last bits alone, which a record does not keep.
ROUNDING: dict[str, list[tuple[str, object]]] = {
    "plugin.gmm.fit": [(f"{base} {BROAD}", "batched") for base in MIXTURES],
    "compile": [(f"{SFA} {BROAD} batch_size=4", "true")],
    "deterministic": [(f"{SFA} {BROAD}", "false")],  # what a CUDA device is told; a CPU computes the same
}
# of what is done in another way
TRACES = {"plugin.gmm.fit": "fitted", "compile": "compiled", "deterministic": "fastest"}
# the machine's: the same run and the same result, done or kept in another way
MACHINE: dict[str, list[tuple[str, object]]] = {
    "threads": [("", 2)],
    "device": [("device=cpu", "cpu:0")],
    "runs_dir": [("", "{files}/elsewhere")],
    "data_dir": [(MINE, "{files}/copy.npz")],
    "checkpoint_seconds": [("", 0)],
    "keep_checkpoint": [("", "none"), ("", "all")],
    "logger": [("", "tensorboard"), ("", "[tensorboard,mlflow]")],
    "eval.batch_size": [("", 30)],
    "record.probes": [("", 2)],
    "record.train_probability": [("", "false")],
    "dataset.on_bad_image": [(BROKEN, "skip")],
    "dataset.max_pixels": [(IMAGES.replace("=off", "=on"), 100)],
    "dataset.cache": [(f"{IMAGES} dataset.cache_dir={{files}}/kept", c) for c in ("on", "auto")],
    "dataset.cache_dir": [(f"{IMAGES} dataset.cache=on", "{files}/elsewhere")],
    "dataset.workers": [(IMAGES, 1)],
}
# those that act on the course of a sweep are seen in tests/sweep/test_isolation.py and tests/engine/test_warmup.py,
# rerun in tests/engine/test_rerun.py
SWEEPS = {
    "share_warmup": False,
    "fail_fast": True,
    "retry_failed": False,
    "rerun": True,
    "isolate": False,
    "jobs_per_gpu": 2,
}
# what is another run because it says so
MARKS = {"tuned.file": [("", "{files}/chosen.json")]}
# group → what its choices are tried on, and which of them
CHOICES = {
    "dataset": ("epochs=1", ("synthetic", "digits")),
    # human exists on other data alone: noise.labels tells it from clean labels there
    "noise": ("noise.file={files}/swap.npy", tuple(name for name in choices("noise") if name != "human")),
    "imbalance": ("", choices("imbalance")),
    "method": (f"plugin=abc {TINY} noise.assumed_rate=0.3", choices("method")),
    "plugin": ("epochs=10 method=dividemix", choices("plugin")),
    "classifier": ("", choices("classifier")),
    "model": (CIFAR, ("convnet", "preact_resnet18", "resnet32")),
    "recipe": (f"{CIFAR} method=rolt", choices("recipe")),
}


def write_cifar(folder):
    """Both versions' files with an image or two of each class: bright ones where the label is odd."""
    rng = np.random.default_rng(0)
    ten = {**{f"data_batch_{i}": np.arange(4 * i, 4 * i + 4) % 10 for i in range(1, 6)}, "test_batch": np.arange(10)}
    for name, labels in {**ten, "train": np.arange(100), "test": np.arange(100)}.items():
        key, count = "labels" if name in ten else "fine_labels", len(labels)
        pixels = rng.integers(0, 100, (count, 3072), dtype=np.uint8) + (100 * (labels % 2)).astype(np.uint8)[:, None]
        (folder / name).write_bytes(pickle.dumps({"data": pixels, key: labels.tolist()}, protocol=2))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_cifar(folder)
    cifar_n.write(folder / "CIFAR-10_human.pt", cifar_n.labels_for(np.arange(4, 24) % 10))
    np.save(folder / "same.npy", np.eye(4))
    chosen = {"trials": 3, "val": "noisy", "values": {}, "names": {}, "data_seeds": [1000]}
    (folder / "chosen.json").write_text(json.dumps(chosen))
    np.save(folder / "swap.npy", np.eye(4)[[1, 0, 2, 3]])
    make_fake("glyphs", folder / "fonts")
    font = next((folder / "fonts").iterdir()).read_bytes()
    for name in glyphs.FONTS:
        (folder / "fonts" / name).write_bytes(font)
    rng = np.random.default_rng(1)
    arrays = {f"x_{part}": rng.integers(0, 256, (40, 8, 8), dtype=np.uint8) for part in ("train", "test")}
    for name in ("mine", "copy"):
        np.savez(folder / f"{name}.npz", **arrays, y_train=np.arange(40) % 4, y_test=np.arange(40) % 4)
    for name in ("images", "broken"):
        for part, c in ((part, c) for part in ("train", "test") for c in "ab"):
            small_images.write(folder / name / part / c, 20 if c == "a" else 16)
    (folder / "broken" / "train" / "a" / "003.jpg").write_bytes(b"")
    for name, every in (("keep", 3), ("others", 2)):
        lines = [f"{i},{int(i % every > 0)}\n" for i in range(96)]  # the samples of SMALL
        (folder / f"{name}.csv").write_text("".join(["index,keep\n", *lines]))
    labels = np.repeat(np.arange(4), (20, 12, 9, 7))
    images = rng.integers(0, 120, (len(labels), 8, 8), dtype=np.uint8)
    images[np.arange(len(labels)), labels] = 250
    noisy = np.where(rng.random(len(labels)) < 0.3, rng.integers(0, 4, len(labels)), labels)
    np.savez(folder / "tiny.npz", x_train=images, y_train=noisy, x_test=images[::3], y_test=labels[::3])
    colour = {f"x_{part}": rng.integers(0, 256, (16, 33, 33, 3), dtype=np.uint8) for part in ("train", "test")}
    np.savez(folder / "colour.npz", **colour, y_train=np.arange(16) % 4, y_test=np.arange(16) % 4)
    for seed, name in enumerate(("resnet50", "other")):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            torch.save(torchvision.models.resnet50(weights=None).state_dict(), folder / f"{name}.pth")
    return folder


def typed(base, files, **more):
    """`base` on top of SMALL, as overrides; without keys that the choices made do not have."""
    words = {}
    for word in [*VECTORS.split(), *SMALL.split(), *base.split()]:
        key, value = word.split("=", 1)
        words[key] = value
    words |= {key: str(value) for key, value in more.items()}
    if words["dataset"] != "synthetic":
        words = {
            k: v for k, v in words.items() if k.split(".")[-1] not in ("classes", "size", "dim", "groups", "test_size")
        }
    if words.get("model") not in ("resnet50", "timm"):
        words.setdefault("model.width", "2")
    if words.get("noise") != "matrix":
        words.pop("noise.file", None)
    return [f"{key}={value}".format(files=files) for key, value in words.items()]


@pytest.fixture(scope="module")
def execute(tmp_path_factory, files):
    """Overrides → the run's hash, what came out of it (to compare), and the traces that it left."""
    patch = pytest.MonkeyPatch()
    patch.setattr("sfa_bench.engine.machine.commit", lambda: (None, None))  # asks git, which takes its time
    patch.setattr("os.fsync", lambda descriptor: None)  # nothing here has to survive a power cut
    counted = {"checkpoints": 0, "forwards": 0, "decoded": 0, "kept": 0, "fitted": 0, "compiled": 0, "fastest": 0}

    def counting(name, function):
        def count(*args, **kwargs):
            counted[name] += 1
            return function(*args, **kwargs)

        return count

    patch.setattr(RunFolder, "save_checkpoint", counting("checkpoints", RunFolder.save_checkpoint))
    patch.setattr(Network, "forward", counting("forwards", Network.forward))
    patch.setattr(ImageFiles, "read", counting("decoded", ImageFiles.read))
    patch.setattr(Cache, "read", counting("kept", Cache.read))
    patch.setattr(torch, "compile", counting("compiled", torch.compile))

    def choose_kernels(device, *, tf32, deterministic):
        counted["fastest"] += not deterministic

    patch.setattr(numerics, "choose_kernels", choose_kernels)
    patch.setattr(batched, "fit_mixtures", counting("fitted", batched.fit_mixtures))

    @cache
    def run(words):
        own = (
            [] if any(word.startswith("runs_dir=") for word in words) else [f"runs_dir={tmp_path_factory.mktemp('r')}"]
        )
        counted.update(dict.fromkeys(counted, 0))
        config = compose([*words, *own])
        try:
            path = posthoc.start(config, "", Console(file=io.StringIO()))
        except (ConfigError, RunError) as error:
            return SimpleNamespace(hash=run_hash(config), warmup=None, outcome=str(error), traces=str(error))
        record = json.loads((path / "run.json").read_text())
        environment = record["environment"]
        traces = {
            "files": sorted(str(p.relative_to(path)) for p in path.rglob("*") if not p.name.startswith(".")),
            "kept": sorted(np.load(path / "predictions.npz").files),
            "checkpoint": (path / "last.pt").stat().st_size if (path / "last.pt").exists() else None,
            "threads": environment["threads"],
            "device": environment["device"],
            "runs_dir": path.parents[2] if own == [] else None,
            "data_dir": config.data_dir,
            "cache_dir": sorted(p.name for p in Path(config.dataset.cache_dir or files).glob("*/*-????????????????")),
            **counted,
        }
        warmup = hashes(config).warmup
        return SimpleNamespace(hash=run_hash(config), warmup=warmup, outcome=outcome(path, record), traces=traces)

    yield lambda words: run(tuple(words))
    patch.undo()


def outcome(path, record):
    """What a run found out, by name; the rates that it was told to use prove nothing."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    found = {key: record[key] for key in ("metrics", "selection", "data")}
    for row in rows:
        told = ("seconds", "lr", "lambda_u", "kept")
        found |= {f"{key} of epoch {row['epoch']}": value for key, value in row.items() if key not in told}
    with np.load(path / "predictions.npz") as arrays:
        return found | {name: values for name, values in arrays.items() if name != "train_probability"}


def differing(a, b):
    """Names of what is not the same; a failed run, which is a sentence, differs from a finished one."""
    if isinstance(a, str) or isinstance(b, str):
        return [] if a == b else ["failed"]
    return [key for key in a.keys() | b.keys() if key not in a or key not in b or not np.array_equal(a[key], b[key])]


def cases(table):
    return [(key, base, value) for key, tried in table.items() for base, value in tried]


@pytest.mark.parametrize(("key", "base", "value"), cases(SWITCHES))
def test_a_switch_makes_another_run_with_another_result(execute, files, key, base, value):
    before, after = execute(typed(base, files)), execute(typed(base, files, **{key: value}))
    assert before.hash != after.hash
    assert isinstance(before.outcome, dict), before.outcome
    assert differing(before.outcome, after.outcome)


def test_runs_share_a_warm_up_exactly_where_its_epochs_are_the_same(execute, files):
    shared = set()
    for key, base, value in cases(SWITCHES):
        before, after = execute(typed(base, files)), execute(typed(base, files, **{key: value}))
        if before.warmup is not None and before.warmup == after.warmup:
            shared.add(key)
            first = [name for name in differing(before.outcome, after.outcome) if name.endswith(" of epoch 1")]
            assert not first, (key, base, value)
    not_shared = {"method.selector.source"}  # one of its values watches the warm-up
    selecting = {key for key in SWITCHES if key.startswith("method.selector.")} - not_shared
    selecting |= {"method.average_over"}
    guessing = {f"method.{key}" for key in ("lambda_u", "alpha", "forward", "temperature", "penalty", "guess_mode")}
    ramp = {"method.ramp_origin", "method.ramp_epochs", "method.partner", "noise.assumed_rate"}
    late = {"method.schedule", "method.class_beta", "method.count_floor"}
    sfa = {f"plugin.{key}" for key in ("moments", "beta", "phi", "tau0", "samples", "draw", "sample_min", "var_floor")}
    sfa |= {f"plugin.{key}" for key in ("distance", "empty_class", "epsilon", "kappa", "query_centre")}
    plugin = {f"plugin.{key}" for key in ("main_subset", "p_threshold", "abc.counts")}
    plugin |= {"plugin.selection_at", "plugin.gmm.min_samples", "plugin.gmm.monotone"}
    heirs = {f"method.{key}" for key in ("confidence", "refinement", "midl_temperature", "positive")}  # of DaSC
    heirs |= {"method.contrastive", "method.contrastive_temperature", "method.fill"}  # of UNICON
    assert shared == selecting | guessing | ramp | late | sfa | plugin | heirs | {"dataset.selection_draw"}


@pytest.mark.parametrize(("key", "base", "value"), cases(MACHINE))
def test_what_belongs_to_the_machine_is_the_same_run_and_acts_all_the_same(execute, files, key, base, value):
    before, after = execute(typed(base, files)), execute(typed(base, files, **{key: value}))
    assert before.hash == after.hash
    assert before.traces != after.traces
    if key == "dataset.max_pixels":
        assert "dataset.max_pixels=100 is the limit" in after.outcome
    elif key == "dataset.on_bad_image":
        assert "1 of 36 train images cannot be read" in before.outcome
        assert after.outcome["data"]["skipped"] == ["train: train/a/003.jpg"]
        assert len(after.outcome["observed_label"]) == 35
    elif key in ("threads", "eval.batch_size"):  # the last bits may be others
        for name in ("test_logits_1_main", "observed_label"):
            np.testing.assert_allclose(before.outcome[name], after.outcome[name], rtol=1e-3, atol=1e-4)
    else:
        assert not differing(before.outcome, after.outcome)


@pytest.mark.parametrize(("key", "base", "value"), cases(ROUNDING))
def test_what_changes_the_last_bits_is_another_run(execute, files, key, base, value):
    if key == "compile" and shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    before, after = execute(typed(base, files)), execute(typed(base, files, **{key: value}))
    assert before.hash != after.hash
    assert (before.warmup == after.warmup) is (key == "plugin.gmm.fit")  # which acts after it
    assert before.traces[TRACES[key]] == 0 < after.traces[TRACES[key]]
    for name in ("test_logits_1_main", "clean_probability"):
        np.testing.assert_allclose(before.outcome[name], after.outcome[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("key", "base", "value"), cases(MARKS))
def test_a_mark_makes_another_run_with_the_same_result(execute, files, key, base, value):
    before, after = execute(typed(base, files)), execute(typed(base, files, **{key: value}))
    assert before.hash != after.hash
    assert not differing(before.outcome, after.outcome)


@pytest.mark.parametrize("key", SWEEPS)
def test_what_acts_on_a_sweep_makes_no_other_run(files, key):
    assert run_hash(compose(typed("", files, **{key: SWEEPS[key]}))) == run_hash(compose(typed("", files)))


@pytest.mark.parametrize("group", CHOICES)
def test_no_two_choices_of_a_group_are_the_same(execute, files, group):
    base, names = CHOICES[group]
    done = {name: execute(typed(base, files, **{group: name})) for name in names}
    assert len({one.hash for one in done.values()}) == len(names)
    assert all(isinstance(one.outcome, dict) for one in done.values())
    alike = {(a, b) for a in names for b in names if a < b and not differing(done[a].outcome, done[b].outcome)}
    # The first where tau is 1, the second where no class is smaller than the quota: method.fill is tried above.
    assert alike <= {("balanced_softmax", "logit_adjust"), ("unicon", "unicon_release")}


@pytest.mark.parametrize("group", ["dataset", "noise", "method", "plugin", "classifier"])
def test_a_raised_revision_makes_another_run(files, group):
    config = compose(typed(f"{SFA} classifier=crt", files))
    raised = replace(config, **{group: replace(getattr(config, group), revision=2)})
    assert run_hash(raised) != run_hash(config)


def test_every_key_of_the_schema_is_tried():
    leaves = {key: limits for key, (kind, limits) in options().items() if not is_dataclass(kind)}
    fixed = {key for key, limits in leaves.items() if limits.get("fixed") and not limits.get("open")}
    assert {*SWITCHES, *ROUNDING, *MACHINE, *MARKS, *SWEEPS} == leaves.keys() - fixed
    assert {key.split(".")[0] for key in fixed} <= set(CHOICES) == set(GROUPS)


def _leaves(node, prefix):
    for key, value in node.items():
        yield from _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]


@cache
def _method(name):
    return values_of("method", name)


def _chosen(base):
    return next((word.split("=")[1] for word in reversed(base.split()) if word.startswith("method=")), "ce")


def test_every_learner_is_tried_with_every_switch_that_its_methods_offer():
    tried = {(_method(_chosen(base))["learner"], key) for key, base, _ in cases(SWITCHES)}
    tried |= {(learner, "method.loss.name") for learner in ("elr", "har")}  # which offer one value only
    # A selector's own options do not know the learner.
    tried |= {(name, f"method.selector.{key}") for name in ("dasc", "unicon") for key in SELECTOR_OPTIONS}
    tried |= {(name, "method.selector.features") for name, learner in LEARNERS.items() if not learner.projects}
    fixed = {"method.learner", "method.revision"}
    offered = {(_method(m)["learner"], key) for m in choices("method") for key in _leaves(_method(m), "method.")}
    assert {(learner, key) for learner, key in offered if key not in fixed} <= tried


def test_every_loss_is_tried_with_every_constant_that_it_has():
    tried = {(_method(_chosen(base)).get("loss", {}).get("name"), key) for key, base, _ in cases(SWITCHES)}
    tried |= {(w.removeprefix("loss="), key) for key, base, _ in cases(SWITCHES) for w in base.split() if "loss=" in w}
    had = {
        (loss, f"method.loss.{name}") for loss, one in LOSSES.items() for row in one.constants.values() for name in row
    }
    assert had <= tried
