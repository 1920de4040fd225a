import hashlib
from dataclasses import fields

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sfa_bench.choices.noises import NoiseConfig
from sfa_bench.choices.sources import ShotsConfig
from sfa_bench.data import LearnerView, build
from sfa_bench.errors import DataError
from sfa_bench.store.fingerprint import fingerprint

DIGITS = load_digits()


def test_digits_are_rounded_to_even_split_by_five_and_normalised_over_all_of_training(make_config):
    data = build(make_config(imbalance="none", noise="none"))
    pixels = np.array([round(p * 255 / 16) for p in DIGITS.images.ravel()]).reshape(-1, 1, 8, 8)
    test = np.arange(1797) % 5 == 4
    assert data.test.images.numpy().tolist() == pixels[test].tolist()
    assert data.view.images.numpy().tolist() == pixels[~test][data.index].tolist()
    assert data.test.labels.tolist() == DIGITS.target[test].tolist()
    assert len(data.index) == 1438
    long_tail = build(make_config()).view.transform
    assert long_tail == data.view.transform
    assert long_tail.mean == pytest.approx(((pixels[~test] / 255).mean(),))
    assert long_tail.std == pytest.approx(((pixels[~test] / 255).std(),))
    assert (long_tail.padding, long_tail.flip) == (1, False)


def test_one_run_of_digits_adds_up(make_config):
    data = build(make_config(noise_ratio=0.4))
    labels = DIGITS.target[np.arange(1797) % 5 != 4]
    counts = [int(143.8 * 0.1 ** (c / 9)) for c in range(10)]
    total = sum(counts)
    assert data.clean_counts.tolist() == counts
    assert data.clean_labels.tolist() == labels[data.index].tolist()
    observed = data.view.observed_labels.numpy()
    assert (observed != data.clean_labels).sum() == int(0.4 * total)
    assert data.noise_rate == int(0.4 * total) / total
    assert data.confusion.sum(axis=1).tolist() == counts
    assert data.confusion.sum(axis=0).tolist() == data.observed_counts.tolist()
    assert data.confusion[2, 0] == ((data.clean_labels == 2) & (observed == 0)).sum()
    assert data.view.observed_counts.tolist() == data.observed_counts.tolist() == np.bincount(observed).tolist()


def test_a_method_sees_no_clean_labels():
    seen = ["images", "observed_labels", "num_classes", "transform", "class_embeddings"]  # the last: of classes' names
    assert [f.name for f in fields(LearnerView)] == seen


def test_labels_depend_on_data_seed_alone(make_config):
    first = build(make_config()).fingerprints
    assert build(make_config(seed=5, epochs=3)).fingerprints == first
    other = build(make_config(data_seed=1)).fingerprints
    assert other["images"] != first["images"]
    assert other["observed_labels"] != first["observed_labels"]
    # the subset is blocked by class: its clean labels are its class counts, whatever the seed
    assert other["clean_labels"] == first["clean_labels"]


def test_the_subset_does_not_depend_on_the_noise(make_config):
    first = build(make_config())
    second = build(make_config(noise="symmetric", noise_ratio=0.45))
    assert first.index.tolist() == second.index.tolist()
    assert first.fingerprints["images"] == second.fingerprints["images"]
    assert first.fingerprints["clean_labels"] == second.fingerprints["clean_labels"]
    assert first.fingerprints["observed_labels"] != second.fingerprints["observed_labels"]
    # the noise ratio counts in full, .45 is not .5 (algorithms/quirks.md Q46)
    assert build(make_config(noise="symmetric", noise_ratio=0.5)).noise_rate != second.noise_rate


def test_a_fingerprint_is_the_hash_of_type_shape_and_content():
    array = np.arange(6, dtype=np.int64).reshape(2, 3)
    expected = hashlib.sha256(b"<i8(2, 3)" + b"".join(int(v).to_bytes(8, "little") for v in range(6))).hexdigest()[:16]
    assert fingerprint(array) == expected
    assert fingerprint(array.astype(">i8")) == expected
    assert fingerprint(array.T) != expected
    assert fingerprint(array.ravel()) != expected


def test_the_test_set_is_part_of_the_fingerprint(tmp_path, make_config):
    def prints(pixel, label):
        x = np.zeros((6, 8, 8), np.uint8)
        test = np.full((2, 8, 8), pixel, np.uint8)
        np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(6) % 2, x_test=test, y_test=np.array([0, label]))
        return build(make_config("arrays", "none", "none", tmp_path / "a.npz")).fingerprints

    assert prints(1, 1) == prints(1, 1)
    assert prints(1, 1)["images"] != prints(2, 1)["images"]
    assert prints(1, 1)["clean_labels"] != prints(1, 0)["clean_labels"]


def test_legacy_labels_reach_the_run(make_config):
    data = build(make_config(noise="symmetric", generator="legacy", data_seed=123))
    labels = DIGITS.target[np.arange(1797) % 5 != 4]
    members = np.flatnonzero(labels == 0)
    np.random.RandomState(123).shuffle(members)
    assert data.index[: data.clean_counts[0]].tolist() == members[: data.clean_counts[0]].tolist()
    assert (data.view.observed_labels.numpy() != data.clean_labels).sum() == int(0.4 * len(data.index))
    assert data.index.tolist() != build(make_config(noise="symmetric", data_seed=123)).index.tolist()


def test_a_noisy_split_takes_its_share_of_every_observed_class(make_config):
    whole = build(make_config())
    data = build(make_config(val="noisy", val_fraction=0.25))
    quota = [int(0.25 * n) for n in whole.observed_counts]
    assert np.bincount(data.val.labels, minlength=10).tolist() == quota
    assert data.observed_counts.tolist() == (whole.observed_counts - quota).tolist()
    assert data.clean_counts.sum() == len(data.index) == len(whole.index) - sum(quota)
    # together they are the subset, image by image
    position = {image.numpy().tobytes(): i for i, image in enumerate(whole.view.images)}
    parts = [*data.view.images, *data.val.images]
    assert sorted(position[image.numpy().tobytes()] for image in parts) == list(range(len(whole.index)))
    held = [position[image.numpy().tobytes()] for image in data.val.images]
    assert whole.view.observed_labels[held].tolist() == data.val.labels.tolist()
    assert data.view.observed_labels.tolist() == np.delete(whole.view.observed_labels.numpy(), sorted(held)).tolist()


@pytest.mark.parametrize("values", [{}, {"val": "noisy", "val_fraction": 0.2}])
def test_each_sample_is_in_exactly_one_fold_and_each_class_is_spread_evenly(make_config, values):
    whole = build(make_config())
    label = dict(zip(whole.index.tolist(), whole.view.observed_labels.tolist(), strict=True))
    image = dict(zip(whole.index.tolist(), whole.view.images.numpy(), strict=True))
    folds = [build(make_config(fold=f"{i}/4", **values)) for i in (1, 2, 3, 4)]
    held = [data.fold_index.tolist() for data in folds]
    assert sorted(i for fold in held for i in fold) == sorted(label)
    assert max(map(len, held)) - min(map(len, held)) <= 1
    for k in range(10):
        counts = [sum(label[i] == k for i in fold) for fold in held]
        assert max(counts) - min(counts) <= 1
    for data, fold in zip(folds, held, strict=True):
        assert data.fold.labels.tolist() == [label[i] for i in fold]
        assert np.array_equal(data.fold.images.numpy(), np.stack([image[i] for i in fold]))
        assert data.view.observed_labels.tolist() == [label[i] for i in data.index.tolist()]
        val = 0 if data.val is None else len(data.val.labels)
        assert set(fold).isdisjoint(data.index.tolist())
        assert len(fold) + len(data.index) + val == len(label)
    assert held[0] != build(make_config(fold="1/4", data_seed=1)).fold_index.tolist()


def test_more_folds_than_samples_are_refused(make_config):
    with pytest.raises(DataError, match=r"dataset.fold=1/9999 divides 582 samples: set at most 582 folds"):
        build(make_config(fold="1/9999"))


def test_a_noisy_split_leaves_every_class_a_sample(make_config):
    data = build(make_config(val="noisy", val_fraction=0.99, noise="none"))
    assert data.observed_counts.min() >= 1
    assert data.val.labels.numel() > 500


def test_a_clean_balanced_split_is_clean_balanced_and_apart_from_training(make_config):
    data = build(make_config(val="clean_balanced", val_fraction=0.05, noise_ratio=0.4))
    assert np.bincount(data.val.labels).tolist() == [7] * 10  # int(.05·143.8)
    labels = DIGITS.target[np.arange(1797) % 5 != 4]
    images = np.rint(DIGITS.images * 255 / 16)[np.arange(1797) % 5 != 4]
    training = {tuple(image.ravel()) for image in images[data.index]}
    for image, label in zip(data.val.images.numpy(), data.val.labels.tolist(), strict=True):
        assert tuple(image.ravel()) not in training
        assert label in labels[(images == image[0]).all(axis=(1, 2))]
    counts = np.minimum([int(143.8 * 0.1 ** (c / 9)) for c in range(10)], np.bincount(labels) - 7)
    assert data.clean_counts.tolist() == counts.tolist()
    assert data.noise_rate == int(0.4 * counts.sum()) / counts.sum()


def test_a_clean_balanced_split_takes_at_least_one(make_config):
    assert np.bincount(build(make_config(val="clean_balanced", val_fraction=1e-4)).val.labels).tolist() == [1] * 10


def test_splits_that_cannot_be_made_are_refused(make_config, tmp_path):
    with pytest.raises(DataError, match="holds out no image: the largest class has"):
        build(make_config(val="noisy", val_fraction=0.001))
    with pytest.raises(DataError, match=r"takes 142 of every class, but class \d has 1\d\d: none would be left"):
        build(make_config(val="clean_balanced", val_fraction=0.99))
    x = np.zeros((6, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(6) % 2, x_test=x, y_test=np.arange(6) % 2)
    with pytest.raises(DataError, match="clean_balanced needs clean labels"):
        build(make_config("arrays", "none", "none", tmp_path / "a.npz", val="clean_balanced", val_fraction=0.1))


def test_shot_groups_can_follow_observed_counts(tmp_path, make_config):
    truth = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    noisy = np.repeat([0, 1, 2, 3], [10, 20, 30, 40])
    x = np.random.default_rng(0).integers(0, 256, (100, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=noisy, y_train_clean=truth, x_test=x, y_test=truth)
    for basis, many in (("clean", [0]), ("observed", [3])):
        config = make_config("arrays", "none", "none", tmp_path / "a.npz", shots=ShotsConfig(basis))
        groups = build(config).groups
        assert groups["many"] == many
        assert groups["head"] == [0]


def test_flip_noise_draws_its_targets_once_from_data_seed(make_config):
    config = make_config(noise=NoiseConfig("flip"), noise_ratio=0.5, imb_factor=1.0)
    confusion = build(config).confusion
    off = confusion - np.diag(confusion.diagonal())
    assert np.count_nonzero(off, axis=1).tolist() == [1] * 10
    assert build(config).confusion.tolist() == confusion.tolist()
