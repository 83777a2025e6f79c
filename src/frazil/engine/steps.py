"""What the steps of pipelines do: one action per step, each done again after a kill as if for the first time."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from frazil.engine import lines
from frazil.engine.bounded import covers
from frazil.engine.upkeep import Keeper
from frazil.errors import EXIT_AGAIN, EXIT_YES, ConfigError, FrazilError, Unavailable
from frazil.pipeline.runner import Action, Context, Refuted, Skip
from frazil.project import Project
from frazil.table.snapshots import standing
from frazil.telemetry import logger

_log = logger("pipeline")
_OTHERS_SECONDS = 600.0
"""How long to wait for records that other processes land: partitions of a consumer group that are not ours."""

Facts = Mapping[str, Any]


def actions(project: Project) -> dict[str, Action]:
    """The actions by step name, for `pipeline.runner.Runner`."""
    return {
        "ingest": lambda context: ingest(project),
        "process": lambda context: process(project, context),
        "catalog": lambda context: catalog(project, context),
        "transform": lambda context: transform(project, context),
        "quality": lambda context: quality(project, context),
        "update_dashboard": lambda context: update_dashboard(project),
        "maintain": lambda context: maintain(project),
    }


def ingest(project: Project) -> Facts:
    """Fix the end of every log: what a run takes along must not grow while it runs."""
    logs: dict[str, dict[str, Any]] = {}
    for name, contract in sorted(project.contracts.items()):
        reader = project.log_reader(contract)
        try:
            logs[name] = {"log": reader.log_id, "ends": reader.ends()}
        finally:
            reader.close()
    return {"logs": logs, "said": ", ".join(f"{name} to {_end(one['ends'])}" for name, one in logs.items())}


def process(project: Project, context: Context) -> Facts:
    """Land everything up to the ends that `ingest` fixed, here or by whoever pumps already.

    Raises:
        Unavailable: A system did not answer for a minute, or another process did not land its part in ten.
        FrazilError: A contract waits for an operator.
    """
    ends = _ends(project, context)
    engine = lines.engine(project.settings, sorted(ends), ends=ends)
    codes: list[int] = []
    pump = threading.Thread(target=lambda: codes.append(engine.run()), name="process")
    pump.start()
    try:
        while pump.is_alive():
            pump.join(0.1)
    except BaseException:
        engine.stop()
        pump.join()
        raise
    _check(codes[0] if codes else EXIT_AGAIN, engine.pulses)
    _await_others(project, ends)
    counts = {name: sum(getattr(pulse, name) for pulse in engine.pulses.values()) for name in ("landed", "dead", "duplicates")}
    return {**counts, "said": f"{counts['landed']:,} landed, {counts['dead']:,} dead, {counts['duplicates']:,} duplicates"}


def catalog(project: Project, context: Context) -> Facts:
    """Ask the catalog anew: every table's head reaches the ends, and its running totals add up.

    Raises:
        Refuted: `pipeline.not_in_catalog`, `pipeline.books_unbalanced`; names the tables.
    """
    behind, unbalanced = [], []
    tables: dict[str, dict[str, Any]] = {}
    ends = _ends(project, context)
    for name, contract in sorted(project.contracts.items()):
        table = project.lake.raw(contract)
        markers, head = standing(table.metadata), table.current_snapshot()
        reader = project.log_reader(contract)
        try:
            log = reader.log_id
        finally:
            reader.close()
        if not covers(markers.position, log, ends.get(name, {})):
            behind.append(name)
        if any(one.records != one.landed + one.dead + one.duplicates for one in markers.totals.values()):
            unbalanced.append(name)
        landed = sum(one.landed for one in markers.totals.values())
        tables[table.name()[-1]] = {"snapshot_id": None if head is None else str(head.snapshot_id), "landed": landed}
    if behind:
        raise Refuted(
            f"the catalog's heads do not reach what was ingested: {', '.join(behind)}",
            code="pipeline.not_in_catalog",
            hint="was a table rewound? `frazil tables history TABLE` shows; run `frazil run pipeline` again",
            contracts=", ".join(behind),
        )
    if unbalanced:
        raise Refuted(
            f"the running totals do not add up: {', '.join(unbalanced)}",
            code="pipeline.books_unbalanced",
            hint="`frazil verify` names the records",
            contracts=", ".join(unbalanced),
        )
    return {"tables": tables, "said": f"{len(tables)} tables, {sum(one['landed'] for one in tables.values()):,} rows landed"}


def transform(project: Project, context: Context) -> Facts:
    """Build and test staging, intermediate models and marts. Raises as `frazil.warehouse.run.transform`, and Refuted."""
    return _dbt(project, full_refresh=bool(context.run.cause.get("full_refresh")))


def update_dashboard(project: Project) -> Facts:
    """Build the small tables that a dashboard reads: the models with the tag `serving`."""
    return _dbt(project, "tag:serving")


def _dbt(project: Project, *select: str, full_refresh: bool = False) -> Facts:
    if not (project.settings.root / "warehouse" / "dbt_project.yml").is_file():
        raise Skip("this project has no warehouse/")
    from frazil.warehouse.run import transform as build

    done = build(project.settings, select=select, full_refresh=full_refresh)
    tests = [node for node in done.failed if node.kind == "test"]
    models = [node for node in done.failed if node.kind != "test"]
    for failed, what in ((models, "models"), (tests, "tests")):
        if failed:
            kind = Refuted if failed is tests else ConfigError if all(node.settled for node in failed) else FrazilError
            told = "; ".join(f"{node.name}: {node.message.splitlines()[0] if node.message else node.outcome}" for node in failed[:3])
            raise kind(
                f"{len(failed)} {what} failed: {told}",
                code=f"warehouse.{what}_failed",
                hint="`.frazil/warehouse/logs` has the whole story",
                failed=", ".join(node.name for node in failed[:20]),
            )
    if not done.nodes:
        raise Skip("no model has " + " ".join(select) if select else "no models")
    warned = [node.name for node in done.nodes if node.outcome == "warn"]
    said = f"{len(done.nodes)} nodes" + (f", warnings: {', '.join(warned)}" if warned else "")
    return {"invocation_id": done.invocation_id, "target": done.target, "nodes": len(done.nodes), "warned": warned, "said": said}


def quality(project: Project, context: Context) -> Facts:
    """Run the suites. Raises as `frazil.quality.run.check`, and Refuted `quality.critical` when a critical check failed."""
    if not (project.settings.root / "quality").is_dir():
        raise Skip("this project has no quality/")
    from frazil.quality.run import check

    report = check(project.settings)
    failed = [one for one in report.checks if not one.passed]
    for one in failed:
        _log.warning(
            "check failed", run=context.run.id, suite=one.suite, table=one.table, column=one.column, expectation=one.expectation,
            severity=one.severity, observed=one.observed, share=one.share, failing=list(one.failing)[:5], message=one.message,
        )  # fmt: skip
    if report.critical:
        told = "; ".join(one.message for one in report.critical[:3])
        raise Refuted(
            f"{len(report.critical)} critical check{'s' if len(report.critical) != 1 else ''} failed: {told}",
            code="quality.critical",
            hint=f"`frazil quality show {report.run_id}` names the failing rows' keys",
            report=report.run_id,
            checks=", ".join(f"{one.suite}.{one.expectation}" for one in report.critical[:20]),
        )
    said = f"{len(report.checks)} checks, score {report.score:.3f}"
    return {"report": report.run_id, "score": report.score, "checks": len(report.checks), "failed": len(failed), "said": said}


def maintain(project: Project) -> Facts:
    """Everything that `frazil tables maintain` does.

    Raises:
        Unavailable: Catalog or storage did not answer, or a job lost against other commits.
        FrazilError: A job failed.
    """
    code, done = Keeper(project).report(force=True)
    failed = [one for one in done if "error" in one or "retry" in one]
    if code != EXIT_YES:
        told = "; ".join(f"{one['table']} {one['job']}: {one.get('message') or one.get('error')}" for one in failed[:3])
        kind = Unavailable if code == EXIT_AGAIN else FrazilError
        raise kind(told or "the lake did not answer", code="pipeline.maintenance_failed", hint="`frazil doctor` says what is wrong")
    return {"jobs": done, "said": f"{len(done)} jobs on {len({one['table'] for one in done})} tables"}


def _ends(project: Project, context: Context) -> dict[str, dict[str, int]]:
    """What `ingest` fixed; where it did not run, the ends as they are now."""
    logs = context.results.get("ingest", {}).get("logs") or ingest(project)["logs"]
    known = {name: one["ends"] for name, one in logs.items() if name in project.contracts}
    return {name: {partition: int(end) for partition, end in ends.items()} for name, ends in known.items()}


def _check(code: int, pulses: Mapping[str, Any]) -> None:
    if code == EXIT_YES:
        return
    failed: list[tuple[str, dict[str, Any]]] = [(name, pulse.error) for name, pulse in pulses.items() if pulse.error]
    name, facts = failed[0] if failed else ("", {})
    kind = Unavailable if code == EXIT_AGAIN else FrazilError
    error = kind(
        f"{name}: {facts.get('message', 'processing ended early')}",
        code=str(facts.get("code", "process.stopped")),
        hint=str(facts.get("hint", "")),
        contract=name,
    )
    if code != EXIT_AGAIN:
        error.exit_code = code  # type: ignore[misc]  # what an operator has to see stays that
    raise error


def _await_others(project: Project, ends: Mapping[str, Mapping[str, int]]) -> None:
    deadline = time.monotonic() + _OTHERS_SECONDS
    for name, wanted in ends.items():
        contract = project.contract(name)
        reader = project.log_reader(contract)
        try:
            while not covers(project.sink(contract).head().position, reader.log_id, wanted):
                if time.monotonic() > deadline:
                    hint = "is every member of the consumer group at work? `frazil status`"
                    raise Unavailable(f"{name} is behind the end", code="process.behind", hint=hint, contract=name)
                time.sleep(0.2)
        finally:
            reader.close()


def _end(ends: Mapping[str, int]) -> str:
    return ", ".join(f"{partition}:{end:,}" if len(ends) > 1 else f"{end:,}" for partition, end in ends.items()) or "nothing"
