#!/usr/bin/env bash
# hydra-core 1.3.8: `sort(range(…))` sweeps over other values than `range(…)`.
#
# Guess before it was run: sorting changes the order of a sweep and keeps its values.
# Seen: where the step does not divide the range, the sorted range begins at its end minus a step: 0, 3, 6, 9 become
# 7, 4, 1, -2 in descending order, and 10, 7, 4, 1 become 3, 6, 9, 12 in ascending order, which lie outside of the range.
# There is no warning, and a sweep over learning rates runs other ones. `sort(shuffle(…))` is still shuffled. The release
# candidates of 1.4 keep the values. sfa-bench sorts ranges itself (sfa_bench/config/source_text.py).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check hydra-core==1.3.8 omegaconf==2.3.1
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

from hydra.core.override_parser.overrides_parser import OverridesParser


def values(text):
    return list(OverridesParser.create().parse_override(f"key={text}").sweep_iterator())


plain, descending = values("range(0,10,3)"), values("sort(range(0,10,3),reverse=true)")
falling, ascending = values("range(10,0,-3)"), values("sort(range(10,0,-3))")
print("hydra-core", version("hydra-core"), plain, "->", descending, "and", falling, "->", ascending)
assert (plain, descending) == ([0, 3, 6, 9], [7, 4, 1, -2])
assert (falling, ascending) == ([10, 7, 4, 1], [3, 6, 9, 12])
assert values("sort(range(0,9,3),reverse=true)") == [6, 3, 0]  # right where the step divides the range
PY
