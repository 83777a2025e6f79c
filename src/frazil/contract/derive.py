"""What follows from a contract: Arrow and Iceberg schemas, partitioning, JSON Schema, and the files of `contracts compile`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
    UUIDType,
)

from frazil.batch import LINEAGE, TIMESTAMP
from frazil.contract import Contract, Field
from frazil.contract.avro import avro_schema
from frazil.contract.json_schema import json_schema
from frazil.errors import ContractError

__all__ = ["arrow_schema", "columns", "compile_artefacts", "iceberg_schema", "json_schema", "partition_field", "partition_spec"]

EXTRA = "_extra"
FIRST_FIELD_ID = 101
_SYSTEM: tuple[tuple[int, str, IcebergType, bool, str], ...] = (
    (1, EXTRA, StringType(), False, "members the contract does not name: JSON object from pointer to text"),
    (2, "event_date", DateType(), True, "UTC day of the event time"),
    (3, "event_hour", IntegerType(), True, "UTC hour of the event time, 0..23"),
    (4, "_log", StringType(), True, "id of the log the record lies in"),
    (5, "_partition", StringType(), True, "partition of the log"),
    (6, "_offset", LongType(), True, "offset in the partition"),
    (7, "_request", LongType(), True, "request that brought the record, time-ordered; 0: none of ours"),
    (8, "_received_at", TimestamptzType(), True, "when the record was received"),
    (9, "_contract_version", StringType(), True, "version of the contract that judged it"),
    (10, "_commit", LongType(), True, "landing order: grows with every commit that adds rows"),
    (11, "_replay", StringType(), False, "the replay that landed it, else null"),
    (12, "_key", BinaryType(), False, "the record's own key in the log, null where it has none"),
    (13, "_headers", StringType(), False, "the Kafka record's headers: JSON array of [name, value]; null where it has none"),
)
_SIMPLE: dict[str, IcebergType] = {
    "uuid": UUIDType(),
    "string": StringType(),
    "json": StringType(),
    "integer": LongType(),
    "number": DoubleType(),
    "boolean": BooleanType(),
    "timestamp": TimestamptzType(),
    "date": DateType(),
}
_ARROW: dict[str, pa.DataType] = {
    "uuid": pa.binary(16),
    "string": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": TIMESTAMP,
    "date": pa.date32(),
}


def columns(contract: Contract) -> pa.Schema:
    """The contract's own columns in order, and `_extra` where unknown members are kept. Text is plain, not dictionary encoded."""
    own = [_arrow_field(one, above=True) for one in contract.fields]
    return pa.schema([*own, pa.field(EXTRA, pa.string())] if contract.unknown == "keep" else own)


def arrow_schema(contract: Contract) -> pa.Schema:
    """Layout of a good row: `columns` and `LINEAGE`, text plain instead of dictionary encoded."""
    lineage = [one.with_type(pa.string()) if pa.types.is_dictionary(one.type) else one for one in LINEAGE]
    return pa.schema([*columns(contract), *lineage])


def _arrow_field(one: Field, *, above: bool) -> pa.Field:
    """`above`: whether every object above is required, so that a required field can never be null in its column."""
    return pa.field(one.name, _arrow_type(one, above=above and one.required), nullable=not (one.required and above))


def _arrow_type(one: Field, *, above: bool) -> pa.DataType:
    if one.kind == "object":
        return pa.struct([_arrow_field(child, above=above) for child in one.fields])
    if one.kind == "array" and one.items is not None:
        return pa.list_(_arrow_field(one.items, above=True))
    if one.kind == "decimal":
        return pa.decimal128(one.precision or 38, one.scale or 0)
    return _ARROW[one.kind]


def partition_field(contract: Contract) -> str:
    """Dotted name of the column whose UTC day partitions the table: the event time; `event_date` where that may be
    missing; `_received_at` where the contract has none. Never null."""
    if contract.event_time is None:
        return "_received_at"
    line = list(_line(contract.fields, contract.event_time))
    return ".".join(one.name for one in line) if all(one.required for one in line) else "event_date"


def partition_spec(contract: Contract, schema: Schema | None = None) -> PartitionSpec:
    """By day of `partition_field`; field ids are those of `schema` (the contract's own when not given)."""
    schema = schema or iceberg_schema(contract)
    name = partition_field(contract)
    source = schema.find_field(name).field_id
    return PartitionSpec(PartitionField(source, PARTITION_FIELD_ID_START, DayTransform(), f"{name.replace('.', '_')}_day"))


def iceberg_schema(contract: Contract, current: Schema | None = None, *, last_column_id: int = 0) -> Schema:
    """The raw table's schema: contract columns, `_extra`, then `event_date` … `_headers`.

    A new table has the system columns at ids 1 to 13 and the contract's fields from 101, depth first. With `current`, ids
    of columns that are there stay, by name; new columns are optional and get ids above both its highest and
    `last_column_id`; columns the contract no longer names stay as optional ones; nothing optional becomes required.

    Raises:
        ContractError: `contract.breaking_change`: a column would change to a type that Iceberg cannot promote to.
    """
    builder = _Builder(current, last_column_id)
    fields = builder.struct(contract.fields, current.as_struct() if current else None, "", above=True)
    fields += builder.system(contract, {one.name for one in fields})
    identifiers = _identifiers(contract, fields)
    if current is not None:
        names = {one.name for one in fields}
        fields += [_optional(one) for one in current.fields if one.name not in names]
        fields.sort(key=lambda one: _is_system(one.name))  # stable: the contract's columns first
    return Schema(*fields, identifier_field_ids=identifiers)


class _Builder:
    """Gives ids to columns; those of the current schema stay."""

    def __init__(self, current: Schema | None, last_column_id: int) -> None:
        self.current = current
        self.next_id = FIRST_FIELD_ID if current is None else max(current.highest_field_id, last_column_id) + 1

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def struct(self, fields: Iterable[Field], now: StructType | None, path: str, *, above: bool) -> list[NestedField]:
        there = {one.name: one for one in now.fields} if now is not None else {}
        built = [self.column(one, there.get(one.name), f"{path}.{one.name}".lstrip("."), above=above) for one in fields]
        if path:  # members of an object that the contract no longer names; top-level ones are added at the end
            names = {one.name for one in built}
            built += [_optional(one) for one in there.values() if one.name not in names]
        return built

    def column(self, one: Field, now: NestedField | None, path: str, *, above: bool) -> NestedField:
        field_id = self.new_id() if now is None else now.field_id
        required = one.required and above and (self.current is None if now is None else now.required)
        kind = self.type(one, now.field_type if now is not None else None, path, above=required)
        return NestedField(field_id, one.name, kind, required=required, doc=one.description or None)

    def type(self, one: Field, now: IcebergType | None, path: str, *, above: bool) -> IcebergType:
        if one.kind == "object" and (now is None or isinstance(now, StructType)):
            return StructType(*self.struct(one.fields, now, path, above=above))
        if one.kind == "array" and one.items is not None and (now is None or isinstance(now, ListType)):
            element_id = self.new_id() if now is None else now.element_id
            required = one.items.required and (now is None or now.element_required)
            inner = self.type(one.items, now.element_type if now is not None else None, f"{path}.element", above=required)
            return ListType(element_id, inner, element_required=required)
        wanted = DecimalType(one.precision or 38, one.scale or 0) if one.kind == "decimal" else _SIMPLE.get(one.kind)
        if wanted is None or not (now is None or promotable(now, wanted)):
            raise ContractError(
                f"column {path} of the table is {now}, the contract makes it {wanted or one.kind}",
                code="contract.breaking_change",
                hint="keep the type, or give the field a new name",
                column=path,
            )
        return wanted

    def system(self, contract: Contract, taken: set[str]) -> list[NestedField]:
        there = {one.name: one for one in self.current.fields} if self.current is not None else {}
        built: list[NestedField] = []
        for field_id, name, kind, required, doc in _SYSTEM:
            if name in taken or (name == EXTRA and contract.unknown != "keep" and name not in there):
                continue
            now = there.get(name)
            if self.current is not None:
                field_id, required = (now.field_id, now.required) if now is not None else (self.new_id(), False)
            built.append(NestedField(field_id, name, kind, required=required, doc=doc))
        return built


def promotable(now: IcebergType, wanted: IcebergType) -> bool:
    """Whether a column may become `wanted`: the same, or a decimal with more digits before the point (Iceberg spec, schema evolution)."""
    if isinstance(now, DecimalType) and isinstance(wanted, DecimalType):
        return now.scale == wanted.scale and now.precision <= wanted.precision
    return now == wanted


def _optional(one: NestedField) -> NestedField:
    return NestedField(one.field_id, one.name, one.field_type, required=False, doc=one.doc)


def _is_system(name: str) -> bool:
    return any(name == system[1] for system in _SYSTEM)


def _identifiers(contract: Contract, fields: Iterable[NestedField]) -> list[int]:
    """The key as Iceberg identifier fields: only where all of it is top level and required in the table."""
    by_pointer = {f"/{one.name}": one for one in fields}
    found = [by_pointer.get(pointer) for pointer in contract.key]
    return [one.field_id for one in found if one is not None] if all(one is not None and one.required for one in found) else []


def _line(fields: tuple[Field, ...], pointer: str) -> Iterator[Field]:
    """The fields from the top down to a pointer."""
    for name in pointer.split("/")[1:]:
        one = next(one for one in fields if one.name == name)
        yield one
        fields = one.fields


def compile_artefacts(contract: Contract) -> dict[str, str]:
    """Everything derived, as files: the kernel's plan, Arrow, Iceberg, Avro and JSON schemas. Names begin with the contract's.

    Avro is left out where a field's name cannot stand in it.
    """
    schema = iceberg_schema(contract)
    return {
        f"{contract.name}.plan.json": json.dumps(json.loads(contract.plan), indent=2) + "\n",
        f"{contract.name}.arrow.txt": arrow_schema(contract).to_string(show_field_metadata=False) + "\n",
        f"{contract.name}.iceberg.json": json.dumps(json.loads(schema.model_dump_json()), indent=2) + "\n",
        f"{contract.name}.schema.json": json.dumps(json_schema(contract), indent=2, ensure_ascii=False) + "\n",
        **_avro_file(contract),
    }


def _avro_file(contract: Contract) -> dict[str, str]:
    try:
        return {f"{contract.name}.avsc": json.dumps(avro_schema(contract), indent=2, ensure_ascii=False) + "\n"}
    except ContractError:
        return {}
