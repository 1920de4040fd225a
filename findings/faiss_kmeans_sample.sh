#!/usr/bin/env bash
# faiss-cpu 1.15.1: `Kmeans.train` does not look at all points.
#
# Guess before it was run: with one cluster the centroid is the mean of the points.
# Seen: it trains on at most 256 points of each centroid, drawn, and says so only with `verbose=True`: of 20,000 points one
# centroid lies 0.07 from the mean. Class centroids, prototypes and initial mixtures that are made with it are those of a
# sample, 1.3 % of the data here; on a long tail the rare classes may be lost in it. `max_points_per_centroid` lifts that.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import faiss
import numpy as np

assert version("faiss-cpu") == "1.15.1"
points = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)


def distance_to_mean(**options):
    kmeans = faiss.Kmeans(2, 1, niter=5, seed=1, **options)
    kmeans.train(points)
    return float(np.linalg.norm(kmeans.centroids[0] - points.mean(0)))


default, all_points = distance_to_mean(), distance_to_mean(max_points_per_centroid=len(points))
print(f"faiss-cpu {version('faiss-cpu')}: centroid to mean {default:.4f}, with all points {all_points:.6f}")
assert default > 0.01
assert all_points < 1e-4
PY
