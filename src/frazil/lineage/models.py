"""What dbt did, node by node: every model and seed a run with what it read and wrote, every tested table with its assertions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openlineage.client import facet_v2 as facets
from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent
from openlineage.client.generated import column_lineage_dataset as column_lineage
from openlineage.client.generated.data_quality_assertions_dataset import Assertion, DataQualityAssertionsDatasetFacet
from pyiceberg.table import Table

from frazil.lineage import RunRef, ref, stable_id
from frazil.lineage.columns import Made, columns_of
from frazil.lineage.datasets import Facets, Name, Tables, Written, place_of, statistics, table_facets
from frazil.lineage.events import JobType, State, run_event
from frazil.lineage.telling import Telling
from frazil.settings import Settings

MART = "iceberg"
"""The materialization whose result is a table of the lake."""
_PASSED = ("success", "pass", "no-op")


class Models:
    """The nodes of one run of dbt.

    Args:
        telling: The run that dbt was.
        manifest: dbt's `manifest.json`: what there is, and what it stands on.
        results: dbt's `run_results.json`: what ran, and what became of it.
    """

    def __init__(self, telling: Telling, manifest: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        self._above = telling.run
        self._settings: Settings = telling.sender.settings
        self._nodes: Mapping[str, Any] = {**manifest["nodes"], **manifest["sources"]}
        self._engine = str(manifest["metadata"].get("adapter_type") or "unknown")
        self._results: Sequence[Mapping[str, Any]] = results["results"]
        self._invocation = str(results["metadata"]["invocation_id"])
        self._tables = Tables(self._settings)
        self._relations = {_path(node["relation_name"]): node for node in self._nodes.values() if node.get("relation_name")}
        self._columns: dict[str, list[str]] = {}

    def events(self) -> Iterator[RunEvent]:
        """Start and end of every node that ran, in dbt's order; then of the tests, by the table they are of."""
        try:
            tests: dict[str, list[Mapping[str, Any]]] = {}
            for one in self._results:
                node = self._nodes.get(one["unique_id"])
                if node is None or one["status"] == "skipped":
                    continue
                if node["resource_type"] in ("model", "seed", "snapshot"):
                    yield from self._built(node, one)
                elif node["resource_type"] == "test" and (of := _tested(node)) in self._nodes:
                    tests.setdefault(str(of), []).append(one)
            for of, found in tests.items():
                yield from self._checked(self._nodes[of], found)
        finally:
            self._tables.close()

    def _built(self, node: Mapping[str, Any], one: Mapping[str, Any]) -> Iterator[RunEvent]:
        run = self._ref(f"transform.{node['name']}", node["unique_id"])
        kind: JobType = "SEED" if node["resource_type"] == "seed" else "MODEL"
        began, ended = _times(one)
        good = str(one["status"]).lower() in _PASSED
        sql = one.get("compiled_code")
        job: dict[str, facets.JobFacet] = {"sql": facets.sql_job.SQLJobFacet(sql, self._engine)} if sql else {}
        read = [self._input(above) for above in node.get("depends_on", {}).get("nodes", []) if above in self._nodes]
        yield run_event("START", run, kind, began, above=self._above, datasets=(read, [OutputDataset(*self.name_of(node))]), job=job)
        state: State = "COMPLETE" if good else "FAIL"
        error = None if good else str(one.get("message") or one["status"])
        wrote = [self._output(node, one)] if good else [OutputDataset(*self.name_of(node))]
        yield run_event(state, run, kind, ended, above=self._above, datasets=(read, wrote), error=error, job=job)

    def _checked(self, node: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Iterator[RunEvent]:
        run = self._ref(f"transform.{node['name']}.test", f"{node['unique_id']}.test")
        times = [_times(one) for one in found]
        read = self._input(node["unique_id"])
        read.inputFacets = {"dataQualityAssertions": DataQualityAssertionsDatasetFacet([self._assertion(one) for one in found])}
        yield run_event("START", run, "TEST", min(began for began, _ in times), above=self._above, datasets=([read], []))
        yield run_event("COMPLETE", run, "TEST", max(ended for _, ended in times), above=self._above, datasets=([read], []))

    def _assertion(self, one: Mapping[str, Any]) -> Assertion:
        node = self._nodes[one["unique_id"]]
        severity = str(node["config"].get("severity") or "error").lower()
        failures = one.get("failures")
        what = (node.get("test_metadata") or {}).get("name") or node["name"]
        passed, actual = one["status"] == "pass", None if failures is None else f"{failures} rows"
        return Assertion(what, passed, node.get("column_name"), severity, name=node["name"], actual=actual)

    def name_of(self, node: Mapping[str, Any]) -> Name:
        """A node's dataset: a table of the lake, or a relation of the engine that runs the models."""
        table = self._table(node)
        if table is not None:
            return place_of(table.location())
        file = str(self._settings.state_dir.resolve() / "warehouse.duckdb")
        relation = ".".join(part for part in (node["database"], node["schema"], _alias(node)) if part)
        return Name(f"duckdb://{file}" if self._engine == "duckdb" else f"{self._engine}://{self._settings.name}", relation)

    def _table(self, node: Mapping[str, Any]) -> Table | None:
        in_lake = node["resource_type"] == "source" or node["config"].get("materialized") == MART
        return self._tables.find(_alias(node)) if in_lake and self._engine == "duckdb" else None

    def _facets(self, node: Mapping[str, Any]) -> Facets:
        table = self._table(node)
        if table is not None:
            return table_facets(self._settings, table)
        fields = [
            facets.schema_dataset.SchemaDatasetFacetFields(name, one.get("data_type"), one.get("description") or None)
            for name, one in node.get("columns", {}).items()
        ]
        where = self.name_of(node)
        told: Facets = {"dataSource": facets.datasource_dataset.DatasourceDatasetFacet(name=self._engine, uri=where.namespace)}
        return told | ({"schema": facets.schema_dataset.SchemaDatasetFacet(fields=fields)} if fields else {})

    def _input(self, unique_id: str) -> InputDataset:
        node = self._nodes[unique_id]
        told = self._facets(node)
        told.pop("version", None)  # it may have moved on since dbt looked
        return InputDataset(*self.name_of(node), facets=told)

    def _output(self, node: Mapping[str, Any], one: Mapping[str, Any]) -> OutputDataset:
        rows = (one.get("adapter_response") or {}).get("rows_affected")
        written = Written(rows) if isinstance(rows, int) and rows >= 0 else Written()
        told = self._facets(node) | self._column_lineage(node, str(one.get("compiled_code") or ""))
        return OutputDataset(*self.name_of(node), facets=told, outputFacets=statistics(written))

    def _column_lineage(self, node: Mapping[str, Any], sql: str) -> Facets:
        """Which columns a model's columns are made of, where its text tells."""
        made = columns_of(sql, self._known) if sql and self._engine == "duckdb" else None
        if made is None:
            return {}
        self._columns[node["unique_id"]] = list(made)
        fields = {name: column_lineage.Fields(inputs) for name, origins in made.items() if (inputs := self._inputs(node, origins))}
        return {"columnLineage": column_lineage.ColumnLineageDatasetFacet(fields)} if fields else {}

    def _inputs(self, node: Mapping[str, Any], origins: Made) -> list[column_lineage.InputField]:
        found = []
        for origin, same in origins.items():
            above = self._relations.get(origin.relation)
            if above is not None and above["unique_id"] != node["unique_id"]:
                how = column_lineage.Transformation("DIRECT", "IDENTITY" if same else "TRANSFORMATION")
                found.append(column_lineage.InputField(*self.name_of(above), origin.column, [how]))
        return found

    def _known(self, relation: tuple[str, ...]) -> list[str] | None:
        """The columns of a relation: as they lie in the lake, or as they were found when its model was told of."""
        node = self._relations.get(relation)
        table = None if node is None else self._table(node)
        if table is not None:
            return [one.name for one in table.schema().fields]
        return None if node is None else self._columns.get(node["unique_id"])

    def _ref(self, job: str, unique_id: str) -> RunRef:
        return ref(self._settings, job, stable_id(self._settings, self._invocation, unique_id), self._above)


def tell(telling: Telling, target: Path, results: Mapping[str, Any]) -> None:
    """Tell of all nodes of a run of dbt. `target`: the directory with its `manifest.json`, read at once: the next run writes it anew."""
    text = (target / "manifest.json").read_bytes()
    telling.further(lambda: Models(telling, json.loads(text), results).events())


def _tested(node: Mapping[str, Any]) -> str | None:
    """What a test is of: the node it is attached to, or the first that it reads."""
    above = node.get("depends_on", {}).get("nodes", [])
    found = node.get("attached_node") or (above[0] if above else None)
    return None if found is None else str(found)


def _alias(node: Mapping[str, Any]) -> str:
    return str(node.get("identifier") or node.get("alias") or node["name"])


def _path(relation: str) -> tuple[str, ...]:
    """`"warehouse"."shop"."stg_events"` as its parts."""
    return tuple(part.strip('"`').lower() for part in relation.split("."))


def _times(one: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """When a node began and ended; now where dbt does not tell."""
    told = [step for step in one.get("timing", []) if step.get("started_at") and step.get("completed_at")]
    if not told:
        return (now := datetime.now(UTC)), now
    return _moment(told[0]["started_at"]), _moment(told[-1]["completed_at"])


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
