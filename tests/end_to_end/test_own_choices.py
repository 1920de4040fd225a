"""A loss, noise model, backbone and data set of the user's own, one function and one YAML each, trained and recorded.

Where a user's own part computes what one of the suite's does, the run must give the same numbers to the bit.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import _composed, compose, requested
from sfa_bench.config.external import sources
from sfa_bench.errors import ConfigError
from sfa_bench.main import main
from sfa_bench.sweep.plan import plan

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import sfa_bench
from sfa_bench.data.sources import digits as suite_digits
from sfa_bench.models.convnet import ConvNet


def cross_entropy(logits, labels, class_counts, *, scale: float = 1.0):
    assert class_counts.shape == (10,) and class_counts.dtype == torch.int64
    return scale * F.cross_entropy(logits, labels, reduction="none")


def summed(logits, labels, class_counts):
    return F.cross_entropy(logits, labels)


def shift(labels, num_classes, rate, rng, images, *, by: int = 1):
    assert images.dtype == np.uint8 and len(images) == len(labels)
    flipped = rng.permutation(len(labels))[: int(rate * len(labels))]
    labels[flipped] = (labels[flipped] + by) % num_classes
    return labels


def outside(labels, num_classes, rate, rng, images):
    return labels + num_classes


class Wide(nn.Module):
    def __init__(self, in_channels, image_size, *, width: int = 16):
        super().__init__()
        self.net = ConvNet(in_channels, min(image_size), width=width)
        self.num_features = self.net.feature_width

    def forward(self, images):
        return self.net(images)


class Flat(nn.Module):
    num_features = 7

    def __init__(self, in_channels, image_size):
        super().__init__()
        self.layer = nn.Linear(in_channels * image_size[0] * image_size[1], 5)

    def forward(self, images):
        return self.layer(images.flatten(1))


def digits(data_dir, *, first: int = 10):
    assert data_dir is None
    source = suite_digits.load(None, None, 0)
    train, test = source.train_labels < first, source.test_labels < first
    return sfa_bench.Arrays(
        source.train_images[train], source.train_labels[train], source.test_images[test], source.test_labels[test],
        y_train_clean=source.train_labels[train], class_names=[f"digit {k}" for k in range(first)],
    )


def blobs(data_dir, *, dim: int = 6):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    x = rng.normal(size=(120, dim)) + 4 * np.eye(3, dim)[labels]
    return sfa_bench.Arrays(x[:90], labels[:90], x[90:], labels[90:])


def listed(data_dir):
    return [1, 2]
"""
CHOICES = {
    "loss/mine": "_target_: {0}.cross_entropy\nscale: 1\n",
    "loss/summed": "_target_: {0}.summed\n",
    "noise/shift": "_target_: {0}.shift\nby: 1\n",
    "noise/outside": "_target_: {0}.outside\n",
    "model/wide": "_target_: {0}.Wide\nwidth: 16\n",
    "model/flat": "_target_: {0}.Flat\n",
    "dataset/ten": "_target_: {0}.digits\n",
    "dataset/blobs": "_target_: {0}.blobs\ndim: 6\n",
    "dataset/listed": "_target_: {0}.listed\n",
}
SHORT = ["epochs=2", "warmup_epochs=1", "batch_size=64", "device=cpu"]


@pytest.fixture
def conf(tmp_path, monkeypatch):
    module = f"own_parts_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{module}.py").write_text(CODE)
    for name, text in CHOICES.items():
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(module))
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "conf"


@pytest.fixture
def train(conf, tmp_path, capfd):
    """A run's exit status, record (None without one), predictions, and what was said."""

    def run(*typed, runs=None):
        runs = runs or tmp_path / f"runs_{len([*tmp_path.glob('runs_*')])}"
        status = main([*SHORT, *typed, f"runs_dir={runs}", "--config-dir", str(conf)])
        records = [*runs.glob("*/*/*/run.json")]
        said = " ".join("".join(capfd.readouterr()).split())
        if not records or status:
            return status, None, None, said
        with np.load(records[0].parent / "predictions.npz") as saved:
            predictions = {name: saved[name] for name in saved.files}
        return status, json.loads(records[0].read_text()), predictions, said

    return run


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("plugin", ["none", "sfa"])
def test_a_loss_of_ones_own_trains_as_the_suite_s(train, plugin):
    status, record, mine, _ = train("method=ce", "loss=mine", f"plugin={plugin}")
    assert status == 0
    assert record["names"]["method"] == "mine"
    assert "loss" not in record["names"]
    _, usual, theirs, _ = train("method=ce", f"plugin={plugin}")
    assert same(mine, theirs)
    assert record["hash"] != usual["hash"]
    assert any("own_parts" in name for name in record["environment"]["own_code"])


def test_its_options_are_set_by_its_group(train, conf):
    _, record, mine, _ = train("method=ce_drw", "loss=mine", "plugin=none", "loss.scale=0.5")
    assert record["names"]["method"] == "mine_drw"
    assert record["config"]["method"]["loss"]["scale"] == 0.5
    _, _, theirs, _ = train("method=ce_drw", "plugin=none")
    assert not same(mine, theirs)
    with pytest.raises(ConfigError, match=r"loss\.scale=much: must be a number"):
        compose(["method=ce", "loss=mine", "loss.scale=much"], conf)


@pytest.mark.parametrize(
    ("typed", "usual", "name"),
    [
        ("method=ce loss=gce", "method=gce", "gce"),
        ("method=ce loss=gce method.loss.q=0.5", "method=gce method.loss.q=0.5", "gce"),
        ("method=ce_drw loss=ldam", "method=ldam_drw", "ldam_drw"),
        ("method=ce loss=ce", "method=ce", "ce"),
    ],
)
def test_a_loss_of_the_suite_is_the_method_of_its_name(typed, usual, name):
    one, other = compose([*typed.split(), "plugin=none"]), compose([*usual.split(), "plugin=none"])
    assert run_hash(one) == run_hash(other)
    assert one.names == other.names
    assert one.names["method"] == name


def test_a_loss_takes_the_place_of_cross_entropy_alone(conf):
    for method in ("dividemix", "gce", "rolt", "elr"):
        with pytest.raises(ConfigError, match=rf"loss=mine with method={method}, which has its own"):
            compose([f"method={method}", "plugin=none", "loss=mine"], conf)


def test_a_loss_that_is_summed_is_refused_by_name(train):
    status, record, _, said = train("method=ce", "plugin=none", "loss=summed")
    assert (status, record) == (1, None)
    assert "summed gave [] for" in said
    assert "one value for each" in said


def test_noise_of_ones_own_is_recorded_as_it_came_out(train):
    status, record, _, _ = train("method=ce", "plugin=none", "noise=shift", "noise.by=2", "noise_ratio=0.5")
    assert status == 0
    assert record["names"]["noise"] == "shift"
    confusion = np.array(record["data"]["confusion"])
    moved = np.roll(np.eye(10, dtype=bool), 2, axis=1)
    assert confusion[moved].sum() == confusion.sum() // 2
    assert confusion[~moved & ~np.eye(10, dtype=bool)].sum() == 0
    assert record["data"]["noise_rate"] == pytest.approx(0.5, abs=1e-3)


def test_its_options_and_the_ratio_count(conf):
    typed = ["method=ce", "plugin=none", "noise=shift"]
    changes = [[], ["noise.by=2"], ["noise_ratio=0.3"], ["data_seed=1"]]
    assert len({run_hash(compose([*typed, *change], conf)) for change in changes}) == len(changes)


def test_labels_that_are_none_are_refused(train):
    status, record, _, said = train("method=ce", "plugin=none", "noise=outside")
    assert (status, record) == (2, None)
    assert "must return the noisy labels" in said


@pytest.mark.parametrize("plugin", ["none", "sfa"])
def test_a_backbone_of_ones_own_trains_as_the_suite_s(train, plugin):
    status, record, mine, _ = train("method=ce", f"plugin={plugin}", "model=wide")
    assert status == 0
    assert record["names"]["model"] == "wide"
    _, _, theirs, _ = train("method=ce", f"plugin={plugin}")
    assert same(mine, theirs)


def test_a_backbone_that_gives_other_features_is_refused(train):
    status, record, _, said = train("method=ce", "plugin=none", "model=flat")
    assert (status, record) == (2, None)
    assert "Flat gives [2, 5] for 2 images: it must give [2, num_features] = [2, 7]" in said


def test_a_data_set_of_ones_own_trains_as_its_file(train, tmp_path):
    typed = ["method=dividemix", "plugin=sfa", "noise=joint", "imbalance=exp"]
    status, record, mine, _ = train(*typed, "dataset=ten")
    assert status == 0
    assert record["names"]["dataset"] == "ten"
    assert record["data"]["classes"][3] == "digit 3"
    from sfa_bench.data.sources import digits

    source = digits.load(None, None, 0)
    arrays = {"x_train": source.train_images, "y_train": source.train_labels, "y_train_clean": source.train_labels}
    np.savez(tmp_path / "ten.npz", **arrays, x_test=source.test_images, y_test=source.test_labels)
    _, other, theirs, _ = train(*typed, "dataset=arrays", "dataset.name=file", f"data_dir={tmp_path}/ten.npz")
    assert record["data"]["fingerprints"] == other["data"]["fingerprints"]
    assert same(mine, theirs)


def test_features_in_place_of_images(train):
    status, record, _, said = train("method=ce", "plugin=sfa", "dataset=blobs", "dataset.name=three", "epochs=8")
    assert status == 0, said
    assert record["names"]["dataset"] == "three"
    assert (record["names"]["noise"], record["names"]["imbalance"]) == ("none", "none")  # as they are
    assert record["metrics"]["test/acc/last"] > 90


def test_what_is_no_data_set_is_refused(train):
    status, record, _, said = train("method=ce", "plugin=none", "dataset=listed")
    assert (status, record) == (2, None)
    assert "listed returned list: it must return sfa_bench.Arrays" in said


def test_a_sweep_over_ones_own_and_the_suite_s(train, tmp_path, conf):
    """Isolated, so that jobs read what the parent composed: their own process imports the user's module."""
    runs = tmp_path / "swept"
    typed = ["method=ce", "plugin=none", "loss=mine,gce", "noise=shift,pair", "dataset=ten,digits", "model=wide"]
    with pytest.raises(SystemExit) as ended:
        main(["-m", *typed, *SHORT, f"runs_dir={runs}", "--config-dir", str(conf)])
    assert ended.value.code == 0
    records = [json.loads(path.read_text()) for path in runs.glob("*/*/*/run.json")]
    assert len(records) == 8
    assert {record["names"]["method"] for record in records} == {"mine", "gce"}


@pytest.mark.parametrize(
    ("group", "target", "sentence"),
    [
        ("loss", "torch.nn.functional.relu", r"must be a function of \(logits, labels, class_counts\)"),
        ("noise", "numpy.ndarray", r"must be a function of \(labels, num_classes, rate, rng, images\)"),
        ("model", "collections.OrderedDict", "must be a subclass of torch.nn.Module"),
        ("dataset", "os.getcwd", r"must be a function of \(data_dir\)"),
    ],
)
def test_what_is_of_another_kind_is_refused(conf, group, target, sentence):
    (conf / group / "other.yaml").write_text(f"_target_: {target}\n")
    with pytest.raises(ConfigError, match=sentence):
        compose(["method=ce", "plugin=none", f"{group}=other"], conf)


def test_the_guide_to_the_letter(tmp_path, monkeypatch, capfd):
    page = (ROOT / "docs" / "guides" / "own-parts.md").read_text(encoding="utf-8")
    module = f"mine_{abs(hash(str(tmp_path)))}"  # the guide's `mine`, but new to this process
    code = "".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    (tmp_path / f"{module}.py").write_text(code)
    files = re.findall(r"```yaml\n# (conf/\S+)\n(.*?)```", page, re.DOTALL)
    assert len(files) == len(re.findall("^## A|^## Noise", page, re.MULTILINE)) == 4
    for name, content in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content.replace("mine.", f"{module}."))
    (tmp_path / "data" / "lab").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 8, 8)).astype(np.uint8), np.arange(60) % 2
    arrays = {"x_train": images[:40], "y_train": labels[:40], "x_test": images[40:], "y_test": labels[40:]}
    np.savez(tmp_path / "data" / "lab" / "all.npz", **arrays)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^sfa-bench run (.*)$", page, re.MULTILINE)
    records = {}
    for command in commands:
        assert main([*command.split(), *SHORT]) == 0, capfd.readouterr()
    for path in (tmp_path / "runs").glob("*/*/*/run.json"):
        record = json.loads(path.read_text())
        records[tuple(record["names"][group] for group in ("dataset", "method", "noise", "model"))] = record
    loss, noise = records["digits", "softened", "joint", "auto"], records["digits", "dividemix", "shifted", "auto"]
    model, data = records["digits", "dividemix", "joint", "tiny"], records["measurements", "dividemix", "none", "auto"]
    assert len(records) == len(commands)
    assert loss["config"]["method"]["loss"]["temperature"] == 1.5
    confusion = np.array(noise["data"]["confusion"])
    assert confusion[np.roll(np.eye(10, dtype=bool), 2, axis=1)].sum() == int(0.3 * confusion.sum())
    assert model["config"]["model"]["width"] == 16
    assert data["data"]["classes"] == ["a", "b"]


def test_an_option_may_have_the_name_of_a_key_of_the_suite(conf):
    """The backbone's `width` is not the suite's `model.width`."""
    typed = ["method=ce", "plugin=none", "model=wide"]
    usual, narrow = (requested([*typed, *more], conf) for more in ([], ["model.width=8"]))
    assert narrow.model.arguments == {"width": 8}
    assert run_hash(narrow) != run_hash(usual)


def test_a_raised_revision_is_another_run(conf):
    for group, name in (("loss", "mine"), ("model", "wide"), ("noise", "shift"), ("dataset", "ten")):
        typed = ["method=ce", "plugin=none", f"{group}={name}"]
        before = run_hash(compose(typed, conf))
        path = conf / group / f"{name}.yaml"
        path.write_text(path.read_text() + "revision: 2\n")
        _composed.cache_clear()  # of this process; the next command is another
        assert run_hash(compose(typed, conf)) != before


def test_a_loss_called_like_a_method_is_refused(conf):
    (conf / "loss" / "dividemix.yaml").write_text((conf / "loss" / "mine.yaml").read_text())
    with pytest.raises(ConfigError, match="there is a method called dividemix; give your loss another name"):
        compose(["method=ce", "plugin=none", "loss=dividemix"], conf)


def test_noise_that_the_yaml_of_a_data_set_asks_for_stays(conf):
    target = (conf / "dataset" / "ten.yaml").read_text()
    text = f"# @package _global_\ndefaults:\n  - override /noise: symmetric\n  - _self_\n\ndataset:\n  {target}"
    (conf / "dataset" / "noisy.yaml").write_text(text)
    names = compose(["method=ce", "plugin=none", "dataset=noisy"], conf).names
    assert (names["noise"], names["imbalance"]) == ("symmetric", "none")


def test_objects_that_can_be_called_and_decorated_functions_have_the_users_file(conf, tmp_path):
    (module,) = tmp_path.glob("own_parts_*.py")
    code = CODE + "\n\nclass Cosine(nn.Module):\n    def forward(self, logits, labels, class_counts):\n"
    code += "        return logits.sum(1)\n\n\nmade = Cosine()\n\n\n"
    code += "@torch.no_grad()\ndef still(labels, num_classes, rate, rng, images):\n    return labels\n"
    module.write_text(code)
    (conf / "loss" / "made.yaml").write_text(f"_target_: {module.stem}.made\n")
    (conf / "noise" / "still.yaml").write_text(f"_target_: {module.stem}.still\n")
    run = compose(["method=ce", "plugin=none", "loss=made", "noise=still"], conf)
    assert set(sources(run).values()) == {hashlib.sha256(module.read_bytes()).hexdigest()}


def test_an_option_without_end_is_refused(conf, tmp_path):
    (module,) = tmp_path.glob("own_parts_*.py")
    module.write_text(CODE.replace("scale: float = 1.0", "scale: float = 1.0, clip: float = float('inf')"))
    with pytest.raises(ConfigError, match="must be finite numbers"):
        compose(["method=ce", "plugin=none", "loss=mine"], conf)


def edit(tmp_path, old, new):
    """Change the user's file as an editor does between two commands."""
    (module,) = tmp_path.glob("own_parts_*.py")
    text = module.read_text()
    assert old in text
    module.write_text(text.replace(old, new))
    del sys.modules[module.stem]  # the next command is another process


def test_changed_noise_is_changed_code_and_no_other_data(train, tmp_path):
    typed = ["method=ce", "plugin=none", "noise=shift"]
    assert train(*typed, runs=tmp_path / "kept")[0] == 0
    edit(tmp_path, "labels[flipped] + by", "labels[flipped] + by + 1")
    status, _, _, said = train(*typed, runs=tmp_path / "kept")
    assert status == 0
    assert "shift has changed since: raise revision in its YAML" in said
    assert "already done" in said
    (path,) = (tmp_path / "kept").glob("*/*/*/run.json")
    record = json.loads(path.read_text())
    unfinished = {key: value for key, value in record.items() if key != "digest"} | {"state": "interrupted"}
    path.write_text(json.dumps(unfinished))
    status, _, _, said = train(*typed, runs=tmp_path / "kept")
    assert status == 0, said
    again = json.loads(path.read_text())
    assert again["state"] == "done"
    assert again["data"]["fingerprints"] != record["data"]["fingerprints"]


def test_a_classifier_is_fitted_on_the_backbone_that_was_trained(train, tmp_path):
    typed = ["method=ce", "plugin=none", "model=wide"]
    assert train(*typed, "classifier=tau_norm", runs=tmp_path / "kept")[0] == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "kept").glob("*/*/*/run.json")]
    assert len(records) == 2
    assert all(any("Wide" in name for name in record["environment"]["own_code"]) for record in records)
    edit(tmp_path, "return self.net(images)", "return 2 * self.net(images)")
    status, _, _, said = train(*typed, "classifier=ncm", runs=tmp_path / "kept")
    assert status == 2
    assert "Wide has changed since" in said
    assert "raise revision in its YAML to train it again" in said


def test_a_sweep_leaves_out_by_loss_also_where_none_is_typed(conf, tmp_path):
    (conf / "sweep").mkdir()
    (conf / "sweep" / "some.yaml").write_text(
        "common:\n  plugin: none\nblocks:\n  - method: [ce, ce_mixup]\n  - {method: ce, loss: [mine, gce]}\n"
        "exclude:\n  - {method: ce_mixup, loss: auto}\n  - {loss: gce}\n"
    )
    planned = plan(["+sweep=some", f"runs_dir={tmp_path}/planned"], conf)
    assert [[word for word in job if word.startswith(("method=", "loss="))] for job in planned.runs.values()] == [
        ["method=ce"],
        ["method=ce", "loss=mine"],
    ]
