"""Worker processes that read images ahead of their use."""

from __future__ import annotations

import atexit
import signal
import sys
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from sfa_bench.errors import RunError

AHEAD = 2  # requests that each worker takes in advance


class Requests(Sampler[Any]):
    """The requests to a DataLoader's workers, in order; another list for each round."""

    def __init__(self) -> None:
        self.current: Iterable[Any] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.current)


class Workers:
    """`reader[request]` for every request of a round, computed by processes that persist between rounds.

    Args: reader: request → tensors or plain values, without state; count: processes, 0 for none; pinned: answers
    lie in memory that an accelerator can copy from while others compute.
    """

    def __init__(self, reader: Dataset[Any], count: int, *, pinned: bool = False):
        self._requests = Requests()
        self._loader: DataLoader[Any] = DataLoader(
            reader,
            batch_size=None,  # a request is a batch
            sampler=self._requests,
            collate_fn=_as_it_is,
            num_workers=count,
            persistent_workers=count > 0,
            prefetch_factor=AHEAD if count else None,
            pin_memory=pinned,
            worker_init_fn=_start,
            # Forked on Linux: a worker then costs milliseconds and shares the lists of files. It computes with one
            # thread and uses no accelerator, so that what other threads of this process hold cannot stop it.
            multiprocessing_context="fork" if count and sys.platform == "linux" else None,
            generator=torch.Generator(),  # for seeds that no reader uses: else it would draw from the global one
        )
        self._round = 0
        # At exit multiprocessing sends SIGTERM to remaining processes and waits for them; these ignore it.
        atexit.register(_close, weakref.ref(self._loader))

    def answers(self, requests: Iterable[Any]) -> Iterator[Any]:
        """One answer for each request, in order; `requests` is consumed as far ahead as the workers are. One round at a
        time: a new round ends an unfinished one.
        """
        self._round += 1
        mine = self._round
        self._requests.current = requests
        try:
            for answer in self._loader:
                yield answer
                if mine != self._round:
                    raise RuntimeError("another round of views was begun before this one was at its end")
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise RunError(
                "a process that reads images died: is there enough memory, and shared memory (/dev/shm)? "
                "dataset.workers=0 reads without processes"
            ) from error

    def close(self) -> None:
        """End the processes; the next round starts others."""
        self._loader._iterator = None  # whose end is theirs


def in_workers(reader: Dataset[Any], requests: Iterable[Any], count: int) -> Iterator[Any]:
    """The answers to one round of requests, by processes started for this round only."""
    workers = Workers(reader, count)
    try:
        yield from workers.answers(requests)
    finally:
        workers.close()


def _as_it_is(answer: Any) -> Any:
    return answer


def _close(loader: weakref.ref[DataLoader[Any]]) -> None:
    """End the workers of a DataLoader that still exists when Python exits."""
    if (alive := loader()) is not None:
        alive._iterator = None  # whose end is theirs


def _start(number: int) -> None:
    """Ignore signals: the parent ends its workers itself. DataLoader gives each worker one thread."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
