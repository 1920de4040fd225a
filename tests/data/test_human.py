"""CIFAR-N: labels that people gave, from files in the official structure that are made here (algorithms/data.md §5)."""

import os
import pickle

import cifar_n
import numpy as np
import pytest
import torch

from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.data.sources import human
from sfa_bench.errors import DataError

CLEAN = {"cifar10": np.arange(200) % 10, "cifar100": np.arange(300) % 100}
KEYS = {  # as the release of CIFAR-N calls them
    "clean": "clean_label",
    "aggre": "aggre_label",
    "rand1": "random_label1",
    "rand2": "random_label2",
    "rand3": "random_label3",
    "worst": "worse_label",
}


def write_images(folder, source):
    """The Python version's files; the first pixels of a training image spell its number."""
    clean = CLEAN[source]
    names = [f"data_batch_{i}" for i in range(1, 6)] if source == "cifar10" else ["train"]
    parts = np.array_split(np.arange(len(clean)), len(names))
    batches = dict(zip(names, parts, strict=True)) | {"test_batch" if source == "cifar10" else "test": np.arange(20)}
    for name, numbers in batches.items():
        pixels = np.zeros((len(numbers), 3072), np.uint8)
        pixels[:, 0], pixels[:, 1] = numbers % 256, numbers // 256
        key = "labels" if source == "cifar10" else "fine_labels"
        (folder / name).write_bytes(pickle.dumps({"data": pixels, key: clean[numbers].tolist()}, protocol=2))


@pytest.fixture
def ten(tmp_path):
    """A folder with both files of CIFAR-10N, and what people said."""
    write_images(tmp_path, "cifar10")
    labels = cifar_n.labels_for(CLEAN["cifar10"])
    cifar_n.write(tmp_path / "CIFAR-10_human.pt", labels)
    return tmp_path, labels


def data(folder, *typed, dataset="cifar10n"):
    return build(compose([f"dataset={dataset}", f"data_dir={folder}", "dataset.checksum=false", *typed]))


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize("labels", KEYS)
def test_each_image_has_the_label_that_people_gave_it(tmp_path, ten, labels, module):
    folder, said = ten
    cifar_n.write(folder / "CIFAR-10_human.pt", said, module)
    d = data(folder, f"noise.labels={labels}")
    assert sorted(d.index.tolist()) == list(range(200))
    for image, index, observed, clean in zip(
        d.view.images, d.index, d.view.observed_labels, d.clean_labels, strict=True
    ):
        assert int(image[0, 0, 0]) + 256 * int(image[0, 0, 1]) == index
        assert observed == said[KEYS[labels]][index]
        assert clean == index % 10
    assert d.view.observed_labels.dtype == torch.int64
    assert d.noise_rate == np.mean(said[KEYS[labels]] != said["clean_label"])
    assert d.confusion.sum(axis=0).tolist() == np.bincount(said[KEYS[labels]], minlength=10).tolist()


def test_the_subset_is_drawn_by_clean_label_and_is_that_of_other_noise(ten):
    folder, said = ten
    d = data(folder, "imbalance=exp", "imb_factor=0.1", "noise.labels=rand1")
    assert d.clean_counts.tolist() == [int(20 * 0.1 ** (c / 9)) for c in range(10)]
    assert d.index.tolist() == data(folder, "imbalance=exp", "imb_factor=0.1", "noise=joint").index.tolist()
    assert d.view.observed_labels.tolist() == said["random_label1"][d.index].tolist()
    assert (d.groups["many"], d.groups["few"]) == ([0, 1], [7, 8, 9])


def test_images_are_seen_as_cifars_are_and_synthetic_noise_is_theirs_too(ten):
    folder, _ = ten
    d, same = data(folder), data(folder, "noise=joint", "imbalance=none", dataset="cifar10")
    assert d.view.transform == same.view.transform
    joint = data(folder, "noise=joint")
    assert joint.fingerprints == same.fingerprints
    assert joint.noise_rate == 0.4
    (folder / "CIFAR-10_human.pt").unlink()
    assert data(folder, "noise=joint").fingerprints == same.fingerprints  # it does not ask for the file


def test_replicates_differ_in_their_subset_alone(ten):
    folder, said = ten
    first, second = (data(folder, "imbalance=exp", "imb_factor=0.5", f"data_seed={s}") for s in (0, 1))
    assert first.index.tolist() != second.index.tolist()
    assert second.view.observed_labels.tolist() == said["worse_label"][second.index].tolist()


def test_a_clean_validation_set_and_a_noisy_one(ten):
    folder, said = ten
    clean = data(folder, "dataset.val=clean_balanced", "dataset.val_fraction=0.1").val
    assert np.bincount(clean.labels, minlength=10).tolist() == [2] * 10
    noisy = data(folder, "dataset.val=noisy", "dataset.val_fraction=0.3").val
    numbers = noisy.images[:, 0, 0, 0].numpy()
    assert noisy.labels.tolist() == said["worse_label"][numbers].tolist()


@pytest.mark.parametrize(("labels", "key"), [("noisy", "noisy_label"), ("clean", "clean_label")])
def test_cifar100s_file_holds_lists_of_coarse_labels_too(tmp_path, labels, key):
    write_images(tmp_path, "cifar100")
    said = cifar_n.labels_for(CLEAN["cifar100"], 100)
    assert isinstance(said["noisy_coarse_label"], list)
    cifar_n.write(tmp_path / "CIFAR-100_human.pt", said)
    d = data(tmp_path, f"noise.labels={labels}", dataset="cifar100n")
    assert d.view.observed_labels.tolist() == said[key][d.index].tolist()
    assert d.view.transform.std == (0.267, 0.256, 0.276)
    assert len(d.groups["few"]) == 100  # three of each class: the borders are 100 and 20, as for cifar100


def test_a_missing_file_is_named_before_the_images_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("sfa_bench.data.sources.cifar._download", lambda *args: pytest.fail("it tried to download"))
    with pytest.raises(DataError, match=r"CIFAR-10_human\.pt is missing: noise=human needs it .* set another noise"):
        data(tmp_path)
    with pytest.raises(DataError, match=r"data_dir=.*nowhere does not exist"):
        data(tmp_path / "nowhere")


def test_labels_in_another_order_are_refused(ten):
    folder, said = ten
    swapped = said["clean_label"].copy()
    swapped[[30, 41]] = swapped[[41, 30]]
    cifar_n.write(folder / "CIFAR-10_human.pt", said | {"clean_label": swapped})
    with pytest.raises(DataError, match=r"differs .* in 2 of 200 places, first at 30: it follows another image order"):
        data(folder)
    with pytest.raises(DataError, match="another image order"):
        data(folder, "noise.labels=clean")


def without(key):
    return lambda said: {name: array for name, array in said.items() if name != key}


def with_(key, change):
    return lambda said: said | {key: change(said[key])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("worse_label"),
            r"has no worse_label; it holds clean_label, aggre_label.*: take the official CIFAR-10_h",
        ),
        (without("clean_label"), "has no clean_label"),
        (
            with_("worse_label", lambda a: a[:-1]),
            "worse_label of .* has 199 labels, but the training set has 200 images",
        ),
        (with_("clean_label", lambda a: np.append(a, 0)), "clean_label of .* has 201 labels, but"),
        (with_("worse_label", lambda a: a + 1), r"label 10 \(number \d+ of worse_label"),
        (with_("worse_label", lambda a: -a - 1), r"label -\d+ \(number 0 of worse_label"),
        (with_("worse_label", lambda a: a.reshape(2, 100)), "not a list of integers"),
        (with_("worse_label", lambda a: [0, [1]]), "worse_label of .* is not a list of integers"),
        (with_("worse_label", lambda a: {}), "not a list of integers"),
        (lambda said: list(said.values()), "holds a list, not a dict of label arrays"),
    ],
)
def test_wrong_contents_are_named(ten, change, message):
    folder, said = ten
    cifar_n.write(folder / "CIFAR-10_human.pt", change(said))
    with pytest.raises(DataError, match=message) as refused:
        data(folder)
    assert "\n" not in str(refused.value)


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("function", "named"), [(os.mkdir, r"posix\.mkdir"), (np.save, r"numpy\.save"), (exec, "exec")]
)
def test_a_file_that_runs_code_is_refused_and_nothing_runs(ten, function, named, inside):
    folder, said = ten
    mark = folder / "it-ran"
    arguments = {os.mkdir: (str(mark),), np.save: (str(mark), 1), exec: (f"open({str(mark)!r}, 'w')",)}[function]
    hostile = Calls(function, *arguments)
    cifar_n.write(folder / "CIFAR-10_human.pt", said | {"extra": hostile} if inside else hostile)
    with pytest.raises(
        DataError, match=rf"CIFAR-10_human\.pt is refused: it asks for {named}, .* nothing of it was run"
    ):
        data(folder)
    assert not list(folder.glob("it-ran*"))
    torch.load(folder / "CIFAR-10_human.pt", weights_only=False)
    assert list(folder.glob("it-ran*"))  # a general reader would have run it


def test_nothing_else_than_arrays_of_int64_is_admitted_and_only_while_it_loads(ten):
    folder, said = ten
    names = {
        entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}" for entry in human.ADMITTED
    }
    reconstruct = {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
    assert names == reconstruct | {"numpy.ndarray", "numpy.dtype", "numpy.dtypes.Int64DType", "_codecs.encode"}
    data(folder)
    assert not set(human.ADMITTED) & set(torch.serialization.get_safe_globals())
    cifar_n.write(folder / "CIFAR-10_human.pt", said | {"worse_label": said["worse_label"].astype(np.float32)})
    with pytest.raises(DataError, match="is refused: it is damaged, or holds more than lists and int64 arrays"):
        data(folder)
    assert not set(human.ADMITTED) & set(torch.serialization.get_safe_globals())


def test_a_file_cut_anywhere_is_refused(ten):
    folder, _ = ten
    path = folder / "CIFAR-10_human.pt"
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 997), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(
            DataError, match=r"CIFAR-10_human\.pt is (truncated or not a Torch file|refused)"
        ) as refused:
            data(folder)
        assert "\n" not in str(refused.value)


def test_something_else_under_the_name_is_refused(ten):
    folder, said = ten
    np.save(folder / "other.npy", said["worse_label"])
    for content in (b"not a file of Torch", (folder / "other.npy").read_bytes(), pickle.dumps(said)):
        (folder / "CIFAR-10_human.pt").write_bytes(content)
        with pytest.raises(DataError, match=r"CIFAR-10_human\.pt is (truncated or not a Torch file|refused)"):
            data(folder)
