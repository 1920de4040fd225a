"""Parse overrides without losing how they were written: numbers keep their text, ranges are of decimals.

Hydra's grammar and YAML read `1.10` as 1.1 and `2026_11_28` as 20261128, which is correct for a number but not for a
name. Whether a key takes a number or a text is known only later, so numbers remember their text until then.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Self

import yaml
from hydra.core.override_parser.overrides_parser import create_functions
from hydra.core.override_parser.overrides_visitor import HydraErrorListener, HydraOverrideVisitor
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import CommonTokenStream, InputStream, OverrideLexer  # type: ignore[attr-defined]
from hydra.grammar.gen.OverrideParser import OverrideParser

MOST = 10**18  # values of a range that are told apart when they are counted


class _Typed:
    """A number whose `str` is the text that it was written as."""

    text: str

    def __new__(cls, value: Any, text: str) -> Self:
        made = super().__new__(cls, value)  # type: ignore[call-arg]
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text


class TypedInt(_Typed, int):
    """A whole number with its text."""


class TypedFloat(_Typed, float):
    """A number with its text; Hydra's sorting of ranges adds them as decimals."""

    def __abs__(self) -> TypedFloat:
        return _typed(abs(decimal(self)))

    def __neg__(self) -> TypedFloat:
        return _typed(-decimal(self))

    def __add__(self, other: Any) -> TypedFloat:
        return _typed(decimal(self) + decimal(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> TypedFloat:
        return _typed(decimal(self) - decimal(other))


def _typed(value: Decimal) -> TypedFloat:
    return TypedFloat(float(value), str(value))


def bare(value: Any) -> Any:
    """The value in Python's own types, without its text."""
    if isinstance(value, TypedInt):
        return int(value)
    if isinstance(value, TypedFloat):
        return float(value)
    if isinstance(value, dict):
        return {bare(key): bare(item) for key, item in value.items()}
    return [bare(item) for item in value] if isinstance(value, list) else value


def decimal(number: float) -> Decimal:
    """The decimal that was meant: the one written, else the shortest that gives this number."""
    try:
        return Decimal(str(number).replace("_", ""))
    except InvalidOperation:
        return Decimal(repr(float(number)))


def parse(text: str) -> Override:
    """Parse an override by Hydra's grammar; numbers keep their texts. Raises HydraException where it is none."""
    listener = HydraErrorListener()
    lexer = OverrideLexer(InputStream(text))
    lexer.removeErrorListeners()
    lexer.addErrorListener(listener)
    parser = OverrideParser(CommonTokenStream(lexer))
    parser.removeErrorListeners()
    parser.addErrorListener(listener)
    override = _Visitor(_FUNCTIONS).visit(parser.override())
    override.input_line = text
    override.validate()
    return override


_FUNCTIONS = create_functions()


class _Visitor(HydraOverrideVisitor):
    def _createPrimitive(self, ctx: Any) -> Any:  # Hydra's name
        try:
            value = super()._createPrimitive(ctx)
        except ValueError:  # more digits than Python reads as a number
            return ctx.getText().strip()
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        text = ctx.getText().strip()
        return TypedInt(value, text) if isinstance(value, int) else TypedFloat(value, text)


def length(sweep: RangeSweep) -> int:
    """The number of values of a range, without listing them. Raises HydraException where it is not finite."""
    start, stop, step = _ends(sweep)
    if not step:
        raise HydraException("a range with a step of 0 has no end")
    if (steps := (stop - start) / step) > MOST:
        return MOST
    return max(0, math.ceil(steps))


def values(sweep: RangeSweep) -> Iterator[int | float]:
    """The values of a range without its end: start + i * step in decimals, whole numbers if all parts are."""
    start, _, step = _ends(sweep)
    whole = all(isinstance(end, int) for end in (sweep.start, sweep.stop, sweep.step))
    order: Any = range(length(sweep))
    if sweep.shuffle:
        order = random.Random().sample(order, len(order))
    for i in order:
        value = start + i * step
        yield int(value) if whole else float(value)


def _ends(sweep: RangeSweep) -> tuple[Fraction, Fraction, Fraction]:
    ends: Any = (sweep.start, sweep.stop, sweep.step)
    if not all(math.isfinite(end) for end in ends):
        raise HydraException("a range has a finite start, end and step")
    start, stop, step = (Fraction(decimal(end) if end and isinstance(end, float) else int(end)) for end in ends)
    return start, stop, step


class TextKeepingLoader(yaml.SafeLoader):
    """YAML's plain data; numbers keep their texts, and dates are texts."""


def _int(loader: Any, node: Any) -> TypedInt:
    return TypedInt(loader.construct_yaml_int(node), node.value)


def _float(loader: Any, node: Any) -> TypedFloat:
    return TypedFloat(loader.construct_yaml_float(node), node.value)


TextKeepingLoader.add_constructor("tag:yaml.org,2002:int", _int)
TextKeepingLoader.add_constructor("tag:yaml.org,2002:float", _float)
TextKeepingLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: node.value)
