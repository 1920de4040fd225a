"""What can be chosen, each choice described once. Nothing here imports Torch, which planning and refusing do not
need."""
