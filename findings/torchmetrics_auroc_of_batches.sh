#!/usr/bin/env bash
# torchmetrics 1.8.2: an AUROC over batches is not that of all scores, where the scores are not probabilities.
#
# Guess before it was run: `BinaryAUROC` keeps the scores of all updates, so that the answer does not depend on the batches.
# Seen: each update that has a value outside of [0, 1] puts all of its values through a sigmoid, the others do not. Losses
# 0.6, 0.45 and 2.0 of a wrong, a right and a wrong label have 1.0 in one update, and 0.5 where the first comes by itself:
# 0.45 has become 0.61. Losses, distances and logits lie on both sides of 1: give them in one update, or as ranks.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 torchmetrics==1.8.2 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import torch
import torchmetrics
from torchmetrics.classification import BinaryAUROC

assert torchmetrics.__version__ == "1.8.2"
losses, wrong = torch.tensor([0.6, 0.45, 2.0]), torch.tensor([1, 0, 1])
seen = {}
for sizes in ([3], [1, 2]):
    metric = BinaryAUROC()
    for scores, labels in zip(losses.split(sizes), wrong.split(sizes)):
        metric.update(scores, labels)
    seen[str(sizes)] = float(metric.compute())
print("torchmetrics", torchmetrics.__version__, "AUROC by sizes of the updates:", seen)
assert seen == {"[3]": 1.0, "[1, 2]": 0.5}
PY
