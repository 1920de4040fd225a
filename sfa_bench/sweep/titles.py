"""What tells the runs of a sweep apart, in a few words each: `ce + sfa · noise 0.2 · replicate 1`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from sfa_bench.config.schema import SEED_KEYS

# Their choices are a run's name, joined by " + ".
WHO = ("method", "loss", "plugin", "classifier")
# Words before a value, where they are not the key itself; values with one word stand together: `noise joint 0.2`.
WORDS = {"noise_ratio": "noise", "imb_factor": "imbalance", "dataset": "", "dataset.name": ""}


def differing(jobs: Iterable[list[str]]) -> list[str]:
    """The keys that not all jobs of a sweep set to one value, in the order in which they come, seeds last."""
    values: dict[str, set[str]] = {}
    often: Counter[str] = Counter()
    number = 0
    for job in jobs:
        number += 1
        for key, value in map(_pair, job):
            values.setdefault(key, set()).add(value)
            often[key] += 1
    keys = [key for key in values if len(values[key]) > 1 or often[key] < number]
    return sorted(keys, key=lambda key: key in SEED_KEYS)


def title(job: list[str], differing: list[str], config: str) -> str:
    """The names of method, plug-in and classifier, and the values of the other keys that differ.

    Args: job, its overrides; config, its stored configuration as JSON, which has the names of the choices.
    """
    names = json.loads(config)["names"]
    who = [names.get(key, "none") for key in ("method", "plugin", "classifier")]
    values, said = dict(map(_pair, job)), {"who": [" + ".join(name for name in who if name not in ("none", "joint"))]}
    for key in differing:
        if key in values and key not in WHO:
            word = WORDS.get(key, key)
            said.setdefault(word, [word] if word else []).append(values[key])
    return " · ".join(" ".join(words) for words in said.values())


@lru_cache(maxsize=65536)  # the runs of a sweep have most of their overrides in common
def _pair(override: str) -> tuple[str, str]:
    key, _, value = override.lstrip("+").partition("=")
    return key, value.strip("'\"")
