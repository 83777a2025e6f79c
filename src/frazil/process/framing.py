"""Records written as Avro behind a registry's frame: those that meet their contract; every other stays as it came."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import pyarrow as pa

from frazil.batch import RAW, Batch
from frazil.contract import Field
from frazil.contract.derive import EXTRA
from frazil.errors import ConfigError
from frazil.process import Processor

try:
    from fastavro import parse_schema, schemaless_writer
except ImportError as error:
    raise ConfigError(
        "records in Avro need fastavro", hint="pip install 'frazil[kafka]'", code="config.missing_extra", extra="kafka"
    ) from error

_AT_ONCE = 1000


class Framing:
    """Turns records into framed Avro where nothing is lost by it: good under the contract, and no member it does not name.

    Args:
        judge: Decides which records are good, and their typed values.
        schema: The contract's Avro schema as JSON.
        schema_id: Its number in the registry.
    """

    def __init__(self, judge: Processor, schema: str, schema_id: int) -> None:
        self._judge = judge
        self._schema = parse_schema(json.loads(schema))
        self._frame = b"\x00" + schema_id.to_bytes(4, "big")

    def __call__(self, values: Sequence[bytes | None], received_at: datetime) -> list[bytes | None]:
        """The values in the same order, framed where they can be."""
        framed = list(values)
        count = len(framed)
        constants: dict[str, Any] = {"log": "", "partition": "", "received_at": received_at, "request": 0}
        columns = {name: [constant] * count for name, constant in constants.items()}
        columns |= {name: [None] * count for name in ("key", "source", "headers")} | {"value": framed, "offset": list(range(count))}
        raw = pa.RecordBatch.from_arrays([pa.array(columns[one.name], one.type) for one in RAW], schema=RAW)
        for index, row in _rows(self._judge(Batch(raw)).good.rows):
            if row.get(EXTRA) is None:
                framed[index] = self._frame + self._record(row)
        return framed

    def _record(self, row: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        schemaless_writer(out, self._schema, {one.name: _value(one, row[one.name]) for one in self._judge.contract.fields})
        return out.getvalue()


def _rows(good: pa.RecordBatch) -> Iterator[tuple[int, dict[str, Any]]]:
    for start in range(0, len(good), _AT_ONCE):
        part = good.slice(start, _AT_ONCE)
        yield from zip(part["_offset"].to_pylist(), part.to_pylist(), strict=True)


def _value(one: Field, value: Any) -> Any:
    if value is None:
        return None
    if one.kind == "uuid":
        return str(UUID(bytes=value))
    if one.kind == "object":
        return {child.name: _value(child, value[child.name]) for child in one.fields}
    if one.kind == "array" and one.items is not None:
        return [_value(one.items, item) for item in value]
    return value
