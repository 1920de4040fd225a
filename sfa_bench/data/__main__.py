"""`python -m sfa_bench.data make-fake|check|describe|export|fingerprints …`; `--help` says the rest."""

import signal
import sys

from sfa_bench.data.tools.command import main

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `describe … | head` ends quietly
    sys.exit(main(sys.argv[1:]))
