"""Columns of many runs say what their records say, with and without an index, and a filter reads no other record."""

import json
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import Ledger

from analysis import table
from analysis.claim import judge
from analysis.columns import fields_of, flat, metrics_of
from analysis.export import tidy, to_bytes
from analysis.runs import check_alike, differing, distinct, grouped, grouped_by, load, metric_name, select
from analysis.values import NO_VALUE, valued
from sfa_bench.choices.recipes import CHANGED
from sfa_bench.config.canonical import MACHINE, defaults
from sfa_bench.errors import ConfigError
from sfa_bench.store import index, ledger, run_table

EXAMPLES = 500 if os.environ.get("SFA_BENCH_FULL") else 5
MANY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """An index that pays from the first run, in segments of four, of files that have just been written."""
    for name, value in {"WORTH": 1, "LARGE": 4, "RECENT_NS": -(10**12)}.items():
        monkeypatch.setattr(run_table, name, value)
    monkeypatch.setattr(index, "LARGE", 4)
    monkeypatch.setattr(index, "SEVERAL", 2)


@pytest.fixture
def read(monkeypatch):
    """The folders whose records are read from now on."""
    folders = []

    def counted(path, load=run_table.load):
        folders.append(path.parent)
        return load(path)

    for module in (ledger, run_table):
        monkeypatch.setattr(module, "load", counted)
    return folders


def test_what_leaves_few_runs_reads_no_record_of_the_others(ledger, read, capsys):
    for replicate in range(30):
        for method in ("ce", "gce"):
            ledger.add(50.0 + replicate, method=method, replicate=replicate)
    where = "method=ce,replicate=3,4"
    load([ledger.root])
    assert len(set(read)) == 60
    read.clear()
    runs = load([ledger.root], where)[0]
    assert table.main([str(ledger.root), "--where", where]) == 0
    assert "| ce       | none     | 53.50 ± 0.71 (2)" in capsys.readouterr().out
    assert read == []
    assert list(tidy(runs)["test/per_class/9"]) == [53.0, 54.0]  # a list, which no column holds
    assert set(read) == {run.path for run in runs}


# ---- records of every kind

VALUES = st.sampled_from(
    [0.9, 1, 1.0, True, False, 0, None, "1", "auto", "", [1], "[1]", [], -0.0, 2**60, float(2**60)]
)
PATHS = (
    *("plugin__beta", "noise_ratio", "imb_factor", "recipe__optimizer", "recipe__clip", "own__option"),
    *("dataset__checksum", "dataset__source", "model__library", "method__loss__transferred", "tuned__trials"),
)
EXTERNAL = st.sampled_from(
    [None, "", "x", 0, 5, True, ["x"], {"like": "0"}, {"note": "theirs"}, {"note": "", "like": 1}]
)
METRICS = st.sampled_from([None, 0.0, -0.0, 50, 50.0, 1e-9, [1.0, None], []])
NAMES = ("test/acc/final", "test/acc/val", "test/acc/at_best_val", "test/acc/few", "test/per_class")
RUNS = st.lists(
    st.fixed_dictionaries(
        {"accuracy": st.floats(0, 100), "method": st.sampled_from(["ce", "dividemix"]), "replicate": st.integers(0, 2)},
        optional={
            "plugin": st.sampled_from(["none", "sfa"]),
            "dataset": st.sampled_from(["digits", "cifar10", "folder"]),
            "state": st.sampled_from(["done", "running", "failed"]),
            "noise__name": st.sampled_from(["none", "joint", "auto"]),
            "imbalance__name": st.sampled_from(["none", "exp"]),
            "knows": st.lists(st.sampled_from(["rate", "clean_labels"]), max_size=2, unique=True),
            "external": EXTERNAL,
            "precision": st.sampled_from(["fp32", "amp", None]),
            "metrics": st.none() | st.dictionaries(st.sampled_from(NAMES), METRICS),
            "selection": st.none() | st.dictionaries(st.sampled_from(["auc", "auc/few", "counts"]), METRICS),
            "cost": st.none() | st.fixed_dictionaries({"seconds": st.dictionaries(st.just("training"), METRICS)}),
            "config": st.dictionaries(st.sampled_from(PATHS), VALUES, max_size=4),
        },
    ),
    min_size=1,
    max_size=14,
)


def write(root, runs):
    """A ledger of generated runs, and one whose record is cut off."""
    made = Ledger(root)
    for run in runs:
        run = {**run, **run.get("config", {})}
        run.pop("config", None)
        environment = {key: run.pop(key) for key in ("external", "precision") if key in run}
        plugin = run.get("plugin", "none")
        if any(path.startswith("recipe__") for path in run):
            run["recipe__name"] = "matched"
        if plugin != "none" and "plugin__beta" not in run:
            run["plugin__beta"] = 0.99
        made.add(run.pop("accuracy"), environment=environment, **run)
    cut = made.add(1.0, method="cut") / "run.json"
    cut.write_text(cut.read_text()[:-100])
    return made


def answered(ask):
    try:
        return ask()
    except ConfigError as error:
        return str(error)


def answers(root):
    """What a table, a claim and an export say."""

    def all_runs():
        return load([root])[0]

    def claimed():
        judged = judge(all_runs(), "method=dividemix > method=ce", None, "test/acc/final", draws=20)
        return judged.over, judged.cells, judged.found, judged.unpaired

    rows = (["method", "plugin"], ["plugin.beta", "own.option", "noise_ratio"])
    tables = [answered(lambda rows=rows: table.make_table(all_runs(), rows).to("md")) for rows in rows]
    split = answered(lambda: table.split(all_runs(), ["method"]))
    return tables, split, answered(claimed), answered(lambda: to_bytes(tidy(all_runs()), ".csv"))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=MANY)
@given(runs=RUNS, later=st.floats(0, 100))
def test_answers_do_not_depend_on_an_index(tmp_path_factory, monkeypatch, runs, later):
    root = tmp_path_factory.mktemp("runs")
    made = write(root, runs)
    with monkeypatch.context() as patch:
        patch.setattr(index, "write_bytes", _full_disk)
        unindexed = answers(root)
    assert not list((root / ".index").glob("*.npz"))
    assert answers(root) == unindexed
    assert list((root / ".index").glob("*.npz"))
    assert answers(root) == unindexed
    for segment in (root / ".index").glob("*.npz"):
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 1
        segment.write_bytes(content)
    assert answers(root) == unindexed
    whole = [path for path in sorted(root.glob("*/*/*/run.json")) if path.parent.name != f"{made.count:012x}"]
    for changed in whole[:1]:  # the last one is cut
        record = json.loads(changed.read_text())
        record["metrics"] = {"test/acc/final": later}
        changed.write_text(json.dumps(record))
    stale = answers(root)
    shutil.rmtree(root / ".index")
    assert answers(root) == stale


def _full_disk(path, content):
    raise OSError(28, "no space is left")


@settings(
    max_examples=3 * EXAMPLES,
    deadline=None,
    suppress_health_check=MANY,
)
@given(runs=RUNS)
def test_columns_hold_what_the_records_hold(tmp_path_factory, runs):
    root = tmp_path_factory.mktemp("runs")
    write(root, runs)
    try:
        found = load([root])[0]
    except ConfigError:
        assert all(run.get("state", "done") != "done" for run in runs)
        return
    fields = [fields_of(run.record["names"], flat(run.record["config"])) for run in found]
    for run, own in zip(found, fields, strict=True):
        for key in set().union(*fields):
            assert repr(run.field(key)) == repr(valued(own[key]) if key in own else NO_VALUE)
        assert {name: run.metrics[name] for name in run.metrics} == metrics_of(run.record)
        assert "test/acc/nothing" not in run.metrics
        assert list(run.knows) == run.record["knows"]
        assert run.labels == run.record["data"]["fingerprints"]["observed_labels"]
        assert run.external == external(run.record["environment"])
        assert run.fields == own
    assert set(differing(found)) == differing_plainly(found, fields)
    for keys in (["method"], ["plugin.beta", "own.option"], ["noise_ratio", "dataset.checksum", "model"]):
        assert grouped_by(found, keys) == grouped(found, lambda run, keys=keys: run.key(keys))
        assert distinct(found, keys) == list(dict.fromkeys(run.key(keys) for run in found))
    values = {run.field("noise_ratio") for run in found} - {NO_VALUE}
    for value in values:
        assert select(found, {"noise_ratio": [str(value)]}) == [r for r in found if r.field("noise_ratio") == value]
    groups = grouped_by(found, ["method"])
    alike = not any(differing_plainly(m, [run.fields for run in m]) for m in groups.values())
    assert alike == (answered(lambda: check_alike(groups.values(), "cell", "--rows")) is None)
    assert (metric_name(found, "auc") == "selection/auc") or any("auc" in run.metrics for run in found)


def external(environment):
    """The source of other people's code, as it stands in a record."""
    whose = environment.get("external")
    if isinstance(whose, dict):
        whose = whose.get("note") or "other code"
    return (whose if isinstance(whose, str) else "other code") if whose else ""


def differing_plainly(runs, fields):
    """The keys whose values differ between runs that have them, or from the default that the others had."""
    keys = set()
    for key in set().union(*fields):
        if key in MACHINE or key in ("seed", "data_seed") or key.endswith(("precision", "revision")):
            continue
        values = {run.field(key) for run in runs} - {NO_VALUE}
        if key in CHANGED and len(values) == 1 and any(key not in own for own in fields):
            (value,) = values
            if value.plain is not None and value.plain != defaults()[key]:
                keys.add(key)
        if len(values) > 1:
            keys.add(key)
    return keys
