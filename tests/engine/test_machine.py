"""Device, precision, progress and clock: the parts of the engine around the training."""

import io
import os
import platform
import subprocess
import sys

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from sfa_bench.engine import machine
from sfa_bench.engine.cost import Cost
from sfa_bench.engine.progress import ProgressDisplay, TimeLeft, duration, summary
from sfa_bench.errors import ConfigError
from sfa_bench.main import main


def test_auto_takes_a_gpu_where_there_is_one():
    assert machine.devices("auto") == [torch.device("cuda" if torch.cuda.is_available() else "cpu")]


def test_two_devices_are_two_devices():
    assert machine.devices(("cpu", "cpu:0")) == [torch.device("cpu"), torch.device("cpu:0")]


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="device=cuda:99 cannot be used here"):
        machine.devices("cuda:99")


TOUCH = """
import ctypes, resource, sys
from sfa_bench.engine import machine
if sys.argv[1] == "kept":
    machine.keep_freed_memory()
libc, size = ctypes.CDLL(None), 30 << 20
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(size) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

step()
print(sum(step() for _ in range(4)))
"""


with_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the switch is one of glibc")


@with_glibc
def test_freed_memory_is_used_again():
    """What four blocks of 30 MB held is taken again without new pages."""

    def faults(memory):
        command = [sys.executable, "-c", TOUCH, memory]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("kept") < faults("given back") / 10


LATER = """
import os, sys
os.environ.update(OMP_NUM_THREADS="3", OPENBLAS_NUM_THREADS="3")
from sfa_bench.engine import machine
if sys.argv[1] == "forked":
    machine.preload()
machine.set_threads(1)
there = len(__import__("threadpoolctl").threadpool_info())
import sklearn.cluster
found = __import__("threadpoolctl").threadpool_info()
print(len(found) > there, {pool["num_threads"] for pool in found})
"""


@pytest.mark.parametrize("process", ["fresh", "forked"])
def test_libraries_that_are_loaded_later_take_as_many_threads(process):
    command = [sys.executable, "-c", LATER, process]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == "True {1}\n"


@pytest.mark.parametrize(
    ("capability", "kernels", "has"),
    [("DEFAULT", True, False), ("AVX2", True, False), ("AVX512", True, True), ("AVX512", False, False)],
)
def test_automatic_precision_follows_the_processor(capability, kernels, has, monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: kernels)
    assert machine.uses_bfloat16("auto", cpu, "preact_resnet18") is has
    assert not machine.uses_bfloat16("auto", cpu, "convnet")  # gains nothing by it
    assert machine.uses_bfloat16("bf16", cpu, "convnet")
    assert not machine.uses_bfloat16("fp32", cpu, "preact_resnet18")


def test_the_environment_names_the_code_and_the_machine():
    found = machine.environment([torch.device("cpu")], 1, False)
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert found["threads"] == 1
    assert found["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert found["commit"] is None or len(found["commit"]) == 40


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (75.2, "1:15"), (3671, "1:01:11")])
def test_durations_read_as_clocks(seconds, text):
    assert duration(seconds) == text


def test_time_left_tells_warm_up_from_training():
    left = TimeLeft(epochs=10, warmup_epochs=4)
    left.add(1, 1.0)
    left.add(2, 3.0)
    assert left.after(2) is None  # no epoch of training was seen
    for epoch in (3, 4):
        left.add(epoch, 2.0)
    left.add(5, 10.0)
    assert left.after(5) == 50.0
    assert left.after(10) == 0.0


def test_without_a_terminal_every_epoch_is_one_plain_line():
    out = io.StringIO()
    row = {"epoch": 1, "phase": "training", "loss": 1.23456, "test/acc": 50.0, "seconds": 2.0}
    with ProgressDisplay(Console(file=out), epochs=2, warmup_epochs=0) as display:
        display.step(1, "training", 0, 0, 5)
        display.epoch(row | {"selection": {"precision": 0.75}})
        display.epoch(row | {"epoch": 2, "loss": None, "selection": None})
    assert out.getvalue().splitlines() == [
        "epoch 1/2 · training · loss 1.235 · accuracy 50.00 · selection precision 0.750 · 0:02 left",
        "epoch 2/2 · training · no step · accuracy 50.00",
    ]


def test_on_a_terminal_the_display_shows_phase_and_step():
    out = io.StringIO()
    with ProgressDisplay(Console(file=out, force_terminal=True, width=120), epochs=2, warmup_epochs=0) as display:
        display.step(1, "training", 1, 3, 5)
        display.live.refresh()
    assert "training · network 2 · step 4/5" in out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_the_display_cuts_neither_epoch_nor_time_left(width):
    """What matters most comes first, and what has no room is left out whole."""
    out = io.StringIO()
    row = {"phase": "training", "loss": 1.23456, "test/acc": 91.2, "selection": {"precision": 0.75}, "seconds": 30.0}
    with ProgressDisplay(Console(file=out, force_terminal=True, width=width), epochs=200, warmup_epochs=0) as display:
        display.epoch(row | {"epoch": 111})
        display.last_update = 0.0
        display.step(112, "training", 1, 30, 388)
        display.live.refresh()
    (line,) = {Text.from_ansi(line).plain.strip() for line in out.getvalue().split("\n") if "epoch 112" in line}
    assert "epoch 112/200 · 44:30 left" in line
    assert "…" not in line
    assert cell_len(line) <= width
    everything = "accuracy 91.20 · loss 1.235 · training · network 2 · step 31/388 · selection precision 0.750"
    shown = line.partition("left · ")[2]
    assert everything.startswith(shown)
    assert shown.count(" · ") == {40: 0, 60: 1, 80: 1, 100: 1, 120: 4}[width]


def test_a_name_with_brackets_is_shown_as_it_is(tmp_path, monkeypatch, capsys):
    """Rich would take [bold] for an order, and fail for [/]."""
    monkeypatch.chdir(tmp_path)
    small = ["method=ce", "plugin=none", "dataset=synthetic", "dataset.size=60", "batch_size=8", "epochs=1"]
    words = [*small, "threads=1", "runs_dir='a[bold]b[/]c'"]
    assert main(words) == main(words) == 0
    out = capsys.readouterr().out
    assert "done: a[bold]b[/]c/synthetic" in out
    assert "already done: a[bold]b[/]c/synthetic" in out


def test_the_summary_has_the_names_and_units_of_tables():
    out = io.StringIO()
    metrics = {f"test/acc/{key}": 10.0 for key in ("final", "many", "medium", "few", "head", "mid", "tail")}
    Console(file=out, width=80).print(summary(metrics, {"precision": 0.5, "recall": 0.25, "auc": 0.95449}))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.getvalue().splitlines() if "│" in line]
    assert rows[1:] == [
        *([name, "10.00"] for name in ("many", "medium", "few")),
        ["selection precision", "0.500"],
        ["selection recall", "0.250"],
        ["selection AUC", "0.954"],
    ]


def test_the_summary_leaves_out_what_is_undefined():
    out = io.StringIO()
    metrics = {"test/acc/final": 81.234, "test/acc/abc": None}
    Console(file=out, width=80).print(summary(metrics, {"precision": 0.5, "auc": None}))
    text = out.getvalue()
    assert "81.23" in text
    assert "selection precision" in text
    assert "balanced head" not in text
    assert "auc" not in text


def test_the_clock_is_in_one_phase_at_a_time_and_survives_a_restart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("sfa_bench.engine.cost.time.perf_counter", lambda: now[0])
    cost = Cost()
    for phase, moment in (("warm-up", 0), ("evaluation", 2), ("warm-up", 5), (None, 9), ("storage", 100)):
        now[0] = moment
        cost.enter(phase)
    now[0] = 101
    state = cost.state()
    assert state["seconds"] == {"warm-up": 6, "evaluation": 3, "storage": 1}
    resumed = Cost()
    resumed.load(state)
    with resumed.phase("storage"):
        now[0] = 103
    assert resumed.seconds["storage"] == 3


@pytest.mark.parametrize(("device", "variable"), [("cpu", "CXX"), ("cuda", "CC")])
def test_a_compiler_that_is_missing_is_named(device, variable, monkeypatch, tmp_path):
    used = [torch.device("meta"), torch.device(device)]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(variable, "cache no-such-compiler")
    with pytest.raises(ConfigError, match=f"needs a compiler for {device}, and cache .*is not there"):
        machine.check_compile(used, "convnet")
    (tmp_path / "cache").touch(mode=0o755)
    machine.check_compile(used, "convnet")


def test_what_cannot_be_compiled_is_refused():
    with pytest.raises(ConfigError, match="compile=true cannot compile model=cnn9"):
        machine.check_compile([torch.device("cpu")], "cnn9")


@with_glibc
def test_thresholds_of_ones_own_stay():
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "131072"}
    command = [sys.executable, "-c", TOUCH, "kept"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) > 1000
