#!/usr/bin/env bash
# pandas 3.1.1: a table with a carriage return in a text comes back from its own CSV with another number of rows.
#
# Guess before it was run: `to_csv` puts in quotes whatever `read_csv` would take for the end of a row.
# Seen: a text with "\n" is put in quotes, one with "\r" is not, and `read_csv` ends a row there: three rows become four,
# without a warning. A column of file names or notes does that to a table of runs. sfa-bench quotes such cells
# (analysis/export.py).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check pandas==3.1.1 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PY'
import sys

import pandas as pd

path = f"{sys.argv[1]}/a.csv"
frame = pd.DataFrame({"note": ["one", "two\rthree", "four\nfive"], "accuracy": [1.0, 2.0, 3.0]})
frame.to_csv(path, index=False)
back = pd.read_csv(path)
with open(path, newline="") as file:
    text = file.read()
print("pandas", pd.__version__, repr(text), "rows:", len(frame), "->", len(back))
assert '"four\nfive"' in text
assert '"two\rthree"' not in text
assert (len(frame), len(back)) == (3, 4)
PY
