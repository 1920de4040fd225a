"""From overrides on the command line to a configuration whose data these tools build; they train nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfa_bench.config.compose import compose
from sfa_bench.config.schema import RunConfig, replaced


def compose_data(overrides: Sequence[str], config_dir: Path | None = None) -> RunConfig:
    """The configuration of a run on these data. Where no model is set, it has the one that takes any image and needs no
    file of weights.
    """
    keys = [word.lstrip("+").partition("=")[0].partition(".")[0] for word in overrides]
    added = [] if {"model", "recipe", "preset"} & {*keys} else ["model=convnet"]
    if not added and "model" not in keys:
        added = ["model.pretrained=false"]
    config = compose([*overrides, *added], config_dir)
    if any(word.startswith("dataset.cache=") for word in overrides):
        return config
    # Decoding a million images for a table of labels would take an hour; only images that are shown are read.
    return replaced(config, "dataset", cache="off")
