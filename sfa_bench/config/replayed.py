"""The configuration of a run in a replay, with another selector or other selector options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sfa_bench.choices.methods import LEARNERS
from sfa_bench.choices.selectors import OPTIONS, SELECTORS
from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import check_overrides
from sfa_bench.config.recipes import resolve
from sfa_bench.config.schema import RunConfig
from sfa_bench.errors import ConfigError

# They shape networks, what these learn from, or what is saved.
TRAINING = (
    *("plugin.abc.", "plugin.main_subset", "plugin.medium_warmup", "method.selector.view"),
    *("plugin.epsilon", "plugin.kappa", "plugin.query_centre"),
)


def with_setting(base: RunConfig, setting: Sequence[str], config_dir: Path | None = None) -> RunConfig:
    """A run's configuration with another selector or other selector options. Another plug-in has its own values, except
    for p_threshold and gmm.*, which all selectors share.

    Raises: ConfigError for a key that does not exist, has no effect there, or acts in training.
    """
    given = {t.key: t for t in check_overrides(setting, config_dir)}
    for key, t in given.items():
        if not (key == "plugin" or key.startswith(("plugin.", "method.selector."))) or key.startswith(TRAINING):
            raise ConfigError(
                f"{t.text} acts in training, which a replay does not repeat; it takes plugin, "
                "method.selector.* but view, and the plugin.* that selectors have"
            )
        if key == "method.selector.features" and not LEARNERS[base.method.learner].projects:
            raise ConfigError(f"{t.text} has no effect: the networks of {base.names['method']} have no projector")
        if "${" in str(t.value):
            raise ConfigError(f"{t.text}: a replay takes plain values")
    plugin, selector = _choice(base, {key: t.value for key, t in given.items()}, config_dir)
    if selector == "none":
        raise ConfigError("nothing selects here: set method.selector.name=…, or plugin=sfa", invalid_combination=True)
    words = [f"plugin={plugin}"] + ([] if selector is None else [f"method.selector.name={selector}"])
    words += [t.text for key, t in given.items() if key not in ("plugin", "method.selector.name")]
    asked = _of_any_method(base, words, config_dir)
    values = base.plugin
    if plugin != base.names["plugin"]:
        values = replace(asked.plugin, p_threshold=values.p_threshold, gmm=values.gmm)
    for key in given:
        if key.startswith("plugin."):
            values = _take(values, asked.plugin, *key.split(".")[1:])
    chosen = replace(asked.method.selector, view=base.method.selector.view)
    if "method.selector.no_clean_class" not in given:
        chosen = replace(chosen, no_clean_class=base.method.selector.no_clean_class)
    if chosen.name == base.method.selector.name:
        kept = {key: getattr(base.method.selector, key) for key in OPTIONS if f"method.selector.{key}" not in given}
        chosen = replace(chosen, **kept)
    # Nominal values are scaled to the run's length again.
    return resolve(replace(base, plugin=values, method=replace(base.method, selector=chosen)))


def _choice(base: RunConfig, values: dict[str, Any], config_dir: Path | None) -> tuple[str, str | None]:
    """The plug-in of a setting, and its selector (None: the plug-in brings one)."""
    recorded, brought = base.names["plugin"], base.plugin.selector != "none"
    plugin, selector = values.get("plugin"), values.get("method.selector.name")
    if plugin is None:
        if selector in (None, base.method.selector.name):
            return recorded, None if brought else base.method.selector.name
        if (bringing := SELECTORS[selector].plugin) is not None:
            return bringing, None
        # The plug-in's selector is replaced; whether there is a balanced head stays as it is.
        return ("none" if base.plugin.head == "none" else "abc") if brought else recorded, selector
    if selector is not None or _of_any_method(base, [f"plugin={plugin}"], config_dir).plugin.selector != "none":
        return plugin, selector
    if not brought:
        return plugin, base.method.selector.name
    # Without the plug-in that selects, the method selects as it usually does.
    return plugin, compose([f"method={base.names['method']}", "plugin=none"], config_dir).method.selector.name


def _of_any_method(base: RunConfig, words: Sequence[str], config_dir: Path | None) -> RunConfig:
    """Compose for a method that takes every plug-in: only the setting is checked, not the training."""
    data = [f"dataset={base.names['dataset']}", f"dataset.name={base.dataset.name}", "model.pretrained=false"]
    # The first takes every plug-in, the second is for probes of one network.
    method = "dividemix" if base.method.networks == 2 else "ce"
    return compose([f"method={method}", *data, *words], config_dir)


def _take(values: Any, source: Any, key: str, *rest: str) -> Any:
    """Set the option at this path of `values` to its value in `source`."""
    if key not in {field.name for field in fields(values)}:  # of a selector of the user's own
        return replace(values, arguments={**values.arguments, key: source.arguments[key]})
    new = getattr(source, key)
    return replace(values, **{key: _take(getattr(values, key), new, *rest) if rest else new})
