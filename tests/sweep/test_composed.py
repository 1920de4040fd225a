"""Jobs get the part `hydra` of their configuration as Hydra composes it, without being composed each."""

import pickle

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from sfa_bench.config.hydras import BASE, CONF, quoted
from sfa_bench.sweep.composed import ComposedOnce
from sfa_bench.sweep.handover import KEY

REFERENCE = f"0123456789ab:5:70:{'0f' * 32}"
JOBS = [["method=ce", "replicate=0"], ["method=elr", "replicate=1"]]


def told(reference):
    return f"hydra.job.env_set.{KEY}={quoted(reference)}"


@pytest.fixture
def composing():
    """Hydra's loader, and the composition of a sweep with these further words."""
    with initialize_config_dir(str(CONF), **BASE):
        loader = GlobalHydra.instance().hydra.config_loader

        def composed(*words):
            given = ["hydra.mode=MULTIRUN", "hydra/launcher=joblib", "runs_dir=/somewhere", *words]
            master = loader.load_configuration("config", given, RunMode.MULTIRUN)
            master.hydra.overrides.hydra += [f"+hydra.job.env_set.{KEY}=''"]
            return loader, master

        yield composed


def test_a_job_has_what_hydra_would_compose_for_it(composing):
    loader, master = composing("method=ce,elr", "hydra.launcher.n_jobs=2")
    once = ComposedOnce(loader)
    once.compose(master, ["runs_dir=/somewhere", *JOBS[0], told("a" * 12 + REFERENCE[12:])])
    once = pickle.loads(pickle.dumps(once))  # as a launcher sends it to its workers
    for job in JOBS:
        words = ["runs_dir=/somewhere", *job, told(REFERENCE)]
        expected, found = loader.load_sweep_config(master, words), once.load_sweep_config(master, words)
        assert found.hydra.job.env_set[KEY] == expected.hydra.job.env_set[KEY] == REFERENCE
        assert found.hydra.overrides.task == words[:-1]
        for key in ("launcher", "runtime", "sweep", "run", "job_logging", "output_subdir", "mode"):
            a, b = (OmegaConf.to_container(config.hydra, resolve=False)[key] for config in (found, expected))
            if key in ("sweep", "run"):
                a, b = (str(config.hydra[key].dir) for config in (found, expected))
            if key == "runtime":
                a, b = ({k: v for k, v in part.items() if k != "choices"} for part in (a, b))
            assert a == b, key
        HydraConfig.instance().set_config(found)  # which checks its types


@pytest.mark.parametrize("own", ["hydra.sweep.subdir=${hydra.job.num}", "hydra.output_subdir=.hydra"])
def test_where_output_depends_on_the_job_each_is_composed(composing, own):
    loader, master = composing(own)
    once = ComposedOnce(loader)
    once.compose(master, [*JOBS[0], told(REFERENCE)])
    assert once.load_sweep_config(master, [*JOBS[1], told(REFERENCE)]).replicate == 1


def test_other_questions_go_to_hydras_loader(composing):
    loader, _ = composing()
    assert "elr" in ComposedOnce(loader).get_group_options("method")
