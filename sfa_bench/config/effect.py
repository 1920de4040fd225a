"""Options that cannot act: an option of a group that is set on the command line must act in at least one run.

A single run is a sweep of one. Root keys (`noise_ratio`, `imb_factor` …) are axes of every table and are left alone, as
is a value that is the default anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from sfa_bench.config.canonical import asks_for_rate, defaults, own_arguments, without_effect
from sfa_bench.config.overrides import CheckedOverride
from sfa_bench.config.schema import GROUPS, RunConfig
from sfa_bench.errors import ConfigError

# Nominal values, which act through what is scaled to the length of the run.
SCALED = {
    "plugin.beta": "recipe.effective.beta",
    "plugin.phi": "recipe.effective.phi",
    "method.ramp_epochs": "recipe.effective.ramp_epochs",
}


def idle(config: RunConfig, overrides: Sequence[CheckedOverride]) -> list[CheckedOverride]:
    """The options of groups set on the command line that cannot change this run, whatever their value."""
    chosen = [t for t in overrides if "." in t.key and t.key.partition(".")[0] in GROUPS and _differs(t)]
    if not chosen or any("${" in str(t.value) for t in overrides):  # another key may take its value from one of these
        return []
    silent = set(without_effect(config)) - set(own_arguments(config))
    if asks_for_rate(config):
        silent.discard("noise.assumed_rate")  # it is there only where it says what is known anyway
    if config.recipe.effective.schedule != "step":
        silent.add("recipe.milestone")
    return [t for t in chosen if SCALED.get(t.key, t.key) in silent]


def _differs(override: CheckedOverride) -> bool:
    return override.value is not None and (override.key not in defaults() or override.value != defaults()[override.key])


def no_effect(override: CheckedOverride, config: RunConfig | None = None) -> ConfigError:
    """The refusal of an option without effect in the run asked for, or in all runs of a sweep."""
    if config is None:
        return ConfigError(f"{override.text} has no effect in any run of this sweep: leave {override.key} out")
    group = override.key.partition(".")[0]
    words = " ".join(f"{name}={config.names[name]}" for name in dict.fromkeys(("method", "plugin", group)))
    return ConfigError(
        f"{override.text} has no effect in this run ({words}): leave {override.key} out", invalid_combination=True
    )
