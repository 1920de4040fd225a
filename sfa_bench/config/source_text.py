"""Parse overrides without losing how they were written: numbers keep their text, ranges are of decimals.

Hydra's grammar and YAML read `1.10` as 1.1 and `2026_11_28` as 20261128, which is correct for a number but not for a
name. Whether a key takes a number or a text is known only later, so numbers remember their text until then.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
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
    """A number with its text."""


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
    """Parse an override by Hydra's grammar; numbers keep their texts. Raises HydraException where it is none.

    Hydra's own OverridesParser drops the texts and takes no other visitor, so its generated lexer and parser are used
    here as it uses them.
    """
    listener = HydraErrorListener()
    lexer = OverrideLexer(InputStream(text))
    lexer.removeErrorListeners()
    lexer.addErrorListener(listener)
    parser = OverrideParser(CommonTokenStream(lexer))
    parser.removeErrorListeners()
    parser.addErrorListener(listener)
    override = _Visitor(_FUNCTIONS).visit(parser.override())
    override.input_line = text
    return override


def _sort(*args: Any, sweep: Any = None, reverse: bool = False, **named: Any) -> Any:
    """Hydra's `sort`, but a range keeps its values: Hydra 1.3 makes others where the step does not divide the range."""
    range_sweep = args[0] if len(args) == 1 else sweep
    if not isinstance(range_sweep, RangeSweep):
        return _HYDRAS_SORT(*args, sweep=sweep, reverse=reverse, **named)
    range_sweep = replace(range_sweep, shuffle=False)
    count, (start, _, step) = length(range_sweep), _ends(range_sweep)
    if count > 1 and (step > 0) == reverse:
        ends = (start + (count - 1) * step, start - step, -step)
        range_sweep.start, range_sweep.stop, range_sweep.step = map(int if _whole(range_sweep) else _decimals, ends)
    return range_sweep


def _decimals(value: Fraction) -> TypedFloat:
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return TypedFloat(float(exact), str(exact))


_FUNCTIONS = create_functions()
_HYDRAS_SORT = _FUNCTIONS.functions["sort"]
_FUNCTIONS.functions["sort"] = _sort


class _Visitor(HydraOverrideVisitor):
    def visitPrimitive(self, ctx: Any) -> Any:
        return _with_text(super().visitPrimitive, ctx)

    def visitDictKey(self, ctx: Any) -> Any:
        return _with_text(super().visitDictKey, ctx)


def _with_text(visit: Callable[[Any], Any], ctx: Any) -> Any:
    text = ctx.getText().strip()
    try:
        value = visit(ctx)
    except ValueError:  # more digits than Python reads as a number
        return text
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
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
    whole = _whole(sweep)
    order: Any = range(length(sweep))
    if sweep.shuffle:
        order = random.Random().sample(order, len(order))
    for i in order:
        value: Any = start + i * step
        value = int(value) if whole else float(value)
        for cast in getattr(sweep, "transformers", ()):  # from Hydra 1.4 on, int(range(…)) casts each value
            value = cast(value)
        yield value


def _whole(sweep: RangeSweep) -> bool:
    return all(isinstance(end, int) for end in (sweep.start, sweep.stop, sweep.step))


def _ends(sweep: RangeSweep) -> tuple[Fraction, Fraction, Fraction]:
    ends: Any = (sweep.start, sweep.stop, sweep.step)
    if not all(math.isfinite(end) for end in ends):
        raise HydraException("a range has a finite start, end and step")
    start, stop, step = (Fraction(int(end) if isinstance(end, int) or not end else decimal(end)) for end in ends)
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
