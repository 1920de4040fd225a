"""The page that `python -m analysis.report` writes: reading, leaderboard, encoding and what runs in the browser."""
