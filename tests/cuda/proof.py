"""What the parts of `prove.sh` share: results as JSON that names the machine, and commands as a user types them."""

import json
import os
import shlex
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import torch

from sfa_bench.engine import machine
from sfa_bench.store.atomic import write_bytes

ROOT = Path(__file__).resolve().parents[2]
KEPT = ("run.json", "metrics.jsonl", "config.yaml", "log.txt")  # of a run that is packed


class Results:
    """A JSON file, replaced after every entry: device, driver, versions and commit, and what was found so far."""

    def __init__(self, path: Path, device: str):
        self.path = path
        self.content = {"machine": described(torch.device(device)), "complete": False, "results": {}}
        self.write()

    def add(self, name, value):
        self.content["results"][name] = value
        self.write()

    def finish(self):
        self.content["complete"] = True
        self.write()

    def write(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path, (json.dumps(self.content, indent=1, sort_keys=False) + "\n").encode())


def described(device):
    """The `environment` of a record without the names of the host, and the driver."""
    found = machine.environment([device], torch.get_num_threads(), False)
    kept = {key: value for key, value in found.items() if key not in ("host", "precision", "deterministic")}
    return {**kept, "driver": driver(), "cores": os.cpu_count(), "when": time.strftime("%Y-%m-%d", time.gmtime())}


def driver():
    """The version of NVIDIA's driver; None where its tool is not there."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        return None


def run(*words, runs, timeout=500):
    """`python run.py` as a user types it; its output. Raises where it does not end with 0."""
    command = [sys.executable, "run.py", *words, f"runs_dir={runs}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    return done.stdout


def sweep(*words, cwd, seconds):
    """`python run.py -m` in a folder, ended (its runs save their state) where it takes longer."""
    command = [sys.executable, str(ROOT / "run.py"), "-m", *words]
    print(shlex.join(command), flush=True)
    process = subprocess.Popen(command, cwd=cwd)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(timeout=60)


def pack(runs, target):
    """The finished runs below a folder as an archive without weights. Returns their records."""
    done = [(folder, record) for folder, record in records(runs) if record["state"] == "done"]
    with tarfile.open(target, "w:gz") as archive:
        for folder, _ in done:
            for path in (folder / name for name in KEPT):
                if path.exists():
                    archive.add(path, str(path.relative_to(runs)))
    return [record for _, record in done]


def figures(record):
    """What is compared of a run, and what it took."""
    metrics, selection = record["metrics"], record["selection"] or {}
    return {
        "hash": record["hash"],
        "final": metrics["test/acc/final"],
        "few": metrics["test/acc/few"],
        "auc": selection.get("auc"),
        "seconds": record["cost"]["total_seconds"],
    }


def records(runs):
    """Every record below a folder with the folder it is in, in the order of their replicates."""
    found = [(path.parent, json.loads(path.read_text())) for path in Path(runs).glob("*/*/*/run.json")]
    return sorted(found, key=lambda one: (one[1]["names"]["method"], one[1]["config"]["replicate"]))
