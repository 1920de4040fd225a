"""On a CUDA device, or rehearsed on the CPU: `prove.sh` runs these and keeps what each test measured as JSON.

Environment: SFA_BENCH_REHEARSE=1 takes the CPU in the device's place, and shorter runs; SFA_BENCH_RESULTS=FILE is where
the results go, rewritten after every test, so that a cut costs no more than the test that was running.
"""

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # beside each other, as the scripts of this folder are run

from proof import Results

HERE = Path(__file__).parent
REHEARSE = os.environ.get("SFA_BENCH_REHEARSE") == "1"
RESULTS = os.environ.get("SFA_BENCH_RESULTS")
REASON = "needs a CUDA device; `tests/cuda/prove.sh OUT --rehearse` does the same on the CPU"


def pytest_configure(config):
    config.results = Results(Path(RESULTS), "cpu" if REHEARSE else "cuda") if RESULTS else None


def pytest_collection_modifyitems(items):
    skip = pytest.mark.skip(reason=REASON)
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker("cuda")
            if not (REHEARSE or torch.cuda.is_available()):
                item.add_marker(skip)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    results = item.config.results
    if results is None or not (report.when == "call" or report.failed or report.skipped):
        return
    entry = {"outcome": report.outcome, "seconds": round(report.duration, 2), **dict(item.user_properties)}
    if report.failed:
        entry["message"] = str(report.longrepr)[-2000:]
    results.add(item.nodeid.rpartition("/")[2], entry)


@pytest.fixture(scope="session")
def rehearse():
    return REHEARSE


@pytest.fixture(scope="session")
def device():
    return torch.device("cpu" if REHEARSE else "cuda")


@pytest.fixture
def measured(record_property):
    """Keep figures of this test in the results: `measured(error=1e-6)`."""

    def keep(**figures):
        for name, value in figures.items():
            record_property(name, value)

    return keep
