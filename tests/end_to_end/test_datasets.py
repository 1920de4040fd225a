"""Every backbone of the recipes learns from every file format, on small faithful copies."""

import io
import pickle

import cifar_n
import numpy as np
import pytest
from rich.console import Console

from sfa_bench.config.compose import compose
from sfa_bench.engine.run import run
from sfa_bench.engine.session import Session
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store.record import loads

SHORT = ["epochs=2", "warmup_epochs=1", "threads=1", "imb_factor=0.5"]


def write_cifar(folder, fine):
    """The Python version's files with few images: bright ones where the label is odd."""
    rng = np.random.default_rng(0)
    names = ["train", "test"] if fine else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    folder.mkdir()
    for name in names:
        labels = np.arange(200 if name == "train" else 40) % (100 if fine else 10)
        pixels = rng.integers(0, 100, (len(labels), 3072), dtype=np.uint8)
        pixels += (100 * (labels % 2)).astype(np.uint8)[:, None]
        content = {"data": pixels, "fine_labels" if fine else "labels": labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def train(runs, *overrides):
    path = run(compose([*overrides, f"runs_dir={runs}"]), "", Console(file=io.StringIO()))
    return loads((path / "run.json").read_bytes()), np.load(path / "predictions.npz")


@pytest.mark.parametrize(
    ("dataset", "more"),
    [
        ("cifar10", ["model.width=2"]),
        ("cifar10", ["model.width=2", "model.variant=canonical", "noise=asymmetric", "plugin=abc"]),
        ("cifar10", ["model=resnet32", "model.width=2", "noise=tail_to_head"]),
        ("cifar100", ["model=convnet", "noise=flip", "imbalance=none"]),
        ("cifar100", ["model=convnet", "noise=instance", "imbalance=none"]),
    ],
)
def test_cifar_files_train_dividemix_with_a_plug_in(tmp_path, dataset, more):
    write_cifar(tmp_path / "data", fine=dataset == "cifar100")
    record, arrays = train(
        tmp_path / "runs", f"dataset={dataset}", f"data_dir={tmp_path}/data", "dataset.checksum=false", *SHORT, *more
    )
    num_classes = 100 if dataset == "cifar100" else 10
    assert record["state"] == "done"
    assert arrays["test_logits_2_abc"].shape == (40, num_classes)
    assert len(record["data"]["clean_counts"]) == num_classes
    assert record["knows"] == (["type"] if "noise=asymmetric" in more else [])
    if num_classes > 20:  # too large for the record: the diagonal there, the whole in data.npz
        assert np.shape(record["data"]["confusion"]) == (100,)
        assert record["metrics"]["test/top5"] is not None
    else:
        assert np.shape(record["data"]["confusion"]) == (10, 10)


@pytest.mark.parametrize("method", [["method=ce", "plugin=none"], ["plugin=none"], ["plugin=sfa"]])
def test_labels_that_people_gave_are_trained_on_and_a_stopped_run_goes_on_to_the_same_bits(
    tmp_path, monkeypatch, method
):
    write_cifar(tmp_path / "data", fine=False)
    said = cifar_n.labels_for(np.arange(200) % 10)
    cifar_n.write(tmp_path / "data" / "CIFAR-10_human.pt", said)
    typed = ["dataset=cifar10n", f"data_dir={tmp_path}/data", "dataset.checksum=false", "imbalance=exp", *SHORT]
    typed += ["model=convnet", "model.width=2", "batch_size=16", *method]
    record, arrays = train(tmp_path / "runs", *typed)
    assert (record["state"], record["knows"]) == ("done", [])
    assert record["names"]["noise"] == "human"
    assert record["config"]["noise"]["labels"] == "worst"
    assert arrays["clean_label"].tolist() == (arrays["index"] % 10).tolist()
    assert arrays["observed_label"].tolist() == said["worse_label"][arrays["index"]].tolist()
    assert record["data"]["noise_rate"] == np.mean(arrays["observed_label"] != arrays["clean_label"])
    assert record["data"]["clean_counts"] == [int(20 * 0.5 ** (c / 9)) for c in range(10)]

    original = Session._one_epoch

    def stopped(self, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        original(self, epoch)

    monkeypatch.setattr(Session, "_one_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", *typed, "checkpoint_seconds=0")
    monkeypatch.setattr(Session, "_one_epoch", original)
    cifar_n.write(tmp_path / "data" / "CIFAR-10_human.pt", said | {"worse_label": said["random_label1"]})
    with pytest.raises((ConfigError, RunError), match="this run was made on other data"):
        train(tmp_path / "stopped", *typed, "checkpoint_seconds=0")
    cifar_n.write(tmp_path / "data" / "CIFAR-10_human.pt", said)
    again, same = train(tmp_path / "stopped", *typed, "checkpoint_seconds=0")
    assert again["metrics"] == record["metrics"]
    assert all(np.array_equal(arrays[name], same[name]) for name in arrays.files)


def test_a_users_noise_matrix_acts_and_is_part_of_the_identity(tmp_path):
    swap = np.eye(10)[[1, 0, *range(2, 10)]]
    np.save(tmp_path / "swap.npy", swap)
    record, arrays = train(
        tmp_path / "runs", "method=ce", "plugin=none", "noise=matrix", f"noise.file={tmp_path}/swap.npy", *SHORT
    )
    clean, observed = arrays["clean_label"], arrays["observed_label"]
    assert (observed == np.array([1, 0, *range(2, 10)])[clean]).all()
    np.save(tmp_path / "swap.npy", np.eye(10))
    other, _ = train(
        tmp_path / "runs", "method=ce", "plugin=none", "noise=matrix", f"noise.file={tmp_path}/swap.npy", *SHORT
    )
    assert other["hash"] != record["hash"]
    assert other["data"]["noise_rate"] == 0
