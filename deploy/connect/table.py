"""Make the table that the Iceberg sink fills: the contract's columns, then where each record lies in the topic.

    python deploy/connect/table.py PROJECT CONTRACT NAMESPACE.TABLE

The table lies in the catalog and the storage of the project, in a namespace of its own: Frazil's tables are Frazil's.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform
from pyiceberg.types import IcebergType, ListType, NestedField, StructType

from frazil.contract import Contract
from frazil.contract.derive import iceberg_schema
from frazil.project import Project

PLACE = ("_partition", "_offset", "_received_at")
"""What the sink's transform `place` adds to each record; named and typed as in Frazil's own tables."""


def schema(contract: Contract) -> Schema:
    """The columns of the contract and `PLACE`, with the types they have in Frazil's own table, all optional.

    The sink judges nothing: a record that lacks what the contract requires must not stop it.
    """
    names = {*(field.name for field in contract.fields), *PLACE}
    return Schema(*(_optional(column) for column in iceberg_schema(contract).fields if column.name in names))


def _optional(column: NestedField) -> NestedField:
    return NestedField(column.field_id, column.name, _within(column.field_type), required=False, doc=column.doc)


def _within(kind: IcebergType) -> IcebergType:
    if isinstance(kind, StructType):
        return StructType(*(_optional(one) for one in kind.fields))
    if isinstance(kind, ListType):
        return ListType(kind.element_id, _within(kind.element_type), element_required=False)
    return kind


def made(project: Project, contract: Contract, name: tuple[str, str]) -> Table:
    """The table, by UTC day of the event time, of the record's timestamp where the contract has none; found when it is there."""
    columns = schema(contract)
    source = columns.find_field(contract.event_time.strip("/").replace("/", ".") if contract.event_time else "_received_at")
    spec = PartitionSpec(PartitionField(source.field_id, PARTITION_FIELD_ID_START, DayTransform(), "day"))
    catalog = project.lake.catalog
    catalog.create_namespace_if_not_exists(name[0])
    return catalog.create_table_if_not_exists(name, columns, partition_spec=spec, properties={"format-version": "2"})


def main() -> None:
    root, contract, name = sys.argv[1:]
    namespace, _, table = name.partition(".")
    project = Project.at(Path(root))
    if namespace == project.lake.namespace or not table:
        raise SystemExit(f"{name}: write NAMESPACE.TABLE, with another namespace than Frazil's own ({project.lake.namespace})")
    print(made(project, project.contract(contract), (namespace, table)).location())


if __name__ == "__main__":
    main()
