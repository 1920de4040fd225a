"""The file of a sweep's plan is plain JSON with a digest, however large (explanation/runs.md §6)."""

import json
from dataclasses import asdict

import pytest

from sfa_bench.store.digest import seal_json
from sfa_bench.store.plans import PlannedRun, SweepPlan, is_written, read_plans, write_plan
from sfa_bench.store.record import command, commands, recorded_overrides

ODD = "method=ce data_dir='a \"b\" \\ é 日本 \t'"


@pytest.mark.parametrize("count", [0, 1, 2, 1000, 1001, 2500])
def test_a_plan_is_written_in_parts_to_the_bytes_of_one_dump(tmp_path, count):
    runs = tuple(PlannedRun(f"{n:012x}", f"{ODD} seed={n}", f"{n % 7:012x}" if n % 3 else None) for n in range(count))
    path = write_plan(tmp_path, SweepPlan(f"python run.py -m {ODD}", runs))
    whole = json.dumps(asdict(SweepPlan(f"python run.py -m {ODD}", runs)), indent=1, ensure_ascii=False)
    assert path.read_bytes() == seal_json(whole)
    assert read_plans(tmp_path) == [SweepPlan(f"python run.py -m {ODD}", runs)]


def test_a_path_that_is_not_utf8_is_written_with_its_bytes_escaped(tmp_path):
    write_plan(tmp_path, SweepPlan("x", (PlannedRun("a", "data_dir=\udcff"),)))
    assert read_plans(tmp_path)[0].runs[0].command == "data_dir=\\udcff"


def test_the_commands_of_many_runs_are_those_of_each(tmp_path):
    runs = [["method=ce", "data_dir='a b'"], [], ["seed=1", "runs_dir=$x"]]
    for conf in (None, tmp_path):
        assert [*commands(runs, conf)] == [command(run, conf) for run in runs]
        assert [recorded_overrides(text)[0] for text in commands(runs, conf)] == runs


def test_the_plan_of_a_sweep_that_is_done_is_written_once(tmp_path):
    runs = tuple(PlannedRun(name, f"python run.py {name}") for name in "ba")
    assert not is_written(tmp_path, "ab", "python run.py -m …")
    path = write_plan(tmp_path, SweepPlan("python run.py -m …", runs))
    assert is_written(tmp_path, "ab", "python run.py -m …")  # in whatever order
    assert not is_written(tmp_path, "abc", "python run.py -m …")
    assert not is_written(tmp_path, "ab", "python run.py -m")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert not is_written(tmp_path, "ab", "python run.py -m …")
    path.write_bytes(whole.replace(b"run.py a", b"run.py b"))
    assert not is_written(tmp_path, "ab", "python run.py -m …")
