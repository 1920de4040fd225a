"""Sweeps: which runs are asked for, which are missing, and handing those to Hydra's launchers."""
