"""Checks as values: those that follow from a contract, and the spelling of every kind as SQL or as an expectation.

A check is either one expectation of Great Expectations on one column (`sql` is None) or a query whose rows are the rows at
fault. Queries are for what concerns several rows or tables; the lake's engine answers them without loading a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from frazil.contract import Contract, Field
from frazil.quality import Severity
from frazil.table.duck import quoted

STAGING, MARTS = "staging_suite", "marts_suite"
PLACE = ("_log", "_partition", "_offset")


@dataclass(frozen=True)
class Check:
    """One check of one table. `key`: columns that name a failing row. `origin`: the contract, or file and line.

    `column` may be a member of an object: `properties.price`. `sql` holds `{table}` and `{now}`.
    """

    suite: str
    table: str
    expectation: str
    severity: Severity
    column: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    sql: str | None = None
    key: tuple[str, ...] = ()
    origin: str = ""
    about: str = ""


def of_contract(contract: Contract) -> list[Check]:
    """What a contract says of its raw table.

    Nulls, the key and types are critical: models stand on them. Ranges, sets, lengths and patterns warn, since rows that
    landed under an older version of the contract stay as they are.
    """
    table, origin = f"raw_{contract.name}", f"contract {contract.name} {contract.version}"
    key = tuple(dotted(pointer) for pointer in contract.key)
    rules = [check for one in contract.fields for check in of_field(one, one.name)]
    rules += [Check("", "", "expect_column_to_have_type", "critical", one.name, {"type": one.kind}) for one in contract.fields]
    rules += [unique(table, PLACE, "critical")]
    if key:
        rules.append(unique(table, key, "critical"))
    return [replace(one, suite=STAGING, table=table, key=(*key, *PLACE), origin=origin) for one in rules]


def of_field(one: Field, column: str) -> Iterator[Check]:
    """A field's rules and those of its members; a member may be missing with the object it is in. Items of arrays are the kernel's."""
    top = "." not in column
    if one.required and top:
        yield Check("", "", "expect_column_values_to_not_be_null", "critical", column)
    if one.enum is not None:
        values: list[Any] = list(one.enum) if one.kind == "string" else [float(value) for value in one.enum]
        yield Check("", "", "expect_column_values_to_be_in_set", "warning", column, {"value_set": values})
    if one.minimum is not None or one.maximum is not None:
        yield _within(one, column)
    if one.min_length is not None or one.max_length is not None:
        lengths = {"min_value": one.min_length, "max_value": one.max_length}
        yield Check("", "", "expect_column_value_lengths_to_be_between", "warning", column, _given(lengths))
    if one.pattern is not None:
        yield Check("", "", "expect_column_values_to_match_regex", "warning", column, {"regex": exact_end(one.pattern)})
    for child in one.fields:
        yield from of_field(child, f"{column}.{child.name}")


def _within(one: Field, column: str) -> Check:
    """Bounds as a query: exact, where a double is not."""
    name = path(column)
    outside = []
    if one.minimum is not None:
        outside.append(f"{name} {'<=' if one.exclusive_minimum else '<'} {_bound(one, one.minimum)}")
    if one.maximum is not None:
        outside.append(f"{name} {'>=' if one.exclusive_maximum else '>'} {_bound(one, one.maximum)}")
    kwargs = {
        "min_value": one.minimum,
        "max_value": one.maximum,
        "strict_min": one.exclusive_minimum or None,
        "strict_max": one.exclusive_maximum or None,
    }
    sql = f"SELECT * FROM {{table}} WHERE {' OR '.join(outside)}"
    return Check("", "", "expect_column_values_to_be_between", "warning", column, _given(kwargs), sql)


def _bound(one: Field, text: str) -> str:
    return f"'{text}'::DOUBLE" if one.kind == "number" else text


def unique(table: str, columns: tuple[str, ...], severity: Severity) -> Check:
    """No two rows have the same values in these columns; nulls are left out."""
    names = ", ".join(path(column) for column in columns)
    present = " AND ".join(f"{path(column)} IS NOT NULL" for column in columns)
    sql = f"SELECT * FROM {{table}} WHERE {present} QUALIFY count(*) OVER (PARTITION BY {names}) > 1"
    if len(columns) == 1:
        return Check("", table, "expect_column_values_to_be_unique", severity, columns[0], {}, sql)
    return Check("", table, "expect_compound_columns_to_be_unique", severity, None, {"column_list": list(columns)}, sql)


def references(column: str, table: str, to: str) -> str:
    """Rows whose value is no value of `to` in the other table."""
    there = f"SELECT 1 FROM {quoted(table)} AS there WHERE there.{path(to)} = here.{path(column)}"
    return f"SELECT * FROM {{table}} AS here WHERE here.{path(column)} IS NOT NULL AND NOT EXISTS ({there})"


def fresh(column: str, seconds: float) -> str:
    """One row when the newest value is older than this, or there is none."""
    newest = f"max({path(column)})"
    return f"SELECT {newest} AS newest FROM {{table}} HAVING {newest} IS NULL OR {newest} < {{now}} - INTERVAL '{seconds} seconds'"


def volume(column: str, days: int, least: float, most: float) -> str:
    """Yesterday when its rows are not within `least` to `most` times the median of the days before; judged from three such days on."""
    return f"""WITH counted AS (
        SELECT {path(column)}::DATE AS day, count(*) AS n FROM {{table}}
        WHERE {path(column)}::DATE BETWEEN {{now}}::DATE - {days + 1} AND {{now}}::DATE - 1 GROUP BY 1
    ), judged AS (
        SELECT {{now}}::DATE - 1 AS day, coalesce(sum(n) FILTER (day = {{now}}::DATE - 1), 0)::BIGINT AS n_rows,
            median(n) FILTER (day < {{now}}::DATE - 1) AS usual, count(*) FILTER (day < {{now}}::DATE - 1) AS days FROM counted
    )
    SELECT day, n_rows, usual FROM judged WHERE days >= 3 AND (n_rows < {least} * usual OR n_rows > {most} * usual)"""


def drift(column: str, by: str, days: int, most: float) -> str:
    """One row when the shares of values yesterday and in the days before differ by more than `most`.

    Population stability index: sum over values of (p - q) ln(p / q); 0.1 is a small change, 0.25 a large one. A value that
    one side lacks counts as half a row there. At least 100 rows on both sides are judged.
    """
    return f"""WITH chosen AS (
        SELECT {path(column)}::VARCHAR AS v, {path(by)}::DATE = {{now}}::DATE - 1 AS fresh FROM {{table}}
        WHERE {path(by)}::DATE BETWEEN {{now}}::DATE - {days + 1} AND {{now}}::DATE - 1
    ), counted AS (SELECT v, count(*) FILTER (fresh) AS n, count(*) FILTER (NOT fresh) AS m FROM chosen GROUP BY v),
    shares AS (SELECT greatest(n, 0.5) / sum(n) OVER () AS p, greatest(m, 0.5) / sum(m) OVER () AS q,
        sum(n) OVER () AS n, sum(m) OVER () AS m FROM counted)
    SELECT sum((p - q) * ln(p / q)) AS stability_index FROM shares WHERE n >= 100 AND m >= 100
    HAVING sum((p - q) * ln(p / q)) > {most}"""


def path(column: str) -> str:
    """A dotted column as SQL."""
    return ".".join(quoted(part) for part in column.split("."))


def dotted(pointer: str) -> str:
    return pointer.removeprefix("/").replace("/", ".")


def exact_end(pattern: str) -> str:
    """Python's `$` would match before a last line break, too."""
    return re.sub(r"(\\.)|(\[(?:\\.|[^\]\\])*\])|\$", lambda found: r"\Z" if found[0] == "$" else found[0], pattern, flags=re.DOTALL)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
