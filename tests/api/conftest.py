"""Data of a user's own, and a program that an interrupt reaches."""

import signal

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def small_images(tmp_path_factory):
    """A folder of PNG files of 14×14 pixels: of the classes ant (dark) and bee (bright) 6 each, and 2 each to test."""
    folder, rng = tmp_path_factory.mktemp("small"), np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for name, level in (("ant", 40), ("bee", 200)):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(level, level + 40, (14, 14, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i} ü.png")
    return folder


@pytest.fixture(autouse=True)
def interruptible():
    """Python's own handler, which tests that were started in the background lack."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
