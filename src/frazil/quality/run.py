"""Run the suites: the one call behind `frazil run quality`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from pyiceberg.types import IcebergType, ListType, StructType

from frazil import lineage
from frazil.contract import Contract
from frazil.contract.derive import iceberg_schema
from frazil.contract.load import load_directory
from frazil.errors import ConfigError
from frazil.quality import CheckResult, QualityReport, alert, report, suite
from frazil.quality.lake import Tables
from frazil.quality.lineage import tell
from frazil.quality.own import Reader
from frazil.quality.suite import Check
from frazil.settings import Settings
from frazil.table.catalog import Lake
from frazil.table.commit import fresh_id
from frazil.telemetry import logger

if TYPE_CHECKING:
    from frazil.lineage.telling import Telling
    from frazil.quality.expectations import Expectations

PIECE = 250_000
"""Rows that Great Expectations looks at in one go."""

_DELIVER_SECONDS = 5.0
_log = logger("quality")


def suites_of(settings: Settings, expectations: Iterable[str] | None = None) -> list[Check]:
    """All checks of a project: those of its contracts, then its own. Raises ConfigError `quality.suite_invalid`."""
    contracts = load_directory(settings.contracts_dir)
    derived = [check for name in sorted(contracts) for check in suite.of_contract(contracts[name])]
    return derived + Reader(contracts, expectations).directory(settings.root / "quality")


def check(
    settings: Settings, *, suites: Sequence[str] = (), tables: Sequence[str] | None = None, now: datetime | None = None
) -> QualityReport:
    """Run suites over the lake; store their results, write reports and docs, and alert for what is critical.

    Args:
        settings: Of the project.
        suites: Names of suites; empty: all. Checks of tables that are not there yet are left out.
        tables: Only checks of these tables; default all.
        now: The moment freshness and days are judged at; default the clock.

    Returns:
        Every check's result. A failed check is a result, not an exception: see `QualityReport.critical`.

    Raises:
        ConfigError: `quality.not_installed`, `quality.unknown_suite`, `quality.query_invalid`; `quality.suite_invalid`:
            names file, line and the known.
        Unavailable: Catalog or storage do not answer.
    """
    with lineage.run(settings, "quality", "QUALITY") as telling:
        return _check(settings, suites, tables, now or datetime.now(UTC), telling)


def _check(
    settings: Settings, suites: Sequence[str], tables: Sequence[str] | None, started: datetime, telling: Telling | None
) -> QualityReport:
    began = time.monotonic()
    from frazil.quality.expectations import Expectations

    judge = Expectations()
    every = suites_of(settings, judge.names())
    asked = chosen(every, suites)
    lake = Lake.open(settings)
    there = Tables(lake, started)
    try:
        _check_names(settings, asked, there)
        _check_tables(tables or (), asked)
        wanted = [one for one in asked if one.table in there.schemas and (tables is None or one.table in tables)]
        results = judged(settings, wanted, there, judge)
    finally:
        there.close()
        lake.close()
    done = QualityReport(fresh_id(), started, time.monotonic() - began, [result for _, result in results])
    _keep(settings, lake, done, results, judge)
    if telling is not None:
        tell(telling, done, there.snapshots)
    return done


def _keep(settings: Settings, lake: Lake, done: QualityReport, results: Sequence[tuple[Check, CheckResult]], judge: Expectations) -> None:
    """Reports and alerts first: they are what a failed store must not swallow."""
    written = report.write(settings, done)
    outbox = alert.Outbox(settings)
    if done.critical or outbox.exists:
        outbox.decide(done)
        outbox.deliver(seconds=_DELIVER_SECONDS)
    folder, pages = settings.state_dir / "quality" / "docs", []
    for (name, table), group in groupby(sorted(results, key=_place), key=_place):
        listed = list(group)
        file = f"{name}.{table}.html"
        judge.page([one for one, _ in listed], [one for _, one in listed], done.run_id, folder / file)
        pages.append((f"{name} · {table}", file, all(one.passed for _, one in listed)))
    report.index(folder, done, pages)
    for one in done.checks:
        if not one.passed:
            facts = {"suite": one.suite, "table": one.table, "column": one.column, "check": one.expectation, "share": one.share}
            _log.warning("check failed", run=done.run_id, severity=one.severity, said=one.message, rows=list(one.failing)[:5], **facts)
    report.store(lake, done)
    _log.info(
        "checked", run=done.run_id, checks=len(done.checks), score=round(done.score, 4), reports=len(written), critical=len(done.critical)
    )


def _place(one: tuple[Check, CheckResult]) -> tuple[str, str]:
    return one[0].suite, one[0].table


def chosen(every: Sequence[Check], suites: Sequence[str]) -> list[Check]:
    """The checks of the named suites; all for no name. Raises ConfigError `quality.unknown_suite`."""
    known = sorted({one.suite for one in every})
    for name in suites:
        if name not in known:
            raise ConfigError(f"no suite {name[:80]!r}", code="quality.unknown_suite", hint=f"known suites: {', '.join(known)}", suite=name)
    return [one for one in every if not suites or one.suite in suites]


def _check_tables(tables: Iterable[str], checks: Iterable[Check]) -> None:
    known = sorted({one.table for one in checks})
    for name in tables:
        if name not in known:
            words, hint = f"no check is of a table {name[:80]!r}", f"tables with checks: {', '.join(known)}"
            raise ConfigError(words, code="quality.unknown_table", hint=hint, table=name[:80])


def _check_names(settings: Settings, checks: Iterable[Check], there: Tables) -> None:
    """A table or column that nothing will ever have is a typo; a mart that is not built yet is not.

    Raises:
        ConfigError: `quality.unknown_table`, `quality.unknown_column`.
    """
    models = {file.stem for file in (settings.root / "warehouse").glob("models/**/*.sql")}
    tables = sorted(
        {one.table for one in checks if one.table.startswith("raw_") and one.origin.startswith("contract")} | models | set(there.schemas)
    )
    for one in checks:
        if one.table not in tables:
            words = f"{one.origin}: no table {one.table!r}"
            raise ConfigError(words, code="quality.unknown_table", hint=f"tables: {', '.join(tables)}", origin=one.origin)
        if one.table not in there.schemas or (one.origin.startswith("contract") and one.suite == suite.STAGING):
            continue
        known = there.columns(one.table)
        named = [*([one.column] if one.column else []), *one.key, *one.kwargs.get("column_list", [])]
        for name in named:
            if name not in known:
                words = f"{one.origin}: table {one.table} has no column {name!r}"
                raise ConfigError(words, code="quality.unknown_column", hint=f"columns: {', '.join(known)}", origin=one.origin)


def judged(settings: Settings, checks: Sequence[Check], there: Tables, judge: Expectations) -> list[tuple[Check, CheckResult]]:
    """The checks with their results, in order. Each table must be there. Raises ConfigError as `check`."""
    from frazil.quality.expectations import by_row, result_of

    contracts = load_directory(settings.contracts_dir)
    results: dict[int, CheckResult] = {}
    for table in dict.fromkeys(one.table for one in checks):
        mine = [number for number, one in enumerate(checks) if one.table == table]
        rows, known = there.count(table), set(there.columns(table))
        for number in mine:
            one = checks[number]
            if one.expectation == "expect_column_to_have_type":
                results[number] = _typed(one, there, contracts[table.removeprefix("raw_")], rows)
            elif one.column is not None and one.column not in known:
                results[number] = replace(result_of(one, max(1, rows), max(1, rows), []), message=f"{table} has no column {one.column}")
            elif one.sql is not None:
                failing, keys = there.failing(one)
                results[number] = result_of(one, failing, max(rows, failing), keys)
        left = [number for number in mine if number not in results]
        for whole in (False, True):
            mine = [number for number in left if by_row(checks[number]) is not whole]
            if mine:
                listed = [checks[number] for number in mine]
                pieces = there.slices(table, _columns(listed, known, whole), max(1, rows) if whole else PIECE)
                results |= dict(zip(mine, judge.judge(listed, pieces), strict=True))
    return [(one, results[number]) for number, one in enumerate(checks)]


def _columns(checks: Sequence[Check], known: set[str], whole: bool) -> list[str]:
    if whole:
        return sorted(name for name in known if "." not in name)
    return [name for one in checks for name in (*([one.column] if one.column else []), *one.key) if name in known]


def _typed(one: Check, there: Tables, contract: Contract, rows: int) -> CheckResult:
    """A column's type is one for all rows: the table's own, compared with the contract's; the same for members of objects."""
    from frazil.quality.expectations import result_of

    wanted = next(field for field in iceberg_schema(contract).fields if field.name == one.column).field_type
    found = next((field.field_type for field in there.schemas[one.table].fields if field.name == one.column), None)
    good = found is not None and holds(found, wanted)
    result = result_of(one, 0 if good else max(1, rows), max(1, rows), [], str(found) if found is not None else "absent")
    return result if good else replace(result, message=f"{one.table}.{one.column} is {result.observed}, the contract says {wanted}")


def holds(found: IcebergType, wanted: IcebergType) -> bool:
    """Whether a column's type is the wanted one. An object may keep members that the contract no longer names; ids do not count."""
    if isinstance(wanted, StructType):
        there = {one.name: one.field_type for one in found.fields} if isinstance(found, StructType) else {}
        return isinstance(found, StructType) and all(one.name in there and holds(there[one.name], one.field_type) for one in wanted.fields)
    if isinstance(wanted, ListType):
        return isinstance(found, ListType) and holds(found.element_type, wanted.element_type)
    return found == wanted
