"""Records in Avro behind a registry's frame: read as the schema they name, judged as any other.

A frame is a zero and the schema's id in four bytes, or a one and its GUID in sixteen; JSON begins with neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import data_processor_rs as kernel
import pyarrow as pa
import pyarrow.compute as pc

from frazil.batch import LETTERS, RAW, VIOLATIONS, Batch, Processed, Violation
from frazil.contract import Contract
from frazil.process.rust import RustProcessor
from frazil.registry import SchemaId, SchemaRegistry

_BY_ID, _BY_GUID = b"\x00", b"\x01"
_LENGTHS = {_BY_ID: 5, _BY_GUID: 17}
_FRAMED = pa.array(list(_LENGTHS), pa.binary())


class Frame(NamedTuple):
    """Where a framed record's schema is, and what follows the frame."""

    schema_id: SchemaId
    payload: bytes


class FramedProcessor:
    """Judges records of which some are framed. What they say is made JSON under the contract; letters keep the bytes that came.

    A schema never changes under its id, so the laws of `Processor` hold; a record whose id nobody knows is a dead letter, and can be
    replayed once the schema is there.

    Raises:
        Unavailable: The registry does not answer (`registry.unavailable`): nothing was judged, call again.
    """

    def __init__(self, judge: RustProcessor, registry: SchemaRegistry) -> None:
        self._judge, self._registry = judge, registry

    @property
    def contract(self) -> Contract:
        return self._judge.contract

    def __call__(self, raw: Batch) -> Processed:
        values = raw.rows["value"]
        framed = pc.indices_nonzero(pc.is_in(pc.binary_slice(values, 0, 1), value_set=_FRAMED)).to_pylist()
        if not framed:
            return self._judge(raw)
        plain = values.to_pylist()
        texts, broken = self._read({at: plain[at] for at in framed})
        for at in framed:
            plain[at] = texts.get(at)
        rows = raw.rows.set_column(raw.rows.schema.get_field_index("value"), RAW.field("value"), pa.array(plain, pa.binary()))
        judged = self._judge(Batch(rows, raw.spans))
        return Processed(judged.good, Batch(self._letters(judged.dead.rows, raw.rows, framed, broken), raw.spans), raw)

    def _read(self, values: Mapping[int, bytes]) -> tuple[dict[int, bytes], dict[int, Violation]]:
        """Each framed value as JSON, or why it is none."""
        texts: dict[int, bytes] = {}
        broken: dict[int, Violation] = {}
        by_schema: dict[SchemaId, list[tuple[int, bytes]]] = defaultdict(list)
        for at, value in values.items():
            frame = _frame(value)
            if frame is None:
                broken[at] = _violation("avro.bad_frame", f"{len(value)} bytes are no frame", "send the schema's id, then the record")
            else:
                by_schema[frame.schema_id].append((at, frame.payload))
        for schema_id, payloads in by_schema.items():
            for at, said in self._of_schema(schema_id, payloads):
                if isinstance(said, bytes):
                    texts[at] = said
                else:
                    broken[at] = said
        return texts, broken

    def _of_schema(self, schema_id: SchemaId, payloads: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, bytes | Violation]]:
        text = self._registry.schema(schema_id)
        if text is None:
            unknown = _violation(
                "avro.unknown_schema", f"schema {schema_id} is not in the registry", "register it there, then `frazil dead replay`"
            )
            yield from ((at, unknown) for at, _ in payloads)
            return
        try:
            schema = kernel.AvroSchema(self._judge.plan, text)
        except kernel.KernelError as error:
            bad = _violation(
                "avro.bad_schema", f"schema {schema_id} cannot be read: {error}", "write records with an Avro schema of its own"
            )
            yield from ((at, bad) for at, _ in payloads)
            return
        for (at, _), said in zip(payloads, schema.canonical([payload for _, payload in payloads]), strict=True):
            if isinstance(said, bytes):
                yield at, said
            else:
                why = f"not Avro of schema {schema_id}: {said!s}"
                yield at, _violation("avro.invalid", why, "write the record with the schema it names")

    def _letters(
        self, letters: pa.RecordBatch, raw: pa.RecordBatch, framed: Sequence[int], broken: Mapping[int, Violation]
    ) -> pa.RecordBatch:
        """The letters with the bytes that came, and with what was wrong about their frames."""
        taken = raw.take(pa.array(framed, pa.int64()))
        places = dict(zip(zip(taken["partition"].to_pylist(), taken["offset"].to_pylist(), strict=True), framed, strict=True))
        came = dict(zip(framed, taken["value"].to_pylist(), strict=True))
        values, violations = letters["value"].to_pylist(), letters["violations"].to_pylist()
        for row, place in enumerate(zip(letters["_partition"].to_pylist(), letters["_offset"].to_pylist(), strict=True)):
            at = places.get(place)
            if at is None:
                continue
            values[row] = came[at]
            if at in broken:
                violations[row] = [broken[at].as_dict()]
        replaced = {"value": pa.array(values, pa.binary()), "violations": pa.array(violations, VIOLATIONS)}
        return pa.RecordBatch.from_arrays([replaced.get(one.name, letters[one.name]) for one in LETTERS], schema=LETTERS)


def _frame(value: bytes) -> Frame | None:
    kind = value[:1]
    if len(value) < _LENGTHS[kind]:
        return None
    named = value[1 : _LENGTHS[kind]]
    schema_id: SchemaId = int.from_bytes(named, "big") if kind == _BY_ID else str(UUID(bytes=named))
    return Frame(schema_id, value[_LENGTHS[kind] :])


def _violation(code: str, message: str, hint: str) -> Violation:
    return Violation(None, "", code, message, hint, None)
