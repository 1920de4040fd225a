"""Backbones with named heads (algorithms/models.md). `build` makes a network from its configuration."""

from sfa_bench.models.build import build
from sfa_bench.models.network import Backbone, Network, Output

__all__ = ["Backbone", "Network", "Output", "build"]
