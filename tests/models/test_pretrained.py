"""A file of weights that a backbone starts from: taken whole, or refused in a sentence with nothing of it run."""

import pickle

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from sfa_bench.choices.models import ModelConfig
from sfa_bench.errors import ConfigError
from sfa_bench.models import build


def make(path, *, name="resnet50", heads=("main", "abc"), seed=0):
    model = ModelConfig(name=name, width=None, variant="dividemix", pretrained=str(path))
    return build(model, 3, (107, 107), 14, heads, seed)


def published(seed=1):
    """A state dict as torchvision publishes it: every weight, and a last layer of 1000 classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torchvision.models.resnet50(weights=None)
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    return network.state_dict()


@pytest.fixture(scope="module")
def weights():
    return published()


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(weights, path)
    return path


def backbone(network):
    return {name.removeprefix("backbone.layers."): value for name, value in network.state_dict().items()}


def test_every_weight_and_statistic_of_the_file_is_taken_but_the_last_layer(file, weights):
    network = make(file)
    ours = backbone(network)
    assert all(torch.equal(ours[name], value) for name, value in weights.items() if not name.startswith("fc."))
    assert (network.main.weight.shape, network.abc.weight.shape) == ((14, 2048), (14, 2048))
    theirs = torchvision.models.resnet50(weights=None)
    theirs.load_state_dict(weights)
    theirs.fc = torch.nn.Identity()
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network.double().eval().features(x), theirs.double().eval()(x))


def test_two_networks_start_from_the_same_backbone_with_heads_of_their_own(file):
    one, two = make(file, seed=1), make(file, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(one.backbone.parameters(), two.backbone.parameters(), strict=True))
    assert not torch.equal(one.main.weight, two.main.weight)
    assert not torch.equal(one.abc.weight, two.abc.weight)
    assert one.backbone.layers.conv1.weight.data_ptr() != two.backbone.layers.conv1.weight.data_ptr()
    scratch = build(
        ModelConfig(name="resnet50", width=None, variant="dividemix", pretrained=False), 3, (107, 107), 14, (), 1
    )
    assert torch.equal(one.main.weight, scratch.main.weight)  # the file changes no other draw


def test_files_of_the_old_format_without_counters_and_safetensors_are_read_too(weights, tmp_path):
    old = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(weights, tmp_path / "new.safetensors")
    for name in ("old.pth", "new.safetensors"):
        ours = backbone(make(tmp_path / name))
        assert all(torch.equal(ours[key], value) for key, value in old.items() if not key.startswith("fc.")), name


def test_inception_takes_timms_names(tmp_path):
    from timm.models import inception_resnet_v2

    theirs = inception_resnet_v2(pretrained=False).state_dict()
    torch.save(theirs, tmp_path / "inception.pth")
    ours = backbone(make(tmp_path / "inception.pth", name="inception_resnet_v2"))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items() if not name.startswith("classif."))


# ---- refusals


def refused(path, **options):
    with pytest.raises(ConfigError) as error:
        make(path, **options)
    message = str(error.value)
    assert message.startswith((f"model.pretrained={path} ", f"model.pretrained={path}:"))
    assert "\n" not in message
    assert len(message) < 400 + len(str(path))
    return message


def without(weights, *names):
    return {name: value for name, value in weights.items() if name not in names}


UNFIT = {
    "a missing layer": (lambda w: without(w, "layer1.0.conv1.weight"), "it has no 'layer1.0.conv1.weight';"),
    "two missing": (lambda w: without(w, "conv1.weight", "bn1.bias"), "it has no 'conv1.weight' (and 1 more)"),
    "a missing statistic": (lambda w: without(w, "bn1.running_var"), "it has no 'bn1.running_var'"),
    "a strange layer": (lambda w: w | {"layer5.weight": torch.zeros(1)}, "it has a strange 'layer5.weight'"),
    "another shape": (lambda w: w | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, "another shape has its 'conv1.weight'"),
    "another network": (lambda w: torchvision.models.resnet18(weights=None).state_dict(), "it has no"),
    "a name of two lines": (lambda w: w | {"a\nb": torch.zeros(1)}, r"it has a strange 'a\nb'"),
    "a prefix": (lambda w: {f"module.{name}": value for name, value in w.items()}, "it has no 'conv1.weight'"),
    "a wrapped state dict": (lambda w: {"state_dict": w, "epoch": 3}, "no state dict"),
    "a list": (lambda w: list(w.values())[:2], "no state dict"),
    "a sparse tensor": (lambda w: w | {"bn1.weight": torch.ones(64).to_sparse()}, "not plain numbers"),
    "an empty tensor": (lambda w: w | {"bn1.weight": torch.empty(64, device="meta")}, "no state dict"),
}


@pytest.mark.parametrize(("change", "sentence"), UNFIT.values(), ids=UNFIT.keys())
def test_a_file_that_does_not_fit_is_refused_with_the_first_reason(weights, tmp_path, change, sentence):
    torch.save(change(dict(weights)), tmp_path / "w.pth")
    assert sentence in refused(tmp_path / "w.pth")


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import pathlib

        return pathlib.Path.touch, (pathlib.Path(self.path),)


@pytest.mark.parametrize("how", ["torch", "old torch", "pickle", "inside"])
def test_a_hostile_file_is_refused_and_nothing_of_it_runs(weights, tmp_path, how):
    trace, path = tmp_path / "ran", tmp_path / "hostile.pth"
    content = Hostile(trace)
    if how == "inside":
        content = dict(weights) | {"fc.weight": content}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how != "old torch")
    message = refused(path)
    assert not trace.exists()
    assert "nothing of it was run" in message


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_torn_file_is_refused(weights, tmp_path, share, suffix):
    whole = tmp_path / f"whole{suffix}"
    torch.save(weights, whole) if suffix == ".pth" else save_file(weights, whole)
    content = whole.read_bytes()
    torn = tmp_path / f"torn{suffix}"
    torn.write_bytes(content[: int(len(content) * share)])
    refused(torn)


def test_a_file_that_is_no_weights_or_not_there_is_refused(tmp_path):
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    refused(tmp_path / "page.pth")
    assert "cannot be read" in refused(tmp_path / "nothing.pth")
    assert "cannot be read" in refused(tmp_path)
