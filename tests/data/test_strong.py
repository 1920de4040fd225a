"""Strong views: AutoAugment with draws of named streams."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import small_images
import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, v2

from sfa_bench.data import strong
from sfa_bench.data.loader import FileLoader, Loader, augment, to_float
from sfa_bench.data.strong import autoaugment, randaugment, trivial
from sfa_bench.data.types import Transform

TRANSFORM = Transform((0.4, 0.4, 0.4), (0.2, 0.2, 0.2), padding=2, flip=True)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=200, channels=3, size=16):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, channels, size, size), dtype=np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_what_torchvision_makes_of_it_alone_with_the_same_draws(channels, monkeypatch):
    originals = images(channels=channels)
    found = autoaugment(originals, generator(3))
    theirs, drawing = AutoAugment(AutoAugmentPolicy.CIFAR10), generator(3)
    which = torch.randint(25, (len(originals),), generator=drawing)
    chances, signs = torch.rand(len(originals), 2, generator=drawing), torch.randint(2, (200, 2), generator=drawing)
    for i, image in enumerate(originals):
        monkeypatch.setattr(theirs, "get_params", lambda count, i=i: (int(which[i]), chances[i], signs[i]))
        assert torch.equal(found[i], theirs(image)), i


def test_every_sub_policy_is_drawn_alike_and_operations_act_as_often_as_they_should():
    seen = Counter()

    class Counted(strong._Policy):
        def forward(self, group):
            number, chances, _ = self.drawn
            seen[number, *(chances == strong.ALWAYS).tolist()] += len(group)
            return group

    policy, count = Counted(AutoAugmentPolicy.CIFAR10), 50_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strong, "_policy", lambda: policy)
        autoaugment(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), generator())
    for number, pair in enumerate(policy.policies):
        drawn = sum(n for (which, *_), n in seen.items() if which == number)
        assert drawn == pytest.approx(count / 25, rel=0.15)
        for stage, (_, probability, _) in enumerate(pair):
            acting = sum(n for key, n in seen.items() if key[0] == number and key[1 + stage])
            assert acting / drawn == pytest.approx(probability, abs=0.05)


def test_the_global_generator_is_left_alone_and_the_same_stream_gives_the_same_views():
    before = torch.get_rng_state()
    one, other = autoaugment(images(), generator(1)), autoaugment(images(), generator(1))
    assert torch.equal(one, other)
    assert not torch.equal(one, autoaugment(images(), generator(2)))
    assert torch.equal(before, torch.get_rng_state())


def test_an_empty_batch_stays_empty():
    assert autoaugment(images(0), generator()).shape == (0, 3, 16, 16)


def test_strong_views_come_after_the_weak_ones_which_stay_as_they_were():
    loader, rows = Loader(images(), TRANSFORM), torch.arange(50)
    ((one, two, strong_view),) = loader.train_views([rows], generator(5), copies=2, strong=1)
    drawing = generator(5)
    assert torch.equal(one, loader.train_view(rows, drawing))
    assert torch.equal(two, loader.train_view(rows, drawing))
    changed = autoaugment(augment(images()[:50], TRANSFORM, drawing), drawing)
    assert torch.equal(strong_view, to_float(changed, TRANSFORM))
    ((only,),) = loader.train_views([rows], generator(5), copies=0, strong=1)
    assert only.shape == one.shape


def test_strong_views_of_files_do_not_depend_on_who_reads_them_or_in_which_pieces(tmp_path, monkeypatch):
    source = small_images.write(tmp_path, 10)

    def views(workers):
        loader = FileLoader(source, replace(TRANSFORM, padding=0), workers=workers)
        found = [torch.stack(each) for each in loader.train_views(torch.arange(10).split(4), generator(2), 1, strong=2)]
        loader.close()
        return found

    expected = views(0)
    assert [len(batch) for batch in expected] == [3] * 3
    assert not torch.equal(expected[0][1], expected[0][2])
    for size in (1, 10**9):
        monkeypatch.setattr("sfa_bench.data.loader.PIECE", size)
        for workers in (0, 1, 3):
            assert all(torch.equal(a, b) for a, b in zip(views(workers), expected, strict=True))


class Handed(torch.nn.Module):
    """Torchvision's transform of one image with the draws that are handed in, in its order."""

    def __init__(self, transform, monkeypatch):
        super().__init__()
        self.transform, self.patch = transform, monkeypatch

    def forward(self, image, whole, shares):
        wholes, floats = iter(whole), iter(shares)
        self.patch.setattr(torch, "randint", lambda *a, **k: torch.tensor(next(wholes)))
        self.patch.setattr(torch, "rand", lambda *a, **k: torch.tensor(next(floats)))
        made = self.transform(image)
        self.patch.undo()
        return made


SIGNED = torch.tensor([number in range(1, 10) for number in range(14)])  # the order of torchvision's operations
SCALED = torch.tensor([number not in (0, 12, 13) for number in range(14)])


@pytest.mark.parametrize("channels", [1, 3])
def test_randaugment_is_torchvisions_of_each_image_alone_with_the_same_draws(channels, monkeypatch):
    originals = images(channels=channels, size=20)[:, :, :, :16]  # neither side is the other
    found, drawing = randaugment(originals, generator(3)), generator(3)
    drawn = [(torch.randint(14, (200,), generator=drawing), torch.rand(200, generator=drawing)) for _ in range(2)]
    theirs = Handed(v2.RandAugment(), monkeypatch)
    for i, image in enumerate(originals):
        whole = [int(which[i]) for which, _ in drawn]
        shares = [float(share[i]) for which, share in drawn if SIGNED[which[i]]]
        assert torch.equal(found[i], theirs(image, whole, shares)), (i, whole)


@pytest.mark.parametrize("channels", [1, 3])
def test_trivial_is_torchvisions_of_each_image_alone_with_the_same_draws(channels, monkeypatch):
    originals = images(count=600, channels=channels)
    found, drawing = trivial(originals, generator(3)), generator(3)
    bins = torch.randint(31, (600,), generator=drawing)
    which, share = torch.randint(14, (600,), generator=drawing), torch.rand(600, generator=drawing)
    theirs = Handed(v2.TrivialAugmentWide(), monkeypatch)
    for i, image in enumerate(originals):
        whole = [int(which[i]), *([int(bins[i])] if SCALED[which[i]] else [])]
        assert torch.equal(found[i], theirs(image, whole, [float(share[i])])), (i, whole)


@pytest.mark.parametrize("policy", ["randaugment", "autoaugment", "trivial"])
def test_a_policy_changes_training_views_after_crop_and_flip_and_no_test_view(policy, tmp_path):
    code = f"sfa_bench.data.strong.{policy}"
    given, index = replace(TRANSFORM, policy=code), torch.arange(40)
    originals = images(count=40)
    before = torch.random.get_rng_state()
    loader, drawing = Loader(originals, given), generator(4)
    ((first, second),) = loader.train_views([index], generator(4), copies=2)
    for view in (first, second):
        changed = getattr(strong, policy)(augment(originals, TRANSFORM, drawing), drawing)
        assert torch.equal(view, to_float(changed, TRANSFORM))
    assert torch.equal(loader.train_view(index, generator(4)), first)
    assert torch.equal(loader.test_view(index), Loader(originals, TRANSFORM).test_view(index))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("policy", ["randaugment", "trivial"])
def test_views_of_files_are_changed_alike_by_any_number_of_workers(policy, tmp_path):
    files = small_images.write(tmp_path, 10)
    usual_transform = replace(TRANSFORM, padding=0)
    given = replace(usual_transform, policy=f"sfa_bench.data.strong.{policy}")
    parts = [torch.arange(6), torch.arange(6, 10)]
    loaders = [FileLoader(files, given, workers=workers) for workers in (0, 2)]
    plain = FileLoader(files, usual_transform, workers=0)
    try:
        one, other = ([v for views in x.train_views(parts, generator(2), 2) for v in views] for x in loaders)
        assert all(map(torch.equal, one, other))
        usual = [v for views in plain.train_views(parts, generator(2), 2) for v in views]
        assert not any(map(torch.equal, one, usual))
        assert torch.equal(loaders[0].test_view(parts[0]), plain.test_view(parts[0]))
        assert not torch.equal(loaders[0].train_view(parts[0], generator(1)), plain.train_view(parts[0], generator(1)))
    finally:
        for loader in (*loaders, plain):
            loader.close()
