"""`sfa-bench evaluate RUN KEY=VALUE …`: a finished run's saved model on the test set of other data with the same
classes, such as new recordings or another version. Nothing is trained, and the record stays as it is; the figures are
written to `evaluations/NAME.json` in the run's folder.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfa_bench.choices.options import NAME
from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import check_overrides, last_of_each
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.terminal import Parser, SafeStream, entry_point
from sfa_bench.config.values import brief
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.digest import seal_json
from sfa_bench.store.folder import ensure_writable, write_file
from sfa_bench.store.record import plain, recorded_overrides

FOLDER = "evaluations"
OF_DATA = ("data_dir", "data_seed", "replicate")
OF_COMPUTING = ("device", "threads", "eval.ensemble", "eval.batch_size")
# Options of data sets that act on training alone.
OF_TRAINING = (
    *("normalise", "augment", "generator", "val", "val_fraction", "fold", "shots", "random_crop", "flip"),
    *("warmup_draw", "selection_draw"),
)


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(
        prog=f"{Door.here.program or 'sfa-bench'} evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="of the data: dataset, dataset.…, data_dir")
    parser.add_argument("--name", metavar="NAME", help="of the file in evaluations/ (that of the data set)")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="conf folder of a data set of your own")
    options = parser.parse_intermixed_args(arguments)
    SafeStream.answers = False
    path, result = evaluate(options.run, options.words, options.name, options.config_dir)

    from rich.console import Console

    from sfa_bench.engine.progress import summary

    shown = Console(markup=False)
    shown.print(f"{result['data']['samples']:,} test samples of {result['name']}", highlight=False)
    once = {key: value for key, value in result["metrics"].items() if key != "test/acc/final"}  # no mean of epochs
    shown.print(summary(once, None))
    shown.print(f"written: {path}", highlight=False, soft_wrap=True)


def evaluate(
    run: Path, words: Sequence[str], name: str | None = None, config_dir: Path | None = None
) -> tuple[Path, dict[str, Any]]:
    """Evaluate a run's saved model and write the result. Returns the file and its content.

    Args: words KEY=VALUE of data, device and evaluation; name: of the file; config_dir: where the run's own has not the
    data set. Raises: ConfigError before anything is computed.
    """
    if name is not None and not re.fullmatch(NAME, name):
        raise ConfigError(
            f"name={brief(name)}: must be letters, digits, '_', '-' and '.', and begin with one of the first"
        )
    check_words(words)
    if not (run / "run.json").is_file():
        raise ConfigError(f"{run} is not the folder of a run: it holds no run.json")

    from sfa_bench.data import build as build_data
    from sfa_bench.engine import building, machine
    from sfa_bench.engine.metrics import summarise
    from sfa_bench.engine.report import tested
    from sfa_bench.engine.trained import load_trained, named

    computing, others = _split(words)
    trained = load_trained(run)
    config = _configuration(trained.record["command"], others, computing, config_dir)
    prepared = machine.prepare(config.device, config.threads, "fp32", config.deterministic, config.model.name)
    if config.device != "cpu":
        trained = load_trained(run, config.device)
    looked_at = replace(config, dataset=replace(config.dataset, cache="off"))
    with building.data(config):
        data = build_data(looked_at)
    _check(data, trained, config.dataset.name)
    data = replace(data, groups=trained.record["data"]["groups"])  # by the classes' sizes in training
    logits = trained.predict(data.test.images)
    more = {key: trained.predict(part.images) for key, part in data.more_tests.items()}
    how = config.eval.ensemble if any(word.startswith("eval.ensemble=") for word in words) else None
    row = tested(data, logits, more, how or trained.config.eval.ensemble)
    metrics = summarise([{"epoch": 1, **row}], 1)
    result = {
        "schema": 1,
        "run": trained.record["hash"],
        "name": name or config.dataset.name,
        "overrides": list(words),
        "data": {
            "name": config.dataset.name,
            "classes": named({"classes": data.class_names}, data.view.num_classes),
            "samples": len(data.test.labels),
            "fingerprints": data.known_fingerprints,
        },
        # No epoch was chosen, and there is one only.
        "metrics": {key: value for key, value in metrics.items() if not key.endswith(("/best", "/last10", "_val"))},
        "environment": prepared.environment,
    }
    path = run / FOLDER / f"{result['name']}.json"
    ensure_writable(path.parent)
    write_file(path, seal_json(json.dumps(plain(result), allow_nan=False, indent=1, ensure_ascii=False)))
    return path, result


def check_words(words: Sequence[str]) -> None:
    """Refuse keys that cannot act on a test set."""
    for word in words:
        key = word.partition("=")[0].lstrip("+~")
        group, _, option = key.partition(".")
        if option.partition(".")[0] in OF_TRAINING and group == "dataset":
            raise ConfigError(f"{brief(word)} acts on training alone, and nothing is trained: leave {key} out")
        if group != "dataset" and key not in (*OF_DATA, *OF_COMPUTING):
            raise ConfigError(
                f"{brief(word)}: the model is the run's own; evaluate takes dataset, dataset.KEY, "
                f"{', '.join((*OF_DATA, *OF_COMPUTING))}"
            )


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words of computing, and those of data."""
    computing = [word for word in words if word.partition("=")[0] in OF_COMPUTING]
    return computing, [word for word in words if word not in computing]


def _configuration(command: str, data: list[str], computing: list[str], config_dir: Path | None) -> RunConfig:
    """The configuration whose test set is meant: the run's own with other values of its data set, or another data
    set as it is by default. Raises: ConfigError.
    """
    own, conf = recorded_overrides(command)
    conf = config_dir or conf
    check_overrides([*data, *computing], None if conf is None else conf.resolve())
    if any(word.startswith("dataset=") for word in data):
        own = ["method=ce", "plugin=none", "noise=none", "imbalance=none"]
    else:
        own = [word for word in own if word.partition("=")[0] not in ("device", "threads")]
    return compose(last_of_each([*own, *data, *computing])[0], conf)


def _check(data: Any, trained: Any, name: str) -> None:
    """Refuse data with other classes, channels or sizes than the run's. Raises: ConfigError."""
    there, wanted = trained.record["data"], trained.method.training.view
    if data.view.num_classes != wanted.num_classes:
        raise ConfigError(
            f"{name} has {data.view.num_classes} classes, and the run has {wanted.num_classes}: a model is evaluated "
            "on the classes that it was trained on"
        )
    names, known = data.class_names, there.get("classes")
    if names is not None and known is not None and list(names) != list(known):
        k = next(k for k, (a, b) in enumerate(zip(names, known, strict=True)) if a != b)
        raise ConfigError(
            f"{name} has other classes than the run: number {k} is {brief(names[k])}, and it was {brief(known[k])}; "
            "give data with the same classes in the same order"
        )
    for part in (data.test, *data.more_tests.values()):
        if tuple(part.images.shape[1:]) != tuple(wanted.images.shape[1:]):
            raise ConfigError(
                f"the test samples of {name} are {_form(part.images.shape[1:])}, and the run was trained on "
                f"{_form(wanted.images.shape[1:])}: bring them to its form, or train a run on theirs"
            )


def _form(shape: Sequence[int]) -> str:
    if len(shape) == 1:
        return f"vectors of {shape[0]} numbers"
    channels, height, width = shape
    return f"images of {height}×{width} pixels with {channels} channel{'s' if channels > 1 else ''}"
