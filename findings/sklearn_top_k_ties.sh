#!/usr/bin/env bash
# scikit-learn 1.9.1: `top_k_accuracy_score` gives tied scores to the last class, `argmax` to the first.
#
# Guess before it was run: with k=1 it is the accuracy of `scores.argmax(1)`, ties included.
# Seen: of equal scores it takes the class with the highest index. A network that gives every class the same score, as a
# collapsed one does or one whose logits are rounded to few bits, has the accuracy of the last class (the rarest one where
# classes are sorted by size) by the one and of the first class by the other: 5 % and 60 % here, on the same scores.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from sklearn.metrics import accuracy_score, top_k_accuracy_score

assert version("scikit-learn") == "1.9.1"
labels = np.repeat([0, 1, 2], [60, 35, 5])
same = np.zeros((100, 3))
by_k = [top_k_accuracy_score(labels, same, k=k) for k in (1, 2)]
by_argmax = accuracy_score(labels, same.argmax(1))
print("scikit-learn 1.9.1, equal scores: top-1", by_k[0], "top-2", by_k[1], "argmax", by_argmax)
assert (by_k, by_argmax) == ([0.05, 0.4], 0.6)
apart = np.random.default_rng(0).normal(size=(100, 3))
assert top_k_accuracy_score(labels, apart, k=1) == accuracy_score(labels, apart.argmax(1))
PY
