"""Errors by exit status (explanation/runs.md §1). The message is the sentence that a user reads."""


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
