"""The entry point of `python -m sfa_bench.speed`."""

import sys

from sfa_bench.config.terminal import door
from sfa_bench.speed.command import main

if __name__ == "__main__":
    sys.exit(door(main))
