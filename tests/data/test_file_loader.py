"""Streams of views of image files: the same whoever reads them, and ahead of those who use them."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import small_images
import torch

from sfa_bench.data import Transform, to_float
from sfa_bench.data.cache import Making, prepare
from sfa_bench.data.draws import class_balanced
from sfa_bench.data.loader import FileLoader, loader_for, pixels
from sfa_bench.errors import RunError

TRANSFORM = Transform((0.4, 0.5, 0.6), (0.2, 0.25, 0.3), flip=True)
BATCHES = [torch.tensor([3, 1, 4]), torch.tensor([], dtype=torch.int64), torch.tensor([1, 5, 9, 2]), torch.tensor([6])]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(tmp_path):
    return small_images.write(tmp_path / "p", 10)


@pytest.fixture
def kept(tmp_path, images):
    return prepare(images, "train", Making(tmp_path / "kept", "on"))[0]


def views(images, workers, copies=2):
    return list(FileLoader(images, TRANSFORM, workers=workers).train_views(BATCHES, generator(), copies))


def same(one, other):
    return all(a.equal(b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def test_views_do_not_depend_on_who_reads_them_or_from_where(images, kept):
    expected = views(images, 0)
    assert [len(batch[0]) for batch in expected] == [3, 0, 4, 1]
    for found in (views(images, 1), views(images, 3), views(kept, 0), views(kept, 2)):
        assert same(found, expected)


def test_views_do_not_depend_on_the_pieces_that_cross_between_processes(images, monkeypatch):
    expected = views(images, 0)
    for size in (1, 2 * 2 * 3 * 16 * 16, 10**9):
        monkeypatch.setattr("sfa_bench.data.loader.PIECE", size)
        assert same(views(images, 2), expected)


def test_with_little_shared_memory_views_come_without_places_in_it(images, monkeypatch):
    expected = views(images, 2)
    assert FileLoader(images, TRANSFORM, workers=2)._places is not None
    monkeypatch.setattr("sfa_bench.data.loader._shared_memory", lambda: 64 << 20)
    assert FileLoader(images, TRANSFORM, workers=2)._places is None
    assert same(views(images, 2), expected)


def test_a_worker_that_dies_is_a_sentence(images):
    loader = FileLoader(images, TRANSFORM, workers=1)
    next(loader.train_views(BATCHES, generator()))
    os.kill(loader._workers._loader._iterator._workers[0].pid, signal.SIGKILL)
    with pytest.raises(RunError, match=r"a process that reads images died.*dataset.workers=0"):
        list(loader.train_views(BATCHES * 50, generator()))


def test_a_stream_is_the_single_views_one_after_the_other(images):
    loader, source = FileLoader(images, TRANSFORM, workers=0), generator()
    for index, (found,) in zip(BATCHES, loader.train_views(BATCHES, generator()), strict=True):
        assert found.equal(loader.train_view(index, source))
    for index, found in zip(BATCHES, loader.test_views(BATCHES), strict=True):
        assert found.equal(loader.test_view(index))


def test_views_are_normalised_random_squares_and_copies_are_independent(images):
    first, second = views(images, 0)[0]
    assert first.shape == (3, 3, 16, 16)
    assert first.dtype == torch.float32
    assert not first.equal(second)
    uniforms = torch.rand((2, 3, images.framing.numbers), generator=generator(), dtype=torch.float64).numpy()
    raw = images.train_views(BATCHES[0].numpy(), uniforms, True)
    for found, expected in zip((first, second), raw, strict=True):
        assert found.equal(to_float(expected, TRANSFORM))
    mean, std = (torch.tensor(values)[:, None, None] for values in (TRANSFORM.mean, TRANSFORM.std))
    assert first.equal((raw[0].float() / 255 - mean) / std)


@pytest.mark.parametrize("block", [1, 5000, 10**9])
def test_large_batches_are_normalised_block_by_block_to_the_same_numbers(monkeypatch, block):
    monkeypatch.setattr("sfa_bench.data.loader.BLOCK", block)  # less than an image, some, more than all
    raw = torch.randint(0, 256, (11, 3, 16, 16), dtype=torch.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (TRANSFORM.mean, TRANSFORM.std))
    assert to_float(raw, TRANSFORM).equal((raw.float() / 255 - mean) / std)
    strided = raw.permute(0, 1, 3, 2)
    assert to_float(strided, TRANSFORM).equal((strided.float() / 255 - mean) / std)


def test_workers_live_on_between_rounds_and_a_round_may_be_left_early(images):
    loader = FileLoader(images, TRANSFORM, workers=2)
    next(loader.train_views(BATCHES, generator()))
    pids = [worker.pid for worker in loader._workers._loader._iterator._workers]
    assert same(list(loader.train_views(BATCHES, generator(), 2)), views(images, 0))
    assert [worker.pid for worker in loader._workers._loader._iterator._workers] == pids


def test_a_round_that_another_has_overtaken_says_so(images):
    loader = FileLoader(images, TRANSFORM, workers=1)
    first = loader.train_views(BATCHES, generator())
    next(first)
    next(loader.test_views(BATCHES))
    with pytest.raises(RuntimeError, match="another round"):
        list(first)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_has_become_unreadable_fails_with_its_name(images, workers):
    images.path(5).write_bytes(b"gone")
    stream = FileLoader(images, TRANSFORM, workers=workers).train_views(BATCHES, generator())
    next(stream)
    next(stream)
    with pytest.raises(RunError, match=r"005.jpg: not a readable image; dataset.on_bad_image=skip"):
        next(stream)


def test_global_generators_are_left_alone(images):
    before = torch.get_rng_state()
    views(images, 2)
    assert torch.get_rng_state().equal(before)


def test_without_flip_nothing_is_flipped(images):
    plain = replace(TRANSFORM, flip=False)
    uniforms = torch.rand((1, 10, images.framing.numbers), generator=generator(), dtype=torch.float64).numpy()
    ((found,),) = FileLoader(images, plain, workers=0).train_views([torch.arange(10)], generator())
    assert found.equal(to_float(images.train_views(np.arange(10), uniforms, False)[0], plain))


def test_the_loader_and_the_pixels_suit_where_images_are(images):
    memory = torch.randint(0, 256, (10, 3, 16, 16), dtype=torch.uint8)
    assert isinstance(loader_for(images, TRANSFORM), FileLoader)
    assert len(loader_for(memory, TRANSFORM)) == len(loader_for(images, TRANSFORM)) == 10
    assert pixels(memory, np.array([4, 2])).equal(memory[[4, 2]])
    assert pixels(images, np.array([4, 2])).equal(images.test_views(np.array([4, 2])))


def walk(labels, size, num_classes, order):
    """Clothing1M's rule, sample by sample."""
    kept, counts = [], [0] * num_classes
    for position in order:
        if len(kept) < size and counts[labels[position]] < size / num_classes:
            kept.append(position)
            counts[labels[position]] += 1
    return kept


@pytest.mark.parametrize("size", [7, 12, 30, 500])
def test_a_balanced_draw_is_the_walk_that_the_specification_describes(size):
    labels = torch.tensor(np.random.default_rng(0).choice(4, 60, p=[0.6, 0.3, 0.08, 0.02]))
    source = generator(3)
    expected = walk(labels.tolist(), size, 4, torch.randperm(60, generator=source).tolist())
    found = class_balanced(labels, size, 4, generator(3))
    assert sorted(found.tolist()) == sorted(expected)
    assert found.equal(torch.tensor(expected)[torch.randperm(len(expected), generator=source)])
