"""sfa-bench: a benchmark suite for learning from long-tailed data with noisy labels."""
