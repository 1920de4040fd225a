"""How many jobs of a sweep have ended, counted by all of its workers."""

from concurrent.futures import ThreadPoolExecutor

from sfa_bench.sweep import job, stop
from sfa_bench.sweep.stop import Counted, StopFile


def test_workers_that_end_at_the_same_time_each_count_once(tmp_path):
    counted = Counted(tmp_path / "sweep.ended")
    counted.begin(200)
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda _: Counted(counted.path).one_more(), range(200))]
    assert sorted(ended for ended, _, _ in found) == list(range(1, 201))
    assert {jobs for _, jobs, _ in found} == {200}
    assert counted.one_more()[0] == 200  # a job that a launcher lost and made again
    counted.end()
    assert counted.one_more() is None


def test_what_is_left_is_the_mean_time_of_those_that_have_ended(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(stop.time, "time", lambda: now[0])
    sweep = StopFile(tmp_path / "sweep.stop")
    assert job._line(sweep, ["ce", "33.3 %"]) == "ce · 33.3 %"  # nobody counts
    Counted(sweep.counted).begin(3)
    now[0] += 90
    assert job._line(sweep, ["ce", "33.3 %"]) == "[1/3] ce · 33.3 % · 3 min left"
    now[0] += 10
    assert job._line(sweep, ["ce"]) == "[2/3] ce · 50 s left"
    assert job._line(sweep, ["ce"]) == "[3/3] ce"
    Counted(tmp_path / "no/such/folder").begin(3)  # a disk that takes nothing stops nobody
