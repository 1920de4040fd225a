"""The command `python -m sfa_bench.data`: parses its arguments, refuses with one sentence (exit status 2) or acts."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sfa_bench.choices.sources import SOURCES
from sfa_bench.config.terminal import Parser, entry_point
from sfa_bench.data.build import build
from sfa_bench.data.tools import check as checking
from sfa_bench.data.tools import describe as describing
from sfa_bench.data.tools import export as exporting
from sfa_bench.data.tools import fingerprints as printing
from sfa_bench.data.tools.composing import compose_data
from sfa_bench.data.tools.fake import layouts, make_fake
from sfa_bench.data.tools.terminal import plain
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.record import command


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command; it refuses, too, a data set that cannot be trained on."""
    width = max(map(len, COMMANDS)) + 2
    listed = "\n".join(f"  {name:<{width}}{(act.__doc__ or '').splitlines()[0]}" for name, act in COMMANDS.items())
    door = Parser(
        prog=_prog(),
        usage=f"{_prog()} COMMAND …",
        description=f"Tools for data sets.\n\ncommands:\n{listed}\n\nCOMMAND --help says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    door.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=" | ".join(COMMANDS))
    COMMANDS[door.parse_args(arguments[:1]).command](arguments[1:])


def _prog() -> str:
    return Door.here.tool("sfa_bench.data")


def _make_fake(arguments: Sequence[str]) -> None:
    """make a tiny copy of a data set's files, with generated images"""
    parser = Parser(prog=f"{_prog()} make-fake", description=(_make_fake.__doc__ or ""))
    parser.add_argument("dataset", metavar="DATASET", help=", ".join(layouts()))
    parser.add_argument("folder", metavar="DIR", type=Path, help="a new or empty folder")
    parser.add_argument("--size", type=int, metavar="N", help="training images a class; a quarter of it for testing")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="equal seeds make equal files (default: 0)")
    parser.add_argument("--side", type=int, metavar="PIXELS", help="shorter side of images, where the layout is open")
    options = parser.parse_args(arguments)
    overrides = make_fake(options.dataset, options.folder, options.size, options.seed, options.side)
    print(f"{options.folder} is laid out as {options.dataset}; this trains on it:")
    print(command(overrides))


def _check(arguments: Sequence[str]) -> None:
    """list the existing and missing files of a data set, and whether it can be trained on"""
    parser = Parser(prog=f"{_prog()} check", description=f"{_check.__doc__}; exit status 0 if so, 2 if not")
    parser.add_argument("dataset", metavar="DATASET", help="as for a run")
    _overrides(parser)
    parser.add_argument("--images", action="store_true", help="also decode every image file, on all cores")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_intermixed_args(arguments)
    if "=" in options.dataset:
        raise ConfigError(f"check takes the name of the data set first: check DATASET {options.dataset} …")
    if repeated := [word for word in options.overrides if word.startswith("dataset=")]:
        raise ConfigError(f"the data set is named twice: {options.dataset} and {repeated[0]}")
    overrides = [f"dataset={options.dataset}", *options.overrides]
    described = SOURCES.get(options.dataset)
    own = described is not None and described.own  # whose name is of no use to a check
    if own and not any(word.startswith("dataset.name=") for word in overrides):
        overrides.append("dataset.name=unnamed")
    config = compose_data(overrides, options.config_dir)
    result = checking.check(config, options.dataset, options.images)
    if options.json:
        text = json.dumps(result.to_plain(), indent=1, ensure_ascii=False)
        print(text.encode(errors="backslashreplace").decode())  # names that are not UTF-8: JSON's own escapes
    else:
        checking.show(result, config)
    if result.sentence is not None:
        sys.stdout.flush()
        raise ConfigError(plain(result.sentence))


def _describe(arguments: Sequence[str]) -> None:
    """class counts before and after, realised noise; with -o figures and a page with images"""
    parser = Parser(prog=f"{_prog()} describe", description=(_describe.__doc__ or ""))
    _overrides(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="new folder for figures and index.html")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_intermixed_args(arguments)
    config = compose_data(options.overrides, options.config_dir)
    if options.output is not None:
        describing.refuse_full(options.output)
    description = describing.describe(config)
    written = []
    if options.output is not None:
        from sfa_bench.data.tools.page import write  # Matplotlib is slow to import

        again = shlex.join([*_prog().split(), "describe", *arguments])
        written = write(description, config, again, options.output)
    if options.json:
        print(json.dumps(description.to_plain(), indent=1, ensure_ascii=False))
        return
    describing.show(description)
    if written:
        print("written: " + ", ".join(map(str, written)))


def _export(arguments: Sequence[str]) -> None:
    """write the noisy labels to a .csv or .npz, so that others can use identical ones"""
    parser = Parser(prog=f"{_prog()} export", description=(_export.__doc__ or ""))
    _overrides(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", required=True, help="a new .csv or .npz")
    options = parser.parse_intermixed_args(arguments)
    config = compose_data(options.overrides, options.config_dir)
    exporting.paths(options.output)
    data = build(config)
    written = exporting.export(data, config, options.overrides, options.output)
    rate = "clean labels unknown" if data.noise_rate is None else f"{100 * data.noise_rate:.2f} % noisy"
    print(f"{describing.title(config, data.noise_rate)}: {len(data.index):,} training labels, {rate}")
    for name, part in data.more_tests.items():
        print(f"the {len(part.labels):,} samples of {name} are not among them: this form has one test set")
    if data.val is not None and "path" not in exporting.columns(data, config):
        print(f"the {len(data.val.labels):,} samples held out for validation are not among them")
    print("written: " + ", ".join(map(str, written)))


def _fingerprints(arguments: Sequence[str]) -> None:
    """one line for each label set of a grid: counts, realised noise, fingerprints"""
    parser = Parser(
        prog=f"{_prog()} fingerprints",
        description=f"{_fingerprints.__doc__}. Values as for a sweep: KEY=V1,V2 or +sweep=NAME; what decides "
        "about no label is passed over.",
    )
    _overrides(parser)
    parser.add_argument("--format", choices=("csv", "md"), default="csv", help="default: csv, with the class counts")
    options = parser.parse_intermixed_args(arguments)
    lines = (setting.line() for setting in printing.settings(options.overrides, options.config_dir))
    if options.format == "csv":
        printing.write_csv(lines)
    else:
        print(printing.markdown(list(lines)))


def _overrides(parser: Parser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for a run")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="conf folder of your own, as for a run")


COMMANDS = {
    "make-fake": _make_fake,
    "check": _check,
    "describe": _describe,
    "export": _export,
    "fingerprints": _fingerprints,
}
