"""What is kept of a run: its results as rows of the lake, a report file for every failure, pages to read."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform
from pyiceberg.types import BooleanType, DoubleType, NestedField, StringType, TimestamptzType

from frazil.quality import CheckResult, QualityReport
from frazil.settings import Settings
from frazil.table import files
from frazil.table.catalog import Lake
from frazil.table.commit import Change, swap

RESULTS = "quality_results"
_COLUMNS = (
    ("run_id", StringType()),
    ("started_at", TimestamptzType()),
    ("seconds", DoubleType()),
    ("suite", StringType()),
    ("table", StringType()),
    ("column", StringType()),
    ("expectation", StringType()),
    ("severity", StringType()),
    ("passed", BooleanType()),
    ("observed", StringType()),
    ("share", DoubleType()),
    ("failing", StringType()),
    ("message", StringType()),
)
_SCHEMA = Schema(*(NestedField(number, name, kind, required=name != "column") for number, (name, kind) in enumerate(_COLUMNS, start=1)))
_SPEC = PartitionSpec(PartitionField(source_id=2, field_id=1000, transform=DayTransform(), name="started_at_day"))


def store(lake: Lake, report: QualityReport) -> None:
    """Add a run's results to `quality_results` in one swap; a run without checks adds nothing. Raises Unavailable."""
    if not report.checks:
        return
    table = lake.find(RESULTS) or lake.create(RESULTS, _SCHEMA, _SPEC)
    rows = pa.Table.from_pylist([_row(report, one) for one in report.checks], schema=files.arrow_schema(table))
    swap(lake, table, Change("maintenance", added=files.write(table, rows)))


def history(lake: Lake, *, run: str | None = None) -> list[dict[str, Any]]:
    """Stored results, oldest run first: all, or those of one run."""
    table: Table | None = lake.find(RESULTS)
    rows = [] if table is None else files.found(table, row_filter=None if run is None else files.equal("run_id", run)).to_pylist()
    return sorted(rows, key=lambda row: (row["started_at"], row["run_id"]))


def write(settings: Settings, report: QualityReport) -> list[Path]:
    """A JSON file below `.frazil/reports` for every failed check, with the keys of failing rows; durable names, whole files."""
    folder = settings.state_dir / "reports" / report.run_id
    written = []
    for number, one in enumerate(check for check in report.checks if not check.passed):
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{number:03}-{one.table}-{one.column or 'table'}-{one.expectation}")[:150]
        file, part = folder / f"{name}.json", folder / f".{name}.part"
        facts = {"run_id": report.run_id, "started_at": report.started_at, **asdict(one)}
        part.write_text(json.dumps(facts, default=plain, ensure_ascii=False, indent=2) + "\n", "utf-8")
        os.replace(part, file)
        written.append(file)
    return written


def index(folder: Path, report: QualityReport, pages: Sequence[tuple[str, str, bool]]) -> Path:
    """The page that links the pages: title, file and whether all passed."""
    rows = "".join(
        f'<li>{"✓" if good else "✗"} <a href="{html.escape(file, quote=True)}">{html.escape(title)}</a></li>' for title, file, good in pages
    )
    failed = "".join(f"<li>{html.escape(one.severity)}: {html.escape(one.message)}</li>" for one in report.checks if not one.passed)
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Quality</title>'
    body = f"<h1>Quality {report.score:.1%}</h1><p>{report.started_at.isoformat()} · {report.run_id}</p><ul>{rows}</ul>"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "index.html"
    file.write_text(f"{head}<body>{body}{f'<h2>Failed</h2><ul>{failed}</ul>' if failed else ''}</body></html>\n", "utf-8")
    return file


def plain(value: object) -> object:
    """JSON-ready spelling of what JSON does not know."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def _row(report: QualityReport, one: CheckResult) -> dict[str, Any]:
    facts = {**asdict(one), "run_id": report.run_id, "started_at": report.started_at, "seconds": report.seconds}
    spelled = {name: json.dumps(facts[name], default=plain, ensure_ascii=False) for name in ("observed", "failing")}
    return {**facts, **spelled}
