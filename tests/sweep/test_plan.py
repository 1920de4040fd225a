"""What a sweep finds on the disk before it launches anything (explanation/runs.md §6)."""

import json
import os

import pytest

from sfa_bench.store.claim import Claim
from sfa_bench.store.ledger import run_path
from sfa_bench.store.record import new_record
from sfa_bench.sweep.plan import plan
from sfa_bench.sweep.results import results, unfinished

SWEEP = ["method=ce", "plugin=none", "epochs=2", "replicate=0,1,2,3,4"]
NAMES = {"dataset": "digits", "method": "ce", "plugin": "none", "classifier": "joint"}


@pytest.fixture
def folders(tmp_path):
    """The folders that the sweep's runs would have."""
    typed = [*SWEEP, f"runs_dir={tmp_path}/runs"]
    return typed, [run_path(tmp_path / "runs", NAMES, identity) for identity in plan(typed).runs]


def write(folder, state, accuracy=50.0):
    folder.mkdir(parents=True)
    config = {"replicate": 0, "seed": int(folder.name, 16), "data_seed": 0, "method": {"revision": 1}}
    record = new_record(hash=folder.name, config=config, names=NAMES, command="python run.py")
    record |= {"state": state, "metrics": {"test/acc/final": accuracy}}
    (folder / "run.json").write_text(json.dumps(record))


def test_everything_is_new_where_nothing_is(folders):
    typed, _ = folders
    assert str(plan(typed)) == "sweep of 5: 5 to run, 0 done"


def test_what_was_begun_is_told_apart(folders):
    typed, (done, failed, interrupted, running, _) = folders
    for folder, state in ((done, "done"), (failed, "failed"), (interrupted, "interrupted"), (running, "running")):
        write(folder, state)
    found = plan(typed)
    assert str(found) == "sweep of 5: 4 to run (1 failed before, 1 new, 2 resumable), 1 done"
    claim = Claim(running)
    assert claim.acquire() is None
    try:
        assert plan(typed).begun == {"failed before": 1, "new": 1, "resumable": 1, "running elsewhere": 1}
    finally:
        claim.release()


def test_a_torn_record_is_new(folders, caplog):
    typed, (folder, *_) = folders
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"schema": 1')
    assert plan(typed).begun == {"new": 5}
    assert "is left out" in caplog.text


def test_the_table_is_of_the_sweeps_own_finished_runs(folders, tmp_path):
    typed, (one, two, other, *_) = folders
    write(one, "done", 40.0)
    write(two, "done", 60.0)
    write(other, "failed")
    write(run_path(tmp_path / "runs", NAMES, "f" * 12), "done", 99.0)  # of another sweep
    planned = plan(typed)
    assert "| ce       | none     | 50.00 ± 14.14 (2) |" in results(planned)
    os.unlink(one / "run.json")
    os.unlink(two / "run.json")
    planned = plan(typed)
    assert results(planned) == "no run of the sweep is done: no table"


def test_runs_that_begin_with_the_same_epochs_share_them_and_who_makes_them_comes_first(tmp_path):
    sweep = ["method=ce", "replicate=0,1", "plugin=sfa,none,sfa_release", f"runs_dir={tmp_path}/runs"]
    planned = plan(sweep)
    of = {identity: " ".join(job[:3]) for identity, job in planned.runs.items()}
    shared: dict[str, list[str]] = {}
    for identity, folder in planned.warmups.items():
        shared.setdefault(folder.parent.name + "/" + folder.name, []).append(of[identity])
    assert sorted(shared.values()) == [
        [f"method=ce replicate={r} plugin=sfa", f"method=ce replicate={r} plugin=sfa_release"] for r in (0, 1)
    ]
    assert all(name.startswith(".warmup/") for name in shared)
    ends = [job[2] for job in planned.missing]
    assert ends == [
        "plugin=sfa",
        "plugin=none",
        "plugin=sfa",
        "plugin=none",
        "plugin=sfa_release",
        "plugin=sfa_release",
    ]
    assert not (tmp_path / "runs").exists()  # planning writes nothing
    assert not plan([*sweep, "share_warmup=false"]).warmups


def test_a_run_that_would_share_with_finished_ones_only_shares_where_the_epochs_are_there(tmp_path):
    sweep = ["method=ce", "plugin=sfa,sfa_release", f"runs_dir={tmp_path}/runs"]
    planned = plan(sweep)
    (first, second), place = planned.runs, next(iter(planned.warmups.values()))
    write(run_path(tmp_path / "runs", NAMES | {"plugin": "sfa"}, first), "done")
    assert not plan(sweep).warmups
    place.mkdir(parents=True)
    assert plan(sweep).warmups == {second: place}


def test_more_replicates_of_a_finished_sweep_are_two_runs(tmp_path):
    typed = ["method=ce", "plugin=none", f"runs_dir={tmp_path}/runs"]
    for identity in plan([*typed, "replicate=0,1,2"]).runs:
        write(run_path(tmp_path / "runs", NAMES, identity), "done")
    extended = plan([*typed, "replicate=0,1,2,3,4"])
    assert str(extended) == "sweep of 5: 2 to run, 3 done"
    assert [job[-1] for job in extended.missing] == [f"replicate={k}" for k in (3, 4)]


def test_what_failed_before_is_left_by_a_launcher_that_dies_and_what_fails_now_is_not(tmp_path):
    typed = ["method=ce", "plugin=none", "replicate=0,1,2", f"runs_dir={tmp_path}/runs"]
    first, second, third = (run_path(tmp_path / "runs", NAMES, identity) for identity in plan(typed).runs)
    write(first, "failed")
    write(second, "failed")
    planned = plan(typed)
    os.utime(second / "run.json", ns=(1, 1))  # it has failed anew since
    write(third, "done")
    left, begun = unfinished(tmp_path / "runs", planned, planned.missing)
    assert ([job[2] for job in left], begun) == (["replicate=0"], True)


def test_a_decoupled_classifier_shares_the_warm_up_of_the_run_below_it_which_alone_is_no_reason_to_share(tmp_path):
    one = ["method=ce", "plugin=sfa", "classifier=joint,crt", f"runs_dir={tmp_path}/runs"]
    assert not plan(one).warmups
    planned = plan([word.replace("plugin=sfa", "plugin=sfa,sfa_release") for word in one])
    assert len(planned.warmups) == 4
    assert len(set(planned.warmups.values())) == 1
