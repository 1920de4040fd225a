"""The page that `python -m analysis.report` writes: reading, board, encoding and what runs in the browser."""
