#!/usr/bin/env bash
# pytorch-metric-learning 2.9.0: `SupConLoss` is the mean over the anchors whose loss is not 0, not over the batch.
#
# Guess before it was run: an anchor without another sample of its class in the batch adds 0 to a mean over all anchors,
# so that the loss of a batch with one pair among six samples is a third of the mean of that pair.
# Seen: it is the mean of the pair. In a long tail most samples of rare classes are alone in their batch, and the fewer
# anchors have a partner, the more each of them weighs: its gradient here is three times what a mean over the batch gives.
# `reducer=MeanReducer()` is the mean over the batch.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 pytorch-metric-learning==2.9.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import torch
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.reducers import MeanReducer

assert version("pytorch-metric-learning") == "2.9.0"
torch.manual_seed(0)
features = torch.nn.functional.normalize(torch.randn(6, 8, dtype=torch.float64), dim=1)
labels = torch.tensor([0, 0, 1, 2, 3, 4])
similarity = features @ features.T / 0.1
others = similarity.masked_fill(torch.eye(6, dtype=torch.bool), float("-inf")).logsumexp(1)
pair = ((others[0] - similarity[0, 1]) + (others[1] - similarity[1, 0])).item()
found = SupConLoss(temperature=0.1)(features, labels).item()
mean = SupConLoss(temperature=0.1, reducer=MeanReducer())(features, labels).item()
print(f"pytorch-metric-learning 2.9.0: {found:.4f} by default, {mean:.4f} by MeanReducer;", end=" ")
print(f"the pair's mean {pair / 2:.4f}, over the batch {pair / 6:.4f}")
assert abs(found - pair / 2) < 1e-6
assert abs(mean - pair / 6) < 1e-6
PY
