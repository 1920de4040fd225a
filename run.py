"""The entry point: `python run.py KEY=VALUE …` is one run, `python run.py -m KEY=V1,V2 …` a sweep; see `--help`."""

import sys

from sfa_bench.config.terminal import door
from sfa_bench.main import main

if __name__ == "__main__":
    sys.exit(door(main))
