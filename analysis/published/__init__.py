"""Published numbers: `reported.csv`, one number a line, with its source and its protocol as far as known."""
