"""What a noise model's description says is what its YAML, its law and the configuration do."""

import numpy as np
import pytest

from sfa_bench.choices.noises import COUNTS, NAMES, NOISES, OPTIONS, WITHOUT_RATIO, NoiseConfig
from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose, values_of
from sfa_bench.config.overrides import choices
from sfa_bench.data.noise import noise_law
from sfa_bench.data.sources.cifar import CLASS_MAPS
from sfa_bench.errors import ConfigError

LAWS = [name for name, noise in NOISES.items() if noise.source == "law"]


def test_each_is_a_choice_and_each_choice_is_described():
    assert sorted(NAMES) == sorted(choices("noise"))
    assert WITHOUT_RATIO == ("human", "matrix", "none")


@pytest.mark.parametrize("name", NAMES)
def test_its_yaml_has_the_options_that_act_on_it(name):
    keys = set(values_of("noise", name))
    assert keys - {"name", "assumed_rate", "revision"} == set(NOISES[name].options)
    assert set(NOISES[name].options) <= set(OPTIONS)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("count", COUNTS)
def test_its_law_counts_as_it_may_be_asked_to(name, count, tmp_path):
    np.save(tmp_path / "matrix.npy", np.full((10, 10), 0.1))
    noise = NoiseConfig(name, count=count, file=str(tmp_path / "matrix.npy"))
    made = (noise, 0.4, np.arange(10, 0, -1), np.random.default_rng(0), CLASS_MAPS["cifar10"])
    if count in NOISES[name].counts:
        law = noise_law(*made)
        assert law.count == count
        rows = law.target.sum(axis=1)
        assert ((np.abs(rows - 1) < 1e-12) | (rows == 0)).all()
    else:
        with pytest.raises(ConfigError, match=f"noise={name} has a rate for each class"):
            noise_law(*made)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("human", "matrix")])
def test_the_ratio_counts_where_it_acts(name):
    hashes = {run_hash(compose(["dataset=cifar10", f"noise={name}", f"noise_ratio={ratio}"])) for ratio in (0.2, 0.4)}
    assert len(hashes) == 1 + NOISES[name].ratio


@pytest.mark.parametrize("name", NAMES)
def test_the_releases_generator_takes_what_it_knows(name):
    words = ["dataset=cifar10", f"noise={name}", "dataset.generator=legacy"]
    if NOISES[name].legacy is not None:
        assert compose(words).dataset.generator == "legacy"
    else:
        with pytest.raises(ConfigError):
            compose(words)
