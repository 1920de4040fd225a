"""What every learner promises with every plug-in that fits it, built as a run builds it (contributing/architecture.md
§3).
"""

import copy
import io
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import CONF, choices
from sfa_bench.data import build as build_data
from sfa_bench.data.types import Data, EvaluationSet, LearnerView, Transform
from sfa_bench.engine.build import build_method, knows
from sfa_bench.errors import ConfigError
from sfa_bench.selectors.sfa import sample_min

VECTORS = "dataset=synthetic dataset.classes=4 dataset.size=24 dataset.dim=6 dataset.groups=2 dataset.test_size=4"
SHORT = "epochs=3 warmup_epochs=1 batch_size=8 model.width=2 imb_factor=0.3"  # the first epoch is warm-up
OPTIONS = [
    *(f"method={method} plugin=sfa method.networks=2" for method in ("ce", "rolt")),
    *(f"method={method} plugin=none method.networks=2 method.mixup=true" for method in ("gce", "elr")),
    *(f"method={method} method.mixup=true" for method in ("balanced_softmax plugin=sfa", "ldam plugin=abc")),
    *(f"method={method} plugin=sfa method.schedule=drw" for method in ("focal", "dividemix")),
    "method=rolt plugin=none method.loss.name=ldam method.schedule=drw method.ensemble_bias=release",
    "method=rolt plugin=none method.schedule=drw epochs=2",  # freezes its labels before the stop
    *(f"method={method} method.schedule=drs" for method in ("ce plugin=none", "sce plugin=sfa_release")),
    *(f"method=elr plugin={plugin} method.plus=true" for plugin in ("none", "abc")),
    "method=elr plugin=abc method.mixup=true",
    "method=sop plugin=sfa method.networks=2 method.loss.lr_u=1e9 method.loss.lr_v=1e9",
    "method=sop plugin=abc method.schedule=drs method.loss.lr_u=1e9 method.loss.lr_v=1e9",
    "method=har plugin=abc method.networks=2 method.gamma=3",
    "method=har plugin=none method.schedule=drs dataset=digits",
    "method=coteaching plugin=none method.native=true method.double_mean=true",
    *(f"method=ce plugin=abc method.selector.name={name}" for name in ("loss_gmm", "loss_gmm_cls", "proto")),
    *(
        f"method={method} method.selector.name={name}"
        for method in ("ce plugin=abc", "dividemix plugin=none", "rolt plugin=none")
        for name in ("tabasco", "dacc", "quota")
    ),
    "method=dividemix plugin=abc method.selector.name=dacc method.selector.phi=1.1",
    "method=dividemix plugin=abc method.selector.name=quota method.selector.networks=both dataset=digits",
    "method=ce plugin=none method.networks=2 method.selector.name=quota method.selector.networks=both"
    " method.selector.score=loss method.selector.rate=0.3 method.selector.rate_end=0.9 method.selector.rate_epochs=2",
    "method=balanced_softmax plugin=none method.selector.name=proto",
    "method=dividemix plugin=none method.selector.name=loss_gmm_cls plugin.gmm.monotone=true",
    "method=dividemix plugin=none noise=symmetric noise_ratio=0.9",
    "method=dividemix plugin=none noise=asymmetric",
    "method=dividemix plugin=sfa plugin.head=none dataset=digits",
    *(f"method=dividemix plugin={p} plugin.head=experts plugin.medium_warmup=false" for p in ("abc", "sfa")),
    "method=dividemix plugin=ibc plugin.head=abc plugin.kappa=1 plugin.abc.detach=true method.schedule=drw",
    "method=dividemix plugin=ibc plugin.moments=none dataset=digits method.selector.view=train",
    "method=dividemix plugin=sfa plugin.moments=none plugin.abc.counts=observed method.guess_mode=eval dataset=digits",
    "method=ce plugin=sfa plugin.main_subset=all plugin.abc.detach=true method.selector.no_clean_class=none",
    *(f"method={m} plugin={p} dataset=digits" for m in ("dasc", "dasc_release") for p in ("abc", "sfa")),
    "method=dasc plugin=abc method.sbcl_from=0 method.memory=20 method.selector.features=default dataset=digits",
    *(f"method={m} plugin={p} dataset=digits" for m in ("unicon", "unicon_release") for p in ("none", "abc")),
    "method=unicon plugin=sfa dataset=digits",
    "method=dividemix plugin=abc method.selector.name=oracle",
    *(f"method={method} plugin=abc method.selector.name=base" for method in ("ce", "rolt")),
    *(f"method={method} method.selector.name=mda" for method in ("dividemix plugin=abc", "ldam plugin=none")),
    *(
        f"method={method} plugin=none method.selector.name=mda method.selector.source=training"
        " method.selector.prior=estimated"
        for method in ("dividemix", "rolt", "gce method.networks=2")
    ),
    *(
        f"method={method} plugin=abc method.selector.name={name}"
        for method, name in (
            ("ce", "confident_learning"),
            ("rolt", "self_confidence"),
            ("dividemix", "normalised_margin"),
        )
    ),
    *(
        f"method={method} plugin=abc method.selector.name=ssr_knn method.selector.relabel_above=0.4"
        for method in ("ce method.mixup=true", "ldam method.schedule=drw", "rolt", "dividemix")
    ),
    *(f"method={method} plugin=none method.selector.name=fine" for method in ("ce", "dividemix method.schedule=drw")),
    "method=rolt plugin=abc method.selector.name=fine method.selector.split=kmeans",
    *(f"method={m} plugin=abc method.selector.name=scs method.selector.momentum=0.3" for m in ("ce", "dividemix")),
    "method=ce plugin=sfa loss=ccs method.loss.level=0.4 method.loss.window=3",
    "method=ce_drw plugin=none loss=ccs method.networks=2 method.selector.name=mda method.average_over=batch",
    "method=ce plugin=none method.selector.name=oracle method.selector.view=train dataset=digits",
]
GROUPS = [*choices("method"), *OPTIONS]  # a method stands for itself with each of its plug-ins
RIGHT = np.random.default_rng(8).integers(0, 4, 60)


@cache
def composed(text):
    """The configuration of one combination, None where it is refused."""
    typed = text.split()
    try:
        return compose([*(() if "dataset=digits" in typed else VECTORS.split()), *SHORT.split(), *typed])
    except ConfigError as error:
        if not error.invalid_combination:
            raise
        return None


def combinations(group):
    """A method's valid plug-ins, or the one combination with options."""
    every = [group] if "=" in group else [f"method={group} plugin={plugin}" for plugin in choices("plugin")]
    return [text for text in every if composed(text) is not None]


@contextmanager
def about(text):
    """Names the combination in what goes wrong."""
    try:
        yield composed(text)
    except BaseException as error:
        error.add_note(text)
        raise


class Untouchable:
    """In the place of the clean labels: whoever looks at them fails."""

    def _fail(self, *_):
        raise AssertionError("clean labels were read")

    __getitem__ = __len__ = __iter__ = __array__ = __eq__ = __lt__ = __getattr__ = _fail
    __hash__ = None


def data(config, labels, num_classes, clean):
    """Noise in which the class can be seen, so that there is something to learn: vectors, or images of 8×8."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.as_tensor(labels)
    if config.dataset.source == "synthetic":
        images, transform = torch.randn(len(labels), 6, generator=generator), Transform((), (), jitter=0.05)
        images[torch.arange(len(labels)), labels % 6] += 3
    else:
        images = torch.randint(0, 120, (len(labels), 1, 8, 8), generator=generator)
        images[torch.arange(len(labels)), 0, labels % 8, 0] = 255
        images, transform = images.to(torch.uint8), Transform((0.3,), (0.25,), 1)
    view = LearnerView(images, labels, num_classes, transform)
    unused = dict.fromkeys(("index", "val", "noise_rate", "confusion", "clean_counts", "fingerprints", "groups"))
    counts = np.bincount(labels, minlength=num_classes)
    test = EvaluationSet(images[:5], labels[:5])
    return Data(view=view, clean_labels=clean, test=test, observed_counts=counts, **unused)


def build(config, labels=None, num_classes=None, clean=None):
    """The learner, on a run's own data or on the given labels. Only the oracle may touch the clean ones, ever."""
    oracle = config.method.selector.name == "oracle"
    if labels is None and config.dataset.source == "digits":  # more than these tests need
        labels, num_classes = RIGHT, 4
    if labels is None:
        given = build_data(config)
        given = given if oracle else replace(given, clean_labels=Untouchable())
    else:
        given = data(config, labels, num_classes, (labels if oracle else Untouchable()) if clean is None else clean)
    return build_method(config, given, [torch.device("cpu")])


def run(method, epochs):
    return [method.epoch(e) for e in epochs]


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def tracked(networks):
    """Updates of each backbone's batch statistics; all its layers have seen the same number."""
    buffers = [network.backbone.named_buffers() for network in networks]
    counts = [{int(b) for name, b in each if name.endswith("num_batches_tracked")} for each in buffers]
    assert all(len(each) == 1 for each in counts)
    return [each.pop() for each in counts]


@cache
def straight(text):
    """Three epochs without a break: the learner, figures and updates of batch statistics of each, and what was there
    after the second.
    """
    method = build(composed(text))
    story = SimpleNamespace(method=method, figures=[], updates=[], masks=[], scores=[])
    for e in (1, 2, 3):
        before = tracked(method.networks)
        story.figures += run(method, [e])
        story.updates.append([now - then for now, then in zip(tracked(method.networks), before, strict=True)])
        for kept, what in ((story.masks, "mask"), (story.scores, "score")):
            kept.append([getattr(one, what) for one in method.selections] if method.selects_in(e) else None)
        if e == 2:
            story.stored = through_a_file(method.state())
    return story


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


def test_the_combinations_here_are_those_that_users_are_promised():
    page = (CONF.parent / "docs/reference/choices.md").read_text(encoding="utf-8")
    for method in choices("method"):
        typed = {plugin: f"method={method} plugin={plugin}" for plugin in choices("plugin")}
        valid = {
            p: composed(text) or composed(f"{text} dataset=digits") for p, text in typed.items()
        }  # or images alone
        cells = {plugin: "yes" if config else "–" for plugin, config in valid.items()}
        columns = ("none", "abc", "sfa", "sfa_release", "ibc", "ibc_release")
        assert f"| {method} | {' | '.join(cells[p] for p in columns)} |" in page
    assert all(composed(text) is not None for text in OPTIONS)


@pytest.mark.parametrize("group", GROUPS)
def test_going_on_from_a_stored_state_equals_never_having_stopped(group):
    for text in combinations(group):
        with about(text) as config:
            whole, second = straight(text), build(config)
            second.load_state(whole.stored)
            assert_same(second.state(), whole.stored)
            assert run(second, [3]) == whole.figures[2:]
            assert_same(whole.method.state(), second.state())
            images = second.training.view.images
            for a, b in zip(whole.method.predict(images), second.predict(images), strict=True):
                assert all(np.array_equal(a[head], b[head]) for head in a)


def steps(rows, size):
    """Batches of at most `size` rows and a row, none of them a single row unless there is no other."""
    return 0 if rows == 0 else max(1, rows // size + (rows % size > 1))


def specified_updates(config, e, k, rows, masks, scores):
    """Train-mode forwards of network k in epoch e: one a step (algorithms/methods.md §2–6, §8); in DivideMix with five
    of them, for u₁, u₂, x₁, x₂ and the mixed rows (§7); with ELR and mixup one more, for the targets (§5). In UNICON
    one more, for the unlabelled strong views (algorithms/unicon.md §4); in DaSC one for each weak view, the mixed rows
    and the strong views (algorithms/dasc.md §4).
    """
    method, size = config.method, config.batch_size
    if method.learner == "unicon" and e > 1:
        labelled = int(masks[k].sum())
        if method.fill == "release":  # as many places as samples are nearer than the mean
            labelled = max(labelled, int((-scores[k] < -scores[k].mean()).sum()))
        return (6 if masks[k].sum() < rows else 3) * steps(labelled, size)
    if method.learner == "dasc" and e > 1:
        labelled = int(masks[1 - k].sum())
        return (4 if labelled < rows else 3) * steps(labelled, size)
    if method.learner == "dividemix" and e > 1:
        labelled = int(masks[1 - k].sum())
        guesses = 0 if method.guess_mode == "eval" else 4 if labelled < rows else 2
        return (1 + guesses) * steps(labelled, size)
    looks_unmixed_first = method.learner == "elr" and method.mixup and not method.plus
    return (2 if looks_unmixed_first else 1) * steps(rows, 2 * size)


@pytest.mark.parametrize("group", GROUPS)
def test_batch_statistics_are_updated_as_often_as_specified(group):
    for text in combinations(group):
        with about(text) as config:
            whole = straight(text)
            rows, networks = len(whole.method.labels), whole.method.networks
            epochs = enumerate(zip(whole.updates, whole.masks, whole.scores, strict=True), start=1)
            for e, (updates, *selected) in epochs:
                assert updates == [specified_updates(config, e, k, rows, *selected) for k in range(len(networks))], e
            total = tracked(networks)
            whole.method.predict(whole.method.training.view.images)
            whole.method.probe(0, 4)
            assert tracked(networks) == tracked(whole.method.predictors()) == total


SETS = {
    "an absent class and a class of one": (np.array([0] * 30 + [1] * 12 + [2] * 7 + [3]), 5),
    "two classes": (np.array([0, 1] * 9), 2),
    "two classes, one of them a single sample": (np.array([0] * 20 + [1]), 2),
    "a hundred classes": (np.array([*range(20), *range(3), *range(3)]), 100),
}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("which", SETS)
def test_everything_stays_finite_on(group, which):
    labels, num_classes = SETS[which]
    for text in combinations(group):
        with about(text) as config:
            method = build(config, labels, num_classes)
            for figures in run(method, (1, 2)):
                assert all(value is None or np.isfinite(value) for value in figures.values())
                assert figures["loss"] is not None or not any(s.mask.any() for s in method.selections)
            for network in (*method.networks, *method.predictors()):
                assert all(torch.isfinite(p).all() for p in network.parameters())
            assert len(method.selections) == (0 if config.method.selector.name == "none" else len(method.networks))
            for selection in method.selections:
                assert selection.mask.shape == (len(labels),)
                used = labels if selection.labels is None else selection.labels
                counts = np.bincount(used[selection.mask], minlength=num_classes)
                assert selection.class_counts.tolist() == counts.tolist()
                assert ((selection.clean_probability >= 0) & (selection.clean_probability <= 1)).all()
            for heads in method.predict(method.training.view.images[:3]):
                for logits in heads.values():
                    assert logits.shape == (3, num_classes)
                    assert np.isfinite(logits).all()


@pytest.mark.parametrize("selected", [1, 59])
@pytest.mark.parametrize("dataset", ["synthetic", "digits"])
def test_a_single_sample_on_one_side_of_a_selection_is_learned_from(dataset, selected):
    config = composed(f"method=dividemix plugin=abc method.selector.name=oracle dataset={dataset}")
    method = build(config, RIGHT, 4, clean=np.where(np.arange(60) < selected, RIGHT, (RIGHT + 1) % 4))
    run(method, [1])
    before = tracked(method.networks)
    assert np.isfinite(run(method, [2])[0]["loss"])
    assert [selection.mask.sum() for selection in method.selections] == [selected] * 2
    if dataset == "digits":  # images have batch statistics even alone
        assert tracked(method.networks) == [n + 5 * steps(selected, 8) for n in before]


@pytest.mark.parametrize("group", GROUPS)
def test_only_the_oracle_is_given_clean_labels_and_says_so(group):
    for text in combinations(group):
        with about(text) as config:
            assert ("clean_labels" in knows(config)) == ("oracle" in text)
            if "oracle" in text:
                with pytest.raises(AssertionError, match="clean labels were read"):
                    build(config, RIGHT, 4, clean=Untouchable())


def test_the_oracle_refuses_unknown_labels():
    config = composed("method=dividemix plugin=abc method.selector.name=oracle")
    with pytest.raises(ConfigError, match="needs clean labels"):
        build(config, RIGHT, 4, clean=np.full(60, -1))


def test_the_whole_training_is_a_function_of_the_seed():
    config = composed("method=dividemix plugin=sfa")
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


def test_a_method_written_for_the_first_edition_finds_what_the_run_gives():
    method = build(composed("method=ce plugin=none"), RIGHT, 4)
    assert method.t is method.training


def test_what_the_configuration_says_reaches_the_learner():
    base = "method=dividemix plugin=sfa plugin.moments=none plugin.abc.counts=observed method.guess_mode=eval"
    config = composed(f"{base} dataset=digits")
    method = build(config, RIGHT, 4)
    assert method.guess_mode == "eval"
    assert method.training.head.counts == "observed"
    assert method.training.selectors[0].moments == "none"
    # The release's 300 on CIFAR-10, whose largest class has 5,000 samples.
    assert sample_min(config.plugin.sample_min, np.array([50, 5000])) == 300
    assert method.training.selectors[0].sample_min == int(0.06 * np.bincount(RIGHT).max()) > 0
    # What is defined per epoch of 200 is scaled to these three; the rate drops in epochs e > 0.75·3.
    assert method.training.selectors[0].phi == pytest.approx(1.005 ** (200 / 3))
    assert build(composed("method=dividemix plugin=sfa"), RIGHT, 4).training.selectors[0].beta == pytest.approx(
        0.99 ** (200 / 3)
    )
    assert (method.ramp_epochs, method.training.optimisation.drop_from, method.confidence_penalty) == (1, 3, False)
    averaging = build(composed("method=dividemix plugin=none noise=symmetric noise_ratio=0.9"), RIGHT, 4)
    assert averaging.training.selectors[0].history.maxlen == 5
    text = "method=ce plugin=sfa plugin.main_subset=all plugin.abc.detach=true method.selector.no_clean_class=none"
    single = build(composed(text), RIGHT, 4)
    assert single.main_subset == "all"
    assert single.training.head.detach
    assert single.training.selectors[0].thresholds.no_clean_class == "none"


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


@pytest.mark.parametrize("pixels", [1, 9 * 64, 10**9])
def test_answers_do_not_depend_on_how_many_images_go_through_a_network_at_once(pixels, monkeypatch):
    config = composed("method=dividemix plugin=sfa dataset=digits")
    data = build_data(config)
    method = build_method(config, data, [torch.device("cpu")])
    expected = [
        {head: logits.double() for head, logits in zip(("main", "abc"), network.eval()(images)[1:3], strict=True)}
        for network in method.networks
        for images in [method.loader_of(data.test.images).test_view(torch.arange(50))]
    ]
    monkeypatch.setattr("sfa_bench.methods.evaluation.PIECE", pixels)
    answers = method.predict(data.test.images[:50])
    for ours, theirs in zip(answers, expected, strict=True):
        for head, logits in theirs.items():
            np.testing.assert_allclose(ours[head], logits.detach().numpy(), rtol=1e-5, atol=1e-5)
