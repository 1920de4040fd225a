#!/usr/bin/env bash
# joblib 1.6.0: loky's workers outlive a parent that was killed, and keep what they hold.
#
# Guess before it was run: a worker whose parent is gone ends, as those of `multiprocessing` do when their pipe closes.
# Seen: 20 s after `kill -9` of the parent its two busy workers are alive, each with all that it has imported and
# allocated (0.8 GB each in a sweep of sfa-bench, seen for 527 s). A job that is long-lived finishes for nobody.
# sfa-bench's workers watch their parent (sfa_bench/sweep/job.py).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check joblib==1.6.0
cat >"$work/sweep.py" <<'PY'
import os
import sys
import time

from joblib import Parallel, delayed


def job(i):
    with open(f"{sys.argv[1]}/{i}", "w") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(60)


Parallel(n_jobs=2)(delayed(job)(i) for i in range(2))
PY
mkdir "$work/pids"
"$work/venv/bin/python" "$work/sweep.py" "$work/pids" 2>/dev/null &
parent=$!
for _ in $(seq 300); do [ "$(ls "$work/pids" | wc -l)" = 2 ] && break; sleep 0.1; done
sleep 1
kill -9 "$parent"
sleep 20
alive=0
for pid in $(cat "$work/pids"/*); do
  if kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$pid/status"; then alive=$((alive + 1)); fi
done
kill -9 $(cat "$work/pids"/*) 2>/dev/null || true
echo "joblib 1.6.0: $alive of 2 workers alive 20 s after their parent"
[ "$alive" = 2 ]
