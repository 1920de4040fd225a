"""Tables by name (`--preset`), each for the sweep of the same name; other options override it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.columns import Run
from analysis.runs import differing, distinct, has_field
from sfa_bench.errors import ConfigError

DATA = ("dataset", "noise", "noise_ratio", "imb_factor")
GROUPS = ("final", "many", "medium", "few", "head", "mid", "tail", "worst")
# Names for several metrics at once.
SETS: Mapping[str, tuple[str, ...]] = {
    "groups": GROUPS,
    "shots": ("many", "medium", "few"),
    "thirds": ("head", "mid", "tail"),
    "cost": ("total_seconds", "flops", "parameters", "images_per_second"),
}


@dataclass(frozen=True)
class Preset:
    """A table's shape. `cols` that have one value only are left out; `varied` adds as rows the keys below these
    prefixes in which the runs differ; `datasets` are the ones that it is about, empty for any.
    """

    rows: tuple[str, ...] = ("method", "plugin")
    cols: tuple[str, ...] = DATA
    metrics: tuple[str, ...] = ("final",)
    datasets: tuple[str, ...] = ()
    versus: Mapping[str, list[str]] = field(default_factory=dict)
    varied: tuple[str, ...] = ()
    reported: bool = False


PRESETS = {
    "cifar_main": Preset(datasets=("cifar10", "cifar100"), reported=True),
    "plugin_gain": Preset(versus={"plugin": ["none"]}),
    "selector_x_head": Preset(
        rows=("method", "method.selector.name", "plugin.moments"), cols=(*DATA, "plugin.head", "classifier")
    ),
    "ablation": Preset(
        rows=("method", "plugin"),
        metrics=("final", "few", "selection/precision", "selection/recall", "selection/auc"),
        varied=("plugin.", "method.selector."),
    ),
    "webvision": Preset(
        datasets=("webvision",),
        metrics=("final", "top5", "test_imagenet/acc/final", "test_imagenet/top5"),
        reported=True,
    ),
    "groups": Preset(metrics=GROUPS),
}


def shape(preset: Preset, runs: Sequence[Run]) -> tuple[list[Run], list[str], list[str]]:
    """The preset's runs, rows and columns. Raises ConfigError when no run is of its data sets."""
    if preset.datasets:
        kept = [run for run in runs if run.field("dataset").plain in preset.datasets]
        if not kept:
            raise ConfigError(f"no run is of {' or '.join(preset.datasets)}, which this preset is about")
        runs = kept
    cols = [key for key in preset.cols if len(distinct(runs, [key])) > 1]
    differ = [key for key in differing(runs) if key.startswith(preset.varied)] if preset.varied else []
    rows = [key for key in preset.rows if has_field(runs, key)]
    return list(runs), [*rows, *(key for key in differ if key not in (*rows, *cols))], cols
