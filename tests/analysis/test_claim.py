"""`analysis.claim`: pairs, the hierarchical bootstrap, verdicts, and how often it is wrong where there is no effect."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.bootstrap import MOST_FLIPPED, Estimate, estimate, holm, needed, sign_flip, superiority
from analysis.claim import judge, main, parse_claim
from analysis.ranks import cliques, ranks
from analysis.runs import load
from sfa_bench.errors import ConfigError

CLAIM = "plugin=sfa > plugin=none"


def one_cell(values, dataset="digits"):
    return {dataset: {(): {(i, i): float(value) for i, value in enumerate(values)}}}


def fill(ledger, gains, **other):
    """A base around 50, and above it by these gains, one a replicate."""
    generator = np.random.default_rng(3)
    for replicate, gain in enumerate(gains):
        base = 50 + generator.normal()
        ledger.add(base, plugin="none", replicate=replicate, **other)
        ledger.add(base + gain, plugin="sfa", replicate=replicate, **other)


def said(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


# ---- the bootstrap


@pytest.mark.parametrize("n", [5, 12, 200])
def test_the_standard_error_is_that_of_scipys_bootstrap(n):
    values = np.random.default_rng(n).normal(3, 2, n)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    found = estimate(one_cell(values), draws=20_000)
    assert found.error == pytest.approx(theirs.standard_error * np.sqrt(n / (n - 1)), rel=0.03)
    if n == 200:  # where percentiles are good enough, they agree
        assert found.interval == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)


def test_one_cell_gives_the_paired_t_test():
    values = [1.0, 2.5, -0.3, 4.0, 2.2]
    test = stats.ttest_1samp(values, 0)
    found = estimate(one_cell(values), draws=200_000)
    assert found.interval == pytest.approx(tuple(test.confidence_interval()), abs=0.03)
    assert found.p == pytest.approx(test.pvalue, abs=0.002)
    assert (found.mean, found.replicates) == (pytest.approx(np.mean(values)), 5)


def test_cells_share_their_replicates_so_that_copies_of_a_cell_teach_nothing():
    values = [1.0, 2.5, -0.3, 4.0, 2.2]
    cell = one_cell(values)["digits"][()]
    alone, tenfold = (estimate({"digits": {(k,): cell for k in range(copies)}}) for copies in (1, 10))
    assert tenfold == alone


def test_seeds_are_drawn_within_their_labels():
    """Brute force over all draws: two label sets with two seeds each; then a third data seed with one seed."""
    cell = {(0, 0): 1.0, (1, 0): 5.0, (0, 1): -2.0, (1, 1): 4.0, (0, 2): 9.0}
    groups = {label: [v for (_, d), v in cell.items() if d == label] for label in (0, 1, 2)}
    means = []
    weights = []
    for labels in itertools.product(groups, repeat=3):
        for seeds in itertools.product(*(itertools.product(groups[g], repeat=len(groups[g])) for g in labels)):
            means.append(np.mean([np.mean(s) for s in seeds]))
            weights.append(1 / np.prod([len(groups[g]) ** len(groups[g]) for g in labels]))
    expected = np.sqrt(np.cov(means, aweights=weights, ddof=0))
    found = estimate({"digits": {(): cell}}, draws=100_000)
    assert found.error == pytest.approx(expected * np.sqrt(3 / 2), rel=0.02)
    assert found.replicates == 3


def test_data_sets_are_drawn_too():
    """Two data sets without any spread inside: a draw is (a, a), (a, b), (b, a) or (b, b)."""
    found = estimate(one_cell([2.0] * 5, "a") | one_cell([6.0] * 5, "b"), draws=100_000)
    assert found.error == pytest.approx(np.std([2, 4, 4, 6]) * np.sqrt(5 / 4), rel=0.02)
    assert found.mean == 4


def test_a_data_set_that_is_drawn_twice_has_its_replicates_drawn_anew():
    """Brute force over all draws: of two data sets, and of two replicates for each that is drawn."""
    values = {"a": [1.0, 5.0], "b": [-2.0, 4.0]}
    inner = {name: [np.mean(pair) for pair in itertools.product(two, repeat=2)] for name, two in values.items()}
    sets = itertools.product(values, repeat=2)
    means = [np.mean(drawn) for one, other in sets for drawn in itertools.product(inner[one], inner[other])]
    assert len(means) == 4 * 4**2
    found = estimate(one_cell(values["a"], "a") | one_cell(values["b"], "b"), draws=100_000)
    assert found.error == pytest.approx(np.std(means) * np.sqrt(2), rel=0.01)


def test_a_data_set_that_no_draw_takes_is_no_error():
    many = {number: {(): {(0, 0): float(number), (1, 1): 1.0}} for number in range(9)}
    assert estimate(many, draws=1).mean == pytest.approx(2.5)


def test_differences_that_are_equal_but_for_rounding_have_no_spread(ledger, capsys):
    """Twelve more of 360 images are right, whatever the base has."""
    counts = (201, 233, 240, 250, 263)
    differences = [(count + 12) / 360 * 100 - count / 360 * 100 for count in counts]
    assert len(set(differences)) > 1
    found = estimate(one_cell(differences))
    assert (found.error, found.p, found.interval) == (0.0, 0.0, (found.mean, found.mean))
    for replicate, count in enumerate(counts):
        ledger.add(count / 360 * 100, plugin="none", replicate=replicate)
        ledger.add((count + 12) / 360 * 100, plugin="sfa", replicate=replicate)
    assert "an effect of this size needs" not in said(capsys, ledger.root, CLAIM)[1]


def test_a_huge_effect_needs_two_replicates():
    """SciPy's noncentral t has no number for it."""
    assert np.isnan(stats.nct.sf(stats.t.ppf(0.975, 1), 1, 1e13))
    assert needed(Estimate(1.0, (1.0, 1.0), 0.0, 5, 1e-14)) == 2


def test_the_same_labels_in_all_replicates_count_by_seed():
    assert estimate({"d": {(): {(s, 0): float(s) for s in range(6)}}}).replicates == 6
    assert estimate({"d": {(): {(s, s % 2): float(s) for s in range(6)}}}).replicates == 2


def test_one_replicate_has_no_interval():
    found = estimate(one_cell([3.0]))
    assert (found.mean, found.interval, found.p) == (3.0, None, None)


@pytest.mark.parametrize("n", [2, 5, 9])
def test_the_sign_flip_of_one_cell_is_scipys_permutation_test(n):
    values = np.random.default_rng(n).normal(0.5, 1, n)
    theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=2**n)
    assert sign_flip(one_cell(values)) == (pytest.approx(theirs.pvalue), n)
    assert sign_flip(one_cell(np.abs(values))) == (2.0 ** (1 - n), n)
    assert sign_flip(one_cell(0 * values)) == (1.0, n)


@pytest.mark.parametrize("labels_vary", [True, False])
def test_a_replicate_has_one_sign_in_all_cells_of_its_data_set(labels_vary):
    """By brute force over the signs of the runs themselves, in cells that lack some of them."""
    generator = np.random.default_rng(4)
    keys = [(seed, data_seed if labels_vary else 7) for data_seed in range(3) for seed in (0, 1)]
    keys = list(dict.fromkeys(keys))
    differences = {
        name: {
            cell: {key: float(generator.normal(1, 2)) for key in keys[: len(keys) - cell % 2]} for cell in range(cells)
        }
        for name, cells in (("one", 3), ("other", 2))
    }

    def unit(key):
        return key[1] if labels_vary else key[0]

    units = [(name, u) for name in differences for u in dict.fromkeys(map(unit, keys))]
    means = []
    for signs in itertools.product((1, -1), repeat=len(units)):
        sign = dict(zip(units, signs, strict=True))
        flipped = [
            [np.mean([sign[name, unit(key)] * d for key, d in cell.items()]) for cell in cells.values()]
            for name, cells in differences.items()
        ]
        means.append(np.mean([np.mean(of_cells) for of_cells in flipped]))
    assert means[0] == pytest.approx(estimate(differences, draws=10).mean)
    expected = np.mean(np.abs(means) >= abs(means[0]) - 1e-12)
    assert sign_flip(differences) == (pytest.approx(expected), len(units))


def test_forty_replicates_are_counted_exactly_and_more_are_not():
    """Of n differences of 1 the sum is a binomial's."""
    values = np.array([1.0] * 26 + [-1.0] * (MOST_FLIPPED - 26))
    expected = stats.binomtest(26, MOST_FLIPPED).pvalue
    assert sign_flip(one_cell(values)) == (pytest.approx(expected, rel=1e-9), MOST_FLIPPED)
    assert sign_flip(one_cell([*values, 1.0])) is None
    assert sign_flip(one_cell([3.0])) == (1.0, 1)


def test_superiority_counts_ties_as_half_and_cells_the_same():
    cells = {("a",): {(0, 0): 1.0, (1, 1): 0.0}, ("b",): {(0, 0): -1.0}}
    assert superiority({"d": cells}) == pytest.approx((0.75 + 0) / 2)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_replicates_needed_are_those_at_which_simulated_t_tests_reach_the_power():
    values = np.array([0.0, 2.0, 1.0, 3.0, 0.5])
    n = needed(estimate(one_cell(values), draws=100_000))
    draws = np.random.default_rng(0).normal(values.mean(), values.std(ddof=1), (20_000, n))
    power = [(stats.ttest_1samp(draws[:, :m], 0, axis=1).pvalue < 0.05).mean() for m in (n, n - 1)]
    assert power[0] > 0.79
    assert power[1] < 0.81


# ---- how often it is wrong


def test_at_most_one_in_twenty_ledgers_without_effect_is_called_supported():
    """1,000 ledgers: 1 to 6 data sets, 1 to 6 cells that share the noise of their replicates, 5 or 6 replicates."""
    generator = np.random.default_rng(0)
    supported = 0
    for _ in range(1000):
        data_sets, cells, n = generator.integers(1, 7), generator.integers(1, 7), generator.integers(5, 7)
        differences = {}
        for data_set in range(data_sets):
            shared = generator.normal(size=n)
            noise = shared + generator.normal(size=(cells, n))
            differences[data_set] = {(c,): {(r, r): noise[c, r] for r in range(n)} for c in range(cells)}
        found = estimate(differences, draws=400)
        supported += found.interval[0] > 0 and found.p < 0.05
    assert supported <= 50


def test_an_effect_that_is_there_is_found():
    """Moved by three standard deviations, nearly all are supported: the test above is no accident."""
    generator = np.random.default_rng(1)
    found = [estimate(one_cell(generator.normal(3, 1, 6)), draws=400).p < 0.05 for _ in range(100)]
    assert np.mean(found) > 0.9


# ---- from the runs


def test_the_numbers_are_those_of_pandas(ledger, capsys):
    for method, dataset in itertools.product(("ce", "dividemix"), ("digits", "fashion_mnist")):
        fill(ledger, np.random.default_rng(len(method + dataset)).normal(2, 1, 5), method=method, dataset=dataset)
    wide = pd.json_normalize(ledger.read()).pivot_table(
        index=["names.dataset", "names.method", "config.seed"], columns="names.plugin", values="metrics.test/acc/final"
    )
    gains = wide["sfa"] - wide["none"]
    claim = judge(load([ledger.root])[0], CLAIM, None, "test/acc/final")
    assert claim.over == ("dataset", "method")
    assert claim.found.mean == pytest.approx(gains.groupby(level=[0, 1]).mean().groupby(level=0).mean().mean())
    assert claim.superiority == pytest.approx((gains > 0).groupby(level=[0, 1]).mean().mean())
    assert len(claim.cells) == 4
    assert claim.verdict(claim.found.p, 1.0) == "supported"
    status, out, _ = said(capsys, ledger.root, CLAIM)
    assert status == 0
    assert "20 pairs in 4 cells, 5 independent replicates in the smallest" in out


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([3, 4, 5, 4, 3], "supported"),
        ([3, 4, 5, 4], "underpowered"),  # however large, four replicates support nothing
        ([9], "underpowered"),
        ([0.1, -0.1, 0.05, -0.1, 0.02], "not supported"),  # a point or more is excluded
        ([-3, -4, -5, -4, -3], "not supported"),
        ([5, -4, 6, -3, 2], "underpowered"),
    ],
)
def test_verdicts(ledger, capsys, gains, verdict):
    fill(ledger, gains)
    assert f"**{CLAIM}: {verdict}**" in said(capsys, ledger.root, CLAIM)[1]


def test_holm_and_what_goes_the_other_way_are_said(ledger, capsys):
    fill(ledger, [2, 3, 2, 3, 2], method="ce")
    fill(ledger, [-1, -1.2, -0.8, -1, -1], method="rolt", knows=["rate"])
    for replicate in range(5):
        ledger.add(51 + replicate / 7, plugin="abc", method="ce", replicate=replicate)
    _, out, _ = said(capsys, ledger.root, CLAIM, "plugin=abc > plugin=none", "--over", "method")
    assert "by Holm over 2 claims" in out
    assert "1 of 2 cells go the other way: method=rolt -1.00" in out
    assert "told: rate against rate" in out
    assert "5 runs without a partner are left out" in out


def test_the_share_of_pairs_says_where_cells_count_the_same_with_fewer_pairs(ledger, capsys):
    fill(ledger, [1, 2, 3, 4], method="ce")
    fill(ledger, [-1, -2, 3, 4], method="gce")
    assert "- better in 75 % of the pairs (ties half)" in said(capsys, ledger.root, CLAIM)[1]
    fill(ledger, [-1, -2], method="rolt")
    assert "- better in 50 % of the pairs on average over cells (ties half)" in said(capsys, ledger.root, CLAIM)[1]
    where = ("--where", "method=ce,gce")
    fill(ledger, [1, 2, 3, 4], method="ce", dataset="fashion_mnist")  # 10 of 12 pairs
    assert "- better in 88 % of the pairs on average" in said(capsys, ledger.root, CLAIM, *where)[1]


def test_what_a_table_notes_stands_below_a_claim_too(ledger, capsys):
    for replicate in range(5):
        there = {"environment": {"precision": "amp"}, "epochs": 20, "method__revision": 2}
        ledger.add(50.0 + replicate, plugin="none", replicate=replicate, **there)
        ledger.add(52.0 + 2 * replicate, plugin="sfa", replicate=replicate)
    ledger.add(None, plugin="sfa", replicate=5)
    out = said(capsys, ledger.root, CLAIM)[1]
    for sentence in (
        "1 of 11 runs have no value of test/acc/final and are in no pair",
        "the sides or cells differ in epochs too (20, 60): add it to --over or --where",
        "mixed revisions of method=dividemix: 1, 2",
        "mixed precision: amp, fp32",
    ):
        assert f"\n- {sentence}\n" in out


def test_what_a_claim_compares_is_not_noted_as_mixed(ledger, capsys):
    for replicate, precision in itertools.product(range(2), ("amp", "fp32")):
        made = {"epochs": 20 if precision == "amp" else 60, "environment": {"precision": precision}}
        ledger.add(50.0 + replicate, precision=precision, replicate=replicate, **made)
    out = said(capsys, ledger.root, "precision=amp,epochs=20 > precision=fp32,epochs=60")[1]
    assert "1 cells, 2 independent replicates" in out
    assert "mixed" not in out
    assert "differ" not in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "there is no claim; give one in quotes: 'plugin=sfa > plugin=none'"),
        (["plugin=sfa > "], "is not of the form"),
        (["plugin=sfa > method=ce"], "names different keys on its sides"),
        (["plugin=sfa,abc > plugin=none"], "a side of a claim has one"),
        (["plugin=sfaa > plugin=none"], "no run has plugin=sfaa; there is none, sfa"),
        ([CLAIM, "--over", "plugin"], "plugin is what the claim compares"),
        ([CLAIM, "--over", "metod"], "did you mean method?"),
        ([CLAIM, "--over", "dataset"], "runs of one cell differ in method"),
        ([CLAIM, "--metric", "best"], "is an oracle: claims are about other metrics"),
        ([CLAIM, "--metric", "total_seconds"], "has no better and worse"),
        (["--ranks", "plugin", "--where", "plugin=sfa,method=ce"], "fewer than two competitors"),
        (["--ranks", "dataset"], "runs of one competitor differ in method"),
        ([CLAIM, "-o", "cd.pdf"], "-o has no effect without --ranks, whose figure it names: leave it out"),
        (["--ranks", "plugin", "--over", "method"], "--over has no effect without a claim: leave it out"),
        (["--ranks", "plugin", "--margin", "2"], "--margin has no effect without a claim: leave it out"),
    ],
)
def test_what_cannot_be_judged_is_a_sentence(ledger, capsys, arguments, sentence):
    for method in ("ce", "dividemix"):
        fill(ledger, [1, 2], method=method)
    metrics = {"test/acc/final": 1.0, "test/acc/best": 1.0}
    ledger.add(0, method="ce", plugin="none", replicate=9, metrics=metrics, cost={"total_seconds": 3.0})
    status, out, err = said(capsys, ledger.root, *arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.startswith("refused: ")


def test_a_claim_without_a_folder_is_a_sentence(capsys):
    status, out, err = said(capsys, CLAIM)
    assert (status, out) == (2, "")
    assert err == f"refused: there is no runs folder among {CLAIM!r}: give one before the claims\n"


def test_pairs_that_saw_other_labels_are_refused(ledger):
    ledger.add(10.0, plugin="sfa", labels="a")
    ledger.add(11.0, plugin="none", labels="b")
    with pytest.raises(ConfigError, match="saw different labels"):
        judge(load([ledger.root])[0], CLAIM, None, "test/acc/final")


def test_claims_are_parsed():
    assert parse_claim("method=ce,plugin=sfa>method=ce, plugin=none") == (
        {"method": "ce", "plugin": "sfa"},
        {"method": "ce", "plugin": "none"},
    )


def test_one_replicate_and_nothing_at_all(ledger, tmp_path, capsys):
    fill(ledger, [3])
    status, out, _ = said(capsys, ledger.root, CLAIM)
    assert status == 0
    assert f"**{CLAIM}: underpowered**" in out
    assert "fewer than 5 replicates: never called supported" in out
    (tmp_path / "empty").mkdir()
    status, out, err = said(capsys, tmp_path / "empty", CLAIM)
    assert (status, out) == (2, "")
    assert "no finished run in" in err


# ---- ranks


def many_data_sets(ledger, n):
    generator = np.random.default_rng(2)
    for dataset, (method, level) in itertools.product(range(n), {"a": 80, "b": 70, "c": 69, "d": 40}.items()):
        ledger.add(level + 3 * generator.normal(), method=method, dataset=f"set{dataset}")


def test_average_ranks_are_those_of_scipy(ledger):
    many_data_sets(ledger, 6)
    found = ranks(load([ledger.root])[0], ["method"], "test/acc/final")
    frame = pd.json_normalize(ledger.read())
    wide = frame.pivot_table(index="names.dataset", columns="names.method", values="metrics.test/acc/final")
    expected = stats.rankdata(-wide.to_numpy(), axis=1).mean(axis=0)
    assert found.average[list(wide.columns)].tolist() == pytest.approx(expected.tolist())


def brute_wilcoxon(differences):
    """Two-sided, over all signs of the ranks."""
    ranks = stats.rankdata(np.abs(differences))
    sums = [ranks @ np.array(signs) for signs in itertools.product((-1, 1), repeat=len(ranks))]
    observed = abs(float(np.sign(differences) @ ranks))
    return float(np.mean(np.abs(sums) >= observed - 1e-9))


def test_pairs_of_competitors_are_told_apart_by_wilcoxon_and_holm(ledger, capsys, tmp_path):
    """9 data sets: a is above the rest in all, b and c exchange places."""
    levels = {
        f"set{i}": {"a": 80 + i, "b": 60 + i, "c": 60 + i + (-1) ** i * (i + 1) / 7, "d": 30 + 1.5 * i}
        for i in range(9)
    }
    for dataset, of_method in levels.items():
        for method, level in of_method.items():
            ledger.add(level, method=method, dataset=dataset)
    found = ranks(load([ledger.root])[0], ["method"], "test/acc/final")
    pairs = [*itertools.combinations("abcd", 2)]
    expected = {pair: brute_wilcoxon([of[pair[0]] - of[pair[1]] for of in levels.values()]) for pair in pairs}
    assert expected["a", "d"] == 2 / 2**9
    in_order = sorted(expected.values())
    adjusted = np.minimum(1, np.maximum.accumulate([(6 - i) * p for i, p in enumerate(in_order)]))
    assert found.p_values is not None
    by_pair = {tuple(sorted(pair)): p for pair, p in found.p_values.items()}
    assert [by_pair[pair] for pair in sorted(pairs, key=expected.get)] == pytest.approx(adjusted.tolist())
    out = said(capsys, ledger.root, "--ranks", "method")[1]
    apart = next(line for line in out.splitlines() if "told apart" in line)
    assert "(Wilcoxon over 9 data sets, Holm over 6 pairs, 5 %)" in apart
    assert {tuple(sorted(words.split(" (")[0].split(" and "))) for words in apart.split("): ")[1].split(", ")} == {
        pair for pair in pairs if pair != ("b", "c")
    }
    assert "cannot tell" not in out
    names = [*found.average.index]
    assert cliques(names, found.p_values) == [(1, 2)]
    assert set(names[1:3]) == {"b", "c"}


def test_two_competitors_are_compared_by_their_own_results_alone(ledger):
    """Before the correction: the test of b and c is of their own results alone."""
    many_data_sets(ledger, 7)
    runs = load([ledger.root])[0]
    alone = ranks([run for run in runs if str(run.field("method")) in "bc"], ["method"], "test/acc/final").p_values
    means = ranks(runs, ["method"], "test/acc/final").means
    assert [*alone.values()] == [pytest.approx(brute_wilcoxon((means.loc["b"] - means.loc["c"]).to_numpy()))]


def test_few_data_sets_cannot_tell_many_competitors_apart_and_it_is_said(ledger, capsys):
    many_data_sets(ledger, 5)
    out = said(capsys, ledger.root, "--ranks", "method")[1]
    assert "told apart (Wilcoxon over 5 data sets, Holm over 6 pairs, 5 %): none" in out
    # 6 pairs: 6 / 2^7 = 0.047, and 6 / 2^6 = 0.094
    assert "5 data sets cannot tell any two of 4 apart, however they differ; that takes 8" in out


@pytest.mark.parametrize("differences", [[1.0] * 16, [0, 0, 1, 1, 2, 3, -1], [*range(1, 14), 3, -3]])
def test_equal_differences_have_their_exact_p_however_many(ledger, differences):
    for number, difference in enumerate(differences):
        for method, level in (("a", 50.0 + difference), ("b", 50.0)):
            ledger.add(level, method=method, dataset=f"set{number}")
    (p,) = ranks(load([ledger.root])[0], ["method"], "test/acc/final").p_values.values()
    assert p == pytest.approx(brute_wilcoxon([d for d in differences if d]))


def test_competitors_that_are_equal_everywhere_are_not_told_apart(ledger, capsys):
    for dataset, method in itertools.product(range(6), "ab"):
        ledger.add(50.0 + dataset, method=method, dataset=f"set{dataset}")
    assert ranks(load([ledger.root])[0], ["method"], "test/acc/final").p_values == {("a", "b"): 1.0}


def test_four_data_sets_have_ranks_but_are_too_few_to_tell_apart(ledger, capsys, tmp_path):
    many_data_sets(ledger, 4)
    status, out, _ = said(capsys, ledger.root, "--ranks", "method")
    assert status == 0
    assert "4 data sets: to tell competitors apart takes 5 at least" in out
    status, _, err = said(capsys, ledger.root, "--ranks", "method", "-o", tmp_path / "cd.pdf")
    assert status == 2
    assert "needs 5 data sets, and there are 4" in err
    assert not (tmp_path / "cd.pdf").exists()


def test_the_figure_is_drawn_from_five_on(ledger, capsys, tmp_path):
    many_data_sets(ledger, 5)
    assert said(capsys, ledger.root, "--ranks", "method", "-o", tmp_path / "cd.pdf")[0] == 0
    assert (tmp_path / "cd.pdf").read_bytes().startswith(b"%PDF")


def test_a_competitor_that_did_not_run_everywhere_is_left_out_and_said(ledger, capsys):
    many_data_sets(ledger, 5)
    ledger.add(99.0, method="late", dataset="set0")
    assert "left out: late" in said(capsys, ledger.root, "--ranks", "method")[1]


def test_how_stable_the_order_is_between_settings_and_between_replicates(ledger, capsys):
    # by hand: a > b > c > d in the first setting; the second exchanges two neighbours: (5 - 1) / 6 of the pairs agree
    levels = {0.2: {"a": 90, "b": 80, "c": 70, "d": 60}, 0.5: {"a": 80, "b": 90, "c": 70, "d": 60}}
    for (ratio, methods), replicate in itertools.product(levels.items(), range(2)):
        for method, level in methods.items():
            upside_down = (
                -1 if replicate and ratio == 0.5 else 1
            )  # in one setting the replicates disagree on everything
            spread = 1 if ratio == 0.2 else 0.1
            ledger.add(
                75 + (level - 75) * upside_down * (spread if replicate else 1),
                method=method,
                noise_ratio=ratio,
                replicate=replicate,
            )
    out = said(capsys, ledger.root, "--ranks", "method")[1]
    assert "two settings, by their means: Kendall's τ +0.67 on average, +0.67 at least (1 pairs)" in out
    assert "two replicates of one setting: Kendall's τ +0.00 on average, -1.00 at least (2 pairs)" in out


def test_a_replicate_that_one_competitor_lacks_is_not_compared(ledger, capsys):
    for replicate, method in itertools.product(range(2), "abc"):
        if (replicate, method) != (1, "c"):
            ledger.add(50.0 + ord(method), method=method, replicate=replicate)
    assert "replicates of one setting" not in said(capsys, ledger.root, "--ranks", "method")[1]


def test_competitors_are_ranked_by_the_replicates_that_all_of_them_have(ledger, capsys):
    """b is a point above a wherever both ran; the further replicates of a are on easier labels."""
    for dataset in range(6):
        for replicate in range(5):
            ledger.add(60.0 + 3 * replicate, method="a", dataset=f"set{dataset}", replicate=replicate)
        ledger.add(61.0, method="b", dataset=f"set{dataset}")
    ledger.add(10.0, method="late", dataset="set0", replicate=7)  # left out, so that its replicates count for nobody
    found = ranks(load([ledger.root])[0], ["method"], "test/acc/final")
    assert found.average.to_dict() == {"b": 1.0, "a": 2.0}
    assert found.means.to_numpy().tolist() == [[60.0] * 6, [61.0] * 6]
    assert (
        "- 24 runs whose replicate another competitor lacks are left out"
        in (said(capsys, ledger.root, "--ranks", "method")[1])
    )


def test_competitors_without_a_common_replicate_cannot_be_ranked(ledger, capsys):
    for replicate, method in enumerate("ab"):
        ledger.add(50.0, method=method, replicate=replicate)
    status, out, err = said(capsys, ledger.root, "--ranks", "method")
    assert (status, out) == (2, "")
    assert "the 2 competitors share no replicate of dataset=digits imb_factor=0.1 noise_ratio=0.4 model=convnet:" in err


def test_competitors_that_all_tie_have_no_order_to_agree_on(ledger, capsys):
    for method, (ratio, level), replicate in itertools.product("ab", ((0.2, 10), (0.5, 60)), range(3)):
        above = ord(method) - ord("a") if level > 10 else 0  # at chance all are equal
        ledger.add(level + above, method=method, noise_ratio=ratio, replicate=replicate)
    out = said(capsys, ledger.root, "--ranks", "method")[1]
    assert "nan" not in out
    assert "replicates of one setting: Kendall's τ +1.00 on average, +1.00 at least (3 pairs)" in out
    assert "settings, by their means" not in out


def test_ranks_of_a_metric_that_is_undefined_everywhere_are_refused(ledger, capsys):
    for method in "ab":
        ledger.add(None, method=method)
    status, _, err = said(capsys, ledger.root, "--ranks", "method")
    assert (status, err.strip()) == (2, "refused: test/acc/final is undefined in all of these runs")


def test_a_replicate_that_is_there_twice_is_refused_in_ranks_too(ledger, capsys):
    for method, revision in (("a", 1), ("b", 1), ("b", 2)):
        ledger.add(50.0 + revision, method=method, method__revision=revision)
    assert "are the same replicate" in said(capsys, ledger.root, "--ranks", "method")[2]


def test_cliques_are_the_longest_bars():
    def bars(*apart):
        return cliques("abcd", {pair: 0.01 if pair in apart else 0.2 for pair in itertools.combinations("abcd", 2)})

    assert bars(("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")) == [(0, 1), (1, 2)]
    assert bars(("a", "d"), ("b", "d"), ("c", "d")) == [(0, 2)]
    assert bars() == [(0, 3)]
    assert bars(*itertools.combinations("abcd", 2)) == []
    assert bars(("a", "b")) == [(1, 3)]  # a and c are between others: a bar has no gaps
