"""Selectors that compute on the host while the device trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import overload

from sfa_bench.selectors.base import Selection


class Aside(Sequence[Selection]):
    """A list of selections that are computed in a thread; reading one waits for it.

    The last is made first: DivideMix trains network 1 by the selection of network 2 before network 2 by that of
    network 1. Reading raises what the call raised.
    """

    def __init__(self, calls: Sequence[Callable[[], Selection]]):
        thread = ThreadPoolExecutor(1, thread_name_prefix="selector")
        self._made = [thread.submit(call) for call in reversed(calls)][::-1]
        thread.shutdown(wait=False)  # once it has made them

    def __len__(self) -> int:
        return len(self._made)

    @overload
    def __getitem__(self, k: int) -> Selection: ...

    @overload
    def __getitem__(self, k: slice) -> Sequence[Selection]: ...

    def __getitem__(self, k: int | slice) -> Selection | Sequence[Selection]:
        return [made.result() for made in self._made[k]] if isinstance(k, slice) else self._made[k].result()
