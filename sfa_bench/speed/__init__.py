"""How fast the suite is on this machine: `sfa-bench speed` or `python -m sfa_bench.speed`."""
