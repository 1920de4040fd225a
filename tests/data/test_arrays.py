import numpy as np
import pytest

from sfa_bench.data import build
from sfa_bench.errors import DataError


def content(num_classes=3, per_class=20, **replaced):
    rng = np.random.default_rng(0)
    y_train = np.arange(num_classes * per_class) % num_classes
    arrays = {
        "x_train": rng.integers(0, 256, (len(y_train), 9, 8, 2), dtype=np.uint8),
        "y_train": y_train,
        "x_test": rng.integers(0, 256, (12, 9, 8, 2), dtype=np.uint8),
        "y_test": np.arange(12) % num_classes,
    }
    return {name: array for name, array in (arrays | replaced).items() if array is not None}


@pytest.fixture
def run(tmp_path, make_config):
    def run(arrays, noise="none", imbalance="none", **values):
        np.savez(tmp_path / "mine.npz", **arrays)
        return build(make_config("arrays", noise, imbalance, tmp_path / "mine.npz", **values))

    return run


def test_labels_without_a_known_truth_are_taken_as_they_come(run):
    arrays = content()
    data = run(arrays)
    assert data.view.images.numpy().tolist() == arrays["x_train"][data.index].transpose(0, 3, 1, 2).tolist()
    assert data.view.observed_labels.tolist() == arrays["y_train"][data.index].tolist()
    assert data.clean_labels.tolist() == [-1] * 60
    assert (data.noise_rate, data.confusion, data.clean_counts) == (None, None, None)
    assert data.observed_counts.tolist() == [20, 20, 20]
    assert sum(map(len, (data.groups["head"], data.groups["mid"], data.groups["tail"]))) == 3


def test_a_known_truth_gives_rate_confusion_and_the_classes_of_the_subset(run):
    truth = np.arange(60) % 3
    noisy = np.where(np.arange(60) < 6, (truth + 1) % 3, truth)
    data = run(content(y_train=noisy, y_train_clean=truth), imbalance="step", imb_factor=0.5)
    assert data.clean_counts.tolist() == [20, 10, 10]
    assert data.clean_labels.tolist() == truth[data.index].tolist()
    assert data.view.observed_labels.tolist() == noisy[data.index].tolist()
    wrong = noisy[data.index] != truth[data.index]
    assert data.noise_rate == wrong.mean()
    assert data.confusion.trace() == (~wrong).sum()
    assert data.confusion[0, 1] == 2


def test_noise_takes_the_labels_as_clean(run):
    data = run(content(), noise="symmetric", noise_ratio=0.5)
    assert data.clean_counts.tolist() == [20, 20, 20]
    assert data.noise_rate == 0.5
    assert data.clean_labels.tolist() == (np.arange(60) % 3)[data.index].tolist()


def test_noise_on_labels_that_are_noisy_already_is_refused(run):
    truth = np.arange(60) % 3
    assert run(content(y_train_clean=truth), noise="pair").noise_rate > 0
    with pytest.raises(DataError, match=r"the labels differ from the clean ones in 2 places: .* use noise=none"):
        run(content(y_train_clean=np.r_[1, 0, truth[2:]]), noise="pair")


def test_grey_images_need_no_channel_axis_and_statistics_are_the_training_pixels(run):
    x_train = np.random.default_rng(3).integers(0, 200, (60, 9, 8), dtype=np.uint8)
    data = run(content(x_train=x_train, x_test=np.zeros((12, 9, 8), np.uint8)))
    assert data.view.images.shape == (60, 1, 9, 8)
    transform = data.view.transform
    assert transform.mean == pytest.approx(((x_train / 255).mean(),))
    assert transform.std == pytest.approx(((x_train / 255).std(),))
    assert (transform.padding, transform.flip) == (0, False)
    flat = run(content(x_train=np.full((60, 9, 8), 7, np.uint8), x_test=np.zeros((12, 9, 8), np.uint8)))
    assert flat.view.transform.std == (1e-3,)


def test_statistics_are_per_channel_and_the_same_over_many_blocks(run):
    x_train = np.random.default_rng(3).integers(0, 256, (2500, 8, 8, 3), dtype=np.uint8) // np.array(
        [1, 2, 3], np.uint8
    )
    data = run(content(x_train=x_train, y_train=np.arange(2500) % 3, x_test=x_train[:12]))
    assert data.view.transform.mean == pytest.approx((x_train / 255).mean(axis=(0, 1, 2)).tolist())
    assert data.view.transform.std == pytest.approx((x_train / 255).std(axis=(0, 1, 2)).tolist())


def test_two_classes_and_a_class_with_one_image_work(run):
    y_train = np.r_[np.zeros(59, int), 1]
    data = run(content(2, y_train=y_train, x_train=np.zeros((60, 9, 8, 2), np.uint8)), noise="joint", noise_ratio=0.3)
    assert data.clean_counts.tolist() == [59, 1]
    assert (data.clean_labels != data.view.observed_labels.numpy()).sum() == 18
    assert (data.groups["many"], data.groups["few"], data.groups["tail"]) == ([0], [], [1])


X = np.zeros((60, 9, 8, 2), np.uint8)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"y_test": None}, "has no y_test; it holds x_train, y_train, x_test"),
        ({"x_train": X / 255}, r"x_train of .* must be uint8 .* not float64 \[60, 9, 8, 2\]"),
        ({"x_train": X.reshape(60, -1)}, r"not uint8 \[60, 144\]"),
        ({"x_train": X[:, :0]}, r"not uint8 \[60, 0, 8, 2\]"),
        ({"x_train": X[:0]}, "x_train of .* holds no image"),
        ({"x_test": X[:12, :8]}, r"x_train are \[9, 8, 2\], of x_test \[8, 8, 2\]"),
        ({"y_train": np.zeros(59, int)}, "at least two are needed"),
        ({"y_train": np.arange(59) % 3}, "y_train of .* has 60 images but 59 labels"),
        ({"y_train": (np.arange(60) % 3) / 1.0}, "not a list of integers"),
        ({"y_train": (np.arange(60) % 3)[:, None]}, "not a list of integers"),
        ({"y_train": np.arange(60) % 3 * 2}, "class 1 has no training image"),
        ({"y_train": np.arange(60) % 3 + 1}, "class 0 has no training image"),
        ({"y_train": np.arange(60) % 3 - 1}, r"label -1 \(number 0 of y_train"),
        ({"y_test": np.full(12, 3)}, r"label 3 \(number 0 of y_test.* 0…2"),
        ({"y_train_clean": np.arange(60) % 2}, "label 2 .* of y_train .*out of range: labels are 0…1"),
        ({"y_train_clean": np.arange(30) % 3}, "y_train_clean of .* has 60 images but 30 labels"),
        ({"y_train": np.array([object()] * 60)}, "not an .npz of plain arrays"),
    ],
)
def test_wrong_arrays_are_named(run, replaced, message):
    with pytest.raises(DataError, match=message):
        run(content(**replaced))


def test_a_file_cut_anywhere_and_other_files_are_refused(tmp_path, make_config):
    file = tmp_path / "mine.npz"
    np.savez_compressed(file, **content())
    whole = file.read_bytes()
    config = make_config("arrays", "none", "none", file)
    assert len(build(config).index) == 60
    for length in range(0, len(whole), 499):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated or not an \.npz"):
            build(config)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match="single array"):
        build(make_config("arrays", "none", "none", tmp_path / "one.npy"))
    with pytest.raises(DataError, match=r"reads one \.npz file"):
        build(make_config("arrays", "none", "none", tmp_path))


def test_a_model_of_another_data_sets_colours_does_not_fit(run):
    with pytest.raises(DataError, match="cifar10 has constants for 3 channels, the images of arrays have 2"):
        run(content(), normalise="cifar10")
