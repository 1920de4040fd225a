"""Decoupled classifiers: fitted on a frozen backbone once training is over (spec/methods.md §10)."""
