#!/usr/bin/env bash
# rich 15.0.0: a program that prints through it ends when the reader of its output does.
#
# Guess before it was run: a closed pipe raises BrokenPipeError, which a program can catch as an OSError.
# Seen: `Console.print` raises SystemExit(1), which passes every `except Exception`: `train.py | head` ends the training, and
# a `finally` that prints ends it a second time. sfa-bench's display survives its reader (sfa_bench/config/terminal.py).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check rich==15.0.0
cat >"$work/train.py" <<'PY'
import sys
import time

from rich.console import Console

caught = "nothing"
try:
    for step in range(200):
        Console().print(f"step {step}")
        sys.stdout.flush()
        time.sleep(0.02)
except Exception as error:
    caught = repr(error)
except SystemExit as ended:
    caught = f"SystemExit({ended.code})"
print(caught, file=sys.stderr)
PY
"$work/venv/bin/python" "$work/train.py" 2>"$work/said" | head -n 1 >/dev/null || true
echo "rich 15.0.0 with its reader gone: $(cat "$work/said")"
grep -qx 'SystemExit(1)' "$work/said"
