"""From Python's values to the words that the command line takes, so that both refuse and mean the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from sfa_bench.config.hydras import is_hydras, quoted
from sfa_bench.config.overrides import APPENDED
from sfa_bench.config.schema import CHOSEN
from sfa_bench.config.source_text import parse
from sfa_bench.config.values import brief, options, takes_text
from sfa_bench.errors import ConfigError


def run_words(keys: Mapping[str, Any]) -> list[str]:
    """KEY=VALUE for each key of one run. Raises: ConfigError for a value that no configuration holds."""
    return [f"{_name(key)}={_text(key, value)}" for key, value in keys.items()]


def sweep_words(keys: Mapping[str, Any]) -> list[str]:
    """The same for a sweep, where a list, a tuple, a range or an array is an axis: KEY=V1,V2.

    Raises: ConfigError, also for an axis without a value.
    """
    words = []
    for key, value in keys.items():
        values = _values(value)
        if not values:
            raise ConfigError(f"{key}: this axis has no value; give it one, or leave {key} out")
        words.append(f"{_name(key)}={','.join(_text(key, one) for one in values)}")
    return words


def _values(value: Any) -> list[Any]:
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return list(value)
    return [value]


def _name(key: str) -> str:
    """A preset or a sweep file is added: `preset="dss"` is +preset=dss."""
    return f"+{key}" if key in APPENDED else key


def _text(key: str, value: Any) -> str:
    """The value in Hydra's grammar."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # NumPy's and Torch's single numbers
        shortest, value = str(value), value.item()
        if isinstance(value, float):  # np.float32(0.2) is 0.2, not the double nearest to it
            with suppress(ValueError):
                value = float(shortest)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        return _of_text(key, str(value))
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(key, one) for one in value)}]"
    raise ConfigError(
        f"{key}={brief(repr(value))}: this {type(value).__name__} is no value of a configuration; give a number, a "
        "text, True, False, None, or a list of these"
    )


def _of_text(key: str, text: str) -> str:
    """A text as it stands where the key takes any; elsewhere what it says on the command line, such as range(0,5)."""
    try:
        # A backslash at the end would make the next comma of an axis a part of the text.
        if (same := parse(f"k={text}").value()) == text and type(same) is str and not text.endswith("\\"):
            return text
    except (HydraException, RecursionError):
        pass  # it has characters of the grammar
    known = options()
    free = key in known and takes_text(key)
    elsewhere = key in known or key in (*CHOSEN, *APPENDED) or is_hydras(key.lstrip("+"))
    return quoted(text) if free or not elsewhere else text
