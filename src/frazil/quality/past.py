"""Runs of checks that are over, out of `quality_results`. Loads nothing of Great Expectations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from frazil.errors import ConfigError
from frazil.quality import report
from frazil.table.catalog import Lake


def runs(lake: Lake, *, suite: str | None = None, last: int = 30) -> list[dict[str, Any]]:
    """Runs, the newest first, JSON-ready: id, start, seconds, suites, numbers of checks by outcome, and the score, 0 to 1.

    Args:
        lake: Of the project.
        suite: Only results of this suite; default all.
        last: Most runs to return.
    """
    rows = [row for row in report.history(lake) if suite in (None, row["suite"])]
    told = [summary(list(group)) for _, group in groupby(rows, key=lambda row: row["run_id"])]
    return told[::-1][:last]


def run(lake: Lake, id: str | None = None) -> dict[str, Any]:
    """One run, JSON-ready: its summary and `checks`, failed ones first; the newest when no id is given.

    Raises:
        ConfigError: `quality.unknown_run`.
    """
    rows = report.history(lake, run=id)
    if id is None and rows:
        rows = [row for row in rows if row["run_id"] == rows[-1]["run_id"]]
    if not rows:
        words = "no checks have run yet" if id is None else f"no run of checks has the id {id[:80]!r}"
        hint = "`frazil quality run` makes one" if id is None else "`frazil quality history` lists them"
        raise ConfigError(words, code="quality.unknown_run", hint=hint, **({} if id is None else {"run": id[:80]}))
    checks = sorted((_check(row) for row in rows), key=lambda one: (one["passed"], _RANK[one["severity"]], one["suite"], one["table"]))
    return {**summary(rows), "checks": checks}


_RANK = {"critical": 0, "warning": 1, "info": 2}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the rows of one run say together."""
    failed = [row for row in rows if not row["passed"]]
    return {
        "run_id": rows[0]["run_id"],
        "started_at": rows[0]["started_at"].isoformat(),
        "seconds": round(rows[0]["seconds"], 3),
        "suites": sorted({row["suite"] for row in rows}),
        "checks_run": len(rows),
        "passed": len(rows) - len(failed),
        "critical": sum(row["severity"] == "critical" for row in failed),
        "warnings": sum(row["severity"] != "critical" for row in failed),
        "score": round((len(rows) - len(failed)) / len(rows), 4),
    }


def _check(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("suite", "table", "column", "expectation", "severity", "passed", "share", "message")
    spelled = {name: json.loads(row[name]) for name in ("observed", "failing")}
    return {**{name: row[name] for name in names}, **spelled}
