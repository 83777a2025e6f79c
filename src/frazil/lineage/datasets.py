"""Datasets by OpenLineage's naming: a table is where it lies, a log is a topic or a directory, a view is of its engine.

Source: https://openlineage.io/docs/spec/naming. An Iceberg table's name in its catalog is a symlink of the dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from openlineage.client import facet_v2 as facets
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.generated.schema_dataset import SchemaDatasetFacetFields
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import ListType, NestedField, StructType

from frazil.settings import Settings
from frazil.table.catalog import Lake

Facets = dict[str, facets.DatasetFacet]


class Name(NamedTuple):
    """A dataset's name, and its namespace."""

    namespace: str
    name: str


class Written(NamedTuple):
    """What a run added to a dataset. None: not known."""

    rows: int | None = None
    bytes: int | None = None
    files: int | None = None


def place_of(location: str) -> Name:
    """The name of what lies at a location: `file` and the path, `s3://bucket` and the key."""
    parts = urlsplit(location)
    if parts.scheme in ("", "file"):
        return Name("file", parts.path or location)
    return Name(f"{parts.scheme}://{parts.netloc}", parts.path.strip("/") or "/")


def log_name(settings: Settings, contract: str) -> Name:
    """The name of a contract's log."""
    url = settings.log.url
    if url.startswith("file://"):
        return Name("file", str(settings.path_of(url) / contract))
    scheme, _, rest = url.partition("://")
    prefix = settings.kafka.topic_prefix if scheme == "kafka" else ""
    return Name(f"{scheme}://{rest.split(',')[0].rstrip('/')}", prefix + contract)


def log_input(settings: Settings, contract: str) -> InputDataset:
    """A contract's log as an input."""
    name = log_name(settings, contract)
    source = facets.datasource_dataset.DatasourceDatasetFacet(name=f"log {contract}", uri=f"{name.namespace}:{name.name}")
    return InputDataset(name.namespace, name.name, facets={"dataSource": source})


def table_facets(settings: Settings, table: Table, snapshot_id: int | None = None) -> Facets:
    """Schema, source, catalog name and version of a table of the lake.

    Args:
        settings: Of the project.
        table: A version of it.
        snapshot_id: The snapshot that was read or made; default the version's current one.
    """
    version = table.metadata.current_snapshot_id if snapshot_id is None else snapshot_id
    catalog = settings.lake.catalog.partition("://")[0]
    where = place_of(table.location())
    told: Facets = {
        "schema": facets.schema_dataset.SchemaDatasetFacet(fields=_fields(table.schema())),
        "dataSource": facets.datasource_dataset.DatasourceDatasetFacet(name=where.namespace, uri=table.location()),
        "catalog": facets.catalog_dataset.CatalogDatasetFacet("iceberg", catalog, "frazil", source="frazil"),
        "symlinks": facets.symlinks_dataset.SymlinksDatasetFacet(
            [facets.symlinks_dataset.Identifier(f"{catalog}://frazil", ".".join(table.name()), "TABLE")]
        ),
    }
    if version is not None:
        told["version"] = facets.dataset_version_dataset.DatasetVersionDatasetFacet(str(version))
    return told


def table_input(settings: Settings, table: Table, snapshot_id: int | None = None) -> InputDataset:
    """A table of the lake as an input."""
    return InputDataset(*place_of(table.location()), facets=table_facets(settings, table, snapshot_id))


def table_output(settings: Settings, table: Table, written: Written, snapshot_id: int | None = None) -> OutputDataset:
    """A table of the lake as an output."""
    told = table_facets(settings, table, snapshot_id)
    return OutputDataset(*place_of(table.location()), facets=told, outputFacets=statistics(written))


def statistics(written: Written) -> dict[str, facets.OutputDatasetFacet]:
    """The facet with what was written; nothing where nothing is known."""
    if written == Written():
        return {}
    found = facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(written.rows, written.bytes, written.files)
    return {"outputStatistics": found}


class Tables:
    """The lake's tables, opened when the first is asked for. One thread's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lake: Lake | None = None

    def find(self, name: str) -> Table | None:
        """A table's current version. Raises as `Lake.find`."""
        self._lake = self._lake or Lake.open(self._settings)
        return self._lake.find(name)

    def close(self) -> None:
        if self._lake is not None:
            self._lake.close()
            self._lake = None


def _fields(schema: Schema) -> list[SchemaDatasetFacetFields]:
    return [_field(one) for one in schema.fields]


def _field(one: NestedField) -> SchemaDatasetFacetFields:
    """A column; members of an object are its fields, an array's element is its only one."""
    kind = one.field_type
    inner: Sequence[NestedField] = kind.fields if isinstance(kind, StructType) else ()
    if isinstance(kind, ListType):
        inner = [kind.element_field]
    name = "struct" if isinstance(kind, StructType) else "array" if isinstance(kind, ListType) else str(kind)
    return SchemaDatasetFacetFields(name=one.name, type=name, description=one.doc, fields=[_field(child) for child in inner])
