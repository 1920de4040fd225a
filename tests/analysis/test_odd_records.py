"""One odd record takes no reader down: it is left out with a sentence, or shown, and the other runs always are."""

import copy
import io
import json
import os
import shutil
import socket
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import claim, export, plot, report, status, table
from sfa_bench.store.claim import Claim
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import find_done, find_runs, find_states, records, run_path
from sfa_bench.store.plans import PlannedRun, SweepPlan, write_plan
from sfa_bench.store.reading import MOST
from sfa_bench.store.record import KEYS, new_record
from sfa_bench.sweep.plan import Plan
from sfa_bench.sweep.results import results

EXAMPLES = 2000 if os.environ.get("SFA_BENCH_FULL") else 40
FIGURES = ("curves", "groups", "confusion", "gain", "cost", "selection", "relation")
REFUSED = ("confusion", "gain")  # of these runs in any case: two methods, and none with SFA
HASH = "0" * 11 + "1"


def a_record(replicate, method="ce"):
    """All that a finished run's record has."""
    config = dict.fromkeys(("replicate", "seed", "data_seed"), replicate) | {"epochs": 4, "noise_ratio": 0.4}
    config |= {"dataset": {"name": "digits"}, "method": {"revision": 1}, "eval": {"ensemble": "main"}, "lr": 0.02}
    names = {"dataset": "digits", "method": method, "plugin": "none", "classifier": "joint", "noise": "joint"}
    record = new_record(
        hash=HASH[:-2] + f"{replicate}{len(method)}", config=config, names=names, command="python run.py"
    )
    groups = {"many": [0], "medium": [1], "few": [2], "head": [0], "mid": [1], "tail": [2]}
    data = {"name": "digits", "fingerprints": {"images": "a", "observed_labels": f"b{replicate}"}, "groups": groups}
    data |= {"samples": {"train": 30, "test": 9, "val": 0}, "observed_counts": [15, 10, 5], "clean_counts": [16, 9, 5]}
    data |= {"confusion": [[14, 1, 1], [1, 8, 0], [0, 1, 4]], "noise_rate": 0.1, "bayes": None, "skipped": []}
    metrics = {"test/acc/final": 50.0 + replicate, "test/acc/few": 30.0, "test/per_class": [70.0, 50.0, 30.0]}
    cost = {"seconds": {"training": 1.5}, "total_seconds": 2.5, "flops": 10**12, "shared": None, "peak_memory": {}}
    environment = {"versions": {"torch": "2"}, "commit": "abc", "modified": False, "device": ["cpu"], "threads": 1}
    environment |= {"device_name": "x", "precision": "fp32", "own_code": {}, "host": "h", "platform": "p"}
    record |= {"state": "done", "data": data, "metrics": metrics, "selection": {"auc": 0.9, "counts": [1, 2, 3]}}
    return record | {"cost": cost, "environment": environment, "knows": ["rate"]}


def a_row(epoch):
    return {"epoch": epoch, "phase": "training", "test/acc": 50.0, "selection": {"auc": 0.9}, "seconds": 0.5}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for replicate in (1, 2):
        for method in ("ce", "gce"):
            record = a_record(replicate, method)
            folder = RunFolder(run_path(root, record["names"], record["hash"]))
            folder.path.mkdir(parents=True)
            folder.write_record(record)
            folder.write_metrics([a_row(epoch) for epoch in range(1, 5)])
            labels = np.arange(9) % 3
            arrays = {"test_label": labels, "test_logits_1_main": np.eye(3)[labels]}
            folder.write_arrays("predictions.npz", arrays)
    write_plan(root, SweepPlan("python run.py -m", (PlannedRun(HASH, "python run.py"),)))
    return root


def readers(root, out, kinds):
    """Every command that reads runs, in this process."""
    yield table.main, [root]
    yield table.main, [root, "--rows", "method,replicate", "--metric", "selection/auc,cost/total_seconds"]
    yield claim.main, [root, "method=gce > method=ce"]
    yield export.main, [root, "-o", out / "runs.csv"]
    yield report.main, [root, "-o", out / "page.html"]
    yield status.main, [root]
    yield status.main, [root, "--json"]
    yield status.main, ["clean", root, "--dry-run"]
    for kind in kinds:
        yield plot.main, [kind, root, "-o", out / f"{kind}.png", "--by", "method"]


def read_all(root, out, kinds=FIGURES, refused=None):
    """Run every reader; each succeeds or ends with status 2 and a sentence. refused: figures that alone may do that."""
    out.mkdir(exist_ok=True)
    for command, arguments in readers(root, out, kinds):
        said = io.StringIO()
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            ended = command([str(argument) for argument in arguments])
        if ended != 0:
            assert ended == 2, said.getvalue()
            assert said.getvalue().startswith("refused: ")
            assert refused is None or (command is plot.main and arguments[0] in refused), said.getvalue()
    found = dict(records([root]))
    states = find_states(root, {HASH, *(record["hash"] for record in found.values())})
    find_done(root, HASH)
    planned = Plan(found=find_runs(root, states), done={identity: folder for identity, (_, folder) in states.items()})
    planned.runs = {identity: ["replicate=1", "method=ce"] for identity in planned.done}
    results(planned)
    for folder in found:
        Claim(folder).holder()
    return found


@pytest.fixture
def odd(root, tmp_path):
    """A run's folder to spoil, beside four that are well."""
    shutil.copytree(root, tmp_path / "runs")
    folder = tmp_path / "runs" / "digits" / "odd" / HASH
    folder.mkdir(parents=True)
    return folder


def pipe(path):
    os.mkfifo(path)


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as own, __import__("contextlib").chdir(path.parent):
        own.bind(path.name)


def huge(path):
    path.touch()
    os.truncate(path, 10**12)


ODD_FILES = {
    "a pipe": pipe,
    "a socket": bound_socket,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a terminal's device": lambda path: path.symlink_to("/dev/tty"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a folder": lambda path: path.mkdir(),
    "a terabyte": huge,
    "deep lists": lambda path: path.write_text("[" * 10**6),
    "deep mappings": lambda path: path.write_text('{"a":' * 900 + "1" + "}" * 900),
    "a number of ten thousand digits": lambda path: path.write_text("1" * 10_000),
    "an empty file": lambda path: path.touch(),
}


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "predictions.npz", ".claim.1", "thumbs.npz"])
def test_what_is_no_file_of_ours_is_neither_waited_for_nor_a_crash(odd, name, tmp_path):
    """One run for each kind of odd file, together, because reading them all takes seconds each time."""
    for number, make in enumerate(ODD_FILES.values(), 10):
        identity = HASH[:-2] + str(number)
        folder = odd.parent / identity
        folder.mkdir()
        if name != "run.json":
            state = "running" if name == ".claim.1" else "done"
            RunFolder(folder).write_record(a_record(number, "odd") | {"hash": identity, "state": state})
        make(folder / name)
    odd.rmdir()
    found = read_all(tmp_path / "runs", tmp_path / "out", refused=REFUSED)
    assert len(found) == (4 if name == "run.json" else 4 + len(ODD_FILES))


def test_odd_plans_are_left_out(odd, tmp_path):
    odd.rmdir()
    for number, make in enumerate(ODD_FILES.values()):
        make(tmp_path / "runs" / ".sweeps" / f"odd{number}.json")
    assert len(read_all(tmp_path / "runs", tmp_path / "out", refused=REFUSED)) == 4


def test_a_link_to_itself_beside_the_runs_hides_none_of_them(odd, tmp_path):
    for place in (tmp_path / "runs", tmp_path / "runs" / "digits", odd.parent, odd):
        (place / "loop").symlink_to("loop")
        (place / "around").symlink_to(tmp_path / "runs")
    found = read_all(tmp_path / "runs", tmp_path / "out")
    assert len(found) == 4
    assert len(find_states(tmp_path / "runs", {record["hash"] for record in found.values()})) == 4


def test_a_record_larger_than_any_of_ours_is_left_out_with_a_sentence(odd, tmp_path, caplog):
    (odd / "run.json").write_text(json.dumps(a_record(1, "odd") | {"command": "x" * MOST}))
    assert len(dict(records([tmp_path / "runs"]))) == 4
    assert f"{odd / 'run.json'} is left out: it is larger than 64,000,000 bytes" in caplog.text


# ---- every value of a record, replaced by any other

NUMBERS = st.sampled_from([0, -1, -5, 2**63, 10**30, 10**200, 1e400, -1e400, float("nan"), 1e-320, 1e99, 0.5, True])
TEXTS = st.sampled_from(["", "nan", "\ud800", "x" * 1000, "../../x", "a\0b", "\x1b[31m", "0.1", "a=b", "'", "é", "[x]"])
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS | st.integers() | st.text(max_size=5)
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXTS, v, max_size=3), max_leaves=6)
DEEP = st.integers(30, 3000).map(lambda n: "[" * n + "]" * n)


def places(value, path=()):
    """The path of every value inside a record."""
    yield path
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


PLACES = [place for place in places(a_record(1, "odd")) if place]


def replaced(record, place, value):
    *parents, last = place
    part = record
    for key in parents:
        part = part[key]
    if value is ...:
        del part[last]
    else:
        part[last] = value


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    changes=st.lists(st.tuples(st.sampled_from(PLACES), VALUES | st.just(...)), min_size=1, max_size=3),
    state=st.sampled_from(["done", "done", "running", "failed"]),
    lines=st.lists(st.sampled_from(sorted(a_row(1))).flatmap(lambda key: st.tuples(st.just(key), VALUES)), max_size=2),
    kind=st.sampled_from(FIGURES),
)
def test_whatever_stands_in_a_record_no_reader_fails(root, tmp_path_factory, changes, state, lines, kind):
    record = a_record(1, "odd") | {"state": state}
    for place, value in changes:
        try:
            replaced(record, place, copy.deepcopy(value))
        except (KeyError, IndexError, TypeError):  # an earlier change has taken the place away
            continue
    odd = root / "digits" / "odd" / HASH
    odd.mkdir(parents=True, exist_ok=True)
    (odd / "run.json").write_text(json.dumps(record))
    rows = [a_row(epoch) for epoch in range(1, 5)]
    for number, (key, value) in enumerate(lines):
        rows[number][key] = value
    (odd / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        found = read_all(root, tmp_path_factory.getbasetemp() / "out", [kind])
        assert len([path for path in found if path != odd]) == 4
    finally:
        shutil.rmtree(odd.parent)


def test_a_record_as_it_is_fits(odd, tmp_path):
    RunFolder(odd).write_record(a_record(1, "odd"))
    assert len(read_all(tmp_path / "runs", tmp_path / "out")) == 5
    assert set(a_record(1)) == set(KEYS)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("hash", 5, "its hash is not text"),
        ("config", json.loads('{"a":' * 40 + "1" + "}" * 40), "it is nested too deep"),
        ("config", json.loads('{"a":' * 900 + "1" + "}" * 900), "it is nested too deep"),
        ("config", {"epochs": -5}, "its config is not a mapping with a whole number of epochs"),
        ("config", [1], "its config is not a mapping with a whole number of epochs"),
        ("names", {"method": ["ce"]}, "its names is not a mapping of names"),
        ("names", {"method": "../../x"}, "its names is not a mapping of names"),
        ("metrics", {"test/acc/final": "71"}, "its metrics is not a mapping of numbers"),
        ("metrics", {"test/acc/final": 1e308}, "its metrics is not a mapping of numbers"),
        ("knows", "rate", "its knows is not a list of texts"),
        ("error", "text", "its error is not null or a mapping of texts"),
        ("command", "\ud800", "it has half a character"),
    ],
)
def test_what_no_reader_could_use_is_left_out_with_the_reason(odd, caplog, key, value, sentence):
    (odd / "run.json").write_text(json.dumps(a_record(1, "odd") | {key: value}))
    assert not list(records([odd]))
    assert f"{odd / 'run.json'} is left out: {sentence}" in caplog.text


def test_numbers_that_are_none_are_unknown_and_what_no_float_holds_is_no_record_of_ours(odd, caplog):
    text = json.dumps(a_record(1, "odd"))
    (odd / "run.json").write_text(text.replace('"test/acc/few": 30.0', '"test/acc/few": NaN, "x": -Infinity'))
    ((_, record),) = records([odd])
    assert (record["metrics"]["test/acc/few"], record["metrics"]["x"]) == (None, None)
    for number in ("1e400", "-1e400", "1" * 400):
        (odd / "run.json").write_text(text.replace('"lr": 0.02', f'"lr": {number}'))
        assert not list(records([odd]))
        assert "it has a number that is not finite" in caplog.text
        caplog.clear()
