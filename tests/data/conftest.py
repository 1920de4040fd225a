from dataclasses import replace

import pytest

from sfa_bench.choices.noises import NoiseConfig
from sfa_bench.choices.sources import DatasetConfig
from sfa_bench.config.schema import ImbalanceConfig, RunConfig


@pytest.fixture
def make_config():
    """A run's configuration: `noise`, `imbalance` by name or as their section, other dataset keys by name."""

    def make(source="digits", noise="joint", imbalance="exp", data_dir="data", **values):
        keys = {"shots", "normalise", "checksum", "generator", "val", "val_fraction", "fold"}
        dataset = DatasetConfig(name=source, source=source, **{k: values.pop(k) for k in keys & values.keys()})
        noise = NoiseConfig(name=noise) if isinstance(noise, str) else noise
        config = RunConfig(dataset=dataset, noise=noise, imbalance=ImbalanceConfig(imbalance), data_dir=str(data_dir))
        return replace(config, **values)

    return make


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    """A test never reaches for the network; the ones about downloads put their own function here."""

    def refuse(*args):
        raise OSError("no network in tests")

    monkeypatch.setattr("sfa_bench.data.sources.cifar._download", refuse)
    monkeypatch.setattr("sfa_bench.data.sources.fashion_mnist._download", refuse)
