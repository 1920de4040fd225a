"""Do all methods still compute the bits that they computed at another commit? `python -m tools.same_numbers COMMIT`.

Every method with every plug-in that it goes with, three epochs (warm-up, and two with a selection) on digits, by this
working tree and by that commit, each in processes of its own on this machine. Exit status 1 where one differs. To be
asked when code has been moved; where a change of numbers is meant, a revision is raised, and this names what moved.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sfa_bench.config.terminal import door

ROOT = Path(__file__).resolve().parents[1]
SHORT = ("dataset=digits", "epochs=3", "warmup_epochs=1", "imb_factor=0.1", "threads=1", "device=cpu")
SHARES = 2  # processes of each side


def cases(choices):
    """Overrides of every pair of method and plug-in, and of options with code of their own."""
    for method in choices("method"):
        yield from ((f"method={method}", f"plugin={plugin}") for plugin in choices("plugin"))
    for model in choices("model"):
        yield ("method=ce", "plugin=sfa", f"model={model}")
    for noise in choices("noise"):
        yield ("method=ce", "plugin=none", f"noise={noise}")
    selectors = ("loss_gmm", "loss_gmm_cls", "proto", "sfa", "tabasco", "dacc", "quota", "oracle")
    yield from (("method=dividemix", "plugin=abc", f"method.selector.name={name}") for name in selectors)
    yield ("method=elr", "plugin=none", "method.plus=true")
    yield ("method=dividemix", "plugin=sfa", "recipe=native")
    yield ("method=dividemix", "plugin=sfa", "dataset=synthetic")


def digest(words):
    """SHA-256 of all numbers of a run's method after its epochs; None where the combination is refused."""
    import torch

    from sfa_bench.config.compose import compose
    from sfa_bench.data import build
    from sfa_bench.engine.build import build_method
    from sfa_bench.errors import ConfigError

    try:
        config = compose([*SHORT, *words])
        method = build_method(config, build(config), [torch.device("cpu")])
    except ConfigError:
        return None
    losses = [method.epoch(e) for e in range(1, config.epochs + 1)]
    hasher = hashlib.sha256(json.dumps([losses, method.cost.as_dict()], sort_keys=True).encode())
    _feed(hasher, method.state())
    return hasher.hexdigest()[:16]


def _feed(hasher, value):
    if isinstance(value, dict):
        for key, inner in value.items():
            hasher.update(str(key).encode())
            _feed(hasher, inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _feed(hasher, inner)
    else:
        hasher.update(value.contiguous().numpy().tobytes() if hasattr(value, "numpy") else repr(value).encode())


def serve(share):
    """Print the digests of this share of the cases as JSON, by the `sfa_bench` that is imported."""
    import torch

    from sfa_bench.config.overrides import choices

    torch.set_num_threads(1)
    print(json.dumps({" ".join(words): digest(words) for words in list(cases(choices))[share::SHARES]}))


def ask(root):
    """Digests by the code in this folder."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}

    def part(share):
        command = [sys.executable, "-P", str(Path(__file__).resolve()), "--serve", str(share)]
        done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{root} failed: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    with ThreadPoolExecutor(SHARES) as pool:
        return {words: value for some in pool.map(part, range(SHARES)) for words, value in some.items()}


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default="HEAD")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve is not None:
        serve(options.serve)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", options.commit], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        before = ask(Path(folder))
    after = ask(ROOT)
    moved = sorted(words for words in before.keys() | after.keys() if before.get(words) != after.get(words))
    for words in moved:
        print(f"{words}: {before.get(words)} is now {after.get(words)}")
    made = sum(value is not None for value in after.values())
    print(f"{made} runs compared with {options.commit}, {len(moved)} differ")
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(door(main))
