"""`sfa-bench embed KEY=VALUE… -o FILE.npz`: the features of a data set by a frozen network, for `dataset=features`.

The network is what `model=` of a run is, a user's own included; nothing is trained and nothing downloaded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from sfa_bench import numerics
from sfa_bench.config import external
from sfa_bench.config.compose import requested
from sfa_bench.config.overrides import last_of_each
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.terminal import Parser, entry_point
from sfa_bench.data import build as build_data
from sfa_bench.data.loader import loader_for
from sfa_bench.data.types import Data, Images, Transform
from sfa_bench.doors import Door
from sfa_bench.engine import building, machine
from sfa_bench.engine.build import build_method
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.models.network import Network
from sfa_bench.store.atomic import replacing
from sfa_bench.store.fingerprint import fingerprint
from sfa_bench.store.folder import writing
from sfa_bench.store.record import command, plain

SCHEMA = 1
GROUPS = ("dataset", "model", "noise", "imbalance")
KEYS = (
    *("data_dir", "noise_ratio", "imb_factor", "replicate", "seed", "data_seed", "device", "threads"),
    "eval.batch_size",
)


@entry_point
def main(arguments: Sequence[str]) -> None:
    """Write the features and print the command that trains on them."""
    options = _parser().parse_intermixed_args(arguments)
    conf = Path(options.config_dir).resolve() if options.config_dir else None
    overrides, file = last_of_each(options.overrides)[0], options.output
    if file.suffix != ".npz":
        raise ConfigError(f"-o {file}: the file of dataset=features ends with .npz")
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"-o {file}: there is no folder {file.parent}")
    config = composed(overrides, conf)
    console = Console(markup=False)
    data = _data(config)
    device = machine.prepare(config.device, config.threads, "fp32", True, config.model.name).devices[0]
    with building.networks(config):
        method = build_method(config, data, [device])
    try:
        network = method.networks[0]
        if not config.model.pretrained and config.model.target is None:
            console.print("note: model.pretrained names no file: these are features of an untrained network")
        arrays = embedded(config, data, network, device, console)
    finally:
        method.close()
    about = record(config, data, network, command(overrides, conf))
    arrays["made_by"] = np.array(json.dumps(plain(about), ensure_ascii=False))
    with writing(file), replacing(file) as place:
        np.savez(place, **arrays)  # type: ignore[arg-type]
    count, width = arrays["x_train"].shape
    say = partial(console.print, highlight=False, soft_wrap=True)
    say(f"{file}: {count:,} training and {len(arrays['x_test']):,} test samples, {width} features each")
    say("this trains on them:")
    # What tells features apart: of timm's models each, and what model=auto is.
    model = config.model.name if config.model.target is None else config.names["model"]
    name = f"{config.dataset.name}_{model}"
    say(command(["dataset=features", f"dataset.name={name}", f"data_dir={file}"]))


def _parser() -> argparse.ArgumentParser:
    door = f"{Door.here.program or 'sfa-bench'} embed"
    parser = Parser(prog=door, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="data set and model, as for a run")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.npz", help="is replaced if it exists")
    parser.add_argument("--config-dir", help="folder of your own choices")
    return parser


def composed(overrides: Sequence[str], conf: Path | None) -> RunConfig:
    """The configuration of the data set as it comes, and of the network. Raises: ConfigError for keys that belong to
    training.
    """
    keys = [word.lstrip("+").partition("=")[0] for word in overrides]
    for word, key in zip(overrides, keys, strict=True):
        if key == "dataset.val" or key == "dataset.val_fraction":
            raise ConfigError(f"{word}: embed keeps all training samples; set {key} where you train on the features")
        if key.partition(".")[0] not in GROUPS and key not in KEYS:
            raise ConfigError(f"{word} belongs to training: embed takes {', '.join(GROUPS)} and {', '.join(KEYS)}")
    usual = [f"{group}=none" for group in ("noise", "imbalance") if not _says(keys, group)]
    config = requested([*overrides, *usual, "method=ce", "plugin=none"], conf)
    if isinstance(config.device, tuple):
        raise ConfigError(f"device=[{','.join(config.device)}]: one network is on one device; set one")
    return config


def _says(keys: Sequence[str], group: str) -> bool:
    """Whether a group of labels is asked for, by its choice or by its rate."""
    rate = {"noise": "noise_ratio", "imbalance": "imb_factor"}[group]
    return any(key == rate or key.partition(".")[0] == group for key in keys)


def _data(config: RunConfig) -> Data:
    with building.data(config):
        data = build_data(config)
    if empty := np.flatnonzero(data.observed_counts == 0).tolist():
        raise ConfigError(f"class {data.class_label(empty[0])} has no training sample, which dataset=features needs")
    return data


def embedded(
    config: RunConfig, data: Data, network: Network, device: torch.device, console: Console
) -> dict[str, np.ndarray]:
    """The arrays that `dataset=features` reads: features float32 [N, d] of the evaluation views, in the order of the
    data set, whose positions are `index`; labels; the clean ones where all are known; names of classes where there are
    any.
    """
    size = numerics.evaluation_batch(config.eval.batch_size, device, math.prod(data.view.images.shape[2:]))
    transform = data.view.transform
    arrays = {
        "x_train": features(network, data.view.images, transform, size, device, console, "train"),
        "y_train": data.view.observed_labels.numpy(),
        "x_test": features(network, data.test.images, transform, size, device, console, "test"),
        "y_test": data.test.labels.numpy(),
    }
    if (data.clean_labels >= 0).all():
        arrays["y_train_clean"] = data.clean_labels
    arrays["index"] = data.index
    first = np.argsort(data.index, kind="stable")  # the subset of a long tail, even the whole, is drawn in an order
    arrays |= {name: arrays[name][first] for name in arrays if name.startswith(("x_train", "y_train", "index"))}
    if data.class_names is not None:
        arrays["class_names"] = np.array(data.class_names)
    return arrays


def features(
    network: Network, images: Images, transform: Transform, size: int, device: torch.device, console: Console, what: str
) -> np.ndarray:
    """Features float32 [N, d] by a network in evaluation mode, batch by batch. Raises: RunError where they are not
    finite.
    """
    found = np.empty((len(images), network.feature_width), dtype=np.float32)
    order = list(torch.arange(len(images)).split(size))
    loader = loader_for(images, transform, device)
    network.eval()
    try:
        with torch.no_grad():
            silent = not console.is_terminal
            views = track(loader.test_views(order), what, len(order), console=console, transient=True, disable=silent)
            for rows, batch in zip(order, views, strict=True):
                found[rows.numpy()] = network.features(batch).float().cpu().numpy()
    finally:
        loader.close()
    if not np.isfinite(found).all():
        raise RunError(f"features of the {what} images are not finite: do the weights belong to this network?")
    return found


def record(config: RunConfig, data: Data, network: Network, typed: str) -> dict[str, Any]:
    """What made the features: `made_by` of the file, JSON."""
    weights = [value.detach().cpu().numpy() for value in network.backbone.state_dict().values()]
    of_file = None
    if config.model.pretrained:
        with open(config.model.pretrained, "rb") as file:
            of_file = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "schema": SCHEMA,
        "command": typed,
        "model": config.to_plain()["model"],
        "weights": {"sha256_of_file": of_file, "fingerprint": fingerprint(*weights)},
        "own_code": external.sources(config, ("model", "dataset")),
        "dataset": config.dataset.name,
        "fingerprints": data.known_fingerprints,
        "mean": data.view.transform.mean,
        "std": data.view.transform.std,
        "noise_rate": data.noise_rate,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("sfa_bench", "numpy", "torch", "torchvision", "timm")},
        },
    }
