"""What every learner promises with every plug-in that fits it, built as a run builds it (design.md §5 "A method")."""

import copy
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sfa_bench.config.compose import compose
from sfa_bench.data.types import Data, EvaluationSet, LearnerView, Transform
from sfa_bench.engine.build import build_method, knows, sample_min
from sfa_bench.errors import ConfigError

COMBINATIONS = [
    *(f"method={method} plugin={plugin}" for method in ("ce", "balanced_softmax") for plugin in ("none", "abc")),
    *(f"method={method} plugin={plugin}" for method in ("ce", "balanced_softmax") for plugin in ("sfa", "sfa_release")),
    *(f"method=dividemix plugin={plugin}" for plugin in ("none", "abc", "sfa", "sfa_release")),
    *(f"method=rolt_plus plugin={plugin}" for plugin in ("none", "abc")),
    *(f"method=ce plugin=abc method.selector.name={name}" for name in ("loss_gmm", "loss_gmm_cls", "proto")),
    "method=balanced_softmax plugin=none method.selector.name=proto",
    "method=dividemix plugin=none method.selector.name=loss_gmm_cls",
    "method=dividemix plugin=none noise=symmetric noise_ratio=0.9",
    "method=dividemix plugin=sfa plugin.head=none",
    "method=dividemix plugin=sfa plugin.moments=none plugin.abc.counts=observed method.guess_mode=eval",
    "method=ce plugin=sfa plugin.main_subset=all plugin.abc.detach=true method.selector.no_clean_class=none",
    "method=dividemix plugin=abc method.selector.name=oracle",
]
RIGHT = np.random.default_rng(8).integers(0, 4, 60)


def data(labels, num_classes, clean=None):
    """Coloured noise with the class painted into a corner, so that there is something to learn."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 120, (len(labels), 1, 8, 8), generator=generator)
    images[torch.arange(len(labels)), 0, torch.as_tensor(labels) % 8, 0] = 255
    view = LearnerView(images.to(torch.uint8), torch.as_tensor(labels), num_classes, Transform((0.3,), (0.25,), 1))
    unused = dict.fromkeys(("index", "val", "noise_rate", "confusion", "clean_counts", "fingerprints", "groups"))
    counts = np.bincount(labels, minlength=num_classes)
    test = EvaluationSet(view.images[:5], view.observed_labels[:5])
    return Data(view=view, clean_labels=clean, test=test, observed_counts=counts, **unused)


@pytest.fixture(scope="module")
def configured():
    """One composition for each combination: three epochs, of which the first is warm-up."""
    few = ["epochs=3", "warmup_epochs=1", "batch_size=8", "model=convnet", "model.width=4"]
    return {text: compose([*text.split(), *few]) for text in COMBINATIONS}


class Untouchable:
    """In the place of the clean labels: whoever looks at them fails."""

    def _fail(self, *_):
        raise AssertionError("clean labels were read")

    __getitem__ = __len__ = __iter__ = __array__ = __eq__ = __lt__ = _fail
    __hash__ = None


def build(config, labels, num_classes, clean=None):
    """Nobody but the oracle may touch the clean labels, in any test here."""
    if clean is None:
        clean = labels if config.method.selector.name == "oracle" else Untouchable()
    return build_method(config, data(labels, num_classes, clean), [torch.device("cpu")])


def run(method, epochs):
    return [method.epoch(e) for e in epochs]


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(a, b, path=""):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


@pytest.mark.parametrize("text", COMBINATIONS)
def test_going_on_from_a_stored_state_equals_never_having_stopped(configured, text):
    straight, first, second = (build(configured[text], RIGHT, 4) for _ in range(3))
    figures = run(straight, (1, 2, 3))
    run(first, (1, 2))
    second.load_state(through_a_file(first.state()))
    assert run(second, (3,)) == figures[2:]
    assert_same(straight.state(), second.state())
    for a, b in zip(straight.predict(straight.t.view.images), second.predict(straight.t.view.images), strict=True):
        assert all(np.array_equal(a[head], b[head]) for head in a)


SETS = {
    "an absent class and a class of one": (np.array([0] * 30 + [1] * 12 + [2] * 7 + [3]), 5),
    "two classes, one of them a single sample": (np.array([0] * 20 + [1]), 2),
    "a hundred classes": (np.array([*range(20), *range(3), *range(3)]), 100),
}


@pytest.mark.parametrize("text", COMBINATIONS)
@pytest.mark.parametrize("which", SETS)
def test_everything_stays_finite_on(configured, text, which):
    labels, num_classes = SETS[which]
    method = build(configured[text], labels, num_classes)
    for figures in run(method, (1, 2)):
        assert all(value is None or np.isfinite(value) for value in figures.values())
        assert figures["loss"] is not None
    for network in method.networks:
        assert all(torch.isfinite(p).all() for p in network.parameters())
    for selection in method.selections:
        assert selection.mask.shape == (len(labels),)
        assert selection.class_counts.tolist() == np.bincount(labels[selection.mask], minlength=num_classes).tolist()
        assert ((selection.clean_probability >= 0) & (selection.clean_probability <= 1)).all()
    for heads in method.predict(method.t.view.images[:3]):
        for logits in heads.values():
            assert logits.shape == (3, num_classes)
            assert np.isfinite(logits).all()


def test_only_the_oracle_is_given_clean_labels_and_says_so(configured):
    for text, config in configured.items():
        assert ("clean_labels" in knows(config)) == ("oracle" in text)
        if "oracle" in text:
            with pytest.raises(AssertionError, match="clean labels were read"):
                build(config, RIGHT, 4, clean=Untouchable())


def test_the_oracle_refuses_unknown_labels(configured):
    config = configured["method=dividemix plugin=abc method.selector.name=oracle"]
    with pytest.raises(ConfigError, match="needs clean labels"):
        build(config, RIGHT, 4, clean=np.full(60, -1))


def test_the_whole_training_is_a_function_of_the_seed(configured):
    config = configured["method=dividemix plugin=sfa"]
    torch.manual_seed(1)
    np.random.seed(1)
    first = build(config, RIGHT, 4)
    run(first, (1, 2, 3))
    torch.manual_seed(2)
    np.random.seed(2)
    second = build(config, RIGHT, 4)
    before = torch.get_rng_state(), copy.deepcopy(np.random.get_state())
    run(second, (1, 2, 3))
    assert_same(first.state(), second.state())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1][1])
    a, b = first.networks
    assert not torch.equal(a.main.weight, b.main.weight)


def test_what_the_configuration_says_reaches_the_learner(configured):
    text = "method=dividemix plugin=sfa plugin.moments=none plugin.abc.counts=observed method.guess_mode=eval"
    method = build(configured[text], RIGHT, 4)
    assert method.guess_mode == "eval"
    assert method.t.head.counts == "observed"
    assert method.t.selectors[0].moments == "none"
    # The release's 300 on CIFAR-10, whose largest class has 5,000 samples.
    assert sample_min(configured[text], SimpleNamespace(observed_counts=np.array([50, 5000]))) == 300
    assert method.t.selectors[0].sample_min == sample_min(configured[text], data(RIGHT, 4)) > 0
    # What is defined per epoch of 200 is scaled to these three; the rate drops in epochs e > 0.75·3.
    assert method.t.selectors[0].phi == pytest.approx(1.005 ** (200 / 3))
    assert build(configured["method=dividemix plugin=sfa"], RIGHT, 4).t.selectors[0].beta == pytest.approx(
        0.99 ** (200 / 3)
    )
    assert (method.ramp_epochs, method.t.optimisation.drop_from, method.confidence_penalty) == (1, 3, False)
    averaging = build(configured["method=dividemix plugin=none noise=symmetric noise_ratio=0.9"], RIGHT, 4)
    assert averaging.t.selectors[0].history.maxlen == 5
    text = "method=ce plugin=sfa plugin.main_subset=all plugin.abc.detach=true method.selector.no_clean_class=none"
    single = build(configured[text], RIGHT, 4)
    assert single.main_subset == "all"
    assert single.t.head.detach
    assert single.t.selectors[0].thresholds.no_clean_class == "none"


def test_what_the_noise_is_called_reaches_the_learner_where_the_method_asks():
    small = ["plugin=none", "epochs=3", "warmup_epochs=1", "model=convnet"]
    config = compose(["dataset=fashion_mnist", "noise=asymmetric", *small])
    assert build(config, RIGHT, 4).confidence_penalty
    assert knows(config) == ["type"]
    nine_tenths = compose(["noise=symmetric", "noise_ratio=0.9", *small])
    assert knows(nine_tenths) == ["rate"]
    paper = compose(["method.lambda_u=paper", "noise_ratio=0.2", *small])
    assert knows(paper) == ["rate", "type"]
    assert build(paper, RIGHT, 4).lambda_u == 0
    ratio_without_effect = ["noise=matrix", f"noise.file={__file__}"]
    assert knows(compose([*ratio_without_effect, "noise_ratio=0.9", *small])) == []
    assert knows(compose(["noise=none", "noise_ratio=0.9", *small])) == []
