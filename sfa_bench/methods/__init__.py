"""Learners: each owns its networks and its whole epoch. Everything in which methods differ is here."""
