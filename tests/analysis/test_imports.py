"""`analysis/` reads run folders: it starts without Torch and imports no training code (contributing/architecture.md
§1).
"""

import subprocess
import sys
from pathlib import Path

import analysis

ALLOWED = tuple(
    f"sfa_bench.{name}" for name in ("arrays", "store", "config", "choices", "doors", "errors", "engine.metrics")
)


def test_no_command_imports_torch_or_training_code():
    root = Path(analysis.__file__).parent
    names = [".".join(("analysis", *path.relative_to(root).with_suffix("").parts)) for path in root.rglob("*.py")]
    assert len(names) > 15
    program = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=root.parent, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "torch" not in loaded
    own = {name for name in loaded if name.startswith("sfa_bench.") and not name.startswith(ALLOWED)}
    # What `metrics`, which takes arrays and gives numbers, needs: its package, what finds the members of classes, and
    # what makes probabilities. `schedules` says after which epoch weights act, which is part of a run's identity. `api`
    # and `sweep` are the names that `import sfa_bench` gives, and import what they need when they are called.
    named = ("api", "api.runs", "api.running", "sweep")
    parts = ("parts", "parts.prototypes", "parts.ranking", "parts.schedules", "parts.softmax")
    assert own == {f"sfa_bench.{name}" for name in ("engine", *parts, *named)}
