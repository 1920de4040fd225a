"""Maintainers' tools, which are not shipped: started from the root of a checkout, `python -m tools.NAME`."""
