"""How a CSV body is spelled: by parameters of the request, RFC 4180 with a header when it does not say."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

from data_processor_rs import CsvDialect, KernelError
from starlette.datastructures import QueryParams

from frazil.api.problems import Refused, translated


class Dialect(NamedTuple):
    """A dialect as it was asked for; two that are equal read every body alike. Fields as `data_processor_rs.CsvDialect`."""

    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    columns: tuple[str, ...] | None = None
    nulls: tuple[str, ...] = ()

    @property
    def kernel(self) -> CsvDialect:
        return _kernel(self)


def dialect_of(headers: Mapping[str, str], query: bytes) -> Dialect:
    """The dialect that the query names; `header=absent` may also stand in the media type (RFC 4180, section 3).

    Raises:
        Refused: `request.invalid_parameter` for a `header` that is neither present nor absent; `csv.bad_dialect`.
    """
    return _dialect_of(headers.get("content-type", ""), query)


@functools.lru_cache(maxsize=64)
def _dialect_of(content_type: str, query: bytes) -> Dialect:
    asked = QueryParams(query)
    columns = asked.get("columns")
    dialect = Dialect(
        delimiter=asked.get("delimiter", ","),
        quote=asked.get("quote", '"'),
        header=_has_header(asked.get("header") or _parameter(content_type, "header") or "present"),
        columns=None if columns is None else tuple(columns.split(",")),
        nulls=tuple(asked.getlist("null")),
    )
    _ = dialect.kernel  # it is refused here, before a body is read
    return dialect


def _has_header(said: str) -> bool:
    if said not in ("present", "absent"):
        raise Refused(
            f"header={said[:80]!r} is not known",
            code="request.invalid_parameter",
            hint="known values: present, absent (then name the columns: columns=id,at,value)",
            parameter="header",
        )
    return said == "present"


def _parameter(content_type: str, name: str) -> str | None:
    for parameter in content_type.split(";")[1:]:
        key, _, value = parameter.strip().partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"').lower()
    return None


@functools.lru_cache(maxsize=64)
def _kernel(dialect: Dialect) -> CsvDialect:
    try:
        return CsvDialect(
            delimiter=dialect.delimiter, quote=dialect.quote, header=dialect.header, columns=dialect.columns, nulls=dialect.nulls
        )
    except KernelError as error:
        raise translated(error) from error
