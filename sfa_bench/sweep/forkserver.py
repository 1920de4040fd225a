"""A server process that has imported what runs need; each job is a fork of it (`python -m …forkserver FD`).

A worker of a sweep starts one. It reads requests, a line of JSON each, from its standard input and answers on the file
descriptor FD. Neither multiprocessing nor joblib can do this: inside a loky worker they find no context to fork from.
It never computes, so that no thread pool and no device is open when it forks. When the worker dies for any reason, the
input ends: the job is told to stop at its next step and saves its state, and the server ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from sfa_bench.config.terminal import SafeStream, prepare

# NumPy imports the last two when they are first used, which is in every run (findings/numpy_unique_imports_ma.sh).
PRELOADED = ("sfa_bench.engine.posthoc", "numpy.ma", "numpy.random")
# Only some runs need them, and importing them takes long: they, and modules of the suite, are imported here once a job
# had to.
ONCE_NEEDED = ("sklearn.cluster", "sklearn.metrics", "torchvision.transforms", "torchvision.transforms.v2")
STOPPING = (signal.SIGINT, signal.SIGTERM)
ECHO_SECONDS = 3.0
# Clusters signal all processes of a job. The worker decides what a signal means and passes it on.
LEFT_TO_THE_WORKER = (*STOPPING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def serve(answers: int) -> None:
    """Fork a child for each request until the input ends."""
    prepare()
    SafeStream.answers = False
    for number in LEFT_TO_THE_WORKER:
        signal.signal(number, signal.SIG_IGN)
    # A child inherits the blocked signals: one that comes before its handlers are set is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    for name in PRELOADED:
        __import__(name)
    _preload()
    requests = Lines(sys.stdin.fileno())
    while (request := requests.next()) is not None:
        if "signal" in request:
            continue  # for a job that has just ended
        outcome = _attend(request, requests)
        needed = outcome.pop("imported", ())
        _answer(answers, outcome)
        for name in needed:
            __import__(name)


def _preload() -> None:
    from sfa_bench.engine import machine

    machine.preload()


def _attend(request: dict[str, Any], requests: Lines) -> dict[str, Any]:
    """Fork, pass signals on, and wait for the end."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # NumPy's BLAS has threads, but handles a fork itself.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(request, writing)
    os.close(writing)
    answer, ended = b"", False
    while True:
        ready, _, _ = select.select([reading] if ended else [reading, requests.descriptor], [], [])
        if reading in ready:
            if part := os.read(reading, 65536):
                answer += part
                continue
            break
        message = requests.next()
        ended = message is None
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM if message is None else message["signal"])
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return json.loads(answer) if answer and status == 0 else {"state": "lost", "status": status}


def _child(request: dict[str, Any], writing: int) -> None:
    """Run the job in this process, report its outcome, and exit without the parent's clean-up."""
    status, here = 1, set(sys.modules)
    try:
        _end_with_parent()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        faulthandler.enable(2)
        outcome = _work(request)
        new = sys.modules.keys() - here
        outcome["imported"] = [name for name in new if name in ONCE_NEEDED or name.startswith("sfa_bench.")]
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # it is over
        sys.stdout.flush()
        os.write(writing, json.dumps(outcome).encode())
        status = 0
    finally:
        os._exit(status)


def _work(request: dict[str, Any]) -> dict[str, Any]:
    from sfa_bench.errors import ConfigError, Interrupted
    from sfa_bench.sweep.handover import read_run
    from sfa_bench.sweep.work import work

    try:
        _listen()
        conf = request["config_dir"]
        run = read_run(Path(request["runs"]), request["run"], None if conf is None else Path(conf))
        return work(run.config, run.command, request["threads"], request["quiet"], request["slot"])
    except ConfigError as error:
        return {"state": "refused", "message": str(error)}
    except Interrupted as interrupted:
        return {"state": "interrupted", "signal": interrupted.number}


def _listen() -> None:
    """Let signals interrupt the job, including pending ones; the run itself defers them to the next step.

    A terminal or a cluster signals all processes, and the worker passes on its own signal and the stop file: within
    some seconds these count as one signal.
    """
    from sfa_bench.engine.signals import StopAtStep
    from sfa_bench.errors import Interrupted

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted(number)

    StopAtStep.echo_seconds = ECHO_SECONDS
    for number in STOPPING:
        signal.signal(number, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def _end_with_parent() -> None:
    """Let Linux signal this process when the fork server dies."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _answer(descriptor: int, outcome: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):
        os.write(descriptor, json.dumps(outcome).encode() + b"\n")


class Lines:
    """A reader of requests, line by line; unbuffered, so that `select` sees the rest."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def next(self) -> dict[str, Any] | None:
        """The next request, or None at the end."""
        line = b""
        while not line.endswith(b"\n"):
            if not (byte := os.read(self.descriptor, 1)):
                return None
            line += byte
        request: dict[str, Any] = json.loads(line)
        return request


if __name__ == "__main__":
    serve(int(sys.argv[1]))
