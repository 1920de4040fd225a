"""`python -m sfa_bench SUBCOMMAND …` is `sfa-bench SUBCOMMAND …`."""

import sys

from sfa_bench.cli import console

if __name__ == "__main__":
    sys.exit(console())
