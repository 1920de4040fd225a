#!/usr/bin/env bash
# cleanlab 2.9.0: `get_majority_vote_label` gives a tied sample to the rarest of the tied classes.
#
# Guess before it was run, from its documentation ("the class with highest frequency"): a sample of two annotators who
# disagree goes to the class that has more labels in the whole table.
# Seen: to the class that has fewer. With two annotators and a long tail each disagreement between a frequent and a rare
# class makes a label of the rare one: here class 2 has 20 labels of 200, each beside a label of class 0, and gets 20
# samples of 100. Model probabilities (`pred_probs`), where they are given, decide before that.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check cleanlab==2.9.0 numpy==2.4.6 pandas==2.3.3 scikit-learn==1.9.1
"$work/venv/bin/python" - <<'PY'
import inspect
from importlib.metadata import version

import numpy as np
from cleanlab.multiannotator import get_majority_vote_label

assert version("cleanlab") == "2.9.0"
labels = np.zeros((100, 2), dtype=int)
labels[:30] = 1
labels[80:, 1] = 2  # one of two annotators of twenty samples; the other says 0
votes = np.bincount(labels.ravel())
found = get_majority_vote_label(labels)
print("cleanlab 2.9.0, labels of each class", votes.tolist(), "majority vote", np.bincount(found).tolist())
assert votes.tolist() == [120, 60, 20]
assert np.bincount(found).tolist() == [50, 30, 20]
assert (found[80:] == 2).all()
assert "selecting the class with highest frequency" in " ".join(inspect.getdoc(get_majority_vote_label).split())
probabilities = np.tile([0.8, 0.1, 0.1], (100, 1))
assert (get_majority_vote_label(labels, probabilities)[80:] == 0).all()
PY
