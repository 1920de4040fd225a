#!/usr/bin/env bash
# torchmetrics 1.8.2: two multiclass accuracies of one library have different defaults.
#
# Guess before it was run: `MulticlassAccuracy(num_classes=K)` is `Accuracy(task="multiclass", num_classes=K)` by its other
# name, as the second returns an object of the first.
# Seen: the first is the mean over the classes (`average="macro"`), the second and the function are over the samples
# ("micro"). Of nine samples of a large class, which are right, and one of a rare class, which is wrong, they say 0.50 and
# 0.90. On a long tail that is the difference between a good and a bad method: name `average`.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 torchmetrics==1.8.2 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import torch
import torchmetrics
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.functional import accuracy

assert torchmetrics.__version__ == "1.8.2"
labels, predicted = torch.tensor([0] * 9 + [1]), torch.zeros(10, dtype=torch.long)
wrapper = torchmetrics.Accuracy(task="multiclass", num_classes=2)
assert type(wrapper) is MulticlassAccuracy
seen = {
    "MulticlassAccuracy": MulticlassAccuracy(num_classes=2)(predicted, labels),
    "Accuracy": wrapper(predicted, labels),
    "functional.accuracy": accuracy(predicted, labels, task="multiclass", num_classes=2),
}
seen = {name: round(float(value), 2) for name, value in seen.items()}
print("torchmetrics", torchmetrics.__version__, seen)
assert seen == {"MulticlassAccuracy": 0.5, "Accuracy": 0.9, "functional.accuracy": 0.9}
PY
