"""The package in which Hydra looks for the sweeper."""
