"""`sfa-bench speed`: what it prints, and its exit status."""

import json

import pytest
import torch
from scripted_speed import LIMITS, Clock, Scripted

from sfa_bench.errors import RunError
from sfa_bench.speed import measure
from sfa_bench.speed.child import Child, OutOfTime, serve_phase
from sfa_bench.speed.command import main
from sfa_bench.speed.jobs import PHASES, Job
from sfa_bench.speed.settings import Setting, Side

SUITE = Side("sfa_bench.speed.phases", Setting())


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(measure, "Child", Scripted)
    monkeypatch.setattr(Scripted, "broken", ())
    return Scripted


def test_json_is_one_object_with_a_line_for_every_phase(scripted, capsys):
    assert main(["--json", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found.keys() == {"environment", "setting", "limits", "phases", "total_seconds"}
    assert found["limits"] == {**LIMITS, "error": None}
    assert [*dict.fromkeys(line["phase"] for line in found["phases"])] == list(PHASES)
    assert found["setting"]["images"] == 12_406
    for line in found["phases"]:
        assert line["error"] is None
        assert line["rounds"] == 5
        assert line["suite"]["round_seconds"] == [2.0] * 5
        assert line["suite"]["parts"]["part"] == {"seconds": 2.0, "steps": 4, "steps_measured": 5}
        assert (line["suite"]["tflops"] is None) == (line["width"] is None)
    assert "dividemix-sfa 64" in err


def test_without_json_it_is_a_table_below_the_machine(scripted, capsys):
    assert main(["--phase", "step,mixtures-10", "--threads", "1", "--precision", "fp32"]) == 0
    machine, empty, head, rule, *rows = capsys.readouterr().out.splitlines()
    assert "Torch" in machine
    assert "1 thread," in machine
    assert "1,000 GFLOP/s in fp32, copies 10 GB/s" in machine
    assert empty == ""
    assert len({line.count("|") for line in (head, rule, *rows)}) == 1
    step, mixtures = ([cell.strip() for cell in row.split("|")[1:-1]] for row in rows)
    assert step[:4] == ["step", "64", "128", "64"]  # 128 images in 2 s
    assert step[4:] == ["2 %", "0.00 GB", "64 to 64"]  # of 128 images with 3e8 operations each, at 1e12 a second
    assert mixtures[:3] == ["mixtures-10", "–", "–"]
    assert mixtures[4] == "–"


@pytest.mark.parametrize("broken", ["step", "limits"])
def test_what_fails_is_said_and_the_rest_goes_on(scripted, broken, monkeypatch, capsys):
    monkeypatch.setattr(Scripted, "broken", (broken,))
    assert main(["--json", "--phase", "step,mixtures-10"]) == 1
    found = json.loads(capsys.readouterr().out)
    errors = [line["error"] for line in found["phases"]]
    if broken == "step":
        assert errors == ["ZeroDivisionError: division by zero", None]
    else:
        assert errors == [None] * 2
        assert found["limits"] == {"error": "no limits"}
        assert found["phases"][0]["suite"]["share"] is None
    assert main(["--phase", "step,mixtures-10"]) == 1
    assert ("failed: ZeroDivisionError" in capsys.readouterr().out) == (broken == "step")


def test_in_a_hurry_a_line_ends_with_its_part_of_the_time(scripted, monkeypatch):
    clock = [0.0]

    def ask(self, request, answer=Scripted.ask):
        clock[0] += 10.0 if self.job.phase == "step" else 1.0
        return answer(self, request)

    monkeypatch.setattr(Scripted, "ask", ask)
    monkeypatch.setattr(measure.time, "monotonic", lambda: clock[0])
    wanted = [Job("mixtures-10"), Job("step", 64, 64), Job("forward", 64, 64)]
    monkeypatch.setattr(measure, "LIMIT", 40.0)  # 7 s for the first leave 16 s for the second: a round needs 20
    first, second, third = measure.measure({"suite": SUITE}, wanted, hurry=True)["phases"]
    assert (first["rounds"], second["rounds"]) == (5, 1)
    assert third["error"] is None
    monkeypatch.setattr(measure, "LIMIT", 15.0)
    assert "--phase forward" in measure.measure({"suite": SUITE}, wanted, hurry=True)["phases"][2]["error"]
    assert all(line["rounds"] == 5 for line in measure.measure({"suite": SUITE}, wanted)["phases"])


@pytest.mark.parametrize("slow", [1.0, 3.0, 6.0])
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
    assert rounds["dividemix-sfa", 64] == {1.0: (5, True), 3.0: (2, True), 6.0: (1, False)}[slow]


def test_with_far_too_little_time_the_rest_is_listed_and_the_status_is_0(scripted, monkeypatch, capsys):
    Clock(monkeypatch, 1.0)
    monkeypatch.setattr(measure, "LIMIT", 60.0)
    assert main(["--json", "--threads", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    measured = [line for line in found["phases"] if line["error"] is None]
    left_out = found["left_out"]
    assert len(measured) + len(left_out) == len(found["phases"]) == 14
    assert len(measured) >= 3
    assert left_out[-1]["phase"] == "dividemix-sfa"
    assert left_out[-1]["width"] == 64
    assert left_out[-1]["reason"] == "left out, no time remained; --phase dividemix-sfa measures it alone"
    assert main(["--threads", "1"]) == 0
    assert "left out, no time remained; --phase warm-up" in capsys.readouterr().out
    monkeypatch.setattr(Scripted, "broken", ("loader",))  # what fails is still a failure
    assert main(["--json", "--threads", "1"]) == 1


def test_nobody_waits_for_an_answer_past_the_deadline():
    with Child(serve_phase, SUITE, Job("mixtures-10")) as child:
        child.deadline = 0.0  # long ago
        with pytest.raises(OutOfTime, match="no time remained for an answer"):
            child.receive()


def test_full_has_no_budget_and_is_in_no_hurry(monkeypatch, capsys):
    asked = []

    def kept(sides, wanted, **rest):
        asked.append((sides["suite"].setting.seconds, len(wanted), rest["hurry"]))
        return {"limits": {"error": None}, "phases": []}

    monkeypatch.setattr(measure, "measure", kept)
    assert main(["--full"]) == main([]) == main(["--full", "--seconds", "1.5"]) == 0
    assert [(seconds, hurry) for seconds, _, hurry in asked] == [(None, False), (1.0, True), (1.5, False)]
    assert asked[0][1] > asked[1][1]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (["--phase", "training"], "--phase training: must be among loader, loader-2"),
        (["--threads", "0"], "--threads: invalid positive number value: '0'"),
        (["--seconds", "-1"], "--seconds: invalid positive number value: '-1'"),
        (["--seconds", "nan"], "--seconds: invalid positive number"),
        (["--precision", "fp16"], "fp32"),
        (["--width", "3"], "unrecognized arguments: --width 3"),
        (["--baseline", "bf16"], "unrecognized arguments: --baseline bf16; python -m sfa_bench.speed --help"),
        (["--device", "cuda:99"], "device=cuda:99 cannot be used here"),
        (["--device", "meta"], "only cpu and cuda"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(typed, hint, capsys):
    assert main(typed) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert hint in err
    assert len(err.strip().splitlines()) == 1


def test_real_processes_measure_and_only_the_object_is_on_standard_output(monkeypatch, capfd):
    small = Setting(size=300, imb_factor=0.1, seconds=0.0)
    sizes = {"side": 16, "copied": 1 << 12}
    real = measure.measure
    side = {"suite": SUITE._replace(setting=small)}
    monkeypatch.setattr(measure, "measure", lambda _, wanted, **rest: real(side, wanted, sizes=sizes, **rest))
    assert main(["--json", "--threads", "1", "--phase", "mixtures-10"]) == 0
    line = json.loads(capfd.readouterr().out)["phases"][0]
    assert line["error"] is None
    assert line["rounds"] == 5
    assert min(line["suite"]["round_seconds"]) > 0
    assert line["suite"]["peak_memory"] > 1e7


def test_a_process_says_what_it_failed_of():
    with Child(serve_phase, SUITE, Job("nothing")) as child:
        with pytest.raises(RunError, match="KeyError: 'nothing'"):
            child.receive()
        with pytest.raises(RunError, match="its process ended with status 0"):
            child.ask(1.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("phase", ["loader-2", "step", "dividemix-sfa", "selection-10"])
def test_it_runs_on_a_gpu(phase):
    setting = Setting(device="cuda", bfloat16=True, size=300, imb_factor=0.1, batch_size=16, seconds=0.0)
    job = Job(phase, 4 if phase in ("step", "dividemix-sfa") else None, 8 if phase == "step" else None)
    found = measure.measure(
        {"suite": SUITE._replace(setting=setting)}, [job], rounds=1, sizes={"side": 64, "copied": 1 << 12}
    )
    assert found["limits"]["error"] is None
    line = found["phases"][0]
    assert line["error"] is None
    assert line["suite"]["peak_memory_of"] == "device"
