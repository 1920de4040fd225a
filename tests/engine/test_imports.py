"""A run imports what it needs, and no more before its first step."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Each takes a tenth of a second to a second and is needed by few runs.
HEAVY = ("torch._dynamo", "torch._inductor", "torch.utils.flop_counter", "torchvision", "timm", "triton.runtime")
HEAVY += ("sklearn", "scipy", "pandas", "pyarrow", "sympy", "matplotlib", "PIL.Image")
SCRIPT = """
import json, sys
import sfa_bench.engine.session as session
def there():
    print("MODULES", json.dumps([name for name in %r if name in sys.modules]))
class Session(session.Session):
    stepped = False
    def _on_step(self, *given):
        if not self.stepped:
            there()
        self.stepped = True
        super()._on_step(*given)
session.Session = Session
from sfa_bench.engine import run
run.Session = Session
from sfa_bench.main import main
status = main(sys.argv[1:])
there()
sys.exit(status)
"""


@pytest.mark.parametrize(
    "words", [("method=ce", "plugin=none"), ("method=dividemix", "plugin=sfa", "warmup_epochs=1")], ids=" ".join
)
def test_a_run_on_digits_imports_nothing_heavy(tmp_path, words):
    given = [*words, "dataset=digits", "epochs=2", "device=cpu", f"runs_dir={tmp_path}"]
    command = [sys.executable, "-c", SCRIPT % (HEAVY,), *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    at_first_step, at_end = (
        json.loads(line.removeprefix("MODULES ")) for line in done.stdout.splitlines() if line.startswith("MODULES")
    )
    assert at_first_step == at_end == []
