"""How fast the device trains: `python speed.py OUT.json SECONDS [--rehearse]`. Each line is kept as soon as it is made.

The lines, in order of what they decide: training steps by batch and precision, and what deterministic kernels cost;
DivideMix with SFA beside the plain baseline (`python -m sfa_bench.speed`); the share of an epoch in which the device
waits; several small runs at once on the device.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from proof import ROOT, Results, run

from sfa_bench import numerics
from sfa_bench.speed.limits import limits
from sfa_bench.speed.ours import EPOCH, Suite
from sfa_bench.speed.settings import Setting
from sfa_bench.speed.timing import repeated

BATCHES = (128, 256, 512, 1024, 2048)


class Speed:
    def __init__(self, results, seconds, rehearse):
        self.results, self.rehearse = results, rehearse
        self.until = time.monotonic() + seconds
        self.device = torch.device("cpu" if rehearse else "cuda")
        self.budget = 0.05 if rehearse else 0.6  # seconds of one figure

    def setting(self, bfloat16, **more):
        small = {"size": 400, "imb_factor": 0.5, "batch_size": 16} if self.rehearse else {}
        return Setting(str(self.device), torch.get_num_threads(), bfloat16, self.budget, **{**small, **more})

    def all(self):
        for name in ("machine", "steps", "baseline", "waiting", "jobs"):
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
                suite = Suite(self.setting(precision == "bf16"), "none", width)
                suite.method.prepare(0, 1)
                suite.method.networks[0].train()
                for batch in batches:
                    entry = {"precision": precision, "deterministic": deterministic, "width": width, "batch": batch}
                    found.append({**entry, "images_per_second": round(self.rate(suite, batch), 1)})
                    self.results.add("steps", found)

    def rate(self, suite, batch):
        rows = torch.arange(batch) % len(suite.data.index)
        images = suite.method.loaders[suite.device].test_view(rows)
        labels = suite.method.labels[rows].to(suite.device)

        def act():
            suite.method.step(0, F.cross_entropy(suite.method.forward(0, images).main, labels))

        for _ in range(3):
            act()
        return batch / repeated(act, suite.device, self.budget).seconds

    def baseline(self):
        """Ratios to the plain baseline as the releases run, with Torch's defaults."""
        phases = "loader-2" if self.rehearse else "loader-2,warm-up,dividemix-sfa"
        words = ["--json", "--device", self.device.type, "--precision", "bf16", "--phase", phases]
        words += ["--seconds", f"{self.budget:g}"]
        command = [sys.executable, "-m", "sfa_bench.speed", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
        self.results.add("baseline", json.loads(done.stdout) if done.stdout else {"error": done.stderr[-2000:]})

    def waiting(self):
        """Share of an epoch in which no kernel runs, by Torch's profiler."""
        found = {}
        for phase, epoch in (("warm-up", 1), ("dividemix-sfa", EPOCH)):
            numerics.choose_kernels(self.device, tf32=False, deterministic=True)
            suite = Suite(self.setting(True), "sfa", 4 if self.rehearse else 64)
            suite.method.epoch(1)
            activities = [torch.profiler.ProfilerActivity.CPU]
            if self.device.type == "cuda":
                activities = [torch.profiler.ProfilerActivity.CUDA]
            began = time.perf_counter()
            with torch.profiler.profile(activities=activities) as profile:
                suite.method.epoch(epoch)
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
            took = time.perf_counter() - began
            busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
            found[phase] = {"seconds": round(took, 3), "kernels": round(busy, 3), "waits": round(1 - busy / took, 3)}
            self.results.add("waiting", found)

    def jobs(self):
        """Seconds of as many digits runs, some at a time on one device; each is a process of its own."""
        count, epochs, found = (2, 2, {}) if self.rehearse else (8, 30, {})
        for at_once in (1, count) if self.rehearse else (8, 4, 2, 1):
            with tempfile.TemporaryDirectory() as runs:
                words = ["dataset=digits", "method=dividemix", f"epochs={epochs}", f"replicate=range(0,{count})"]
                words += [f"device={self.device.type}", f"jobs_per_gpu={at_once}", "threads=1"]
                words += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={at_once}"]
                began = time.perf_counter()
                run("-m", *words, runs=runs)
                found[at_once] = round(time.perf_counter() - began, 2)
            self.results.add("jobs", {"runs": count, "epochs": epochs, "seconds_by_jobs_at_once": found})
            if time.monotonic() > self.until:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in small")
    options = parser.parse_args()
    device = "cpu" if options.rehearse else "cuda"
    Speed(Results(options.out, device), options.seconds, options.rehearse).all()
