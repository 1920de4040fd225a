"""`sfa-bench embed` (guides/data.md): features are numbers of another code, in the form that dataset=features reads."""

import hashlib
import json

import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import load_digits

from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import choices
from sfa_bench.data import build
from sfa_bench.embed import main
from sfa_bench.engine.run import run
from sfa_bench.store.ledger import records

OWN = """
from torch import nn


class Pixels(nn.Module):
    def __init__(self, in_channels, image_size, factor: float = 1.0):
        super().__init__()
        self.factor, self.num_features = factor, in_channels * image_size[0] * image_size[1]
        self.norm = nn.BatchNorm2d(in_channels, affine=False)  # the identity in evaluation mode only

    def forward(self, images):
        return self.factor * self.norm(images).flatten(1)
"""


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A user's folder with a backbone whose features are the normalised pixels."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "own_pixels.py").write_text(OWN)
    (tmp_path / "conf" / "model" / "pixels.yaml").write_text("_target_: own_pixels.Pixels\nfactor: 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "conf"


def read(path):
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("made_by")))


def test_features_of_ones_own_backbone_are_the_normalised_pixels_of_the_whole_data_set(conf, tmp_path, capsys):
    file = tmp_path / "pixels.npz"
    words = ["dataset=digits", "model=pixels", "-o", str(file), "--config-dir", str(conf), "eval.batch_size=100"]
    assert main(words) == 0
    arrays, about = read(file)
    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images * 255 / 16).astype(np.uint8) / 255
    test = np.arange(len(images)) % 5 == 4
    mean, std = pixels[~test].mean(), pixels[~test].std()
    for name, part in (("train", ~test), ("test", test)):
        np.testing.assert_allclose(arrays[f"x_{name}"], 2 * (pixels[part] - mean) / std / np.sqrt(1 + 1e-5), atol=1e-5)
        np.testing.assert_array_equal(arrays[f"y_{name}"], labels[part])
    np.testing.assert_array_equal(arrays["y_train_clean"], labels[~test])
    assert arrays["x_train"].dtype == np.float32
    source = hashlib.sha256((tmp_path / "own_pixels.py").read_bytes()).hexdigest()
    assert about["own_code"] == {"own_pixels.Pixels": source}
    assert about["fingerprints"] == build(compose(["dataset=digits", "noise=none", "imbalance=none"])).fingerprints
    assert about["model"]["factor"] == 2
    said = capsys.readouterr().out
    assert f"{file}: 1,438 training and 359 test samples, 64 features each" in said.replace("\n", " ")
    assert "untrained" not in said
    assert "dataset.name=digits_pixels" in said


def test_a_run_trains_on_the_features(conf, tmp_path):
    file = tmp_path / "pixels.npz"
    assert main(["dataset=digits", "model=pixels", "-o", str(file), "--config-dir", str(conf)]) == 0
    words = ["dataset=features", "dataset.name=pixels", f"data_dir={file}", "method=ce", "plugin=none", "epochs=15"]
    words += ["noise=symmetric", "noise_ratio=0.2", "threads=1", f"runs_dir={tmp_path / 'runs'}"]
    from rich.console import Console

    run(compose(words), "", Console(quiet=True))
    ((_, record),) = records([tmp_path / "runs"])
    assert record["data"]["samples"] == {"train": 1438, "test": 359, "val": 0}
    assert record["data"]["noise_rate"] == pytest.approx(0.2, abs=0.01)
    assert record["metrics"]["test/acc/final"] > 80  # chance is 10


def test_weights_of_a_file_give_torchvisions_own_features(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 40, 40, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "mine.npz",
        x_train=images[:16],
        x_test=images[16:],
        y_train=np.arange(16) % 4,
        y_test=np.arange(8) % 4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.resnet50(weights=None)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    words = ["dataset=arrays", "dataset.name=mine", f"data_dir={tmp_path / 'mine.npz'}", "model=resnet50", "threads=1"]
    words += [f"model.pretrained={tmp_path / 'weights.pth'}", "-o", str(tmp_path / "out.npz")]
    assert main(words) == 0
    arrays, about = read(tmp_path / "out.npz")
    network.fc = torch.nn.Identity()
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2)).double() / 255
    mean, std = pixels[:16].mean((0, 2, 3)), pixels[:16].std((0, 2, 3), correction=0)
    with torch.no_grad():
        views = (pixels - mean[:, None, None]) / std[:, None, None]
        expected = network.double().eval()(views).numpy()
    np.testing.assert_allclose(arrays["x_train"], expected[:16], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(arrays["x_test"], expected[16:], rtol=1e-3, atol=1e-4)
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    assert about["weights"]["sha256_of_file"] == digest


@pytest.mark.skipif("timm" not in choices("model"), reason="model=timm is not there")
def test_any_model_of_timm_gives_what_timm_gives(tmp_path, capsys):
    import timm
    from PIL import Image

    rng, name = np.random.default_rng(0), "resnet10t.c3_in1k"
    config = timm.get_pretrained_cfg(name)
    side = config.input_size[-1]
    images = rng.integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        folder = tmp_path / "mine" / ("train" if i < 4 else "test") / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    words = ["dataset=folder", "dataset.name=mine", f"data_dir={tmp_path / 'mine'}", "model=timm", f"model.name={name}"]
    words += [f"dataset.resize={side}", f"dataset.crop={side}", "dataset.cache=off", "threads=1"]
    assert main([*words, f"model.pretrained={tmp_path / 'weights.pth'}", "-o", str(tmp_path / "out.npz")]) == 0
    assert f"dataset.name=mine_{name} data_dir=" in capsys.readouterr().out
    network.reset_classifier(0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    with torch.no_grad():
        expected = network.eval()((torch.from_numpy(images.transpose(0, 3, 1, 2)) / 255 - mean) / std).numpy()
    arrays, _ = read(tmp_path / "out.npz")
    rows = [0, 2, 1, 3]  # class by class
    np.testing.assert_allclose(arrays["x_train"], expected[rows], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(arrays["x_test"], expected[4:][rows], rtol=1e-3, atol=1e-4)


def test_noise_that_is_asked_for_is_kept_with_the_clean_labels(conf, tmp_path):
    file = tmp_path / "noisy.npz"
    words = ["dataset=digits", "model=pixels", "noise=symmetric", "noise_ratio=0.3", "data_seed=5"]
    assert main([*words, "-o", str(file), "--config-dir", str(conf)]) == 0
    arrays, about = read(file)
    data = build(compose(["dataset=digits", "imbalance=none", *words[2:]]))
    assert sorted(arrays["index"]) == arrays["index"].tolist() == sorted(data.index)
    observed = dict(zip(data.index, data.view.observed_labels.tolist(), strict=True))
    assert [observed[i] for i in arrays["index"]] == arrays["y_train"].tolist()
    np.testing.assert_array_equal(
        arrays["y_train_clean"][np.searchsorted(arrays["index"], data.index)], data.clean_labels
    )
    assert about["noise_rate"] == pytest.approx(0.3, abs=0.01)


def test_without_weights_it_says_so_and_the_seed_makes_the_network(tmp_path, capsys):
    prints = []
    for seed in (0, 0, 1):
        file = tmp_path / f"{len(prints)}.npz"
        assert main(["dataset=digits", f"seed={seed}", "-o", str(file)]) == 0
        arrays, about = read(file)
        prints.append((about["weights"]["fingerprint"], arrays["x_train"].tobytes()))
    assert prints[0] == prints[1]
    assert prints[0][0] != prints[2][0]
    said = capsys.readouterr().out
    assert said.count("features of an untrained network") == 3
    assert said.count("dataset.name=digits_convnet data_dir=") == 3  # what model=auto is


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["method=ce"], "method=ce belongs to training"),
        (["epochs=3"], "epochs=3 belongs to training"),
        (["dataset.val=noisy"], "embed keeps all training samples"),
        (["dataset=clothing1m", "model.pretrained=none.pth"], "there is no such file"),
        (["model=convnett"], "did you mean model=convnet?"),
        (["model=resnet50"], "set model=convnet"),
        (["device=[cpu,cpu]"], "set one"),
    ],
)
def test_what_is_refused_leaves_no_file(tmp_path, capsys, words, sentence):
    file = tmp_path / "out.npz"
    given = [] if words[0].startswith(("model=", "dataset=")) else ["model=convnet"]
    assert main([*([] if "dataset=" in words[0] else ["dataset=digits"]), *given, *words, "-o", str(file)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_old_file_stays_where_a_new_one_cannot_be_made(conf, tmp_path, capsys, monkeypatch):
    file = tmp_path / "out.npz"
    file.write_bytes(b"old")
    words = ["dataset=digits", "model=pixels", "model.factor=1e39", "-o", str(file), "--config-dir", str(conf)]
    assert main(words) == 1
    assert "are not finite" in capsys.readouterr().err
    monkeypatch.setattr(
        np, "savez", lambda file, **arrays: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    assert main([*words[:2], *words[3:]]) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert file.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.glob(".*")) == []
    assert main(["dataset=digits", "-o", str(tmp_path / "out.npy")]) == 2
    assert "ends with .npz" in capsys.readouterr().err
