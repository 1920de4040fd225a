"""The baseline computes what the suite computes: networks, losses, selections, and as many images an epoch."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import digits, plain_dividemix_sfa
from benchmarks import plain_phases as plain
from benchmarks.plain_dividemix_sfa import FeatureAverages, clean_by_class, clean_by_loss, convnet
from sfa_bench import models
from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.engine.build import build_method, build_selectors
from sfa_bench.methods.dividemix import DivideMixInputs
from sfa_bench.parts import batched
from sfa_bench.parts.batched import fit_mixtures
from sfa_bench.parts.mixtures import class_posteriors
from sfa_bench.selectors.base import Thresholds
from sfa_bench.selectors.loss import LossMixture
from sfa_bench.selectors.sfa import StochasticFeatureAveraging
from sfa_bench.speed import phases, settings
from sfa_bench.speed.jobs import PHASES, Job
from sfa_bench.speed.settings import Passed, Setting

SMALL = Setting(size=300, imb_factor=0.1, batch_size=16, seconds=None)
OPTIMISATION = ("lr", "momentum", "weight_decay", "nesterov", "dampening")
LOG_COUNTS = torch.linspace(1, 3, 10)


@pytest.fixture(autouse=True)
def _files_in(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def sides():
    """The suite's method and the baseline's learner, with the same weights; in double precision, so that a sum in
    another order flips no ReLU.
    """

    def make(plugin):
        suite, other = phases.TimedMethod(SMALL, plugin, 4), plain.TimedBaseline(SMALL, 4, balanced=plugin == "sfa")
        for mine, theirs in zip(suite.method.networks, other.method.networks, strict=True):
            theirs.double().load_state_dict(mine.double().state_dict())
        return suite.method, other.method

    return make


def views(count, seed):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("plugin", ["none", "sfa"])
@pytest.mark.parametrize("training", [True, False])
def test_its_network_answers_as_the_suites_does(sides, plugin, training):
    method, learner = sides(plugin)
    mine, theirs = method.networks[0].train(training), learner.networks[0].train(training)
    with torch.no_grad():
        *answers, projected = mine(views(6, 0))
        assert projected is None
        for a, b in zip(answers, theirs(views(6, 0)), strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_its_small_network_answers_as_the_suites_does(training):
    mine = models.build(compose([]).model, 1, (8, 8), 10, ("main", "abc"), 0).double().train(training)
    theirs = convnet(1, 16, 10, balanced=True).double().train(training)
    theirs.load_state_dict(mine.state_dict())
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        for a, b in zip(mine(images)[:3], theirs(images), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("plugin", ["none", "sfa"])
def test_a_step_of_dividemix_has_the_suites_loss_and_gradient(sides, plugin):
    method, learner = sides(plugin)
    rows, w = torch.tensor([0, 5, 40, 90]), torch.linspace(0.1, 0.95, len(method.labels), dtype=torch.float64)
    seen = [views(4, 1), views(4, 2), views(3, 3), views(3, 4)]
    method.networks[0].train()
    method.networks[1].eval()
    learner.networks[0].train()
    learner.networks[1].eval()
    given = DivideMixInputs(w, LOG_COUNTS, torch.Generator().manual_seed(2))
    mine, trained = method._loss(0, given, rows, tuple(seen), 0.3, 7.0)
    permutation = torch.randperm(14, generator=torch.Generator().manual_seed(2))
    theirs = learner.mixmatch_loss(0, seen, method.labels[rows], w[rows].float(), 0.3, permutation, 7.0, LOG_COUNTS)
    torch.testing.assert_close(theirs, mine, rtol=1e-5, atol=0)
    same_gradients(method, learner, mine, theirs)
    assert (learner.trained, learner.guessed) == (trained, method.cost.guessed) == (14, 4 * 3 + 2 * 4)


def test_a_warm_up_step_has_the_suites_loss_and_gradient(sides):
    method, learner = sides("none")
    images, labels = views(8, 1), method.labels[:8]
    method.networks[0].train()
    learner.networks[0].train()
    mine = torch.nn.functional.cross_entropy(method.forward(0, images).main, labels)
    theirs = learner.warm_up_loss(0, images, labels, LOG_COUNTS)
    torch.testing.assert_close(theirs, mine, rtol=1e-5, atol=0)
    same_gradients(method, learner, mine, theirs)


def same_gradients(method, learner, mine, theirs):
    mine.backward()
    theirs.backward()
    for a, b in zip(method.networks[0].parameters(), learner.networks[0].parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-5, atol=1e-7)


def test_its_networks_run_in_bfloat16_where_it_is_asked_to():
    """Eight bits of mantissa: near fp32's answers, and not them; what it computes from them is fp32."""
    setting = replace(SMALL, bfloat16=True)
    exact, rounded = (plain.TimedBaseline(one, 16, balanced=True).method for one in (SMALL, setting))
    for mine, theirs in zip(exact.networks, rounded.networks, strict=True):
        theirs.load_state_dict(mine.state_dict())
    images = views(8, 1).float()
    with torch.no_grad():
        for a, b in zip(exact.forward(0, images), rounded.forward(0, images), strict=True):
            assert b.dtype == torch.float32
            assert 0 < (a - b).norm() < 0.05 * a.norm()


def test_both_optimisers_are_set_alike(sides):
    method, learner = sides("none")
    method.prepare(0, 1)
    mine, theirs = (side.optimisers[0].param_groups[0] for side in (method, learner))
    assert [theirs[key] for key in OPTIMISATION] == [mine[key] for key in OPTIMISATION]


@pytest.mark.parametrize("phase", ["warm-up", "dividemix-sfa"])
def test_a_whole_epoch_takes_as_many_images_in_both_and_as_the_report_counts(phase):
    suite = phases.TimedMethod(SMALL, "sfa", 4)
    other = plain.TimedBaseline(SMALL, 4, balanced=True)
    _, passed = settings.amount(SMALL, Job(phase, 4))
    for side in (suite, other):
        parts = {}
        if phase == "warm-up":
            epoch = side.watch.time(lambda: suite.method.epoch(1), None) if side is suite else other.warm_up(None)
            parts["training"] = epoch if side is suite else epoch["training"]
        else:
            parts = {**side.passes(None), **side.training(None)}
        assert all(timing.measured == timing.steps for timing in parts.values())
    ledger, learner = suite.method.cost, other.method
    assert Passed(ledger.trained, ledger.guessed, ledger.selected) == passed
    assert Passed(learner.trained, learner.guessed, learner.selected) == passed
    assert len(learner.losses) == ledger.steps


def test_a_whole_run_on_digits_takes_as_many_images_in_both(tmp_path, monkeypatch, capsys):
    config = compose(["epochs=2", "warmup_epochs=1"])
    data = build(config)
    selection = settings.given_selection(data)  # each side's own would depend on its random numbers
    monkeypatch.setattr(FeatureAverages, "select", lambda *_: selection.clean_probability)
    digits.prepare(tmp_path, config, data)
    learner = plain_dividemix_sfa.train(tmp_path)
    method = build_method(config, data, [torch.device("cpu")])
    method.training.selectors = [phases.GivenSelection(selection)] * 2
    for e in (1, 2):
        method.epoch(e)
    cost = method.cost
    assert (learner.trained, learner.guessed, learner.selected) == (cost.trained, cost.guessed, cost.selected)
    assert len(learner.losses) == cost.steps
    mine, theirs = (side.optimisers[0].param_groups[0] for side in (method, learner))
    assert [theirs[key] for key in OPTIMISATION] == pytest.approx([mine[key] for key in OPTIMISATION])
    assert capsys.readouterr().out.count("epoch") == 2


@pytest.mark.parametrize("phase", PHASES)
def test_both_sides_of_every_phase_measure_the_same_parts(phase):
    setting = replace(SMALL, size=1500 if phase.endswith("100") else 300, seconds=0.0)
    job = Job(phase, 4, 8 if phase in ("forward", "step") else None)
    mine, theirs = (side.PHASES[phase](setting, job)(0.0) for side in (phases, plain))
    assert mine.keys() == theirs.keys()
    assert all(part.seconds > 0 and 1 <= part.measured <= part.steps for part in (*mine.values(), *theirs.values()))


def test_the_real_setting_is_cifar10_with_its_long_tail_and_half_of_the_labels_wrong():
    clean, observed = settings.made_labels(Setting(), 10)
    assert len(clean) == 12_406
    assert (clean != observed).mean() == pytest.approx(0.5, abs=1e-4)
    assert len(settings.made_labels(Setting(), 100)[0]) == 10_847


def test_both_train_on_the_same_arrays():
    baseline = plain.TimedBaseline(SMALL, 4, balanced=False).method
    dataset = plain.ImageDataset(baseline.path, baseline.augmentation, 0)
    suite = phases.TimedMethod(SMALL, "none", 4)
    seen = suite.method.loaders[torch.device("cpu")].test_view(torch.arange(len(dataset)))
    torch.testing.assert_close(torch.stack([dataset[i][0] for i in range(len(dataset))]), seen)
    assert [dataset[i][1] for i in range(len(dataset))] == suite.method.labels.tolist()


def test_its_averages_select_what_the_suites_selector_does():
    probe = settings.made_probe(SMALL, 10)
    unsure = probe.logits / 4  # so that the gate, which rises, cuts through the classes
    probe = replace(probe, logits=unsure, abc_logits=unsure)
    config = settings.composed(SMALL, "sfa", 4)
    suites = build_selectors(config, settings.made_data(SMALL), 1)[0]
    averages = FeatureAverages(10, suites.sample_min)
    suites.generator = partial(np.random.default_rng)
    for epoch in (31, 120, 190):  # the first call starts the moments
        mine = suites.select(probe, epoch)
        theirs = averages.select(
            torch.from_numpy(probe.features),
            plain.confidence_of(probe),
            probe.observed_labels,
            epoch,
            np.random.default_rng(epoch),
        )
        assert mine.classes_drawn > 0
        np.testing.assert_allclose(theirs, mine.clean_probability, atol=1e-6)
        np.testing.assert_allclose(averages.mean, suites.mean, atol=1e-9)
        np.testing.assert_allclose(averages.square, suites.square, atol=1e-9)
    assert plain.feature_averages(np.bincount(probe.observed_labels))[0].sample_min == suites.sample_min


def test_its_mixtures_are_the_suites():
    probe = settings.made_probe(SMALL, 10)
    scores = settings.made_scores(probe)
    found = class_posteriors(scores, probe.observed_labels, 10, larger=True, rescale=True)
    np.testing.assert_allclose(clean_by_class(scores, probe.observed_labels, 10), found.probability, atol=1e-9)
    losses = torch.nn.functional.cross_entropy(
        torch.from_numpy(probe.logits).double(), torch.from_numpy(probe.observed_labels), reduction="none"
    )
    mine = LossMixture(Thresholds()).select(probe, 31)
    np.testing.assert_allclose(clean_by_loss(losses), mine.clean_probability, atol=1e-6)


@pytest.mark.parametrize(("phase", "fits"), [("mixtures-100", 0), ("batched-100", 1)])
def test_only_the_batched_phase_fits_all_classes_at_once(phase, fits, monkeypatch):
    fitted = []
    monkeypatch.setattr(batched, "fit_mixtures", lambda groups: fitted.append(len(groups)) or fit_mixtures(groups))
    setting = replace(SMALL, size=3000)
    assert phases.PHASES[phase](setting, Job(phase))(0.0)["mixtures"].steps == 1
    assert len(fitted) == fits
    assert plain.PHASES[phase](setting, Job(phase))(0.0)["mixtures"].steps == 1


def test_the_selection_without_a_forward_is_made_from_the_prepared_answers():
    measure = phases.PHASES["selection-10"](SMALL, Job("selection-10"))
    seen = []
    probe = settings.made_probe(SMALL, 10)

    def keep(self, answer, epoch, select=StochasticFeatureAveraging.select):
        seen.append(answer)
        return select(self, answer, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StochasticFeatureAveraging, "select", keep)
        measure(None)
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[0].logits, probe.logits)
    np.testing.assert_array_equal(seen[1].features, probe.features.astype(np.float16).astype(np.float32))
    assert set(plain.PHASES["selection-10"](SMALL, Job("selection-10"))(None)) == {"selection"}
