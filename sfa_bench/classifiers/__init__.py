"""Decoupled classifiers: fitted on a frozen backbone once training is over (algorithms/methods.md §10)."""
