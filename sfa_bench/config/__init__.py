"""The typed configuration: composed from conf/, checked, resolved, hashed. Imports neither Torch nor scikit-learn."""
