"""The entry point of every command: standard streams that do not fail for any character or a closed pipe, and one
sentence with the exit status for whatever ends a command early.
"""

from __future__ import annotations

import argparse
import codecs
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ClassVar, NoReturn, TextIO

from sfa_bench.errors import ConfigError, Interrupted, RunError

Say = Callable[[str], None]  # shows one line to the user
_INSTEAD = {"·": "-", "–": "-", "−": "-", "±": "+-", "…": "...", "→": "->", "×": "x", "β": "beta", "τ": "tau"}


def door(main: Callable[[Sequence[str]], int]) -> int:
    """Run a command and return its exit status; 1 where its output could not be written."""
    prepare()
    try:
        os.getcwd()
    except FileNotFoundError:
        print("refused: the current folder no longer exists; change into another one", file=sys.stderr)
        return 2
    status = main(sys.argv[1:])
    sys.stdout.flush()
    lost = getattr(sys.stdout, "lost", None)
    if status == 0 and SafeStream.answers and lost is not None:
        print(f"failed: could not write to standard output: {lost}", file=sys.stderr)
        return 1
    return status


def entry_point(act: Callable[[Sequence[str]], int | None]) -> Callable[[Sequence[str]], int]:
    """Make a command of a function of the typed words: what ends it early is one sentence on standard error.

    Its exit status is what `act` returns, 0 for nothing; 1 failed, 2 refused, 128 + signal interrupted.
    """

    @wraps(act)
    def main(arguments: Sequence[str]) -> int:
        try:
            return act(arguments) or 0
        except ConfigError as error:
            print(f"refused: {error}", file=sys.stderr)
            return 2
        except RunError as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
        except MemoryError as error:
            print(f"failed: there is not enough memory: {error}", file=sys.stderr)
            return 1
        except Interrupted as interrupted:
            return interrupted.exit_status
        except KeyboardInterrupt:
            return 128 + signal.SIGINT

    return main


class Parser(argparse.ArgumentParser):
    """Refuses in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.prog} --help lists the options")


def prepare() -> None:
    """Replace the standard streams of this process; once, however often it is called."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened, of a run perhaps, would get its number and this output
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    codecs.register_error("sfa_bench.instead", _instead)
    sys.stdout = _display(sys.stdout, 1)
    sys.stderr = _display(sys.stderr, 2)


def _display(stream: Any, number: int) -> Any:
    if isinstance(stream, SafeStream):
        return stream
    if stream is None:
        stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  of this process to its end
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="sfa_bench.instead")
    return SafeStream(stream)


def _instead(error: UnicodeError) -> tuple[str, int]:
    """Escapes for characters that the terminal's encoding lacks, and for bytes of file names that are not text."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(char) or ascii(char)[1:-1] for char in lacking), error.end


def duration(seconds: float) -> str:
    """75.2 → 1:15, 3671 → 1:01:11."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def about(seconds: float) -> str:
    """An estimate: 40.2 → 40 s, 372 → 6 min, 3671 → 1 h 1 min."""
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def markdown_table(rows: Sequence[Sequence[str]], texts: int) -> str:
    """A Markdown table with aligned columns; rows: the heading first; texts: columns of words, aligned to the left."""
    columns = []
    for place, (head, *cells) in enumerate(zip(*rows, strict=True)):
        left, width = place < texts, max(map(len, (head, *cells)))
        rule = "-" * width if left else "-" * (width - 1) + ":"
        columns.append([cell.ljust(width) if left else cell.rjust(width) for cell in (head, rule, *cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*columns, strict=True))


class SafeStream:
    """A stream that keeps no run from its end: what it does not take is lost.

    Where the output is the answer, a reader who leaves (`| head`) ends the command.
    """

    answers: ClassVar = True  # False as soon as something trains

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.lost: str | None = None  # why something is

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[..., object], *arguments: str) -> None:
        try:
            act(*arguments)
        except BrokenPipeError as error:
            self.lost = error.strerror
            if SafeStream.answers and self is sys.stdout:
                raise SystemExit(128 + signal.SIGPIPE) from None
        except OSError as error:
            self.lost = error.strerror
        except ValueError as error:  # it has been closed
            self.lost = str(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
