"""A contract that gained an optional field: the table gains the column first, in a commit of its own."""

from __future__ import annotations

import json
from typing import Any

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AssertCurrentSchemaId,
    AssertLastAssignedFieldId,
    AssertTableUUID,
    SetCurrentSchemaUpdate,
    TableRequirement,
)
from pyiceberg.types import IcebergType, ListType, NestedField, StructType

from frazil.contract import Contract
from frazil.contract.derive import iceberg_schema
from frazil.errors import CommitConflict, ContractError
from frazil.table.catalog import Lake, answering
from frazil.table.snapshots import EVENT_TIME, KEY

ATTEMPTS = 5


def evolved(lake: Lake, table: Table, contract: Contract) -> Table:
    """The version of the table that has every column of the contract, with the same head as `table`.

    A new column is a commit without a snapshot: no row, position or key changes, and files carry field ids, so older files
    read as null there. Columns that the contract lost stay, optional; nothing optional becomes required.

    Raises:
        ContractError: `contract.breaking_change`: a column would have to change its type, or rows would get another key or
            event time.
        CommitConflict: Someone else committed meanwhile.
        Unavailable: Catalog or storage did not answer.
    """
    name, head = table.name()[-1], table.metadata.current_snapshot_id
    for _ in range(ATTEMPTS):
        wanted = fitting(table, contract)
        if _shape(wanted.as_struct()) == _shape(table.schema().as_struct()):
            return table
        with answering("the table's schema cannot be changed", table=name):
            _set_schema(lake, table, wanted)
            table = lake.raw(contract)
        if table.metadata.current_snapshot_id != head:
            break
    raise CommitConflict("the table changed since its head was read", hint="read the head and decide again", table=name)


def fitting(table: Table, contract: Contract) -> Schema:
    """The schema with which the table can take rows of the contract. Raises ContractError as `evolved`."""
    for name, what, wanted in ((KEY, "key", list(contract.key)), (EVENT_TIME, "event time", contract.event_time)):
        said = table.properties.get(name)
        if said is not None and (was := json.loads(said)) != wanted:
            raise ContractError(
                f"the {what} of {table.name()[-1]} is {_named(was)}, the contract makes it {_named(wanted)}",
                code="contract.breaking_change",
                hint=f"keep the {what}, or give the contract a new name",
                table=table.name()[-1],
            )
    return iceberg_schema(contract, table.schema(), last_column_id=table.metadata.last_column_id)


def _named(meaning: Any) -> str:
    return ", ".join(meaning) if isinstance(meaning, list) and meaning else str(meaning or "none")


def _set_schema(lake: Lake, table: Table, wanted: Schema) -> None:
    requirements: tuple[TableRequirement, ...] = (
        AssertTableUUID(uuid=table.metadata.table_uuid),
        AssertCurrentSchemaId.model_validate({"current-schema-id": table.metadata.current_schema_id}),
        AssertLastAssignedFieldId.model_validate({"last-assigned-field-id": table.metadata.last_column_id}),
    )
    schema = wanted.model_copy(update={"schema_id": 1 + max(one.schema_id for one in table.metadata.schemas)})
    updates = (AddSchemaUpdate.model_validate({"schema": schema}), SetCurrentSchemaUpdate.model_validate({"schema-id": -1}))
    try:
        lake.catalog.commit_table(table, requirements, updates)
    except CommitFailedException:
        return  # another process changed the table: the caller looks again


def _shape(of: IcebergType) -> Any:
    """What of a schema decides how rows are stored: ids, names, types, required. Neither order nor descriptions."""
    if isinstance(of, StructType):
        return frozenset(_field_shape(field) for field in of.fields)
    if isinstance(of, ListType):
        return of.element_id, of.element_required, _shape(of.element_type)
    return of


def _field_shape(field: NestedField) -> Any:
    return field.field_id, field.name, field.required, _shape(field.field_type)
