"""Suites as runs of lineage: each reads tables at a version and asserts things of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from frazil.lineage import RunRef, ref, stable_id
from frazil.quality import CheckResult, QualityReport

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, RunEvent
    from openlineage.client.generated.data_quality_assertions_dataset import Assertion

    from frazil.lineage.telling import Telling

_OBSERVED = 200
_SEVERITIES = {"critical": "error", "warning": "warn", "info": "info"}


def tell(telling: Telling, report: QualityReport, snapshots: Mapping[str, int | None]) -> None:
    """Tell of every suite of a report as a part of its run.

    Args:
        telling: The report's run.
        report: What the checks found.
        snapshots: The version of every table that the checks read.
    """
    for table in dict.fromkeys(one.table for one in report.checks):
        telling.reads(table, snapshots.get(table))
    ended = datetime.now(UTC)
    for suite in dict.fromkeys(one.suite for one in report.checks):
        checks = [one for one in report.checks if one.suite == suite]
        run = ref(telling.sender.settings, f"quality.{suite}", stable_id(telling.sender.settings, report.run_id, suite), telling.run)
        telling.further(lambda run=run, checks=checks: _events(telling, run, checks, snapshots, report.started_at, ended))  # type: ignore[misc]


def _events(
    telling: Telling, run: RunRef, checks: Sequence[CheckResult], snapshots: Mapping[str, int | None], began: datetime, ended: datetime
) -> Iterator[RunEvent]:
    from frazil.lineage.events import run_event

    yield run_event("START", run, "SUITE", min(began, ended), above=telling.run)
    read = _inputs(telling, checks, snapshots)
    yield run_event("COMPLETE", run, "SUITE", ended, above=telling.run, datasets=(read, ()))


def _inputs(telling: Telling, checks: Sequence[CheckResult], snapshots: Mapping[str, int | None]) -> list[InputDataset]:
    from openlineage.client.generated.data_quality_assertions_dataset import DataQualityAssertionsDatasetFacet

    from frazil.lineage.datasets import Tables, table_input

    settings, tables, read = telling.sender.settings, Tables(telling.sender.settings), []
    try:
        for name in dict.fromkeys(one.table for one in checks):
            table = tables.find(name)
            if table is not None:
                one = table_input(settings, table, snapshots.get(name))
                found = [_assertion(check) for check in checks if check.table == name]
                one.inputFacets = {"dataQualityAssertions": DataQualityAssertionsDatasetFacet(found)}
                read.append(one)
    finally:
        tables.close()
    return read


def _assertion(one: CheckResult) -> Assertion:
    from openlineage.client.generated.data_quality_assertions_dataset import Assertion

    observed = None if one.observed is None else str(one.observed)[:_OBSERVED]
    return Assertion(one.expectation, one.passed, one.column, _SEVERITIES[one.severity], description=one.message or None, actual=observed)
