"""Conditions on judged rows, as people write them: `event_type = 'purchase' and properties.price > 10`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    IsNull,
    LessThan,
    LessThanOrEqual,
    Not,
    NotEqualTo,
    NotIn,
    NotNull,
    NotStartsWith,
    Or,
    StartsWith,
)
from pyiceberg.expressions.parser import parse

from frazil.contract import Contract
from frazil.contract.derive import arrow_schema
from frazil.errors import ConfigError

_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    EqualTo: pc.equal,
    NotEqualTo: pc.not_equal,
    LessThan: pc.less,
    LessThanOrEqual: pc.less_equal,
    GreaterThan: pc.greater,
    GreaterThanOrEqual: pc.greater_equal,
}


class Where:
    """A condition on the rows of one contract. A comparison with a missing value does not hold.

    Args:
        text: Comparisons of fields (`properties.price` for nested ones) with `=`, `!=`, `<`, `<=`, `>`, `>=`, `in (…)`,
            `is null`, `like 'prefix%'`, joined by `and`, `or`, `not` and parentheses.

    Raises:
        ConfigError: `where.syntax`, or `where.unknown_field`, which names the known ones.
    """

    def __init__(self, text: str, contract: Contract) -> None:
        self.text = text
        self._types = dict(_leaves(arrow_schema(contract)))
        try:
            self._condition = parse(text)
        except Exception as error:  # the parser's own, and what values of the wrong shape raise
            raise ConfigError(
                f"the condition cannot be read: {text!r}", hint="like: event_type = 'purchase' and value > 10", code="where.syntax"
            ) from error
        self(_empty(contract))  # names and literals fit, or it says so now

    def __call__(self, rows: pa.RecordBatch) -> pa.Array:
        """Which of 0..n judged rows fulfil it: n booleans without nulls."""
        return pc.fill_null(self._holds(self._condition, rows), False)

    def _holds(self, condition: BooleanExpression, rows: pa.RecordBatch) -> Any:
        match condition:
            case AlwaysTrue() | AlwaysFalse():
                return pa.array([isinstance(condition, AlwaysTrue)] * len(rows))
            case And():
                return pc.and_kleene(self._holds(condition.left, rows), self._holds(condition.right, rows))
            case Or():
                return pc.or_kleene(self._holds(condition.left, rows), self._holds(condition.right, rows))
            case Not():
                return pc.invert(self._holds(condition.child, rows))
            case _:
                return self._compared(condition, rows)

    def _compared(self, condition: Any, rows: pa.RecordBatch) -> Any:
        name = condition.term.name
        if name not in self._types:
            raise ConfigError(f"no field {name!r}", hint=f"known: {', '.join(self._types)}", code="where.unknown_field", field=name)
        column = _column(rows, name)
        match condition:
            case IsNull():
                return pc.is_null(column)
            case NotNull():
                return pc.is_valid(column)
            case In() | NotIn():
                among = pc.is_in(column, pa.array([self._literal(name, one) for one in condition.literals], self._types[name]))
                return among if isinstance(condition, In) else pc.and_(pc.invert(among), pc.is_valid(column))
            case StartsWith() | NotStartsWith():
                starts = pc.starts_with(column, str(condition.literal.value))
                return starts if isinstance(condition, StartsWith) else pc.invert(starts)
        return _COMPARISONS[type(condition)](column, pa.scalar(self._literal(name, condition.literal), self._types[name]))

    def _literal(self, name: str, literal: Any) -> Any:
        """A literal in the column's type."""
        wanted, value = self._types[name], literal.value
        try:
            if pa.types.is_fixed_size_binary(wanted):
                return UUID(str(value)).bytes
            if pa.types.is_boolean(wanted) or pa.types.is_string(wanted):
                return pa.scalar(value, wanted).as_py()
            return pa.scalar(str(value)).cast(wanted).as_py()
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise ConfigError(
                f"{value!r} is no value of {name}, which is {wanted}", hint="quote texts and times", code="where.syntax"
            ) from error


def _leaves(schema: pa.Schema | pa.StructType, prefix: str = "") -> list[tuple[str, pa.DataType]]:
    found: list[tuple[str, pa.DataType]] = []
    for at in schema:
        if pa.types.is_struct(at.type):
            found += _leaves(at.type, f"{prefix}{at.name}.")
        elif not pa.types.is_list(at.type):
            found.append((prefix + at.name, at.type))
    return found


def _column(rows: pa.RecordBatch, name: str) -> pa.Array:
    """A column by its dotted name, decoded; missing below a missing object."""
    head, *rest = name.split(".")
    column: Any = rows.column(head)
    if rest:
        column = pc.struct_field(column, rest)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _empty(contract: Contract) -> pa.RecordBatch:
    schema = arrow_schema(contract)
    return pa.RecordBatch.from_arrays([pa.array([], at.type) for at in schema], schema=schema)
