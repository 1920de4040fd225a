"""How fast image files are read, and what a large list of them costs: `python -m benchmarks.images speed|start`.

`speed`: images/s decoded, augmented and normalised with 1 and 2 workers, from the cache and from files, beside a plain
torchvision `ImageFolder` in a `DataLoader`; 2,000 generated JPEGs of 256×256 pixels, WebVision's framing. Ratios are to
the plain one of the same round; medians of `--rounds`, with the smallest and the largest.

`start`: seconds until the first batch, and memory above the same model's on few images, for a list of 100,000 entries
that are links to a few images.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from sfa_bench.data import Transform
from sfa_bench.data.cache import Making, prepare
from sfa_bench.data.images import Framing, ImageFiles
from sfa_bench.data.loader import FileLoader
from sfa_bench.data.sources.image_files import stat_images

BATCH = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FRAMING = Framing(320, 299)


def write(folder: Path, count: int) -> None:
    """JPEGs with the detail of a photograph: about 20 kB each."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(count):
        coarse = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(folder / f"{i:05d}.jpg", quality=90)


def listed(root: Path) -> ImageFiles:
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    sizes, times = stat_images(root, np.array([name.encode() for name in names]))
    return ImageFiles(root, np.array([name.encode() for name in names]), sizes, times, FRAMING)


def plain(root: Path, workers: int) -> Callable[[], int]:
    """The shortest way to write it."""
    transform = transforms.Compose(
        [
            transforms.Resize(320),
            transforms.RandomResizedCrop(299),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    loader = DataLoader(
        ImageFolder(str(root), transform), BATCH, shuffle=True, num_workers=workers, persistent_workers=True
    )
    return lambda: sum(len(images) for images, _ in loader)


def ours(images: ImageFiles, workers: int) -> Callable[[], int]:
    loader, generator = FileLoader(images, Transform(MEAN, STD, flip=True), workers=workers), torch.Generator()

    def epoch() -> int:
        parts = torch.randperm(len(images), generator=generator).split(BATCH)
        return sum(len(views) for (views,) in loader.train_views(parts, generator))

    return epoch


def rate(epoch: Callable[[], int]) -> float:
    started = time.perf_counter()
    count = epoch()
    return count / (time.perf_counter() - started)


def speed(count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "images")
        write(root / "class", count)
        files = listed(root)
        started = time.perf_counter()
        kept, _ = prepare(files, "train", Making(Path(folder, "kept"), "on", 2))
        print(f"cache of {count} images made by 2 workers in {time.perf_counter() - started:.1f} s", flush=True)
        for workers in (1, 2):
            epochs = {"plain": plain(root, workers), "files": ours(files, workers), "cache": ours(kept, workers)}
            for epoch in epochs.values():  # start the workers, fill the page cache
                epoch()
            rates = [{name: rate(epoch) for name, epoch in epochs.items()} for _ in range(rounds)]
            for name in epochs:
                speeds = [by_name[name] for by_name in rates]
                ratios = [by_name[name] / by_name["plain"] for by_name in rates]
                print(
                    f"{workers} worker{'s' * (workers > 1)}, {name:5}: {statistics.median(speeds):7.0f} images/s, "
                    f"{statistics.median(ratios):.2f} times plain ({min(ratios):.2f} to {max(ratios):.2f})",
                    flush=True,
                )
            del epochs


FIRST_STEP = """
import resource, sys, time
started = time.time() - float(sys.argv[1])
from sfa_bench.config.compose import compose
from sfa_bench.engine import run as engine
from rich.console import Console
class Enough(BaseException):
    pass
def on_step(self, phase, network, step, steps):
    if step == 1:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{time.time() - float(sys.argv[1]):.1f} {peak:.0f}", flush=True)
        raise Enough
engine.Session._on_step = on_step
try:
    engine.run(compose(sys.argv[2:]), "", Console(file=sys.stderr))
except Enough:
    pass
"""


def first_step(folder: Path, *words: str) -> tuple[float, float]:
    """Seconds from the start of Python, and peak memory in MB, when the second training step begins."""
    command = [sys.executable, "-c", FIRST_STEP, str(time.time()), *words, f"runs_dir={tempfile.mkdtemp(dir=folder)}"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    seconds, peak = answer.stdout.split()
    return float(seconds), float(peak)


def start(entries: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "images", 20)
        for size, part in ((entries, "many"), (200, "few")):
            for split, count in (("train", size), ("test", 40)):
                for c in range(10):
                    (folder / part / split / f"c{c}").mkdir(parents=True)
                for i in range(count):
                    os.link(folder / "images" / f"{i % 20:05d}.jpg", folder / part / split / f"c{i % 10}" / f"{i}.jpg")
        for part, size in (("few", 200), ("many", entries)):
            words = ["dataset=folder", "dataset.name=links", f"data_dir={folder / part}", "dataset.cache=off"]
            words += ["method=ce", "plugin=none", "model=convnet", "threads=1"]
            measured = [first_step(folder, *words) for _ in range(rounds)]
            seconds, peaks = ([row[i] for row in measured] for i in (0, 1))
            print(
                f"{size:,} entries: second step after {statistics.median(seconds):.1f} s ({min(seconds):.1f} to "
                f"{max(seconds):.1f}), peak {statistics.median(peaks):.0f} MB",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "start"))
    parser.add_argument("--images", type=int, default=2000, help="images of speed")
    parser.add_argument("--entries", type=int, default=100_000, help="of the list of start")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "speed":
        speed(given.images, given.rounds)
    else:
        start(given.entries, given.rounds)


if __name__ == "__main__":
    main()
