"""Remove files that are no longer needed: `python -m analysis.status clean RUNS… [--weights] [--dry-run]`.

These are shared warm-ups that no unfinished run of a stored sweep needs, checkpoints of runs that are done there or
elsewhere, and temporary files of killed writers. With `--weights` also the weights of finished runs, without which no
`classifier=…` can be fitted on them. Files that a live process holds are kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.runs import check_folders
from sfa_bench.config.terminal import Parser, entry_point
from sfa_bench.doors import Door
from sfa_bench.errors import RunError
from sfa_bench.store.atomic import TEMPORARY
from sfa_bench.store.claim import Claim
from sfa_bench.store.folder import CHECKPOINTS
from sfa_bench.store.ledger import records
from sfa_bench.store.plans import read_plans
from sfa_bench.store.warmups import FOLDER


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can be removed, its size, and the reason."""

    path: Path
    size: int
    reason: str


def leftovers(paths: Sequence[Path], weights: bool = False) -> list[Leftover]:
    """Everything below the runs folders that can be removed. Raises ConfigError with a sentence when there is no such
    folder.
    """
    check_folders(paths)
    # Each by itself: a sweep sees its own runs folder only, and runs that are done in another one are not done for it.
    return [leftover for path in dict.fromkeys(path.resolve() for path in paths) for leftover in _below(path, weights)]


def _below(root: Path, weights: bool) -> Iterator[Leftover]:
    runs = list(records([root]))
    done = {record["hash"] for _, record in runs if record["state"] == "done"}
    for folder, record in runs:
        yield from _of_run(folder, record, record["hash"] in done, weights)
    yield from _warmups(root, done)


def _of_run(folder: Path, record: dict[str, Any], done: bool, weights: bool) -> Iterator[Leftover]:
    if Claim(folder).holder() is not None:
        return
    names = {}
    if record["state"] != "done" and done:
        names = dict.fromkeys(CHECKPOINTS, "this run is done in another folder")
    elif done and record["config"].get("keep_checkpoint") != "all":
        names = {"previous.pt": "this run is done"}
    if record["state"] == "done" and weights:
        names |= {"last.pt": "weights of a finished run"}
    files = [(folder / name, reason) for name, reason in names.items()]
    files += [(path, "its writer was killed") for path in sorted(folder.glob(f".*{TEMPORARY}"))]
    yield from (Leftover(path, path.stat().st_size, reason) for path, reason in files if path.is_file())


def _warmups(runs_dir: Path, done: set[str]) -> Iterator[Leftover]:
    needed = {run.warmup for plan in read_plans(runs_dir) for run in plan.runs if run.hash not in done}
    for folder in sorted((runs_dir / FOLDER).glob("*/")):
        inner = [path for path in folder.iterdir() if path.is_dir()]
        if folder.name in needed or any(Claim(path).holder() is not None for path in inner):
            continue
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        yield Leftover(folder, size, "a shared warm-up of finished runs")


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(prog=f"{Door.here.tool('analysis.status')} clean", description="Remove what is no longer needed.")
    parser.add_argument("runs", nargs="+", type=Path, help="runs folders")
    parser.add_argument("--weights", action="store_true", help="the weights of finished runs, too")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    options = parser.parse_args(arguments)
    removable = leftovers(options.runs, options.weights)
    for leftover in removable:
        print(f"{leftover.path} ({leftover.size / 1e6:,.1f} MB): {leftover.reason}")
        if not options.dry_run:
            _remove(leftover.path)
    verb = "would remove" if options.dry_run else "removed"
    print(f"{verb} {len(removable)}, {sum(item.size for item in removable) / 1e6:,.1f} MB")


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot remove {path}: {error.strerror or error}") from error
