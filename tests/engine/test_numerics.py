"""What a CUDA device is told, seen from a machine without one: Torch keeps these switches for itself and says them."""

import os

import pytest
import torch

from sfa_bench import numerics
from sfa_bench.config.canonical import canonical
from sfa_bench.config.compose import compose
from sfa_bench.engine import machine

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture(autouse=True)
def as_before():
    """Torch's switches are the process's: other tests find them as they were."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    allowed, benchmark = [b.allow_tf32 for b in backends], torch.backends.cudnn.benchmark
    filled = torch.utils.deterministic.fill_uninitialized_memory
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    for backend, value in zip(backends, allowed, strict=True):
        backend.allow_tf32 = value
    torch.backends.cudnn.benchmark = benchmark
    torch.utils.deterministic.fill_uninitialized_memory = filled
    torch.use_deterministic_algorithms(False)
    if workspace is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def switches():
    found = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    return (*found, torch.are_deterministic_algorithms_enabled())


def test_fp32_means_fp32_and_bits_repeat():
    torch.backends.cudnn.allow_tf32 = True  # Torch's own default
    numerics.choose_kernels(CUDA, tf32=False, deterministic=True)
    assert switches() == (False, False, False, True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")  # what cuBLAS's manual asks for


def test_tf32_and_the_fastest_kernels_are_choices():
    numerics.choose_kernels(CUDA, tf32=True, deterministic=False)
    assert switches() == (True, True, True, False)


def test_a_cpu_is_left_as_it_is():
    before = switches()
    numerics.choose_kernels(CPU, tf32=True, deterministic=True)
    assert switches() == before


def test_selection_and_evaluation_are_fp32_inside_and_training_is_as_before_after_it():
    numerics.choose_kernels(CUDA, tf32=True, deterministic=True)
    with numerics.full_precision():
        assert switches()[:2] == (False, False)
    assert switches()[:2] == (True, True)


def test_an_error_in_an_evaluation_leaves_training_as_it_was():
    def fails():
        with numerics.full_precision():
            raise ZeroDivisionError

    numerics.choose_kernels(CUDA, tf32=True, deterministic=True)
    with pytest.raises(ZeroDivisionError):
        fails()
    assert switches()[:2] == (True, True)


def test_what_runs_is_named():
    assert machine.precision_used("tf32", CUDA, False) == "tf32"
    assert machine.precision_used("tf32", CPU, False) == "fp32"
    assert machine.precision_used("fp32", CUDA, False) == "fp32"
    assert machine.precision_used("auto", CUDA, True) == "bf16"
    assert machine.environment([CPU], 1, False)["deterministic"] is True


def test_only_what_acts_is_in_the_identity():
    usual = canonical(compose([]))
    assert canonical(compose(["deterministic=true", "precision=fp32"])) == usual
    assert canonical(compose(["deterministic=false"])) == {**usual, "deterministic": False}
    assert canonical(compose(["deterministic=false", "device=cpu"])) == usual
    assert canonical(compose(["precision=tf32"])) == {**usual, "precision": "tf32"}


def test_a_gpu_evaluates_as_many_images_at_once_as_it_takes_to_be_busy():
    def batches(device, *sides, batch_size=256):
        return [numerics.evaluation_batch(batch_size, device, side * side) for side in sides]

    assert batches(CPU, 1, 32, 224) == [256, 256, 256]
    assert batches(CUDA, 8, 32, 64, 224) == [2048, 2048, 512, 256]
    assert batches(CUDA, 32, 224, batch_size=10) == [80, 10]


def test_threads_of_a_run_in_a_program_are_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with numerics.kept():
        machine.set_threads(1)
        assert [os.environ[name] for name in numerics.THREADS] == ["1"] * 3
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ
