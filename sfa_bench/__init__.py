"""sfa-bench: a benchmark suite for learning from long-tailed data with noisy labels."""

from sfa_bench.arrays import Arrays
from sfa_bench.errors import ConfigError, RunError

__all__ = ["Arrays", "ConfigError", "RunError"]
