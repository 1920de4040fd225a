"""How fast the device trains: `python speed.py OUT.json SECONDS [--lines NAME,…] [--rehearse]`. Each figure is kept as
soon as it is made.

The lines, in order of what they decide: `machine`, its limits; `steps`, by batch and precision, and what deterministic
kernels cost; `graphs`, what a CUDA graph or `torch.compile` would gain; `waiting`, the share of an epoch in which the
device waits; `selection`, what selectors take on the host; `baseline` and `baseline_bf16`, DivideMix with SFA beside
the plain baseline (`python -m benchmarks.speed`); `jobs`, several runs at once on the device, also with NVIDIA's MPS.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from proof import ROOT, Results, run

from sfa_bench import numerics
from sfa_bench.speed.limits import limits
from sfa_bench.speed.phases import EPOCH, TimedMethod
from sfa_bench.speed.settings import Setting, made_probe
from sfa_bench.speed.timing import now, repeated

BATCHES = (128, 256, 512, 1024, 2048)
FASHION = os.environ.get("SFA_BENCH_FASHION", "/usr/share/datasets/fashion-mnist")
LINES = ("machine", "steps", "graphs", "waiting", "selection", "baseline", "baseline_bf16", "jobs")


class Speed:
    def __init__(self, results, seconds, rehearse):
        self.results, self.rehearse = results, rehearse
        self.until = time.monotonic() + seconds
        self.device = torch.device("cpu" if rehearse else "cuda")
        self.budget = 0.05 if rehearse else 0.6  # seconds of one figure

    def setting(self, bfloat16, **more):
        small = {"size": 400, "imb_factor": 0.5, "batch_size": 16} if self.rehearse else {}
        return Setting(
            str(self.device), torch.get_num_threads(), bfloat16=bfloat16, seconds=self.budget, **{**small, **more}
        )

    def all(self, lines):
        for name in lines:
            if time.monotonic() > self.until:
                self.results.add(name, {"left_out": "no time remained"})
                continue
            try:
                getattr(self, name)()
            except (RuntimeError, subprocess.SubprocessError) as error:  # the others go on
                self.results.add(name, {"error": f"{type(error).__name__}: {error}"[-2000:]})
        self.results.finish()

    def machine(self):
        small = {"side": 64, "copied": 1 << 16} if self.rehearse else {}
        numerics.choose_kernels(self.device, tf32=False, deterministic=False)
        self.results.add("machine", limits(self.device, self.budget, **small))

    def steps(self):
        """Images/s of a training step: PreAct ResNet-18 on 32×32, by precision, kernels and batch."""
        found = []
        width, batches = (4, (16, 32)) if self.rehearse else (64, BATCHES)
        for precision in ("bf16", "fp32", "tf32"):
            for deterministic in (True, False):
                numerics.choose_kernels(self.device, tf32=precision == "tf32", deterministic=deterministic)
                timed = TimedMethod(self.setting(precision == "bf16"), "none", width)
                timed.method.prepare(0, 1)
                timed.method.networks[0].train()
                for batch in batches:
                    entry = {"precision": precision, "deterministic": deterministic, "width": width, "batch": batch}
                    found.append({**entry, "images_per_second": round(self.rate(timed, batch), 1)})
                    self.results.add("steps", found)

    def rate(self, timed, batch):
        act = self.step_of(timed, batch)
        for _ in range(3):
            act()
        return batch / repeated(act, timed.device, self.budget).seconds

    def step_of(self, timed, batch):
        rows = torch.arange(batch) % len(timed.data.index)
        images = timed.method.loaders[timed.device].test_view(rows)
        labels = timed.method.labels[rows].to(timed.device)
        return lambda: timed.method.step(0, F.cross_entropy(timed.method.forward(0, images).main, labels))

    def graphs(self):
        """Images/s of a step at batch 128 in bf16 as it is, as one CUDA graph, and compiled."""
        found = []
        numerics.choose_kernels(self.device, tf32=False, deterministic=True)
        for width in (4,) if self.rehearse else (16, 64):
            entry = {"width": width, "batch": 128}
            found.append(entry)
            for kind in ("eager",) if self.rehearse else ("eager", "graph", "compiled"):
                timed = TimedMethod(self.setting(True), "none", width)
                timed.method.prepare(0, 1)
                timed.method.networks[0].train()
                timed.method.training.compiled = kind == "compiled"
                act = self.step_of(timed, 128)
                began = now(self.device)
                act = self.captured(act) if kind == "graph" else act
                for _ in range(3):
                    act()
                entry[f"{kind}_start"] = round(now(self.device) - began, 2)
                entry[kind] = round(128 / repeated(act, timed.device, self.budget).seconds, 1)
                self.results.add("graphs", found)

    def captured(self, act):
        """A step as a graph whose replay is the step: the same memory each time."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                act()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            act()
        return graph.replay

    def baseline(self, precision="fp32", name="baseline"):
        """Ratios to the plain baseline as the releases run, with Torch's defaults."""
        phases = "loader-2" if self.rehearse else "warm-up,dividemix-sfa"
        words = ["--json", "--device", self.device.type, "--precision", "bf16", "--phase", phases]
        words += ["--seconds", f"{self.budget:g}", "--baseline", precision]
        command = [sys.executable, "-m", "benchmarks.speed", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
        found = json.loads(done.stdout) if done.stdout else {"error": done.stderr[-2000:]}
        found.get("environment", {}).pop("host", None)
        self.results.add(name, found)

    def baseline_bf16(self):
        """The same under bf16 autocast."""
        self.baseline("bf16", "baseline_bf16")

    def waiting(self):
        """Share of an epoch in which no kernel runs, by Torch's profiler; with selectors beside the training or not."""
        found = {}
        for phase, epoch, aside in (
            ("warm-up", 1, True),
            ("dividemix-sfa", EPOCH, True),
            ("dividemix-sfa, selectors first", EPOCH, False),
        ):
            numerics.choose_kernels(self.device, tf32=False, deterministic=True)
            timed = TimedMethod(self.setting(True), "sfa", 4 if self.rehearse else 64)
            timed.method.training.select_aside = aside
            timed.method.epoch(1)
            activities = [torch.profiler.ProfilerActivity.CPU]
            if self.device.type == "cuda":
                activities = [torch.profiler.ProfilerActivity.CUDA]
            began = now(self.device)
            with torch.profiler.profile(activities=activities) as profile:
                timed.method.epoch(epoch)
                took = now(self.device) - began
            busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
            found[phase] = {"seconds": round(took, 3), "kernels": round(busy, 3), "waits": round(1 - busy / took, 3)}
            self.results.add("waiting", found)

    def selection(self):
        """Seconds of one network's selector on the host, by classes and how mixtures are fitted."""
        found = []
        setting = self.setting(True)
        for classes in (10, 100):
            probe = made_probe(setting, classes)
            for fit in ("sklearn", "batched"):
                selector = TimedMethod(setting, "sfa", 4, classes).method.training.selectors[0]
                selector.thresholds = replace(selector.thresholds, fit=fit)
                act = partial(selector.select, probe, EPOCH)
                act()
                entry = {"classes": classes, "samples": len(probe.features), "fit": fit}
                found.append({**entry, "seconds": round(repeated(act, self.device, self.budget).seconds, 4)})
                self.results.add("selection", found)

    def jobs(self):
        """Seconds of as many runs, some at a time on one device; each is a process of its own."""
        count, found = 2 if self.rehearse else 8, []
        digits = ["dataset=digits", "method=dividemix", f"epochs={2 if self.rehearse else 20}"]
        full = ["dataset=fashion_mnist", f"data_dir={FASHION}", "imb_factor=0.01", "method=dividemix"]
        full += ["epochs=3", "warmup_epochs=1", "precision=bf16"]
        for name, words, at_once, shared in (
            ("digits", digits, count, False),
            ("digits", digits, 1, False),
            ("digits", digits, count, True),
            ("full network", full, 4, False),
            ("full network", full, 1, False),
            ("digits", digits, 4, False),
            ("digits", digits, 2, False),
            ("full network", full, 8, False),
            ("full network", full, 2, False),
            ("full network", full, 8, True),
        )[: 1 if self.rehearse else None]:
            if time.monotonic() > self.until:
                break
            if shared and not shutil.which("nvidia-cuda-mps-control"):
                continue
            with tempfile.TemporaryDirectory() as folder, mps(folder) if shared else nullcontext():
                each = [*words, f"replicate=range(0,{count})", f"device={self.device.type}", "threads=1"]
                each += [f"jobs_per_gpu={at_once}", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={at_once}"]
                began = time.perf_counter()
                run("-m", *each, runs=Path(folder, "runs"))
                seconds = round(time.perf_counter() - began, 2)
            found.append({"what": name, "runs": count, "at_once": at_once, "mps": shared, "seconds": seconds})
            self.results.add("jobs", found)


@contextmanager
def mps(folder):
    """NVIDIA's Multi-Process Service for what is started inside."""
    places = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
    for place in places.values():
        Path(place).mkdir()
    os.environ.update(places)
    subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, check=True, timeout=60)
        for name in places:
            del os.environ[name]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("seconds", type=float)
    # What the rehearsal leaves out differs from its neighbour by a word.
    parser.add_argument("--lines", default=",".join(LINES), metavar="NAME,…", help="only these (default: all)")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in small")
    options = parser.parse_args()
    device = "cpu" if options.rehearse else "cuda"
    Speed(Results(options.out, device), options.seconds, options.rehearse).all(
        [name for name in options.lines.split(",") if not (options.rehearse and name == "baseline")]
    )
