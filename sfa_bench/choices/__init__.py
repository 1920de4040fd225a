"""What can be chosen, each choice described once; nothing here imports Torch: planning and refusing need none."""
