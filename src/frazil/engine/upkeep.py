"""Scheduled maintenance: what a worker does between pumps, and the rounds of `frazil maintain`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frazil.contract import Contract
from frazil.errors import EXIT_AGAIN, EXIT_FAILED, EXIT_YES, FrazilError
from frazil.project import Project
from frazil.quality.alert import Outbox
from frazil.sink import Commit
from frazil.table import maintenance, orphans, retention
from frazil.table.catalog import DEAD_LETTERS
from frazil.telemetry import logger

_log = logger("maintain")
_EVERY_COMMITS = 20
"""A commit's cost grows with the snapshots kept, so the worker that makes them forgets them, too."""


_DONE = ("commits", "expired", "segments", "deleted", "delivered")
"""Facts of which one is not zero when a job did something."""


ALL_TABLES = "(all)"
"""Stands for the table in what is told of a job that looks at all of them."""

_SWEEP_SECONDS = 6 * 3_600.0


class Upkeep:
    """Keeps the metadata of one contract's table small while its worker commits."""

    def __init__(self, project: Project, contract: Contract) -> None:
        self._lake = project.lake
        self._table = project.lake.raw_name(contract)
        self._commits = 0

    def after(self, commit: Commit) -> None:
        """Expire old snapshots now and then. Trouble is logged and left to the next time: landing comes first."""
        self._commits += 1
        if self._commits % _EVERY_COMMITS:
            return
        for table in (self._table, DEAD_LETTERS):
            try:
                maintenance.expire(self._lake, table)
            except FrazilError as error:
                _log.warning("snapshots not expired", table=table, code=error.code, error=error.message)


class Keeper:
    """Maintenance of a whole project. Each job is a commit of its own, may lose against another, and is tried again."""

    def __init__(self, project: Project, *, dry_run: bool = False) -> None:
        self._project = project
        self._dry_run = dry_run
        self._outbox = Outbox(project.settings)
        self._done: dict[str, float] = {}

    def round(self, tables: list[str] | None = None, *, force: bool = False) -> int:
        """Do everything that is due for the named tables (default: all); returns the exit code. `force`: all of it is due."""
        return self.report(tables, force=force)[0]

    def report(self, tables: list[str] | None = None, *, force: bool = False) -> tuple[int, list[dict[str, Any]]]:
        """As `round`, with what was done per table and job."""
        code, facts = EXIT_YES, []
        if not tables and self._outbox.exists:  # first, and though the lake may not answer: that is when people want to know
            told, code = self._run(ALL_TABLES, "alerts", self._deliver)
            facts.append({"table": ALL_TABLES, "job": "alerts", **told})
        try:
            chosen = tables or self._project.lake.names()
        except FrazilError as error:
            _log.warning("maintenance waits", code=error.code, error=error.message)
            return EXIT_AGAIN, facts
        jobs = [(table, job, *what) for table in chosen for job, what in self._jobs(table).items()]
        if not tables:  # a file is an orphan only when no table names it
            jobs.append((ALL_TABLES, "orphans", _SWEEP_SECONDS, self._sweep))
        for table, job, every, run in jobs:
            due = self._done.get(f"{table}/{job}")
            if not force and due is not None and time.monotonic() - due < every:
                continue
            done, failure = self._run(table, job, run)
            code = max(code, failure)
            facts.append({"table": table, "job": job, **done})
        return code, facts

    def _jobs(self, table: str) -> Mapping[str, tuple[float, Callable[[], Any]]]:
        """Seconds between runs and the run itself, by job."""
        lake, dry_run = self._project.lake, self._dry_run
        jobs: dict[str, tuple[float, Callable[[], Any]]] = {
            "compact": (600.0, lambda: maintenance.compact(lake, table, dry_run=dry_run)),
            "expire": (60.0, lambda: maintenance.expire(lake, table, dry_run=dry_run)),
        }
        contract = self._project.contracts.get(table.removeprefix("raw_")) if table.startswith("raw_") else None
        if contract is not None:
            jobs["retain"] = (600.0, lambda: self._retain(table, contract))
        return jobs

    def _retain(self, table: str, contract: Contract) -> Any:
        reader = self._project.log_reader(contract)
        try:
            log = self._project.log_retention(contract)
            others = self._project.window_positions(contract)
            done = retention.retain(self._project.lake, table, reader, log, others=others, dry_run=self._dry_run)
        finally:
            reader.close()
        return {"segments": done.segments, "floor": done.floor.to_json()}

    def _deliver(self) -> Mapping[str, Any]:
        """Send the alerts that are due. An endpoint that is down is no failure of maintenance: its letters wait for the next round."""
        before = self._outbox.waiting()
        after = before if self._dry_run or not before else self._outbox.deliver()
        return {"delivered": before - after, "waiting": after}

    def _sweep(self) -> Mapping[str, Any]:
        """Delete orphans. The first sweep of a lake only reports, so that a person can look before the second (RELIABILITY 2.6)."""
        storage = self._project.settings.lake.storage
        first = _reported(self._told) != storage
        swept = orphans.sweep(self._project.lake, dry_run=self._dry_run or first)
        if first and not self._dry_run:
            self._told.parent.mkdir(parents=True, exist_ok=True)
            self._told.write_text(json.dumps({"storage": storage}))
        return {**swept.as_dict(), "only_reported": self._dry_run or first}

    @property
    def _told(self) -> Path:
        return self._project.settings.state_dir / "orphans.json"

    def _run(self, table: str, job: str, run: Callable[[], Any]) -> tuple[dict[str, Any], int]:
        began = time.monotonic()
        self._done[f"{table}/{job}"] = began
        try:
            outcome = run()
        except FrazilError as error:
            _log.warning("maintenance failed", table=table, job=job, code=error.code, error=error.message, hint=error.hint)
            return error.as_dict(), EXIT_AGAIN if error.retry != "never" else error.exit_code
        except Exception as error:
            _log.error("maintenance failed", table=table, job=job, error=f"{type(error).__name__}: {error}", exc_info=error)
            return {"error": str(error)}, EXIT_FAILED
        facts = dict(outcome) if isinstance(outcome, Mapping) else asdict(outcome)
        told = _log.info if any(facts.get(name) for name in _DONE) else _log.debug
        told("maintained", table=table, job=job, seconds=round(time.monotonic() - began, 3), **facts)
        return facts, EXIT_YES


def _reported(told: Path) -> str | None:
    """The storage whose orphans an earlier sweep reported; None where there was none or it cannot be read: then one reports again."""
    try:
        return str(json.loads(told.read_text())["storage"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
