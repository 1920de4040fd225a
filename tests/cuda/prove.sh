#!/usr/bin/env bash
# What a GPU is for, in one script that needs no network: `tests/cuda/prove.sh OUT [options]`.
#
# Parts, and how long they take at most on an H100:
#   correct  4 min   tests/cuda/test_*.py, a process for each file: OUT/correct_*.json, OUT/correct_*.log
#   speed    4 min   tests/cuda/speed.py: OUT/speed.json
#   precision  --seconds   tests/cuda/precision.py: OUT/precision.json, OUT/precision.tar.gz (records without weights)
#   table    --seconds   tests/cuda/table.py: OUT/table.json, OUT/table.tar.gz (records without weights, a few MB)
# Each writes what it has after every test, figure or run, so that a cut costs only what was under way.
#
# Options:
#   --part NAME       only this part; may be given again (default: all four)
#   --lines NAME,…    only these of speed's lines (tests/cuda/speed.py says which there are)
#   --seconds N       of the table, and of the comparison of precisions (default: 240)
#   --wheels FOLDER   packages that Python lacks here, as tests/cuda/wheels.sh collects them
#   --fashion FOLDER  Fashion-MNIST's four IDX files (default: where Debian's package puts them)
#   --rehearse        all of it on the CPU with tiny sizes, in under 3 minutes; makes its own stand-in for Fashion-MNIST
# Python is $PYTHON, else python3: 3.11 or newer, with Torch 2.6 or newer.
# The exit status is that of the first part that failed; later parts run all the same.
set -uo pipefail
out="${1:?usage: prove.sh OUT [--part NAME]… [--seconds N] [--wheels FOLDER] [--fashion FOLDER] [--rehearse]}"
shift
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${PYTHON:-python3}" parts=() lines=() seconds=240 wheels="" fashion="/usr/share/datasets/fashion-mnist" rehearse=""
while [ $# -gt 0 ]; do
  case "$1" in
    --part) parts+=("$2"); shift ;;
    --seconds) seconds="$2"; shift ;;
    --lines) lines=(--lines "$2"); shift ;;
    --wheels) wheels="$(cd "$2" && pwd)"; shift ;;
    --fashion) fashion="$(cd "$2" && pwd)"; shift ;;
    --rehearse) rehearse="--rehearse" ;;
    *) echo "prove.sh: no option $1; its head lists them" >&2; exit 2 ;;
  esac
  shift
done
[ "${#parts[@]}" -gt 0 ] || parts=(correct speed precision table)
mkdir -p "$out" && out="$(cd "$out" && pwd)" || exit 2
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$root" || exit 2

# The suite from this checkout, not installed: its metadata for its version, and Hydra's plug-ins where Hydra looks.
export PYTHONPATH="$root:$work/site:$work/plugins" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
mkdir -p "$work/site" "$work/plugins"
ln -s "$root/sfa_bench/sweep/hydra_plugins" "$work/plugins/hydra_plugins"
if [ -n "$wheels" ]; then
  "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" "$wheels"/*.whl || exit 2
fi
# Its metadata by hand: to build them asks for a newer setuptools than may be there.
"$python" - "$work/site" <<'PY' || exit 2
import pathlib, sys, tomllib
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
folder = pathlib.Path(sys.argv[1], f"{project['name']}-{project['version']}.dist-info")
folder.mkdir()
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
PY

if [ -n "$rehearse" ]; then
  export SFA_BENCH_REHEARSE=1 OMP_NUM_THREADS=1
  fashion="$work/fashion"
  "$python" -m sfa_bench.data make-fake fashion_mnist "$fashion" --size 80 >/dev/null || exit 2
fi
export SFA_BENCH_FASHION="$fashion"

status=0
failed() { [ "$status" != 0 ] || status="$1"; }

correct() {
  local file name pids=()
  for file in tests/cuda/test_*.py; do
    name="$(basename "$file" .py)"
    SFA_BENCH_RESULTS="$out/correct_${name#test_}.json" "$python" -m pytest -o addopts= -q -p no:cacheprovider \
      "$file" >"$out/correct_${name#test_}.log" 2>&1 &
    pids+=($!)
  done
  local code=0 pid
  for pid in "${pids[@]}"; do wait "$pid" || code=1; done
  tail -qn 1 "$out"/correct_*.log
  return "$code"
}

for part in "${parts[@]}"; do
  began=$SECONDS
  case "$part" in
    correct) correct ;;
    speed) "$python" tests/cuda/speed.py "$out/speed.json" 240 "${lines[@]}" $rehearse >"$out/speed.log" 2>&1 ;;
    precision)
      "$python" tests/cuda/precision.py "$out" "$seconds" --fashion "$fashion" $rehearse >"$out/precision.log" 2>&1 ;;
    table) "$python" tests/cuda/table.py "$out" "$seconds" --fashion "$fashion" $rehearse >"$out/table.log" 2>&1 ;;
    *) echo "prove.sh: no part $part; correct, speed, precision and table are" >&2; exit 2 ;;
  esac
  code=$?
  [ "$code" = 0 ] || { failed "$code"; tail -n 15 "$out/$part"*.log; }
  echo "== $part: status $code, $((SECONDS - began)) s"
done
rm -rf "$out/table_runs" "$out/precision_runs" "$out/fashion_as_cifar" "$out/conf"
exit "$status"
