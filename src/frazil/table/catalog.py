"""The lake: one catalog, one namespace, and the tables in it. The one place where a catalog is chosen by URL."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    RESTError,
    TableAlreadyExistsError,
    ValidationError,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.update import AddPartitionSpecUpdate, AddSchemaUpdate, AssertCreate, TableUpdate
from pyiceberg.transforms import DayTransform
from pyiceberg.types import BinaryType, ListType, LongType, NestedField, StringType, StructType, TimestamptzType
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from frazil.contract import Contract
from frazil.contract.derive import iceberg_schema, partition_spec
from frazil.errors import ConfigError, Corrupt, FrazilError, Unavailable
from frazil.settings import Settings
from frazil.table.durable_io import make_directory
from frazil.table.snapshots import EVENT_TIME, KEY, OWNER

DEAD_LETTERS, COMMIT_HISTORY = "dead_letters", "commit_history"
KNOWN_CATALOGS, KNOWN_STORAGES = "sqlite://PATH", "file://PATH"
STORAGE_FAULTS = ("parquet.no_space", "parquet.not_found", "parquet.exists", "parquet.io")
"""Codes of the kernel that say that the storage failed, not the file."""

BUSY_MS = 10_000
OPEN_ATTEMPTS = 5
MANIFEST_BYTES = 256 * 1024
"""A manifest this large is not merged again: else every twentieth commit would rewrite the list of all files."""


def _fields(*columns: tuple[int, str, Any, bool]) -> list[NestedField]:
    return [NestedField(field_id, name, kind, required=required) for field_id, name, kind, required in columns]


LETTERS_TABLE = Schema(
    *_fields(
        (1, "contract", StringType(), True),
        (2, "contract_version", StringType(), True),
        (3, "_log", StringType(), True),
        (4, "_partition", StringType(), True),
        (5, "_offset", LongType(), True),
        (6, "_request", LongType(), True),
        (7, "_received_at", TimestamptzType(), True),
        (8, "stage", StringType(), True),
    ),
    NestedField(
        9,
        "violations",
        ListType(
            16,
            StructType(
                *_fields(
                    (17, "index", LongType(), False),
                    *((18 + n, name, StringType(), False) for n, name in enumerate(("path", "code", "message", "hint", "value"))),
                )
            ),
            element_required=False,
        ),
        required=True,
    ),
    *_fields((10, "value", BinaryType(), False), (11, "key", BinaryType(), False), (28, "headers", StringType(), False)),
    NestedField(12, "source", StructType(*_fields((23, "format", StringType(), False), (24, "line", LongType(), False))), required=False),
    NestedField(
        13,
        "first",
        StructType(*_fields((25, "log", StringType(), False), (26, "partition", StringType(), False), (27, "offset", LongType(), False))),
        required=False,
    ),
    *_fields((14, "_replay", StringType(), False), (15, "_commit", LongType(), True)),
)
"""`dead_letters`: `frazil.batch.LETTERS` and `_commit`, the sequence number planned for the commit that set the letter aside."""

HISTORY_TABLE = Schema(
    *_fields(
        (1, "table", StringType(), True),
        (2, "snapshot_id", LongType(), True),
        (3, "parent_id", LongType(), False),
        (4, "sequence_number", LongType(), True),
        (5, "committed_at", TimestamptzType(), True),
        (6, "operation", StringType(), True),
        (7, "kind", StringType(), False),  # null: a commit that is not ours
        (8, "summary", StringType(), True),  # JSON object: the whole summary, markers and Iceberg's counts
    )
)
"""`commit_history`: what snapshots said, one row per snapshot of a table, written before they are expired."""

_SPECS = {
    DEAD_LETTERS: PartitionSpec(PartitionField(source_id=7, field_id=1000, transform=DayTransform(), name="_received_at_day")),
    COMMIT_HISTORY: UNPARTITIONED_PARTITION_SPEC,
}


@contextmanager
def answering(what: str, **context: object) -> Iterator[None]:
    """Turn a catalog or storage that does not answer into `Unavailable`; errors of ours pass."""
    try:
        yield
    except FrazilError:
        raise
    except (OSError, SQLAlchemyError, RESTError) as error:
        raise _unavailable(f"{what}: {type(error).__name__}: {error}", context) from error
    except ValidationError as error:  # metadata that is no table's: cut, or written by another format version
        hint = "the table's metadata file is damaged or newer than this Frazil: restore it from a backup"
        raise Corrupt(f"{what}: {error}", code="table.unreadable", hint=hint, **context) from error
    except kernel.ParquetFault as error:
        if error.code in STORAGE_FAULTS:
            raise _unavailable(f"{what}: {error}", {**error.context, **context}) from error
        raise Corrupt(f"{what}: {error}", code=error.code, hint=error.hint, **{**error.context, **context}) from error


def _unavailable(message: str, context: Mapping[str, object]) -> Unavailable:
    hint = "nothing is lost; check the catalog and the storage, Frazil tries again"
    return Unavailable(message, code="lake.unavailable", hint=hint, **context)


class DurableSqlCatalog(SqlCatalog):
    """PyIceberg's SQLite catalog with every connection in WAL mode, `synchronous=FULL` and a busy timeout."""

    def _init_catalog(self) -> None:
        event.listen(self.engine, "connect", _durable)
        super()._init_catalog()


def _durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


class Lake:
    """A project's tables. `load` and its kin read one metadata version; nothing is cached between calls."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self.settings = settings
        self.catalog = catalog
        self.namespace = settings.name

    @classmethod
    def open(cls, settings: Settings) -> Lake:
        """Open the catalog that the settings name, and make the namespace if it is not there.

        Raises:
            ConfigError: `lake.unknown_catalog`, `lake.unknown_storage`, `lake.bad_path`; names the known.
            Unavailable: Catalog or storage do not answer.
        """
        with answering("the lake cannot be opened", catalog=settings.lake.catalog):
            lake = cls(settings, _catalog(settings))
            with suppress(NamespaceAlreadyExistsError, IntegrityError):  # another process was first
                if not lake.catalog.namespace_exists(lake.namespace):
                    lake.catalog.create_namespace(lake.namespace)
            return lake

    def raw_name(self, contract: Contract) -> str:
        return f"raw_{contract.name}"

    def raw(self, contract: Contract) -> Table:
        """The current version of `raw_<contract>`, created when it is not there.

        Raises:
            Corrupt: `table.foreign`: there is a table of that name, but it is not ours.
            Unavailable: Catalog or storage do not answer.
        """
        found = self.find(self.raw_name(contract))
        if found is not None:
            return found
        schema = iceberg_schema(contract)
        # what rows mean, for `evolve` to compare with; constant, as the owner
        meaning = {KEY: json.dumps(contract.key), EVENT_TIME: json.dumps(contract.event_time)}
        return self.create(self.raw_name(contract), schema, partition_spec(contract, schema), meaning)

    def dead_letters(self) -> Table:
        """The current version of `dead_letters`, created when it is not there. Raises as `raw`."""
        found = self.find(DEAD_LETTERS) or self.create(DEAD_LETTERS, LETTERS_TABLE, _SPECS[DEAD_LETTERS])
        return found if "headers" in found.schema().column_names else self._with_headers(found)

    def commit_history(self) -> Table:
        """The current version of `commit_history`, created when it is not there. Raises as `raw`."""
        return self.find(COMMIT_HISTORY) or self.create(COMMIT_HISTORY, HISTORY_TABLE, _SPECS[COMMIT_HISTORY])

    def _with_headers(self, table: Table) -> Table:
        """A table that was made before letters had headers gains the column; older files read as null there."""
        with answering("the table's schema cannot be changed", table=DEAD_LETTERS), suppress(CommitFailedException):
            with table.update_schema() as update:
                update.add_column("headers", StringType())
            return table
        return self.dead_letters()  # another process was first

    def find(self, name: str) -> Table | None:
        """The current version of a table by name, None when there is none. Raises as `raw`."""
        with answering("the table cannot be read", table=name):
            try:
                table = self.catalog.load_table((self.namespace, name))
            except NoSuchTableError:
                return None
        return self._ours(name, table)

    def names(self) -> list[str]:
        """Names of all tables of the namespace, sorted."""
        with answering("tables cannot be listed", namespace=self.namespace):
            return sorted(name for _, name in self.catalog.list_tables(self.namespace))

    def close(self) -> None:
        self.catalog.close()

    def create(self, name: str, schema: Schema, spec: PartitionSpec, meaning: Mapping[str, str] | None = None) -> Table:
        """Make a table with the field ids that `schema` has: PyIceberg's own `create_table` gives new ones. Raises as `raw`."""
        with answering("the table cannot be created", table=name):
            properties = {**self._properties(), **(meaning or {})}
            made = self.catalog.create_table_transaction((self.namespace, name), schema, partition_spec=spec, properties=properties)
            updates = tuple(_with_own_ids(update, schema, spec) for update in made._updates)
            with suppress(TableAlreadyExistsError, CommitFailedException):  # another process was first
                self.catalog.commit_table(made._table, (AssertCreate(),), updates)
            return self._ours(name, self.catalog.load_table((self.namespace, name)))

    def _properties(self) -> dict[str, str]:
        return {
            "format-version": "2",
            OWNER: self.settings.name,
            "write.parquet.compression-codec": self.settings.lake.compression,
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": "5",
            "commit.manifest-merge.enabled": "true",
            "commit.manifest.min-count-to-merge": "20",
            "commit.manifest.target-size-bytes": str(MANIFEST_BYTES),
            "commit.retry.num-retries": "0",
        }

    def _ours(self, name: str, table: Table) -> Table:
        owner = table.properties.get(OWNER)
        if owner == self.settings.name:
            return table
        raise Corrupt(
            f"table {self.namespace}.{name} is not ours" + ("" if owner is None else f": it belongs to project {owner!r}"),
            code="table.foreign",
            hint=f"give the project another `name`, rename the table, or set its property {OWNER} to {self.settings.name!r} if it is ours",
            table=name,
            owner=owner,
        )


def _with_own_ids(update: TableUpdate, schema: Schema, spec: PartitionSpec) -> TableUpdate:
    if isinstance(update, AddSchemaUpdate):
        return AddSchemaUpdate.model_validate({"schema": schema})
    if isinstance(update, AddPartitionSpecUpdate):
        return AddPartitionSpecUpdate(spec=spec)
    return update


def _catalog(settings: Settings) -> Catalog:
    """The catalog for `lake.catalog` and `lake.storage`; other kinds (REST, Glue, S3) come in here."""
    scheme = settings.lake.catalog.partition("://")[0]
    if scheme != "sqlite":
        raise ConfigError(
            f"unknown catalog {settings.lake.catalog!r}",
            hint=f"known: {KNOWN_CATALOGS}",
            code="lake.unknown_catalog",
            url=settings.lake.catalog,
        )
    file, storage = settings.path_of(settings.lake.catalog), _storage(settings)
    make_directory(file.parent)
    make_directory(storage)
    properties = {
        "uri": f"sqlite:///{file}",
        "warehouse": f"file://{storage}",
        "py-io-impl": "frazil.table.durable_io.DurableFileIO",
    }
    for attempt in range(OPEN_ATTEMPTS):
        try:
            return DurableSqlCatalog("frazil", **properties)
        except OperationalError:  # two processes made the file at the same moment
            if attempt + 1 == OPEN_ATTEMPTS:
                raise
            time.sleep(0.05 * 2**attempt)
    raise AssertionError("unreachable")


def _storage(settings: Settings) -> Path:
    url = settings.lake.storage
    if url.partition("://")[0] != "file":
        raise ConfigError(f"unknown storage {url!r}", hint=f"known: {KNOWN_STORAGES}", code="lake.unknown_storage", url=url)
    path = settings.path_of(url)
    if any(sign in str(path) for sign in "?#%"):
        raise ConfigError(
            f"the lake's path {path} holds a character that locations give a meaning to",
            hint="move the project to a path without `?`, `#` and `%`",
            code="lake.bad_path",
            path=str(path),
        )
    return path
