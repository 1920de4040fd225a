"""A folder of JPEGs with class names, as a practitioner has: scikit-learn's digits enlarged, some mislabelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE = 16


def write(root: Path, a_class: int = 40, rare: int = 12, share: float = 0.2, seed: int = 0) -> dict[str, str]:
    """train/NAME/0001.jpg … with `a_class` images of each class, `rare` of the last, of which this share lies in the
    folder of another class; test/NAME/… are right. As many of the first class lie in the last one's as of that one
    elsewhere. Returns path in train/ → name of its true class.
    """
    digits, generator = load_digits(), np.random.default_rng(seed)
    enlarged = np.round(digits.images * (255 / 16)).astype(np.uint8)
    truth, into_rare = {}, round(share * rare)
    for k, name in enumerate(NAMES):
        at = np.flatnonzero(digits.target == k)
        count = rare if k == len(NAMES) - 1 else a_class
        wrong = generator.permutation(count) < round(share * count)
        for number in range(count + 20):
            place = f"train/{name}" if number < count else f"test/{name}"
            if number < count and wrong[number]:
                other = NAMES[(k + generator.integers(1, len(NAMES) - 1)) % (len(NAMES) - 1)]
                if k == 0 and into_rare > 0:
                    other, into_rare = NAMES[-1], into_rare - 1
                place = f"train/{other}"
            path = f"{place}/{name[0]}{k}{number:03d}.jpg"
            (root / place).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(enlarged[at[number]]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            image.save(root / path, quality=90)
            if number < count:
                truth[path] = name
    return truth
