"""The networks of a finished run, built again from its folder alone, ready to predict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sfa_bench.choices.sources import SOURCES
from sfa_bench.classifiers.fit import Fitted
from sfa_bench.classifiers.heads import restored
from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.config.schema import RunConfig, replaced
from sfa_bench.data.build import build as build_data
from sfa_bench.data.types import Images, LearnerView, Transform
from sfa_bench.engine import building, machine
from sfa_bench.engine.build import build_method
from sfa_bench.engine.changes import refuse_other_data
from sfa_bench.engine.metrics import Logits
from sfa_bench.engine.resume import load_finished
from sfa_bench.errors import ConfigError
from sfa_bench.methods.base import Method
from sfa_bench.store.folder import AGAIN, RunFolder
from sfa_bench.store.ledger import find_done
from sfa_bench.store.reading import Damaged
from sfa_bench.store.record import load as load_record
from sfa_bench.store.record import recorded_overrides


@dataclass(frozen=True)
class Trained:
    """A finished run with its networks. answer: images → each network's logits by head, in evaluation mode."""

    record: dict[str, Any]
    config: RunConfig
    method: Method
    answer: Callable[[Images], Logits]

    @property
    def classes(self) -> list[str]:
        """The names of the K classes; their numbers where the data have no names."""
        return named(self.record["data"], self.method.training.view.num_classes)

    @property
    def files(self) -> bool:
        """Whether it was trained on image files."""
        return SOURCES[self.config.dataset.source].framing is not None

    @property
    def upright(self) -> bool:
        """Whether image files are turned as their EXIF orientation says."""
        return SOURCES[self.config.dataset.source].upright

    def predict(self, images: Images) -> Logits:
        """Logits [M, K] by head of each network for the test views of M images."""
        try:
            return self.answer(images)
        finally:
            self.method.forget(images)


def named(data: dict[str, Any], num_classes: int) -> list[str]:
    """The names of the classes in the `data` of a record; their numbers where there are none."""
    return [str(name) for name in data.get("classes") or range(num_classes)]


def load_trained(path: Path, device: str | tuple[str, str] = "cpu") -> Trained:
    """The networks of the finished run in this folder.

    Raises: ConfigError where it is not done, has no weights, or its command makes another run by now.
    """
    folder = RunFolder(path)
    try:
        record = load_record(path / "run.json")
    except (OSError, Damaged) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}/run.json cannot be read: {reason}") from error
    if record["state"] != "done":
        raise ConfigError(f"{path} is not done ({record['state']}): repeat its command, which is in run.json")
    config = compose(*recorded_overrides(record["command"]))
    if run_hash(config) != record["hash"]:
        raise ConfigError(f"{path}: its command now gives another run (another version, or a changed file)")
    if config.classifier.name != "joint":
        return _with_classifier(folder, record, config, device)
    trained = replaced(config, "model", pretrained=False) if config.model.pretrained else config
    with building.networks(config):
        method = build_method(trained, _shown(folder, record, config), machine.devices(device))
    _load(folder, lambda state: load_finished(method, state, config.epochs))
    return Trained(record, config, method, method.predict)


def _load(folder: RunFolder, take: Callable[[dict[str, Any]], None]) -> None:
    state, note = folder.load_checkpoint(take)
    if state is None:
        why = note.removesuffix(AGAIN) if note else "keep_checkpoint=none, or weights were removed"
        raise ConfigError(f"{folder.path} has no saved model ({why}): repeat its command with rerun=true")


def _with_classifier(folder: RunFolder, record: dict[str, Any], config: RunConfig, device: Any) -> Trained:
    """The networks of the run below a decoupled classifier, which answers in the place of their heads."""
    identity = str(record["cost"].get("base"))
    below = find_done(folder.path.resolve().parents[2], identity)
    if below is None:
        raise ConfigError(f"{folder.path} has no saved model: the run {identity} below it is gone")
    base = load_trained(below, device)
    fitted = Fitted(base.method, [])

    def take(state: dict[str, Any]) -> None:
        pairs = zip(state.get("classifiers", []), base.method.networks, strict=True)
        try:
            fitted.heads = [restored(values, network.main).eval() for values, network in pairs]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise Damaged(f"it holds no classifiers of these networks ({type(error).__name__})") from error

    _load(folder, take)
    return Trained(record, config, base.method, fitted.predict)


def _shown(folder: RunFolder, record: dict[str, Any], config: RunConfig) -> Any:
    """What a learner is built from: the labels and the form of the images, without the images, which may be gone. A
    record of an earlier version lacks that form, and the data are read.
    """
    form = record["data"].get("input")
    try:
        arrays = folder.read_arrays("predictions.npz") if form else {}
    except (OSError, Damaged):
        arrays = {}
    if not arrays:
        with building.data(config):
            data = build_data(replace(config, dataset=replace(config.dataset, cache="off")))
        refuse_other_data(config, record, data.fingerprints)
        return data
    labels = torch.from_numpy(arrays["observed_label"])
    kind = torch.uint8 if len(form["shape"]) == 3 else torch.float32
    view = LearnerView(
        torch.zeros(1, *form["shape"], dtype=kind).expand(len(labels), *form["shape"]),
        labels,
        len(record["data"]["observed_counts"]),
        Transform(tuple(form["mean"]), tuple(form["std"])),
    )
    counts = np.array(record["data"]["observed_counts"])
    return SimpleNamespace(view=view, clean_labels=arrays["clean_label"], observed_counts=counts)
