"""`python -m sfa_bench.data`: make a small copy of a layout, check a data set, describe it, export its label set."""
