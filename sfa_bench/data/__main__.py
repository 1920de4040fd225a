"""`python -m sfa_bench.data make-fake|check|describe|export|fingerprints …`; `--help` says the rest."""

import sys

from sfa_bench.config.terminal import door
from sfa_bench.data.tools.command import main

if __name__ == "__main__":
    sys.exit(door(main))
