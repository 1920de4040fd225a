"""The baseline: the same training written the way published releases are, kept apart so that it does not move."""
