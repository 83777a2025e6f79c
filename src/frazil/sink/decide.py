"""From the fate of each good row to a decision: pure, shared by every key index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from frazil.batch import LETTERS, PLACE, SOURCE, VIOLATIONS, Place, Processed
from frazil.contract import Contract
from frazil.errors import Corrupt
from frazil.sink import Decision

LANDS, DUPLICATE, CONFLICT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Matches:
    """Rows of a batch (`at`: uint64 indices) whose key an earlier row has: `fate` and `first` of each, as in `Fates`."""

    at: pa.Array
    fate: pa.Array
    first: pa.Array

    @classmethod
    def compared(cls, at: pa.Array, equal: pa.Array, first: pa.RecordBatch) -> Matches:
        """Rows `at` and the landed rows `first` with their keys; `equal` says of which they are the same event."""
        return cls(at, pc.if_else(equal, pa.scalar(DUPLICATE, pa.int8()), pa.scalar(CONFLICT, pa.int8())), places(first))


@dataclass(frozen=True, slots=True)
class Fates:
    """What becomes of n good rows: `fate` (int8: LANDS, DUPLICATE, CONFLICT) and `first` (structs of `PLACE`): where the row
    that has its key landed from, null where it lands itself."""

    fate: pa.Array
    first: pa.Array

    @classmethod
    def all_land(cls, rows: int) -> Fates:
        return cls(pa.repeat(pa.scalar(LANDS, pa.int8()), rows), pa.nulls(rows, PLACE))

    @classmethod
    def of(cls, rows: int, matches: Sequence[Matches]) -> Fates:
        """Fates of n rows: what the matches say, and landing where no match names a row."""
        at = joined([one.at for one in matches], pa.uint64())
        position = pc.index_in(pa.array(range(rows), pa.uint64()), value_set=at)
        fate = joined([one.fate for one in matches], pa.int8()).take(position)
        first = joined([one.first for one in matches], PLACE).take(position)
        return cls(pc.fill_null(fate, LANDS), first)

    def indices(self, fate: int) -> pa.Array:
        return pc.indices_nonzero(pc.equal(self.fate, fate))


def column_of(pointer: str) -> str:
    """The column a field of a contract has: its JSON pointer with dots (`/actor/id` is `actor.id`)."""
    return ".".join(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def key_columns(contract: Contract) -> list[str]:
    return [column_of(pointer) for pointer in contract.key]


def content_columns(contract: Contract) -> list[str]:
    """Columns that two events with one key must agree in: the contract's own, what it kept of unknown members included."""
    return [field.name for field in contract.fields] + (["_extra"] if contract.unknown == "keep" else [])


def column(rows: pa.RecordBatch, name: str) -> pa.Array:
    """A column by its dotted name; null where an object above it is."""
    first, *below = name.split(".")
    found = rows.column(first)
    return pc.struct_field(found, below) if below else found


def plain(array: pa.Array) -> pa.Array:
    """Text without its dictionary."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def places(rows: pa.RecordBatch) -> pa.Array:
    """Where landed rows came from: n structs of `PLACE`."""
    parts = [plain(rows.column(name)).cast(field.type) for name, field in zip(("_log", "_partition", "_offset"), PLACE, strict=True)]
    return pa.StructArray.from_arrays(parts, fields=list(PLACE))


def joined(arrays: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    return pa.concat_arrays([pa.nulls(0, kind), *arrays])


def place_list(array: pa.Array) -> list[Place]:
    log, partition, offset = (array.field(name).to_pylist() for name in ("log", "partition", "offset"))
    return [Place(*parts) for parts in zip(log, partition, offset, strict=True)]


def decided(contract: Contract, processed: Processed, fates: Fates) -> Decision:
    """The decision these fates make: what lands, what is a duplicate, what is dead.

    Raises:
        Corrupt: `batch.unbalanced`: rows + dead + duplicates are not the raw records. Nothing may be committed.
    """
    good, dead = processed.good.rows, processed.dead.rows.cast(LETTERS)
    conflicts, repeated = fates.indices(CONFLICT), fates.indices(DUPLICATE)
    if len(conflicts):
        dead = pa.concat_batches([dead, _conflict_letters(contract, processed, conflicts, fates.first.take(conflicts))])
    decision = Decision(
        rows=good.take(fates.indices(LANDS)) if len(conflicts) or len(repeated) else good,
        dead=dead,
        duplicates=_duplicate_letters(contract, good.take(repeated), fates.first.take(repeated)),
        spans=processed.good.spans,
        contract_hash=contract.hash,
    )
    _balance(processed, decision)
    return decision


def _balance(processed: Processed, decision: Decision) -> None:
    judged = len(processed.good) + len(processed.dead)
    raw = judged if processed.raw is None else len(processed.raw)
    out = decision.rows.num_rows + decision.dead.num_rows + decision.duplicates.num_rows
    if not out == judged == raw:
        raise Corrupt(
            f"{raw} records came in, {judged} were judged, {out} were decided",
            code="batch.unbalanced",
            hint="this is a bug in processing: nothing was committed; report it with the contract and the records",
            raw=raw,
            judged=judged,
            decided=out,
        )


def _letters(contract: Contract, rows: pa.RecordBatch, stage: str, own: dict[str, pa.Array]) -> pa.RecordBatch:
    """Letters for good rows; `own` gives what differs from one stage to the other."""
    n = rows.num_rows
    known = {
        "contract": pa.repeat(pa.scalar(contract.name), n),
        "contract_version": rows.column("_contract_version"),
        "stage": pa.repeat(pa.scalar(stage), n),
        **{name: rows.column(name) for name in ("_log", "_partition", "_offset", "_request", "_received_at")},
        **own,
    }
    columns = [plain(known[field.name]).cast(field.type) if field.name in known else pa.nulls(n, field.type) for field in LETTERS]
    return pa.RecordBatch.from_arrays(columns, schema=LETTERS)


def _duplicate_letters(contract: Contract, rows: pa.RecordBatch, first: pa.Array) -> pa.RecordBatch:
    return _letters(contract, rows, "dedupe", {"violations": pa.array([[]] * rows.num_rows, VIOLATIONS), "first": first})


def _conflict_letters(contract: Contract, processed: Processed, at: pa.Array, first: pa.Array) -> pa.RecordBatch:
    """Letters of stage `identity`: the record's own bytes, and which landed event has its key."""
    if processed.raw is None:
        raise Corrupt(
            "a letter needs the record's own bytes, but the judged batch came without its raw one",
            code="batch.without_raw",
            hint="a processor gives `Processed.raw`: this is a bug, nothing was committed",
        )
    rows = processed.good.rows.take(at)
    raw = processed.raw.rows.take(_raw_indices(processed.raw.rows, places(rows)))
    keys = zip(*(column(rows, name).to_pylist() for name in key_columns(contract)), strict=True)
    violations = [[_conflict(contract, place, key)] for place, key in zip(place_list(first), keys, strict=True)]
    bytes_of = {**{name: raw.column(name) for name in ("value", "key", "headers")}, "source": raw.column("source").cast(SOURCE)}
    return _letters(contract, rows, "identity", {"violations": pa.array(violations, VIOLATIONS), **bytes_of})


def _conflict(contract: Contract, first: Place, key: Sequence[object]) -> dict[str, Any]:
    return {
        "index": None,
        "path": contract.key[0],
        "code": "identity.conflict",
        "message": f"an event with this key and other content landed from {first}",
        "hint": "give a new event a new key; a correction needs a key that says so (a version or a time)",
        "value": _key_text(key),
    }


def _raw_indices(raw: pa.RecordBatch, wanted: pa.Array) -> pa.Array:
    """Where each place stands in the raw batch."""
    log, partition = (pc.unique(plain(raw.column(name))) for name in ("log", "partition"))
    if len(log) == len(partition) == 1:
        return pc.index_in(wanted.field("offset"), value_set=raw.column("offset"))
    parts = [plain(raw.column(name)).to_pylist() for name in ("log", "partition", "offset")]
    index = {Place(*one): n for n, one in enumerate(zip(*parts, strict=True))}
    return pa.array([index[place] for place in place_list(wanted)], pa.int64())


def _key_text(values: Sequence[object]) -> str:
    """A key as JSON text: the value itself, an array when the key has several fields."""
    spelled = [_spelled(value) for value in values]
    return json.dumps(spelled[0] if len(spelled) == 1 else spelled, ensure_ascii=False)


def _spelled(value: object) -> object:
    if isinstance(value, bytes):
        text = value.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}" if len(value) == 16 else text
    return value if isinstance(value, int | float | str | bool | None) else str(value)
