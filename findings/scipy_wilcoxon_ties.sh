#!/usr/bin/env bash
# SciPy 1.17.1: Wilcoxon's signed-rank test of one more pair is another test, where differences are equal.
#
# Guess before it was run: with its default `method="auto"`, `wilcoxon` of n positive, equal differences has the exact
# two-sided p value 2^(1 - n), for 13 as for 20 of them.
# Seen: 2.44e-04 for 13, which is 2^-12; 1.83e-04 for 14, where 2^-13 is 1.22e-04; 7.74e-06 for 20, four times the
# exact one. From 14 on it takes the normal approximation without a word, where no two differences are equal only from
# 51 on. Accuracies in percent of a small test set are often equal. sfa-bench counts the signs of the ranks itself
# (`flipped` in analysis/bootstrap.py).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import numpy as np
import scipy
from scipy.stats import wilcoxon

print("SciPy", scipy.__version__)
for n, exact in ((13, True), (14, False), (20, False)):
    p = wilcoxon(np.ones(n)).pvalue
    print(f"{n} equal differences: p = {p:.3g}, exact {2.0 ** (1 - n):.3g}")
    assert (abs(p / 2.0 ** (1 - n) - 1) < 1e-9) == exact
for n, exact in ((20, True), (50, True), (51, False)):
    p = wilcoxon(np.arange(1.0, n + 1)).pvalue
    print(f"{n} different differences: p = {p:.3g}, exact {2.0 ** (1 - n):.3g}")
    assert (abs(p / 2.0 ** (1 - n) - 1) < 1e-6) == exact
PY
