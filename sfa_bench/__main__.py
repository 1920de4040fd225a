"""`python -m sfa_bench SUBCOMMAND …` is `sfa-bench SUBCOMMAND …`."""

import sys

from sfa_bench.cli import main
from sfa_bench.config.terminal import door

if __name__ == "__main__":
    sys.exit(door(main))
