"""How fast the suite is on this machine, beside a plain baseline: `python -m sfa_bench.speed`."""
