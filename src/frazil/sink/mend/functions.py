"""The functions of a patch: pure, typed, and they refuse what they would have to guess."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from frazil.sink.mend.document import Missing, NotMendable, Number, Raw, Value

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DIGITS = 400  # of an integer written out; contracts hold 64 bit or 38 digits

Argument = Value | Missing


@dataclass(frozen=True, slots=True)
class Function:
    """How many values it takes (least, most) and what it does with a present one."""

    least: int
    most: int
    apply: Callable[..., Value]
    says: str


def _number(value: Argument) -> Value:
    """Text that is a JSON number, spaces around it forgiven; `1,50` is not guessed at."""
    if isinstance(value, Number):
        return value
    text = _plain(value).strip()
    if not _NUMBER.fullmatch(text):
        raise NotMendable(f"{text!r} is not a number")
    return Number(text)


def _integer(value: Argument) -> Value:
    """A whole number in any spelling (`12.0`, `"1e2"`) written as an integer; a fraction is refused."""
    number = _number(value)
    try:
        exact = Decimal(str(number))
    except InvalidOperation as error:
        raise NotMendable("not a number") from error
    if abs(exact.adjusted()) > _DIGITS or exact != exact.to_integral_value():
        raise NotMendable(f"{number} is not a whole number")
    return Number(format(exact.to_integral_value(), "f").replace("-0", "0") if exact == 0 else format(exact.to_integral_value(), "f"))


def _text(value: Argument) -> Value:
    """A number or boolean as its own text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Raw) or not isinstance(value, str):
        raise NotMendable("not a single value")
    return str(value)


def _replace(value: Argument, old: Argument, new: Argument) -> Value:
    return _plain(value).replace(_plain(old), _plain(new))


def _parse_time(value: Argument, layout: Argument, zone: Argument = None) -> Value:
    """Text in a `strptime` layout as RFC 3339. Without `%z` and without a zone the contract's zone decides."""
    try:
        at = datetime.strptime(_plain(value).strip(), _plain(layout))
        if at.tzinfo is None and zone is not None:
            at = at.replace(tzinfo=ZoneInfo(_plain(zone)))
    except (ValueError, KeyError, OSError) as error:
        raise NotMendable(str(error)) from error
    return at.isoformat()


def _plain(value: Argument) -> str:
    if not isinstance(value, str) or isinstance(value, Number | Raw):
        raise NotMendable("not a text")
    return str(value)


FUNCTIONS: dict[str, Function] = {
    "number": Function(1, 1, _number, "number(value)"),
    "integer": Function(1, 1, _integer, "integer(value)"),
    "text": Function(1, 1, _text, "text(value)"),
    "upper": Function(1, 1, lambda value: _plain(value).upper(), "upper(value)"),
    "lower": Function(1, 1, lambda value: _plain(value).lower(), "lower(value)"),
    "trim": Function(1, 1, lambda value: _plain(value).strip(), "trim(value)"),
    "replace": Function(3, 3, _replace, "replace(value, 'old', 'new')"),
    "default": Function(2, 2, lambda value, other: value, "default(value, other)"),
    "parse_time": Function(2, 3, _parse_time, "parse_time(value, '%d.%m.%Y %H:%M'[, 'Europe/Berlin'])"),
}
