"""Clocks, rates, shares and ratios, from timings and clocks given by hand."""

import mmap
import os

import numpy as np
import pytest
import torch

from sfa_bench import models
from sfa_bench.engine.cost import forward_flops
from sfa_bench.speed import limits, phases, report, settings, timing
from sfa_bench.speed.jobs import PHASES, jobs
from sfa_bench.speed.settings import Passed, Setting, Side
from sfa_bench.speed.timing import Stopwatch, Timing, repeated

CPU = torch.device("cpu")
SMALL = Setting(size=300, imb_factor=0.1, batch_size=16, seconds=0.0)


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes only where it is told to."""

    class Clock:
        time = 100.0

        def sleep(self, seconds):
            self.time += seconds

    made = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: made.time)
    return made


def passing(watch, clock, steps, seconds, start=3.0, first=50.0):
    """A pass that starts for a while, whose first step is slow, and whose others take `seconds` each."""

    def run():
        clock.sleep(start)
        for b in range(steps):
            watch.step(steps)
            clock.sleep(seconds if b else first)

    return run


def test_a_pass_that_is_ended_is_its_start_and_as_many_steps_as_it_would_have_had(clock):
    watch = Stopwatch(CPU)
    found = watch.time(passing(watch, clock, 10, 2.0), 5.0)
    assert found == Timing(3 + 10 * 2.0, 3, 10)  # 3 steps are the first to pass 5 seconds
    assert watch.time(passing(watch, clock, 10, 2.0), 0.0, passes=2) == Timing(2 * (3 + 10 * 2.0), 1, 20)


@pytest.mark.parametrize("budget", [None, 1e3])
def test_a_pass_that_is_not_ended_is_what_it_took(clock, budget):
    watch = Stopwatch(CPU)
    both = passing(watch, clock, 4, 2.0)
    assert watch.time(lambda: (both(), both()), budget, passes=2) == Timing(2 * (3 + 50 + 3 * 2), 8, 8)


def test_what_is_repeated_is_a_mean_within_the_budget(clock):
    assert repeated(lambda: clock.sleep(2), CPU, 5.0) == Timing(2.0, 3, 3)
    assert repeated(lambda: clock.sleep(2), CPU, None) == Timing(2.0, 1, 1)


def rounds(*seconds):
    return [{"pass": Timing(s / 4, 1, 2), "training": Timing(3 * s / 4, 3, 6)} for s in seconds]


def test_rates_and_shares_are_those_by_hand():
    limits = {"matmul_fp32": 500.0, "matmul_bf16": 2000.0}
    mine = report.figures(rounds(2, 4, 3), 600, {"fp32": 100, "bf16": 1000}, limits, (7, "process"))
    theirs = report.figures(rounds(8, 8, 3), 600, {"fp32": 1100}, limits, (9, "process"))
    assert (mine["seconds"], mine["images_per_second"]) == (3, 200)
    assert mine["round_seconds"] == [2, 4, 3]
    assert mine["share"] == pytest.approx((100 / 500 + 1000 / 2000) / 3)
    assert (theirs["seconds"], theirs["images_per_second"]) == (8, 75)
    assert theirs["share"] == pytest.approx(1100 / 500 / 8)
    assert (mine["tflops"], theirs["tflops"]) == (pytest.approx(1100 / 3 / 1e12), pytest.approx(1100 / 8 / 1e12))
    assert (mine["peak_memory"], theirs["peak_memory"]) == (7, 9)
    assert mine["parts"]["training"] == {"seconds": 2.25, "steps": 6, "steps_measured": 9}


def test_there_is_no_share_without_products_or_without_their_limit():
    assert report.least_seconds({}, {"matmul_fp32": 1.0}) is None
    assert report.least_seconds({"bf16": 5}, {"matmul_fp32": 1.0, "matmul_bf16": None}) is None
    assert report.least_seconds({"fp32": 5}, {"error": "no limits"}) is None


def test_operations_go_by_the_precision_that_they_run_in():
    passed, flops = Passed(trained=10, guessed=5, selected=2), (3, 8)
    fp32, bf16 = Side("", Setting()), Side("", Setting(bfloat16=True))
    assert limits.operations(passed, flops, fp32) == {"fp32": 10 * 8 + 7 * 3}
    assert limits.operations(passed, flops, bf16) == {"fp32": 2 * 3, "bf16": 10 * 8 + 5 * 3}
    assert limits.operations(passed, flops, fp32._replace(bfloat16_selection=True)) == {"fp32": 10 * 8 + 7 * 3}
    assert limits.operations(passed, flops, bf16._replace(bfloat16_selection=True)) == {"bf16": 10 * 8 + 7 * 3}
    assert limits.operations(Passed(trained=1), flops, bf16) == {"bf16": 8}


def test_a_step_needs_three_forwards_but_no_gradient_of_the_images():
    width, method = 4, phases.TimedMethod(SMALL, "none", 4).method
    network = models.build(settings.composed(SMALL, "none", width).model, 3, (32, 32), 10, ("main",), 0)
    forward, both = limits.flops_of_image(network, CPU)
    stem = 2 * 3 * width * 9 * 32 * 32
    assert forward == forward_flops(method, (3, 32, 32))
    assert both == 3 * forward - stem


def test_the_limits_of_this_processor():
    found = limits.limits(CPU, 0.0, side=16, copied=1 << 12)
    assert found["matmul_fp32"] > 0
    assert found["copy"] > 0
    assert (found["matmul_bf16"] is None) == (found["reason"] is not None)


@pytest.mark.parametrize("full", [False, True])
def test_every_phase_is_measured(full):
    assert [*dict.fromkeys(job.phase for job in jobs(list(PHASES), full))] == list(PHASES)
    assert phases.PHASES.keys() == PHASES.keys()
    widths = {job.width for job in jobs(["step", "dividemix"], full)}
    assert widths == ({16, 32, 64} if full else {64})


def test_timing_an_epoch_leaves_the_method_as_it_was():
    timed = phases.TimedMethod(SMALL, "sfa", 4)
    selectors, loaders = timed.method.training.selectors, timed.method.loaders
    parts = {**timed.passes(0.0), **timed.training(0.0)}
    assert parts["training"].measured < parts["training"].steps
    assert timed.method.training.selectors is selectors
    assert timed.method.loaders is loaders
    assert "select" not in vars(timed.method)


@pytest.mark.parametrize("num_classes", [2, 30, 300])
def test_any_number_of_classes_can_be_measured(num_classes):
    timed = phases.TimedMethod(Setting(size=600, imb_factor=1, batch_size=16), "sfa", 4, num_classes)
    assert timed.data.observed_counts.sum() == 600
    assert timed.data.noise_rate == 0.5
    probe = settings.made_probe(timed.setting, num_classes, timed.method.networks[0].feature_width)
    timed.answer(probe)
    timed.method.select(phases.EPOCH)
    assert timed.method.probes[1].features.shape == probe.features.shape == (600, 32)
    assert timed.method.probes[1].logits.shape == (600, num_classes)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this system keeps the peak of a process")
def test_a_peak_is_forgotten():
    before = mmap.mmap(-1, 200 << 20)  # a tensor's may be memory that was kept, and go on being kept
    np.frombuffer(before, dtype=np.uint8)[:] = 1
    with_it = timing.peak_bytes(CPU)[0]
    before.close()
    timing.forget_peak(CPU)
    assert timing.peak_bytes(CPU)[0] < with_it - 4 * (40 << 20)
