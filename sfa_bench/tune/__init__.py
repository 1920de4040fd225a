"""Hyper-parameters chosen on validation sets, with one budget for every method (guides/tuning.md)."""
