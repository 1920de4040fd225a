"""Pure functions on arrays and tensors: no configuration, no files, no randomness of their own."""
