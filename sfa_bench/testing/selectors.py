"""The contract of a selector."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from sfa_bench import streams
from sfa_bench.selectors.base import Probe, Selection, Selector, Thresholds, flaw
from sfa_bench.testing.common import CLASSES, demand, disturbed, named, subclass, through_a_file, untouched

SAMPLES = 240
MOVED = 0.1  # share of samples that may change sides in another order: mixtures begin at random samples


def check_selector(cls: type[Selector], **options: Any) -> None:
    """Check a subclass of `Selector` with these keyword arguments.

    Its answers must be valid selections, also where a class has one sample or none and where all features are alike; it
    leaves the probe as it is, draws from its own generator only, goes on from its state, and selects nearly the same
    where the samples come in another order (unless it draws).
    """
    name = subclass(cls, Selector)
    probe = _probe()
    straight = _selector(cls, options)
    answers = []
    for e in (1, 2, 3):
        answers.append(_answer(straight, probe, e))
        if e == 2:
            stored = through_a_file(name, straight.state())
    cut = _selector(cls, options)
    with named(f"{name}.load_state fails for its own state"):
        cut.load_state(stored)
    if not _alike(answers[2], _answer(cut, probe, 3)):
        raise AssertionError(
            f"{name}: epoch 3 from the state of epoch 2 selects otherwise: keep what later epochs need in state() and "
            "load_state()"
        )
    with disturbed():
        again = _selector(cls, options)
        for e, answer in enumerate(answers, start=1):
            if not _alike(answer, _answer(again, probe, e)):
                raise AssertionError(
                    f"{name}: its selection depends on a global random generator: take a parameter `generator` "
                    "(epoch -> np.random.Generator)"
                )
    if "generator" not in inspect.signature(cls).parameters:
        order = np.random.default_rng(1).permutation(SAMPLES)
        moved = _answer(_selector(cls, options), _reordered(probe, order), 1)
        if (moved.mask != answers[0].mask[order]).mean() > MOVED:
            raise AssertionError(f"{name}: its selection depends on the order of the samples, which is that of a file")
    alike = replace(probe, features=np.zeros_like(probe.features), logits=np.zeros_like(probe.logits))
    _answer(_selector(cls, options), replace(alike, abc_logits=None), 1)


def _probe() -> Probe:
    rng = np.random.default_rng(3)
    labels = rng.integers(CLASSES, size=SAMPLES)
    labels[:2] = CLASSES, CLASSES  # a class of two samples, one of a single one, and one without any
    labels[2] = CLASSES + 1
    logits = rng.normal(size=(SAMPLES, CLASSES + 3)).astype(np.float32)
    logits[np.arange(SAMPLES), labels] += rng.choice([3.0, -1.0], SAMPLES, p=[0.7, 0.3])
    features = np.abs(rng.normal(size=(SAMPLES, 6)) + logits[:, :6]).astype(np.float32)
    return Probe(features, logits, logits[::-1].copy(), labels, np.arange(SAMPLES))


def _selector(cls: type[Selector], options: dict[str, Any]) -> Selector:
    filled: dict[str, Any] = {}
    if "generator" in inspect.signature(cls).parameters:
        filled["generator"] = partial(streams.numpy_generator, 0, "own_selector", 0)
    with named(f"{cls.__name__} cannot be made"):
        return cls(Thresholds(), **options, **filled)  # type: ignore[call-arg]


def _answer(selector: Selector, probe: Probe, e: int) -> Selection:
    name = type(selector).__name__
    if selector.all_networks:
        probe = replace(probe, others=(replace(probe, logits=probe.logits + 0.5),))
    kept = [values.copy() for values in vars(probe).values() if isinstance(values, np.ndarray)]
    with untouched(name), named(f"{name}.select fails"):
        selection = selector.select(probe, e)
    if wrong := flaw(selection, probe):
        raise AssertionError(f"{name}.select in epoch {e}: {wrong}")
    for before, now in zip(kept, (v for v in vars(probe).values() if isinstance(v, np.ndarray)), strict=True):
        demand(np.array_equal(before, now), f"{name}.select changes the probe in place: work on copies")
    return selection


def _reordered(probe: Probe, order: np.ndarray) -> Probe:
    moved = {key: v[order] for key, v in vars(probe).items() if isinstance(v, np.ndarray) and key != "rows"}
    return replace(probe, **moved)


def _alike(one: Selection, other: Selection) -> bool:
    return np.array_equal(one.mask, other.mask) and np.array_equal(one.clean_probability, other.clean_probability)
