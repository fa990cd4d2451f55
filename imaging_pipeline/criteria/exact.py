"""Exact decimals: nothing is rounded before it is compared, and printed numbers are the compared ones."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

#: Sizes have at most MAX_DIGITS digits, so sums, products of two and multiples by a threshold fit without rounding.
MAX_DIGITS = 20
_CONTEXT = Context(prec=3 * MAX_DIGITS, rounding=ROUND_HALF_EVEN)

ZERO = Decimal(0)
_TENTH = Decimal("0.1")
_PERCENT_DIGITS = Decimal("1e-10")  # percentages are for reading: thresholds are compared by multiplication

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def exactly(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run a function with enough decimal digits that nothing is rounded."""

    @wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with localcontext(_CONTEXT):
            return function(*args, **kwargs)

    return wrapped


def as_decimal(value: float) -> Decimal:
    """A measured float as the decimal that is printed for it."""
    return Decimal(str(value))


def change_pct(now: Decimal | None, before: Decimal | None) -> Decimal | None:
    """Change in percent of the earlier value; None where either is missing or the earlier one is 0."""
    if now is None or not before:
        return None
    return Decimal(plain(((now - before) * 100 / before).quantize(_PERCENT_DIGITS)))


def plain(value: Decimal) -> str:
    """All digits, without exponent or trailing zeros."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def signed_pct(value: Decimal | None) -> str:
    """A change for a sentence, or "from 0" where there is no ratio.

    Cut to a tenth of a percent, not rounded: no sentence shows a bound that was not reached.
    """
    return "from 0" if value is None else f"{value.quantize(_TENTH, ROUND_DOWN):+} %"
