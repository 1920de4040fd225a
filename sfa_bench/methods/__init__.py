"""Learners: each owns its networks and its whole epoch; what differs between methods is here and nowhere else."""
