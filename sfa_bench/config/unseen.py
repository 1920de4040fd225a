"""A value that stands for many, and so must not be looked at.

A sweep composes and checks its replicates once, with the seeds unseen. Where a check depends on a seed after all, that
is noticed here rather than promised elsewhere, and each replicate is composed by itself.
"""

from __future__ import annotations

from typing import Any, NoReturn

_OF_ANY_OBJECT = {
    *("__new__", "__init__", "__class__", "__doc__", "__dir__", "__getattribute__", "__setattr__", "__delattr__"),
    *("__init_subclass__", "__subclasshook__", "__getstate__", "__getnewargs__", "__reduce__", "__reduce_ex__"),
    "__sizeof__",
}


class LookedError(Exception):
    """Something depends on an unseen value."""


class Unseen:
    """Raises LookedError whenever it is compared, converted, printed, hashed, calculated with or asked for its type."""

    @property
    def __class__(self) -> Any:  # what isinstance asks
        raise LookedError

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise LookedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # is it a dataclass, for example
            raise AttributeError(name)
        raise LookedError


def _look(self: Unseen, *args: Any) -> NoReturn:
    raise LookedError


for _name in (name for name in dir(int) if name.startswith("__") and name not in _OF_ANY_OBJECT):
    setattr(Unseen, _name, _look)
UNSEEN: Any = Unseen()
