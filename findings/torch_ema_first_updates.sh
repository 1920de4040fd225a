#!/usr/bin/env bash
# torch-ema 0.3: `ExponentialMovingAverage(parameters, decay=0.999)` forgets its start within ten updates.
#
# Guess before it was run: after n updates the start has the weight 0.999^n, as in the teachers of the papers: 0.990 after
# 10, 0.905 after 100.
# Seen: the decay of update n is at most (1 + n) / (10 + n), so that the start has 0.18 after one update and 0.00006 after
# 10. A teacher or an averaged prediction is the student itself for the first steps, at whatever decay; the decay is what
# was asked for from update 8,990 on, which a short run never sees. `use_num_updates=False` is the plain average.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 torch-ema==0.3 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import torch
from torch_ema import ExponentialMovingAverage

assert version("torch-ema") == "0.3"


def start_left(updates, **options):
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    average = ExponentialMovingAverage([weight], decay=0.999, **options)
    weight.data.fill_(1.0)
    for _ in range(updates):
        average.update()
    return round(1 - float(average.shadow_params[0]), 5)


default = {n: start_left(n) for n in (1, 10, 100)}
plain = {n: start_left(n, use_num_updates=False) for n in (1, 10, 100)}
print("torch-ema 0.3, weight of the start after n updates: default", default, "use_num_updates=False", plain)
assert default == {1: 0.18182, 10: 0.00006, 100: 0.0}
assert plain == {1: 0.999, 10: 0.99004, 100: 0.90479}
assert (1 + 8990) / (10 + 8990) >= 0.999 > (1 + 8988) / (10 + 8988)
PY
