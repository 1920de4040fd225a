"""The page of published numbers: counterparts, commands, costs by hand, and our own runs found for them."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from analysis.reported import numbers
from analysis.runs import Run, load
from sfa_bench.choices.methods import warmup_epochs
from sfa_bench.config.compose import compose
from sfa_bench.data.imbalance import class_counts
from sfa_bench.errors import ConfigError
from tools import counterparts, hours
from tools.counterparts import ABSENT, OURS, REFUSED, WEIGHTS, planned, words
from tools.reproduction import TITLES, Page, departures, main, metric_of

CIFAR = {"dataset": "cifar10", "noise__name": "joint", "imbalance__name": "exp", "noise_ratio": 0.4, "imb_factor": 0.1}
LIKE = {"epochs": 200, "model__name": "resnet32", "recipe__name": "matched", "method__selector__name": "none"}


@pytest.fixture(scope="module")
def page():
    """The page without runs of ours, as the site has it."""
    return Page([]).text()


def find(method, dataset="cifar10", **line):
    fits = (n for n in numbers() if n.line["method"] == method and n.where["dataset"] == dataset)
    return next(n for n in fits if all(n.line[key] == value for key, value in line.items()))


def row(text, method, title="### joint noise 0.4, exponential tail 0.1"):
    section = text.split(title)[1]
    return next(line for line in section.splitlines() if line.startswith(f"| {method} |")).split(" | ")


def finished(words, samples, tested, trained=0, guessed=0, selected=0):
    """A finished run that counted so many images."""
    config = compose(words.split())
    cost = {"samples": {"trained": trained, "guessed": guessed, "selected": selected}}
    data = {"samples": {"train": samples, "test": tested, "val": 0}}
    return Run(
        Path(), {"config": config.to_plain(), "names": config.names, "cost": cost, "data": data, "environment": {}}
    )


# ---- who is who


def test_every_published_method_has_a_counterpart_or_is_said_to_be_absent():
    names = {number.line["method"] for number in numbers()}
    assert names == OURS.keys() | ABSENT | REFUSED.keys()
    assert not OURS.keys() & ABSENT
    assert not REFUSED.keys() & (OURS.keys() | ABSENT)


def test_what_is_said_to_be_refused_is_refused():
    assert {number.where["dataset"] for number in numbers() if number.line["method"] == "HAR"} == {"webvision"}
    with pytest.raises(ConfigError, match="model=inception_resnet_v2 with method=har"):
        planned(("dataset=webvision", "method=har", "plugin=none"))


def test_the_page_counts_the_numbers_that_have_a_counterpart(page):
    missing = [n.line["method"] for n in numbers() if words(n) is None]
    refused = missing.count("HAR")
    assert f"{343 - len(missing)} of 343 published numbers have a counterpart here." in page
    assert f"{len(missing) - refused} are of methods that the suite has not, and {refused} of methods (HAR)" in page
    assert page.count("–: not in the suite") + refused == len(missing)
    assert page.count("–: not in this setting") == refused == 4


def test_a_name_that_nobody_has_placed_is_an_error():
    number = find("ERM")
    stranger = SimpleNamespace(line={**number.line, "method": "NEW"}, where=number.where)
    with pytest.raises(KeyError, match="NEW"):
        counterparts.ours(stranger)


def test_every_command_is_valid_in_the_setting_of_its_number_and_on_the_page(tmp_path, page):
    weights = tmp_path / "resnet50.pth"
    weights.touch()
    asked = [(typed, number) for number in numbers() if (typed := words(number))]
    assert len({typed for typed, _ in asked}) > 150
    for typed, number in asked:
        fields, where = planned(typed).fields, number.where  # composed and validated
        if WEIGHTS in typed:
            compose([word.replace("FILE", str(weights)) for word in typed])
        assert all(fields[key] == where[key] for key in ("dataset", "noise", "imbalance"))
        assert all(fields[key] == float(where[key]) for key in ("noise_ratio", "imb_factor") if key in where)
        assert fields["noise.include_self"] == (number.line["noise"] == "symmetric_incl")
        model = {"ResNet-32": "resnet32", "PreAct ResNet-18": "preact_resnet18"}.get(number.line["backbone"])
        assert fields["model"] == (model or fields["model"])
        assert f"\npython run.py -m replicate=0,1,2 {' '.join(typed)}\n" in page


@pytest.mark.parametrize(
    ("method", "line", "typed"),
    [
        ("ERM", {"noise_ratio": "0.4", "imb_factor": "0.1"}, "method=ce plugin=none model=resnet32 recipe=matched"),
        ("LDAM-DRW", {}, "method=ldam_drw plugin=none model=resnet32 recipe=native"),
        ("CRT", {}, "method=ce plugin=none classifier=crt model=resnet32 recipe=matched"),
        (
            "SFA",
            {"noise": "symmetric_incl"},
            "noise.include_self=true noise.count=bernoulli method=dividemix plugin=sfa",
        ),
        ("DivideMix", {"noise_ratio": "0.9"}, "method.lambda_u=50 plugin.p_threshold=0.6 model=preact_resnet18"),
        ("DivideMix", {"noise_ratio": "0.2"}, "imbalance=none method=dividemix plugin=none method.lambda_u=paper"),
        ("DivideMix", {"noise": "asymmetric"}, "noise=asymmetric noise.count=exact"),
        ("HAR-DRW", {}, "noise=joint method=har_drw plugin=none model=resnet32 recipe=matched"),
        (
            "TABASCO",
            {"paper": "TABASCO (ICCV 2023)"},
            "noise.include_self=true noise.count=bernoulli method=dividemix method.selector.name=tabasco recipe=native",
        ),
        ("DaSC", {"noise": "asymmetric"}, "noise.count=bernoulli method=dasc plugin=abc recipe=native"),
    ],
)
def test_words_of_known_counterparts(method, line, typed):
    assert set(typed.split()) <= set(words(find(method, **line)))


def test_on_natural_labels_co_teaching_is_told_a_rate_and_clothing1m_needs_weights():
    assert "noise.assumed_rate=0.2" in words(find("Co-teaching", "webvision"))
    assert {"noise.assumed_rate=0.385", WEIGHTS} <= set(words(find("Co-teaching", "clothing1m")))
    assert words(find("RCAL")) is None


# ---- costs


def test_the_cost_of_cross_entropy_by_hand():
    # 10 classes of 5,000·0.1^(c/9): 5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500
    samples = 5000 + 3871 + 2997 + 2320 + 1796 + 1391 + 1077 + 834 + 645 + 500
    plan = planned(words(find("ERM", noise_ratio="0.4", imb_factor="0.1")))
    assert hours.samples(plan) == samples == 20_431
    assert hours.flops(plan) == (3 * samples * 200 + 200 * 10_000) * 137_725_184


def test_the_cost_of_dividemix_by_hand(monkeypatch):
    # Half is selected: each network trains on 2 views of as many labelled and unlabelled rows, guesses 6 images a row.
    half = hours.Factor(trained=4.0, guessed=6.0, selected=2.0)
    monkeypatch.setattr(hours, "_factors", lambda: {("dividemix", "none"): {0.5: half}})
    plan = planned(words(find("DivideMix", noise_ratio="0.5")))
    epoch = 3 * 4 + 6 + 2
    assert hours.flops(plan) == (6 * 10 * 50_000 + 291 * epoch * 50_000 + 2 * 301 * 10_000) * 1_110_845_440


def test_half_of_the_classes_of_cifar10_have_no_wrong_label_under_asymmetric_noise(monkeypatch):
    plan = planned(words(find("DivideMix", noise="asymmetric", noise_ratio="0.4")))
    few, many = hours.Factor(4.0, 6.0, 2.0), hours.Factor(1.0, 2.0, 2.0)
    monkeypatch.setattr(hours, "_factors", lambda: {hours.kind(plan.fields): {0.2: few, 0.4: many}})
    epoch = 3 * 4 + 6 + 2  # of few: a fifth of the labels is wrong
    assert hours.flops(plan) == (6 * 10 * 50_000 + 291 * epoch * 50_000 + 2 * 301 * 10_000) * 1_110_845_440


def test_the_cost_on_draws_by_hand():
    # Clothing1M: one epoch of 64,000 for two networks, 80 of 32,000; clean validation and test sets, then the test set.
    plan = planned(words(find("DivideMix", "clothing1m")))
    factor = hours.nearest("dividemix labelled", "none", 0.385)
    images = 6 * 64_000 + 80 * 32_000 * factor.forwards + 2 * 81 * (14_313 + 10_526)
    assert hours.flops(plan) == pytest.approx(images * 8_174_329_856)


def test_the_cost_of_har_has_the_run_of_its_estimate():
    plan = planned(words(find("HAR-DRW", noise_ratio="0.4", imb_factor="0.1")))
    images = 3 * 1.5 * 20_431 * 200 + 200 * 10_000 + 200 * (20_431 / 2 + 10_000)
    assert hours.flops(plan) == pytest.approx(images * 137_725_184, rel=0.01)


def test_the_cost_of_dasc_by_hand(monkeypatch):
    some = hours.Factor(trained=6.0, guessed=9.0, selected=2.0)
    monkeypatch.setattr(hours, "_factors", lambda: {("dasc", "abc"): {0.4: some}})
    plan = planned(words(find("DaSC", noise="symmetric_incl", noise_ratio="0.4")))
    images = (3 * 4 * 30 + 71 * (3 * 6 + 9 + 2)) * 20_431 + 2 * 101 * 10_000  # a warm-up of two networks on two views
    assert hours.flops(plan) == images * 1_110_845_440


def test_a_new_classifier_adds_its_epochs_on_frozen_features():
    plain, crt = (planned(words(find(name, noise_ratio="0.4", imb_factor="0.1"))) for name in ("ERM", "CRT"))
    assert hours.flops(crt) - hours.flops(plain) == 10 * 20_431 * 137_725_184


@pytest.mark.parametrize(("classes", "factor"), [(10, 0.1), (10, 0.01), (100, 0.1), (100, 0.01), (100, 0.037)])
def test_the_long_tail_is_the_data_sets(classes, factor):
    counts = class_counts("exp", factor, 50_000, np.full(classes, 50_000 // classes))
    assert hours.long_tail(50_000, classes, factor) == counts.sum()


@pytest.mark.parametrize(
    "typed",
    ["", "method=ce plugin=none", "method=ce", "method=rolt plugin=none", "method=rolt", "method=elr plugin=none"],
)
def test_epochs_before_the_first_selection_are_the_configurations(typed):
    assert hours.before_selection(finished(typed, 1, 1).fields) == warmup_epochs(compose(typed.split()))


def test_a_record_gives_back_the_factor_that_made_it():
    run = finished(
        "method=dividemix plugin=none", 100, 50, trained=2 * 9 * 100 + 51 * 400, guessed=51 * 600, selected=51 * 200
    )
    assert hours.factor_of(run) == hours.Factor(4.0, 6.0, 2.0)
    lines = hours.cost_csv([run, run]).decode().splitlines()
    assert lines == ["method,plugin,noise_ratio,runs,trained,guessed,selected", "dividemix,none,0.4,2,4,6,2"]


@pytest.mark.parametrize(
    ("typed", "counted"),
    [  # images that finished runs on digits counted: training samples, test samples, trained, guessed, selected
        ("method=ce plugin=none noise_ratio=0.2", (582, 359, 34_920, 0, 0)),
        ("method=rolt plugin=none noise_ratio=0.2", (582, 359, 34_920, 0, 34_920)),
    ],
)
def test_finished_runs_cost_what_is_expected(typed, counted):
    samples, tested, trained, guessed, selected = counted
    run = finished(typed, samples, tested)
    expected = hours.forwards(run, hours.nearest(*hours.kind(run.fields), 0.2), samples, tested)
    assert expected == pytest.approx(3 * trained + guessed + selected + 60 * tested, rel=0.05)


def test_the_committed_operations_are_torchs():
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from sfa_bench.models.build import build

    for dataset, model, classes in (("cifar10", "resnet32", 10), ("cifar100", "preact_resnet18", 100)):
        config = compose([f"dataset={dataset}", f"model={model}", "method=ce", "plugin=none"]).model
        network = build(config, 3, (32, 32), classes, ("main",), 0).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, 32, 32))
        assert hours.per_forward()[dataset, model] == counter.get_total_flops()


# ---- the page


def test_the_command_writes_the_page_and_twice_the_same(tmp_path, capsys, page):
    assert main(["-o", str(tmp_path / "page.md")]) == 0
    assert capsys.readouterr().out == f"343 published numbers in {tmp_path / 'page.md'}\n"
    assert (tmp_path / "page.md").read_bytes() == page.encode()


def test_the_page_has_every_data_set_and_every_note_that_rows_refer_to(page):
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [*TITLES.values(), "Notes"]
    body, notes = page.split("## Notes\n")
    rows = [line for line in body.splitlines() if line.startswith("| ") and not line.startswith("| published")]
    asked = {int(n) for line in rows for n in re.findall(r"\d+", line.rsplit(" | ", 1)[1])}
    assert asked == {int(n) for n in re.findall(r"^(\d+)\. \S", notes, re.MULTILINE)}
    assert len(asked) > 20


def test_every_number_is_a_row(page):
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| pub")]
    assert len(rows) == len(numbers()) == 343
    cells = (" not run: needs the data", "–: not in the suite", "–: not in this setting")
    assert all(any(cell in line for cell in cells) for line in rows)


def test_a_rate_of_ones_own_divides_the_operations():
    text = Page([], 137_725_184 / 3600).text()
    forwards = 3 * 20_431 * 200 + 200 * 10_000
    assert row(text, "ERM")[7] == f"{forwards:,}"
    assert "a rate that was given" in text


def test_runs_are_found_for_their_numbers(ledger):
    for replicate, accuracy in enumerate((70.0, 72.0)):
        ledger.add(accuracy, method="ce", replicate=replicate, **CIFAR, **LIKE)
    ledger.add(10.0, method="ce", **{**CIFAR, "noise_ratio": 0.2}, **LIKE)
    ledger.add(20.0, method="ce", plugin="sfa", **CIFAR, **LIKE)
    text = Page(load([ledger.root])[0]).text()
    assert row(text, "ERM")[3:6] == ["70.13", "ce + none, matched", "71.00 ± 1.41 (2)"]
    assert row(text, "RoLT")[5] == "not run: needs the data"
    assert row(text, "ERM", "### joint noise 0.2, exponential tail 0.1")[5] == "10.00 (1)"


def test_with_another_selector_it_is_another_published_method(ledger):
    setting = {"dataset": "cifar10", "noise__name": "symmetric", "imbalance__name": "exp", "noise_ratio": 0.4}
    for accuracy, selector in ((60.0, "loss_gmm"), (70.0, "tabasco")):
        ledger.add(accuracy, method="dividemix", **setting, imb_factor=0.1, method__selector__name=selector)
    text = Page(load([ledger.root])[0]).text()
    title = "### symmetric noise that includes the true class, 0.4, exponential tail 0.1"
    assert row(text, "TABASCO", title)[4] == "dividemix tabasco + none, native"
    assert row(text, "TABASCO", title)[5].startswith("70.00 (1), differs: ")
    assert "60.00" not in text.split(title)[1].split("###")[0]


def test_what_a_run_has_otherwise_is_said_and_the_commands_own_runs_come_first(ledger):
    ledger.add(60.0, method="ce", **CIFAR, **{**LIKE, "epochs": 20, "model__name": "convnet"})
    other = Page(load([ledger.root])[0])
    text = other.text()
    assert row(text, "ERM")[5] == "60.00 (1), differs: model=convnet, epochs=20"
    assert "differs: backbone ResNet-32, ours convnet" in other.noted
    ledger.add(70.0, method="ce", **CIFAR, **LIKE)
    assert row(Page(load([ledger.root])[0]).text(), "ERM")[5] == "70.00 (1)"


def test_a_long_tail_of_natural_labels_is_not_the_published_setting(ledger):
    keys = {"method": "ce", "dataset": "webvision", "noise__name": "none", "method__selector__name": "none"}
    ledger.add(50.0, imbalance__name="exp", **keys)
    assert " 50.00" not in Page(load([ledger.root])[0]).text()
    ledger.add(60.0, imbalance__name="none", **keys)
    assert row(Page(load([ledger.root])[0]).text(), "ERM", "## mini-WebVision")[5].startswith("60.00 (1)")


def test_own_weights_are_no_difference_and_none_are():
    plan = planned(words(find("GCE", "clothing1m")))
    record = {"config": {"model": {"pretrained": "/somewhere/weights.pth"}}, "names": {}}
    assert departures(Run(Path(), record), plan) == ()
    record = {"config": {"model": {"pretrained": False}}, "names": {}}
    assert departures(Run(Path(), record), plan) == ("model.pretrained=false",)


def test_metrics_are_of_the_published_kind():
    found = {metric_of(number) for number in numbers()}
    assert found == {
        *("test/acc/final", "test/acc/last10", "test/acc/best", "test/top5"),
        *("test_imagenet/acc/final", "test_imagenet/top5"),
    }


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["--flops-per-second", "0"], "--flops-per-second 0 is not a rate; give a number above 0, as 1e13"),
        (["--cost-from", "nowhere"], "there is no folder nowhere"),
        (
            ["some", "--check", "x"],
            "--cost-from and --check take their own RUNS: leave the other runs and the rate out",
        ),
    ],
)
def test_refusals_are_one_sentence(typed, sentence, tmp_path, capsys):
    output = tmp_path / "page.md"
    assert main(["-o", str(output), *typed]) == 2
    assert capsys.readouterr().err == f"refused: {sentence}\n"
    assert not output.exists()


def test_a_check_says_expected_over_recorded():
    run = finished("method=ce plugin=none", 582, 359)
    operations = 240_896 * (3 * 582 * 60 + 60 * 359)
    seconds = operations / float(hours.rate()["flops_per_second"])
    run.record["cost"] |= {"flops": operations // 2, "flops_per_forward": 240_896, "total_seconds": 4 * seconds}
    stranger = finished("method=mae plugin=none", 582, 359)
    lines = hours.checked_csv([run, run, stranger]).decode().splitlines()
    assert lines == ["dataset,method,plugin,runs,flops,seconds", "digits,ce,none,2,2,0.25"]
    with pytest.raises(ConfigError, match="none of these runs"):
        hours.checked_csv([stranger])
