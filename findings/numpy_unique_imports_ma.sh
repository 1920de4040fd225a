#!/usr/bin/env bash
# numpy 2.4.6: the first `numpy.unique` of a process imports `numpy.ma`, masked arrays or not.
#
# Guess before it was run: `import numpy` brings what `unique` of a plain array of integers needs, and a call imports nothing.
# Seen: the first call adds numpy.ma and its parts to sys.modules (it asks whether the array is a masked one), which takes
# longer than the call itself. Where a server forks a process for each job, every job pays for it again: import numpy.ma first.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import sys
import time

import numpy as np

assert np.__version__ == "2.4.6"
numbers = np.array([3, 1, 3])
before = set(sys.modules)
start = time.perf_counter()
assert np.unique(numbers).tolist() == [1, 3]
first = time.perf_counter() - start
new = sorted(sys.modules.keys() - before)
start = time.perf_counter()
np.unique(numbers)
second = time.perf_counter() - start
print("numpy", np.__version__, f"first call {first * 1e3:.2f} ms, second {second * 1e3:.2f} ms;", "imported:", *new)
assert {"numpy.ma", "numpy.ma.core"} <= set(new)
assert "numpy.ma" not in before
PY
