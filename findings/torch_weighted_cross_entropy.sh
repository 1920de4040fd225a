#!/usr/bin/env bash
# torch 2.14.1: the same labels give `F.cross_entropy` with class weights two values, by how they are written.
#
# Guess before it was run: class ids and one-hot rows of the same labels are one loss.
# Seen: with ids the mean divides by the sum of the samples' weights (2.643), with one-hot rows by their number (3.385);
# without weights both are 1.545. Under mixup, distillation or soft targets a class-balanced loss thus changes its scale
# silently, by a factor that depends on the batch. sfa-bench takes the sum of the weights in both (parts/mixmatch.py).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import torch
import torch.nn.functional as F

logits = torch.tensor([[2, 0.5, -1, 0], [0.1, 0.2, 0.3, 0.4], [-1, 3, 0.5, 0.2]])
labels, weights = torch.tensor([0, 2, 3]), torch.tensor([0.0633, 0.1577, 0.6300, 3.1489])
one_hot = F.one_hot(labels, 4).float()
each = weights[labels] * F.cross_entropy(logits, labels, reduction="none")
by_id, by_row = (float(F.cross_entropy(logits, target, weight=weights)) for target in (labels, one_hot))
print("torch", torch.__version__, "class ids", round(by_id, 4), "one-hot rows", round(by_row, 4))
assert torch.__version__.startswith("2.14.1")
assert abs(by_id - float(each.sum() / weights[labels].sum())) < 1e-5
assert abs(by_row - float(each.mean())) < 1e-5
assert abs(by_id - 2.6430) < 1e-3
assert abs(by_row - 3.3851) < 1e-3
plain = [float(F.cross_entropy(logits, target)) for target in (labels, one_hot)]
assert abs(plain[0] - plain[1]) < 1e-6
PY
