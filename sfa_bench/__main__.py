"""`python -m sfa_bench SUBCOMMAND …` is `sfa-bench SUBCOMMAND …`."""

import sys

from sfa_bench.cli import main
from sfa_bench.config.terminal import door
from sfa_bench.doors import Door

if __name__ == "__main__":
    Door.here = Door.of("python -m sfa_bench")
    sys.exit(door(main))
