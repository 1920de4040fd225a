#!/usr/bin/env bash
# torchvision 0.29.1: `import torchvision.transforms.v2` imports Torch's compiler, which `import torch` does not.
#
# Guess before it was run: after `import torch` the transforms of images cost next to nothing; they are functions on
# tensors.
# Seen: the package imports its models, they its operators, and those `torch._dynamo`, 95 modules of it. The second
# import takes nearly as long as Torch's own, in every process that looks at a picture, and in none that does not.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import sys
import time
from importlib.metadata import version


def compiler():
    return sum(name.startswith("torch._dynamo") for name in sys.modules)


started = time.perf_counter()
import torch  # noqa: F401

torch_seconds, before = time.perf_counter() - started, compiler()
started = time.perf_counter()
import torchvision.transforms.v2  # noqa: F401

seconds, after = time.perf_counter() - started, compiler()
assert version("torchvision") == "0.29.1"
print(f"torchvision 0.29.1: modules of torch._dynamo {before} after torch ({torch_seconds:.1f} s),", end=" ")
print(f"{after} after torchvision.transforms.v2 ({seconds:.1f} s more)")
assert before == 0
assert after > 50
PY
