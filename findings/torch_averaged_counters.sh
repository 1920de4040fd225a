#!/usr/bin/env bash
# torch 2.14.1: `AveragedModel(use_buffers=True)` with an exponential average leaves integer buffers standing for long.
#
# Guess before it was run: BatchNorm's `num_batches_tracked` is a counter and is copied, so that it equals the model's.
# Seen: it is averaged as the weights are and cut to an integer each time, so that nothing is added until the gap is
# 1/(1-decay): with decay 0.999 it is 1 after 1,000 updates and 2,001 after 3,000; with 0.9 it stays 10 behind for ever.
# BatchNorm with `momentum=None` divides by this number: trained on from an average, it gives its next batches a weight
# a thousand times too large. Copy the integer buffers, and average those that are floating point.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

assert torch.__version__.startswith("2.14.1")
SEEN = {0.9: {1: 1, 10: 1, 100: 90, 3000: 2990}, 0.999: {1: 1, 10: 1, 100: 1, 1000: 1, 3000: 2001}}
for decay, seen in SEEN.items():
    for rule in ({"avg_fn": get_ema_avg_fn(decay)}, {"multi_avg_fn": get_ema_multi_avg_fn(decay)}):
        model = torch.nn.BatchNorm1d(1)
        averaged = AveragedModel(model, use_buffers=True, **rule)
        counted = {}
        for update in range(1, 3001):
            model.num_batches_tracked += 1
            averaged.update_parameters(model)
            counted[update] = int(averaged.module.num_batches_tracked)
        print("torch", torch.__version__, "decay", decay, *rule, {update: counted[update] for update in seen})
        assert all(counted[update] == value for update, value in seen.items())
PY
