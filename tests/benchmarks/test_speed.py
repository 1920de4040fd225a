"""`python -m benchmarks.speed`: the suite beside the plain baseline."""

import json

import pytest
import torch
from scripted_speed import Clock, Scripted

from benchmarks.speed import main, ratio
from sfa_bench.speed import measure
from sfa_bench.speed.jobs import PHASES, Job
from sfa_bench.speed.settings import Setting, Side

BOTH = ("suite", "plain")


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(measure, "Child", Scripted)
    monkeypatch.setattr(Scripted, "broken", ())
    return Scripted


@pytest.fixture(autouse=True)
def _keeps_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def both(setting):
    plain = Side("benchmarks.plain_phases", setting, bfloat16_selection=True)
    return {"suite": Side("sfa_bench.speed.phases", setting), "plain": plain}


def test_json_is_one_object_with_both_sides_of_every_phase(scripted, capsys):
    assert main(["--json", "--threads", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"environment", "setting", "limits", "phases", "total_seconds"}
    assert [*dict.fromkeys(line["phase"] for line in found["phases"])] == list(PHASES)
    for line in found["phases"]:
        assert line["error"] is None
        assert line["rounds"] == 5
        assert line["ratio"] == {"median": 2.5, "least": 2.5, "greatest": 2.5}
        assert [line[side]["seconds"] for side in BOTH] == [2.0, 5.0]
        assert (line["plain"]["share"] is None) == (line["width"] is None)


def test_without_json_it_is_a_table_below_the_machine(scripted, capsys):
    words = ["--phase", "step,mixtures-10", "--threads", "1", "--precision", "fp32"]
    assert main(words) == 0
    machine, empty, head, rule, *rows = capsys.readouterr().out.splitlines()
    assert "1,000 GFLOP/s in fp32, copies 10 GB/s; the baseline in fp32." in machine
    assert empty == ""
    assert len({line.count("|") for line in (head, rule, *rows)}) == 1
    step, mixtures = ([cell.strip() for cell in row.split("|")[1:-1]] for row in rows)
    assert step[:4] == ["step", "64", "128", "64"]  # 128 images in 2 s
    assert step[5:] == ["0.00 GB", "25.6", "1 %", "0.00 GB", "2.50 (2.50 to 2.50)"]
    assert mixtures[:3] == ["mixtures-10", "–", "–"]
    assert mixtures[4] == mixtures[7] == "–"
    assert main([*words, "--baseline", "bf16"]) == 0
    assert "the baseline in bf16." in capsys.readouterr().out


def test_the_ratio_is_between_the_same_rounds():
    assert ratio([2, 4, 3], [8, 8, 3]) == {"median": 2.0, "least": 1.0, "greatest": 4.0}


def test_what_fails_is_said_and_the_rest_goes_on(scripted, monkeypatch, capsys):
    monkeypatch.setattr(Scripted, "broken", ("step",))
    assert main(["--json", "--phase", "step,mixtures-10"]) == 1
    first, second = json.loads(capsys.readouterr().out)["phases"]
    assert first["error"] == "ZeroDivisionError: division by zero"
    assert "ratio" not in first
    assert second["ratio"]["median"] == 2.5
    assert main(["--phase", "step,mixtures-10"]) == 1
    assert "failed: ZeroDivisionError" in capsys.readouterr().out


def test_in_a_hurry_a_line_ends_with_its_part_of_the_time(scripted, monkeypatch):
    clock = [0.0]

    def ask(self, request, answer=Scripted.ask):
        clock[0] += 10.0 if self.job.phase == "step" else 1.0
        return answer(self, request)

    monkeypatch.setattr(Scripted, "ask", ask)
    monkeypatch.setattr(measure.time, "monotonic", lambda: clock[0])
    wanted = [Job("mixtures-10"), Job("step", 64, 64), Job("forward", 64, 64)]
    monkeypatch.setattr(measure, "LIMIT", 80.0)  # 14 s for the first leave 33 s for the second: a round needs 40
    first, second, third = measure.measure(both(Setting()), wanted, hurry=True)["phases"]
    assert (first["rounds"], second["rounds"]) == (5, 1)
    assert third["error"] is None


@pytest.mark.parametrize("slow", [0.3, 1.0, 2.0])
def test_on_a_slow_processor_all_lines_fit_into_a_quarter_of_an_hour(scripted, monkeypatch, capsys, slow):
    """By fewer rounds; where one would be too many, by the steps that warm a line up."""
    clock = Clock(monkeypatch, slow)
    assert main(["--json", "--threads", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "left_out" not in found
    assert [line["error"] for line in found["phases"]] == [None] * 14
    assert clock.now < 900
    rounds = {(line["phase"], line["width"]): (line["rounds"], line["warm"]) for line in found["phases"]}
    assert rounds["mixtures-10", None] == (5, True)
    assert rounds["dividemix-sfa", 64] == {0.3: (5, True), 1.0: (1, False), 2.0: (1, False)}[slow]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (["--phase", "training"], "--phase training: must be among loader, loader-2"),
        (["--baseline", "fp16"], "fp32"),
        (["--width", "3"], "unrecognized arguments: --width 3; python -m benchmarks.speed --help"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(typed, hint, capsys):
    assert main(typed) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert hint in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("phase", ["mixtures-10", "loader"])
def test_real_processes_measure_both_and_leave_no_file(phase, monkeypatch, tmp_path):
    sides = both(Setting(size=300, imb_factor=0.1, seconds=0.0))
    found = measure.measure(sides, [Job(phase)], rounds=2, sizes={"side": 16, "copied": 1 << 12})
    line = found["phases"][0]
    assert line["error"] is None
    assert line["rounds"] == 2
    assert all(line[side]["peak_memory"] > 1e7 and line[side]["seconds"] > 0 for side in BOTH)
    assert list(tmp_path.rglob("*.npz")) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("phase", ["loader-2", "step", "dividemix-sfa", "selection-10"])
def test_both_sides_run_on_a_gpu(phase):
    setting = Setting(device="cuda", bfloat16=True, size=300, imb_factor=0.1, batch_size=16, seconds=0.0)
    job = Job(phase, 4 if phase in ("step", "dividemix-sfa") else None, 8 if phase == "step" else None)
    found = measure.measure(both(setting), [job], rounds=1, sizes={"side": 64, "copied": 1 << 12})
    assert found["limits"]["error"] is None
    line = found["phases"][0]
    assert line["error"] is None
    for side in BOTH:
        assert line[side]["peak_memory_of"] == "device"
