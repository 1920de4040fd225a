"""The Ray cluster of a sweep with `hydra/launcher=ray`: its own on this machine, or a running one that is named."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sfa_bench.cores import cores
from sfa_bench.errors import ConfigError, RunError

# Read by Ray at import: no usage statistics, and every line of a job as it was printed.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}
# Defaults for `ray.init`, which `hydra.launcher.ray.init` overrides. Jobs return a few bytes, for which Ray would
# reserve a third of the memory.
HERE = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
LAST_LINES_SECONDS = 0.5  # the time that Ray itself waits at exit for lines of jobs


@contextmanager
def ray_cluster(launcher: Any) -> Iterator[None]:
    """While entered, Ray runs if the launcher needs it; on leaving, a cluster that was started here ends.

    Raises ConfigError when a job asks for more than this machine has, for which Ray would wait forever.
    """
    if "RayLauncher" not in launcher._target_:
        yield
        return
    from omegaconf import OmegaConf

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    given = {"logging_level": "error", **OmegaConf.to_object(launcher.ray.init)}  # type: ignore[dict-item]
    here = not given.get("address") and "RAY_ADDRESS" not in os.environ
    try:
        # Before the launcher starts it, so that Ray's signal handlers are not the last ones set.
        ray.init(**({"num_cpus": cores(), **HERE, **given} if here else given))
    except Exception as error:
        raise RunError(f"Ray did not start: {type(error).__name__}: {error}") from error
    try:
        if here:
            _check(launcher.ray.remote, ray.cluster_resources())
        yield
        time.sleep(LAST_LINES_SECONDS)
    finally:
        ray.shutdown()


def _check(asked: Any, there: dict[str, float]) -> None:
    for key, name in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        if (asked.get(key) or 0) > there.get(name, 0):
            raise ConfigError(
                f"hydra.launcher.ray.remote.{key}={asked[key]}: must be at most {there.get(name, 0):g}, "
                "which is what this machine has"
            )
