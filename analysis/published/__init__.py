"""Published numbers as data: `reported.csv`, one number a line, with its source and what is known of its protocol."""
