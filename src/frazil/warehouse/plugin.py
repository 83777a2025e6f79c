"""The lake as dbt-duckdb sees it: every table a view over its live files, and marts that are committed to the lake.

Named in the project's `profiles.yml`. All tables are read at the version they had when the run began, marts of the run at the
version it made: a run is consistent however long it takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import TargetConfig
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from frazil import settings as configuration
from frazil.contract.derive import iceberg_schema
from frazil.contract.load import load_directory
from frazil.errors import FrazilError, Unavailable
from frazil.table.catalog import Lake
from frazil.table.duck import path_of, quoted, view
from frazil.table.files import entries
from frazil.table.lease import Lease, holder
from frazil.telemetry import logger
from frazil.warehouse.built import Built, Plan, Reach, built_of, last_commit, plan, reach_of
from frazil.warehouse.graph import Graph, Input, macros_of
from frazil.warehouse.mart import Model, Writer
from frazil.warehouse.reading import leave

LEASE = "warehouse"
_DAMAGED = re.compile("not a valid DuckDB database|Corrupt|Could not read enough bytes|replaying WAL")

_log = logger("warehouse")


class Plugin(BasePlugin):
    """dbt-duckdb's plugin. `config`: `root`, the project's directory, relative to the dbt project."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        self._settings = configuration.load(Path(plugin_config.get("root", "..")).resolve())
        self._lease = Lease(self._settings.state_dir, LEASE)
        self._tables: dict[str, Table] = {}
        self._reach: dict[str, Reach] = {}
        self._read: dict[str, int] = {}  # by raw table: the latest commit that a mart had read when the run began
        self._plans: dict[str, Plan] = {}
        self._lake: Lake | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        """Called before the scratch file is opened, which only one process can do at a time: so we say it first."""
        if not self._lease.take():
            raise Unavailable(
                f"process {holder(self._settings.state_dir, LEASE)} is working in the warehouse",
                code="warehouse.busy",
                hint="wait until it has ended",
            )
        discard_damaged(Path(creds.path))

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        self._connection = conn
        conn.execute("SET GLOBAL TimeZone='UTC'")
        conn.execute("SET GLOBAL fsync_mode='NONE'")  # a power cut may damage it: then it is made anew
        conn.execute("SET GLOBAL parquet_metadata_cache=true")  # a file of the lake never changes; many models read the same ones
        if self._lake is None:
            self._lake = Lake.open(self._settings)
            self._open(self._lake)
        conn.execute("BEGIN")  # every commit of the scratch file is a flush to disk: one for all views
        conn.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self._lake.namespace)}")
        for name, table in self._tables.items():
            conn.execute(self._shown(name, table))
        conn.execute("COMMIT")

    def _open(self, lake: Lake) -> None:
        self._contracts = {lake.raw_name(contract): contract for contract in load_directory(self._settings.contracts_dir).values()}
        for name in {*lake.names(), *self._contracts}:
            if name in self._contracts:
                self._tables[name] = lake.raw(self._contracts[name])
                self._reach[name] = reach_of(self._tables[name])
            else:
                self._tables[name] = lake.catalog.load_table((lake.namespace, name))
        for built in filter(None, (built_of(table) for name, table in self._tables.items() if name not in self._contracts)):
            for raw, reach in (pair for below in built.inputs.values() for pair in below.items()):
                self._read[raw] = max(reach.commit, self._read.get(raw, 0))

    def _shown(self, name: str, table: Table) -> str:
        """The statement that makes a view over a version's files. Columns that a contract added since are there, as null."""
        return f"CREATE OR REPLACE VIEW {quoted(table.name()[0])}.{quoted(name)} AS {self._rows(name, table)}"

    def _rows(self, name: str, table: Table) -> str:
        """The SELECT of a table. A raw one's files that marts have read stand apart: what asks for later commits does not open them."""
        head = table.metadata.current_snapshot()
        files, schema = entries(table, head) if head is not None else [], self._schema(name, table)
        known = self._read.get(name, 0)
        old = {file.file_path for file in files if known and (last_commit(table, file) or known + 1) <= known}
        parts = [[path_of(file.file_path) for file in files if (file.file_path in old) == are_old] for are_old in (True, False)]
        if not all(parts):
            return view(schema, parts[0] or parts[1])
        return f"{view(schema, parts[0])} WHERE _commit <= {known} UNION ALL {view(schema, parts[1])}"

    def _schema(self, name: str, table: Table) -> Schema:
        contract = self._contracts.get(name)
        return (
            table.schema() if contract is None else iceberg_schema(contract, table.schema(), last_column_id=table.metadata.last_column_id)
        )

    def store(self, target_config: TargetConfig) -> None:
        """What the package's macros ask for: `plan` or `store` a mart, `leave` the views to readers.

        The answer is written into their own request.

        Raises:
            FrazilError: As `frazil.warehouse.mart.Writer.store`.
        """
        request: dict[str, Any] = target_config.config
        if request["ask"] == "leave":
            assert self._connection is not None
            leave(self._connection.cursor(), self._settings.name, self._settings.state_dir / "warehouse")
        elif request["ask"] == "plan":
            request["plan"] = self._planned(str(target_config.relation.identifier), request)
        else:
            request["stored"] = self._stored(str(target_config.relation.identifier), request)

    def _planned(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        if name not in self._plans:
            graph = Graph(request["graph"], macros_of(self._settings.root / "warehouse"))
            inputs = graph.inputs(request["model"])
            below = {one.name: self._below(one) for one in inputs}
            generations = {one.name: self._built(one.name).generation for one in inputs if not one.raw}
            now = Built(graph.shape(request["model"]), "", below, generations)
            found = plan(now, self._tables.get(name), full_refresh=bool(request["full_refresh"]))
            self._plans[name] = found if request["unique_key"] else found.whole()
        found = self._plans[name]
        raws = {raw for below in found.now.inputs.values() for raw in below}
        return {"why": found.why, "idle": found.idle, "after": {raw: found.after(raw) for raw in raws}}

    def _below(self, one: Input) -> Mapping[str, Reach]:
        """The raw tables that an input stands on, and how far it has read them."""
        if one.raw:
            return {one.name: self._reach[one.name]}
        flat: dict[str, Reach] = {}
        for below in self._built(one.name).inputs.values():
            for raw, reach in below.items():
                flat[raw] = min(flat.get(raw, reach), reach, key=lambda it: it.commit)
        return flat

    def _built(self, name: str) -> Built:
        built = built_of(self._tables.get(name))
        if built is None:
            raise FrazilError(
                f"mart {name} is not there, or not as its last build left it",
                code="warehouse.mart_unknown",
                hint=f"build it first: `frazil transform --select {name}`, or leave --select out",
                table=name,
            )
        return built

    def _stored(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._lake is not None
        assert self._connection is not None
        model = Model(
            name=name,
            sql=request["sql"],
            partition_by=_words(request.get("partition_by")),
            unique_key=_words(request.get("unique_key")),
            keys=request.get("keys"),
            new_rows=request.get("new_rows"),
        )
        done = Writer(self._lake, self._connection, str(request.get("invocation") or "")).store(model, self._plans.pop(name))
        self._tables[name] = done.table
        with self._connection.cursor() as cursor:
            cursor.execute(self._shown(name, done.table))
        return {"rows": done.rows, "added": done.added, "removed": done.removed}


def discard_damaged(scratch: Path) -> None:
    """Take a scratch file away that DuckDB cannot read, by a power cut or by hand: whatever it holds a run makes again."""
    if not scratch.is_file():
        return
    try:
        duckdb.connect(scratch).close()
    except duckdb.Error as error:
        if not _DAMAGED.search(str(error)):
            return  # dbt will say it
        _log.warning("scratch file is damaged, a new one is made", file=str(scratch), error=str(error))
        for file in (scratch, scratch.with_name(scratch.name + ".wal")):
            file.unlink(missing_ok=True)


def _words(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(map(str, value))  # type: ignore[call-overload]
