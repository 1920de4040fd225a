#!/usr/bin/env bash
# balanced-loss 0.1.1: its focal loss at gamma 0 is no cross-entropy, and its two losses are not of one kind.
#
# Guess before it was run: `Loss(loss_type="focal_loss", fl_gamma=0)` on logits and class ids is `F.cross_entropy`, as
# the focal loss of a softmax is, and class balancing weighs both losses alike.
# Seen: it is the sum over the classes of sigmoid cross-entropies (3.350, where cross-entropy is 1.545): every other class
# of a sample counts as a negative of its own. `loss_type="cross_entropy"` beside it is the softmax's. A table that
# compares them compares two output models; sfa-bench's `focal` is the softmax's (docs/originals.md).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 numpy==2.4.6
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-deps balanced-loss==0.1.1
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import torch
import torch.nn.functional as F
from balanced_loss import Loss

logits = torch.tensor([[2, 0.5, -1, 0], [0.1, 0.2, 0.3, 0.4], [-1, 3, 0.5, 0.2]])
labels = torch.tensor([0, 2, 3])
focal = float(Loss(loss_type="focal_loss", fl_gamma=0)(logits, labels))
softmax = float(F.cross_entropy(logits, labels))
sigmoid = float(F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, 4).float()))
print("balanced-loss", version("balanced-loss"), "gamma 0:", round(focal, 4), "cross-entropy:", round(softmax, 4))
assert abs(focal - 4 * sigmoid) < 1e-5
assert abs(focal - 3.3505) < 1e-3
assert abs(softmax - 1.5448) < 1e-3
assert abs(float(Loss(loss_type="cross_entropy")(logits, labels)) - softmax) < 1e-6
PY
