"""`python -m sfa_bench.data make-fake|check|describe|export …`; `--help` says the rest."""

import sys

from sfa_bench.data.tools.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
