"""Batches of views: index tensors come in, normalised float32 images go out.

Images in memory stay on the device as uint8; images in files are read and cropped by worker processes ahead of use.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from sfa_bench.choices.code import load
from sfa_bench.data.images import BadImage, ImageFiles, import_libraries
from sfa_bench.data.types import EvaluationSet, Images, LearnerView, Transform
from sfa_bench.data.workers import AHEAD, Workers
from sfa_bench.errors import RunError
from sfa_bench.numerics import send

PIECE = 8 << 20  # bytes of views that a worker hands over at a time
BLOCK = 1 << 20  # bytes of float images that are normalised at a time on a CPU, about what its cache holds


@lru_cache(maxsize=16)
def _constants(transform: Transform, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and the largest pixel value, for images on `device`."""

    def column(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]

    # The last is a tensor on the device: for a number of the host CUDA multiplies by the reciprocal, which differs from
    # the quotient, and so from the CPU's views, in the last bit.
    return column(transform.mean), column(transform.std), column((255.0,))


def to_float(images: Tensor, transform: Transform, out: Tensor | None = None) -> Tensor:
    """uint8 [B, C, H, W] to float32: scaled to [0, 1], then normalised per channel (algorithms/data.md §1). Vectors
    stay.

    out: where to write them, float32 [B, C, H, W].
    """
    if images.is_floating_point():
        return images
    mean, std, white = _constants(transform, images.device)
    views = empty(images.shape, images.device) if out is None else out
    # Block by block and in place: four passes through the memory took 14 times as long on large images.
    on_cpu, bytes_each = images.device.type == "cpu", 4 * max(1, images[:1].numel())
    block = max(1, BLOCK // bytes_each if on_cpu else len(images))
    for start in range(0, len(images), block):
        part = views[start : start + block]
        torch.div(images[start : start + block], white, out=part).sub_(mean).div_(std)
    return views


def empty(shape: Sequence[int], device: torch.device) -> Tensor:
    """An uninitialised float32 tensor for views. On a CPU it is allocated by NumPy, which asks for large pages: with
    small ones, page faults cost as much as all work on large images.
    """
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, dtype=np.float32))
    return torch.empty(shape, dtype=torch.float32, device=device)


def augment(images: Tensor, transform: Transform, generator: torch.Generator) -> Tensor:
    """Random crop of the zero-padded images, then a horizontal flip with probability 1/2, drawn for each sample.

    Distributed as torchvision's `RandomCrop(size, padding)` and `RandomHorizontalFlip` on single images; its batched
    transforms draw once a batch. The padding is black, not the mean: it comes before the normalisation. `generator` is
    a CPU generator, so that every device sees the same views.

    Args: images uint8 [B, C, H, W]. Returns: uint8 of the same shape. Vectors float32 [B, D] get Gaussian jitter.
    """
    if images.is_floating_point():
        noise = torch.randn(images.shape, generator=generator)
        return images + send(transform.jitter * noise, images.device)
    count, _, height, width = images.shape
    padding = transform.padding
    if padding:
        top, left = torch.randint(2 * padding + 1, (2, count), generator=generator)
        images = windows(F.pad(images, (padding,) * 4), top, left, height, width)
    if transform.flip:
        flipped = torch.rand(count, generator=generator) < 0.5
        which = torch.arange(count) + count * flipped
        images = torch.cat([images, images.flip(-1)]).index_select(0, send(which, images.device))
    return images


def windows(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """One window of each image: uint8 [B, C, H, W] → [B, C, height, width], its corner at row `top`, column `left`.

    Both are int64 [B] on the CPU.
    """
    count, channels, rows, columns = images.shape
    if images.device.type != "cpu":
        every = torch.arange(count, device=images.device)
        shifted = images.unfold(2, height, 1).unfold(3, width, 1)
        return shifted[every, :, send(top, images.device), send(left, images.device)]
    if count == 0:
        return images.new_empty(0, channels, height, width)
    # Torch copies byte by byte. Here an item is a whole row of a window, which may begin at any byte.
    pixels = images.contiguous().numpy()
    items = np.ndarray(pixels.size - width + 1, f"V{width}", pixels, strides=(1,))
    corners = (torch.arange(count) * channels * rows + top) * columns + left
    inside = torch.arange(channels)[:, None] * rows * columns + torch.arange(height) * columns
    chosen = items[(corners[:, None, None] + inside).numpy()]
    return torch.from_numpy(chosen.view(np.uint8).reshape(count, channels, height, width))


class Loader:
    """Views of one set of images in memory by index.

    Args: source: a learner's view, an evaluation set, or images uint8 [N, C, H, W]; device: where images live.
    """

    def __init__(
        self, source: LearnerView | EvaluationSet | Tensor, transform: Transform, device: torch.device | str = "cpu"
    ):
        images = source if isinstance(source, Tensor) else source.images
        assert isinstance(images, Tensor)
        self.images = images.to(device)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def test_view(self, index: Tensor) -> Tensor:
        """The images at `index`, unchanged but normalised: float32 [B, C, H, W]."""
        return to_float(self.images.index_select(0, send(index, self.images.device)), self.transform)

    def train_view(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """One augmented view of the images at `index`: float32 [B, C, H, W]. Two calls are two independent views."""
        return self._view(index, generator, self.transform.policy)

    def close(self) -> None:
        """Do nothing: there are no worker processes."""

    def test_views(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """The test view of each batch of indices."""
        return (self.test_view(index) for index in batches)

    def train_views(
        self, batches: Iterable[Tensor], generator: torch.Generator, copies: int = 1, strong: int = 0
    ) -> Iterator[tuple[Tensor, ...]]:
        """`copies` independent augmented views of each batch of indices, and then `strong` ones that are changed by
        `transform.strong`, too. Nothing else may draw from `generator` meanwhile.
        """
        for index in batches:
            weak = tuple(self.train_view(index, generator) for _ in range(copies))
            yield weak + tuple(self._view(index, generator, self.transform.strong) for _ in range(strong))

    def _view(self, index: Tensor, generator: torch.Generator, policy: str | None) -> Tensor:
        images = self.images.index_select(0, send(index, self.images.device))
        return to_float(changed(augment(images, self.transform, generator), policy, generator), self.transform)


class FileLoader:
    """Views of images in files, as `Loader` gives them of images in memory.

    Streams of views are read ahead by `workers` processes; a single view is read on request. Draws do not depend on the
    workers: the uniform numbers are drawn in this process, in the order of the batches.

    Raises, in all methods that read: RunError where a file cannot be decoded.
    """

    def __init__(
        self, images: ImageFiles, transform: Transform, device: torch.device | str = "cpu", workers: int | None = None
    ):
        self.images, self.transform, self.device = images, transform, torch.device(device)
        import_libraries()
        processes = next(n for n in (workers, images.workers, torch.get_num_threads()) if n is not None)
        self._view_bytes = math.prod(images.shape[1:])
        # Workers write into buffers that are reused, because fresh shared memory costs as much as cropping. There is
        # one more buffer than pieces in flight. (For an accelerator pinned copies are used instead.)
        self._places: Tensor | None = None
        shape = (AHEAD * processes + 1, max(PIECE, 2 * self._view_bytes))
        if processes and self.device.type == "cpu" and _shared_memory() > 4 * math.prod(shape):
            self._places = torch.empty(shape, dtype=torch.uint8).share_memory_()
        reader = _Reader(images, transform.flip, self._places)
        self._workers = Workers(reader, processes, pinned=self.device.type == "cuda")
        self._here = _Reader(images, transform.flip)

    def __len__(self) -> int:
        return len(self.images)

    def close(self) -> None:
        """End the worker processes; the next stream starts others."""
        self._workers.close()

    def test_view(self, index: Tensor) -> Tensor:
        """Central squares, normalised: float32 [B, 3, S, S]."""
        return self._floats([self._here[0, index.numpy(), None]], 1, len(index))[0]

    def train_view(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """One random view of the images at `index`: float32 [B, 3, S, S]. Two calls are two independent views."""
        uniforms, policies = self._uniforms(index, generator, 1), [self.transform.policy]
        seed = _seed(policies, generator)
        return self._floats([self._here[0, index.numpy(), uniforms]], 1, len(index), policies, seed)[0]

    def test_views(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """The test view of each batch of indices."""
        return (views[0] for views in self._stream((index.numpy(), None) for index in batches))

    def train_views(
        self, batches: Iterable[Tensor], generator: torch.Generator, copies: int = 1, strong: int = 0
    ) -> Iterator[tuple[Tensor, ...]]:
        """`copies` independent random views of each batch of indices, from one reading of each image, and then `strong`
        ones that are changed by `transform.strong`, too. Nothing else may draw from `generator` meanwhile.
        """
        wanted = ((index.numpy(), self._uniforms(index, generator, copies + strong)) for index in batches)
        return self._stream(wanted, [self.transform.policy] * copies + [self.transform.strong] * strong, generator)

    def _stream(
        self,
        wanted: Iterable[tuple[np.ndarray, np.ndarray | None]],
        policies: Sequence[str | None] = (),
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, ...]]:
        """Views of each batch, which is asked for in pieces of PIECE bytes: what crosses from process to process lies
        in shared memory, of which there may be little. policies: what changes each view, of training views.
        """
        # Pieces, copies and rows of what has been asked for, and the seed of what changes views: batches are asked for
        # ahead of use, and how far ahead depends on the machine.
        batches: deque[tuple[int, int, int, int]] = deque()

        number = count()

        def requests() -> Iterator[Request]:
            for rows, uniforms in wanted:
                copies = 1 if uniforms is None else len(uniforms)
                most = max(1, PIECE // (copies * self._view_bytes))
                step = -(-len(rows) // -(-len(rows) // most)) if len(rows) else 1  # pieces of about the same size
                starts = range(0, max(1, len(rows)), step)
                seed = _seed(policies, generator)
                batches.append((len(starts), copies, len(rows), seed))
                for start in starts:
                    piece = slice(start, start + step)
                    yield next(number), rows[piece], None if uniforms is None else uniforms[:, piece]

        answers = self._workers.answers(requests())
        for first in answers:
            pieces, copies, rows, seed = batches.popleft()
            yield self._floats(chain([first], islice(answers, pieces - 1)), copies, rows, policies, seed)

    def _floats(
        self,
        pieces: Iterable[Answer],
        copies: int,
        count: int,
        policies: Sequence[str | None] = (),
        seed: int = 0,
    ) -> tuple[Tensor, ...]:
        """Pieces uint8 [copies, b, 3, S, S] with Σb = count to `copies` float32 [count, 3, S, S] on the device."""
        shape = (count, *self.images.shape[1:])
        views, done = empty((copies, *shape), self.device), 0
        # Whole, since the numbers of a stream depend on how many are drawn in a call.
        to_change = [(view, policy) for view, policy in zip(views, policies, strict=False) if policy is not None]
        unchanged = torch.empty((len(to_change), *shape), dtype=torch.uint8, device=self.device)
        for piece in pieces:
            if isinstance(piece, str):
                raise RunError(piece)
            if isinstance(piece, tuple):
                assert self._places is not None
                piece = _place(self._places, *piece, self.images.shape[1:])
            now = slice(done, done + piece.shape[1])
            plain = copies - len(to_change)  # come first
            for view, raw in zip(views[:plain], piece, strict=False):
                to_float(raw.to(self.device, non_blocking=True), self.transform, view[now])
            unchanged[:, now] = piece[plain:].to(self.device)
            done += piece.shape[1]
        generator = torch.Generator().manual_seed(seed)
        for (view, policy), raw in zip(to_change, unchanged, strict=True):
            to_float(changed(raw, policy, generator), self.transform, view)
        return tuple(views)

    def _uniforms(self, index: Tensor, generator: torch.Generator, copies: int) -> np.ndarray:
        shape = (copies, len(index), self.images.framing.numbers)
        return torch.rand(shape, generator=generator, dtype=torch.float64).numpy()


def changed(images: Tensor, policy: str | None, generator: torch.Generator) -> Tensor:
    """Images uint8 [B, C, H, W] as a policy changes them (`module.function`); None leaves them."""
    made: Tensor = images if policy is None else load(policy)(images, generator)
    return made


def _seed(policies: Sequence[str | None], generator: torch.Generator | None) -> int:
    """The seed of what changes views, where any are changed."""
    return int(torch.randint(2**62, (1,), generator=generator)) if any(policies) else 0


Request = tuple[int, np.ndarray, np.ndarray | None]  # number, rows [B], uniform numbers [copies, B, ·] or None
Answer = Tensor | tuple[int, int, int] | str  # views, or their buffer and number; or an error message


class _Reader(Dataset[Any]):
    """Request → views uint8 [copies or 1, B, 3, S, S], in the shared `places` [P, bytes] where they fit into one."""

    def __init__(self, images: ImageFiles, flip: bool, places: Tensor | None = None):
        self.images, self.flip, self.places = images, flip, places

    def __getitem__(self, request: Request) -> Answer:
        number, rows, uniforms = request
        copies, shape, out = 1 if uniforms is None else len(uniforms), self.images.shape[1:], None
        if self.places is not None and copies * len(rows) * math.prod(shape) <= self.places.shape[1]:
            where = (number % len(self.places), copies, len(rows))
            out = _place(self.places, *where, shape)
        try:
            if uniforms is None:
                views = self.images.test_views(rows, None if out is None else out[0])[None]
            else:
                views = self.images.train_views(rows, uniforms, self.flip, out)
        except BadImage as error:
            return f"{error}; dataset.on_bad_image=skip leaves such files out"
        except (OSError, RunError) as error:  # an exception would reach the parent with a traceback
            return str(error)
        return views if out is None else where


def _place(places: Tensor, which: int, copies: int, rows: int, shape: Sequence[int]) -> Tensor:
    """The views in one of the places, uint8 [copies, rows, 3, S, S]."""
    return places[which, : copies * rows * math.prod(shape)].view(copies, rows, *shape)


def _shared_memory() -> int:
    """Free bytes of shared memory; a container may have little, and a process that takes more is killed."""
    folder = "/dev/shm"
    return shutil.disk_usage(folder).free if os.path.isdir(folder) else 0


AnyLoader = Loader | FileLoader


def loader_for(images: Images, transform: Transform, device: torch.device | str = "cpu") -> AnyLoader:
    """The loader for images in memory or in files."""
    if isinstance(images, ImageFiles):
        return FileLoader(images, transform, device)
    return Loader(images, transform, device)


def pixels(images: Images, rows: np.ndarray) -> Tensor:
    """Test views uint8 [n, C, H, W] of a few images, or the vectors float32 [n, D]. Raises BadImage."""
    return images.test_views(rows) if isinstance(images, ImageFiles) else images[torch.from_numpy(np.asarray(rows))]


def batches(order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Split `order` into batches; nothing is dropped (algorithms/data.md §1, small sets).

    A last batch of one row is merged into the one before, because batch statistics need two rows; fewer rows than
    `batch_size` are one batch.
    """
    parts = list(order.split(batch_size)) if len(order) else []
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts
