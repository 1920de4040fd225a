"""Words for keys, their values and metrics in tables and figures: those of the choices, and a user's own from a small
YAML file (`--names FILE`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from analysis.metrics import KNOWN as METRICS
from analysis.metrics import current, exists, nearest_metric, title
from analysis.values import Value, show
from sfa_bench.choices import methods, selectors, sources
from sfa_bench.choices.classifiers import CLASSIFIERS
from sfa_bench.config.user_yaml import read
from sfa_bench.config.values import options
from sfa_bench.errors import ConfigError

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "method": methods.TITLES,
    "plugin": selectors.TITLES,
    "classifier": {name: classifier.title for name, classifier in CLASSIFIERS.items()},
    "dataset": sources.TITLES,
}
METRIC, KEY = "metric", "key"  # the sections of a file that are not keys


@dataclass(frozen=True)
class Names:
    """What is shown for a key, its values and a metric; the text itself where there is no other.

    values: key → value as a table shows it → word. titles: whether a metric that has no word is shown by its title.
    """

    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    titles: bool = False

    def value(self, key: str, value: Value) -> str:
        text = str(value)
        return self.values.get(key, {}).get(text, text)

    def key(self, key: str) -> str:
        return self.keys.get(key, key)

    def metric(self, metric: str) -> str:
        return self.metrics.get(metric) or (title(metric) if self.titles else metric)

    def setting(self, key: str, value: Value) -> str:
        """A value with its key: `noise_ratio=0.2`, `noise ratio 0.2`, and a value that has a word by this alone."""
        if (word := self.values.get(key, {}).get(str(value))) is not None:
            return word
        return f"{self.keys[key]} {value}" if key in self.keys else f"{key}={value}"

    def check(self, key: str, values: Iterable[Value]) -> None:
        """Raise ConfigError where two of these values of a key would look alike."""
        seen: dict[str, Value] = {}
        for value in sorted(values):
            other = seen.setdefault(self.value(key, value), value)
            if other != value:
                word = self.value(key, value)
                raise ConfigError(
                    f"{key}={other} and {key}={value} would both be called {word}: give them different names (--names)"
                )


TYPED = Names()  # as on the command line


@cache
def built_in() -> Names:
    """The names of this suite's methods, plug-ins, classifiers, data sets and metrics; keys are as they are set."""
    return Names(BUILT_IN, titles=True)


def read_names(path: Path) -> Names:
    """The built-in names, and above them those of a file: for each key of runs a mapping of its values, and under
    `metric` and `key` of metrics and keys.

    Raises: ConfigError for a file that is none, a key or metric that does not exist, and a name that is no text.
    """
    if not path.is_file():
        raise ConfigError(f"--names: there is no file {path}")
    sections = read(path)
    if not isinstance(sections, dict) or not all(isinstance(part, dict) for part in sections.values()):
        raise ConfigError(
            f"{path}: --names takes a mapping of keys to mappings, such as  method: {{ce: Cross-entropy}}"
        )
    words = {
        str(key): {show(name): _word(path, key, word) for name, word in part.items()} for key, part in sections.items()
    }
    metrics = {current(name): word for name, word in words.pop(METRIC, {}).items()}
    keys = words.pop(KEY, {})
    for key in (*keys, *words):
        _check_key(path, key)
    for metric in metrics:
        if not exists(metric):
            near = nearest_metric(metric, (name for names in METRICS.values() for name in names))
            raise ConfigError(f"{path}: there is no metric {metric}" + (f"; did you mean {near}?" if near else ""))
    usual = built_in()
    values = {key: {**usual.values.get(key, {}), **words.get(key, {})} for key in {*usual.values, *words}}
    return Names(values, keys, metrics, titles=True)


def _word(path: Path, key: object, word: object) -> str:
    if isinstance(word, bool) or not isinstance(word, (str, int, float)) or not str(word).strip():
        raise ConfigError(f"{path}: {key} has a name that is no text ({word!r}): write it in quotes")
    return " ".join(str(word).split())


def _check_key(path: Path, key: str) -> None:
    group, dot, _ = key.partition(".")
    if key not in options() and not (dot and group in options()):  # an option of a choice of the user's own
        near = difflib.get_close_matches(key, [*options(), METRIC, KEY], 1)
        raise ConfigError(f"{path}: there is no key {key}" + (f"; did you mean {near[0]}?" if near else ""))
