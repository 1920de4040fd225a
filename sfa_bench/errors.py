"""Errors by exit status (explanation/runs.md §1). The message is the sentence that a user reads."""

from __future__ import annotations

import signal


class ConfigError(Exception):
    """Refused before training (exit status 2): a configuration that does not exist or makes no sense.

    `invalid_combination` marks values that exist but do not go together: a sweep lists such a run as *not valid* and
    goes on, while a value that exists nowhere refuses the whole sweep.
    """

    def __init__(self, message: str, *, invalid_combination: bool = False):
        super().__init__(message)
        self.invalid_combination = invalid_combination


class DataError(ConfigError):
    """Refused before training (exit status 2): data that are missing, broken or not what they should be."""


class RunError(Exception):
    """A run that started and failed (exit status 1): a loss that is not finite, a full disk."""


class Interrupted(BaseException):
    """Raised at a step boundary after a signal. Not an Exception: nothing that handles failures may swallow it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int]]:
        return Interrupted, (self.number,)  # raised in a worker, it is pickled

    @property
    def exit_status(self) -> int:
        return 128 + self.number
