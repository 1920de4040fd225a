"""The contract of a method."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sfa_bench import models, streams
from sfa_bench.choices.models import ModelConfig
from sfa_bench.data.types import LearnerView, Transform
from sfa_bench.engine.contract import Contract, check_answers
from sfa_bench.errors import ConfigError
from sfa_bench.methods.base import Method, Optimisation, Training
from sfa_bench.models.network import batch_norms
from sfa_bench.selectors.base import Probe, Selection, Selector
from sfa_bench.testing.common import (
    CLASSES,
    demand,
    differences,
    disturbed,
    named,
    subclass,
    through_a_file,
    untouched,
)

EPOCHS, WARMUP, SAMPLES = 4, 1, 57


def check_method(cls: type[Method], **options: Any) -> None:
    """Check a subclass of `Method` with these keyword arguments.

    It trains four epochs of which the last three select, with a balanced head and without; it must return its loss,
    learn with every network and head, update BatchNorm, take an empty selection, predict without a trace, draw from its
    own streams only, and go on from its state to the same bits. What it refuses in `__init__` by ConfigError or
    ValueError, a selector or a balanced head, it is not asked for.
    """
    name = subclass(cls, Method)
    (selector, head), *others = _taken(cls, options)
    straight = _Story(cls, options, selector, head)
    for e in range(1, EPOCHS + 1):
        straight.epoch(e)
        if e == 2:
            stored = through_a_file(name, straight.method.state())
    ended = straight.method.state()
    cut = _Story(cls, options, selector, head)
    with named(f"{name}.load_state fails for its own state"):
        cut.method.load_state(stored)
    for e in range(3, EPOCHS + 1):
        cut.epoch(e)
    if where := next(differences(ended, cut.method.state(), "state"), None):
        raise AssertionError(
            f"{name}: after epochs 3 and 4 from the state of epoch 2, {where} is not what it is without a break: keep "
            "what later epochs need in state() and load_state()"
        )
    with disturbed():
        other = _Story(cls, options, selector, head)
        for e in range(1, EPOCHS + 1):
            other.epoch(e)
    if where := next(differences(ended, other.method.state(), "state"), None):
        raise AssertionError(
            f"{name}: {where} depends on a global random generator: draw from self.generator(stream, k, e)"
        )
    _check_finished(straight.method, _Story(cls, options, selector, head).method)
    for selector, head in others:
        story = _Story(cls, options, selector, head)
        for e in range(1, 4):
            story.epoch(e)


def _taken(cls: type[Method], options: dict[str, Any]) -> list[tuple[type[Half] | None, bool]]:
    """The selectors and heads that a method takes, most demanding first. Raises: AssertionError where it takes none."""
    taken: list[tuple[type[Half] | None, bool]] = []
    for selector, head in ((Half, True), (Half, False), (None, True), (Nothing, True), (None, False)):
        try:
            _Story(cls, options, selector, head)
        except AssertionError as error:
            if not isinstance(error.__cause__, (ConfigError, ValueError)):
                raise
            refusal = error
        else:
            taken.append((selector, head))
    if not taken:
        raise refusal
    return taken


class Half(Selector):
    """Selects every other sample."""

    def select(self, probe: Probe, epoch: int) -> Selection:
        mask = np.arange(len(probe.observed_labels)) % 2 == self.chosen(epoch)
        return Selection.by_rule(probe, mask, np.where(mask, 0.9, 0.2), np.where(mask, 1.0, 0.0))

    def chosen(self, epoch: int) -> int:
        """Which of both halves."""
        return epoch % 2


class Nothing(Half):
    """Selects no sample."""

    def chosen(self, epoch: int) -> int:
        return 2


class _Story:
    """A method on tiny images, whose epochs are held to what a run requires."""

    def __init__(self, cls: type[Method], options: dict[str, Any], selector: type[Half] | None, head: bool = True):
        self.name = cls.__name__
        brought = "none" if selector is None else "check"
        self.about = f" with {'a balanced head' if head else 'the main head alone'} and " + (
            "no selector" if selector is None else "an empty selection" if selector is Nothing else "a selector"
        )
        networks = int(options.get("networks", cls.networks_used))
        training = _training(head, [] if selector is None else [selector() for _ in range(networks)])
        with named(f"{self.name} cannot be made{self.about}"):
            self.method = cls(training, **options)
        config: Any = SimpleNamespace(
            names={"method": self.name, "plugin": brought},
            method=SimpleNamespace(target=self.name, selector=SimpleNamespace(name=brought)),
            plugin=SimpleNamespace(selector=brought),
            eval=SimpleNamespace(ensemble="logit_sum"),
        )
        self.contract = Contract(config, self.method)
        self.learns = selector is not Nothing

    def epoch(self, e: int) -> None:
        """Train an epoch. Raises AssertionError where it is not as a run requires."""
        before = _tracked(self.method)
        with untouched(self.name), named(f"{self.name}.epoch({e}) fails{self.about}"):
            figures = self.contract.epoch(e)
        if self.learns and figures["loss"] is not None:
            for k, (then, now) in enumerate(zip(before, _tracked(self.method), strict=True), start=1):
                demand(
                    now > then,
                    f"{self.name}: no batch passed through network {k} in training mode in epoch {e}: train each of "
                    "self.networks, after self.networks[k].train(), or set networks_used",
                )
        images = _some(self.method)
        state = through_a_file(self.name, self.method.state())
        with untouched(self.name), named(f"{self.name}.predict fails"):
            answers = self.method.predict(images)
            again = self.method.predict(images)
            check_answers(answers, 5, CLASSES, f"{self.name}: the logits", f"epoch {e}")
        demand(
            next(differences(answers, again, "logits"), None) is None,
            f"{self.name}.predict gives other logits the second time: it must be in evaluation mode",
        )
        if where := next(differences(state, through_a_file(self.name, self.method.state()), "state"), None):
            raise AssertionError(f"{self.name}.predict changes {where}: it must leave the method as it is")


def _training(head: bool, selectors: list[Selector]) -> Training:
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    images = torch.randint(0, 120, (SAMPLES, 1, 8, 8), generator=generator)
    images[torch.arange(SAMPLES), 0, labels, 0] = 255  # by which a class can be learned
    view = LearnerView(images.to(torch.uint8), labels, CLASSES, Transform((0.3,), (0.25,), 1))
    heads = ("main", "abc") if head else ("main",)
    model = ModelConfig(name="convnet", width=4)
    return Training(
        view=view,
        build_network=lambda k: models.build(model, 1, (8, 8), CLASSES, heads, streams.derive(0, "weights", k)),
        optimisation=Optimisation(0.02, 0.9, 5e-4, drop_from=EPOCHS, drop=0.1, epochs=EPOCHS),
        seed=0,
        epochs=EPOCHS,
        warmup_epochs=WARMUP if selectors else 0,
        batch_size=8,
        plain_batch=16,
        evaluation_batch=32,
        devices=[torch.device("cpu")],
        selectors=selectors,
    )


def _check_finished(method: Method, fresh: Method) -> None:
    """What a finished run keeps must be enough to predict."""
    name, state = type(method).__name__, method.state()
    if missing := [key for key in method.kept_when_done if key not in state]:
        raise AssertionError(f"{name}.kept_when_done names {', '.join(missing)}, which state() does not have")
    kept = through_a_file(name, {key: state[key] for key in method.kept_when_done})
    with named(f"{name}.load_trained fails for what kept_when_done names"):
        fresh.load_trained(kept)
    images = _some(method)
    if next(differences(method.predict(images), fresh.predict(images), "logits"), None):
        raise AssertionError(
            f"{name}: what kept_when_done names of its state does not give its predictions back: name more there, and "
            "load it in load_trained"
        )


def _some(method: Method) -> torch.Tensor:
    """Five of the images."""
    images = method.training.view.images
    assert isinstance(images, torch.Tensor)
    return images[:5]


def _tracked(method: Method) -> list[int]:
    """Updates of each network's batch statistics."""
    return [sum(int(norm.num_batches_tracked or 0) for norm in batch_norms(network)) for network in method.networks]
