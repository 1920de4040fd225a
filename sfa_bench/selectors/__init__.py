"""Selectors: each decides, at the start of an epoch, which labels are clean for one network
(algorithms/README.md §2).
"""
