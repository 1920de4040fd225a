"""The machine a run uses: device, precision, threads; and what the record says about it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

from sfa_bench import numerics
from sfa_bench.choices.models import MODELS
from sfa_bench.cores import cores
from sfa_bench.errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]
_preloaded: list[ThreadpoolController] = []  # the libraries of a process that has just been forked
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # as in glibc's malloc.h
_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "hydra-core", "pillow", "sfa_bench")


def devices(name: str | tuple[str, str]) -> list[torch.device]:
    """The devices a configuration names; `auto` takes CUDA where there is one.

    Raises: ConfigError for a device that this machine does not have.
    """
    if name == "auto":
        return [torch.device("cuda" if torch.cuda.is_available() else "cpu")]
    available = []
    for choice in (name,) if isinstance(name, str) else name:
        try:
            device = torch.device(choice)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"device={choice} cannot be used here ({reason}); set device=auto") from error
        available.append(device)
    return available


def has_bfloat16(device: torch.device) -> bool:
    """Whether this hardware multiplies in bfloat16; without, Torch emulates it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else ""
    return "AVX512" in capabilities and torch.backends.mkldnn.is_available()


def uses_bfloat16(precision: str, device: torch.device, model: str) -> bool:
    """Whether the backbone trains in bfloat16: always for `bf16`; for `auto` where the hardware supports it and it is
    faster.

    model: a name in `choices.models`.
    """
    if precision != "auto":
        return precision == "bf16"
    return has_bfloat16(device) and (device.type != "cpu" or MODELS[model].bfloat16_pays_on_cpu)


def precision_used(precision: str, device: torch.device, bfloat16: bool) -> str:
    """The precision in which the backbone trains: `bf16`, `tf32` or `fp32`; only CUDA has TF32."""
    if bfloat16:
        return "bf16"
    return "tf32" if precision == "tf32" and device.type == "cuda" else "fp32"


def driver(device: torch.device) -> dict[str, Any]:
    """CUDA's versions and the device's capability, for the record; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
    return {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "capability": capability}


def check_compile(used: list[torch.device], model: str) -> None:
    """Raises ConfigError where torch.compile would not do what `compile=true` asks for."""
    if why := MODELS[model].uncompiled:
        raise ConfigError(f"compile=true cannot compile model={model}, {why}; leave compile=false")
    usual = "clang++" if sys.platform == "darwin" else "g++"
    needs = {"cpu": [os.environ.get("CXX", usual)], "cuda": [os.environ.get("CC", "gcc"), "clang"]}  # Triton takes C
    for device in used:
        compilers = [shlex.split(command)[0] for command in needs.get(device.type, []) if command.strip()]
        if compilers and not any(shutil.which(compiler) for compiler in compilers):
            raise ConfigError(
                f"compile=true needs a compiler for {device.type}, and {' or '.join(compilers)} is not there; "
                "install it or leave compile=false"
            )


def set_threads(threads: int | None) -> int:
    """Use that many CPU threads, or as many as this process has cores; NumPy's BLAS and scikit-learn too, whether they
    are loaded already or when a run first needs them.
    """
    torch.set_num_threads(threads or cores())
    number = torch.get_num_threads()
    for name in numerics.THREADS:  # which a library reads when it is loaded
        os.environ[name] = str(number)
    (_preloaded.pop() if _preloaded else ThreadpoolController()).limit(limits=number)
    return number


def preload() -> None:
    """Look up what does not change while this process and its forks live, without starting a thread."""
    for look in (commit, code, processor, versions, platform.platform):
        look()
    _preloaded.append(ThreadpoolController())


def keep_freed_memory() -> None:
    """Let glibc, where that is the C library, keep blocks of up to 32 MiB that are freed, instead of giving them back.

    A training step frees most of what it took, and the next one takes it again: as new pages, which the kernel clears
    first, that costs up to a third of the step. Larger blocks go back: to keep them, too, holds up to 0.6 GB more.
    Thresholds that were set by glibc's own variables stay.
    """
    preset = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"} & os.environ.keys()
    if platform.libc_ver()[0] == "glibc" and not preset:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc allows
        libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never


def peak_memory(device: torch.device) -> dict[str, int]:
    """Largest memory of this process so far, in bytes: of the host, and of a CUDA device."""
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device)
    return peak


@cache
def commit() -> tuple[str | None, bool | None]:
    """Commit of the code that runs and whether files of it were changed; None outside a git checkout."""
    root = Path(__file__).resolve().parents[2]
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


@cache
def processor() -> str:
    """The processor's name from Linux, else from `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@cache
def code() -> str:
    """A digest of the code of this version of the suite, 12 hex digits; uncommitted changes count."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers may depend on."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}


@dataclass(frozen=True)
class Prepared:
    """What a run computes on. environment: of its record; bfloat16: whether the backbone trains in it."""

    devices: list[torch.device]
    bfloat16: bool
    environment: dict[str, Any]


def prepare(
    device: str | tuple[str, str],
    threads: int | None,
    precision: str,
    deterministic: bool,
    model: str,
    compiled: bool = False,
) -> Prepared:
    """Set this process's threads and kernels as a run asks for them. Raises ConfigError for what is not here."""
    used = devices(device)
    number = set_threads(threads)
    if compiled:
        check_compile(used, model)
    bfloat16 = uses_bfloat16(precision, used[0], model)
    numerics.choose_kernels(used[0], tf32=precision == "tf32", deterministic=deterministic)
    return Prepared(used, bfloat16, environment(used, number, bfloat16, precision, deterministic))


def environment(
    used: list[torch.device], threads: int, bfloat16: bool, precision: str = "fp32", deterministic: bool = True
) -> dict[str, Any]:
    """The `environment` of a record. deterministic: whether only deterministic kernels are allowed."""
    head, modified = commit()
    device = used[0]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {
        "versions": dict(versions()),
        "commit": head,
        "modified": modified,
        "code": code(),
        "platform": platform.platform(),
        "host": platform.node(),
        "device": [str(d) for d in used],
        "device_name": name,
        "instructions": torch.backends.cpu.get_cpu_capability(),  # processors of one name differ, and so do last bits
        "threads": threads,
        "precision": precision_used(precision, device, bfloat16),
        "deterministic": deterministic or device.type == "cpu",
        **driver(device),
    }
