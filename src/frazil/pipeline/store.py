"""Runs on disk: SQLite in WAL mode, so that what a run did is known after the process that ran it is gone.

Every call is a transaction of its own. Nothing that lands data depends on this file: losing it loses the runs' story only.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from frazil.errors import ConfigError, Unavailable
from frazil.pipeline import ENDED, Pipeline, RunState, StepState
from frazil.pipeline.news import Heads, heads_from, heads_json, later

KEPT: Final = 1_000
"""Runs kept per pipeline; older ones that have ended are forgotten with their logs."""
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SCHEMA: Final = """
create table if not exists runs (
  id text primary key, pipeline text not null, state text not null, driver text not null, cause text not null,
  created_at text not null, started_at text, ended_at text, process integer, resumed integer not null default 0,
  cancel integer not null default 0, covered text not null default '{}', error text);
create index if not exists runs_by_pipeline on runs (pipeline, created_at);
create table if not exists steps (
  run text not null references runs (id) on delete cascade, place integer not null, name text not null, state text not null,
  attempts integer not null default 0, started_at text, ended_at text, seconds real not null default 0,
  message text not null default '', result text not null default '{}', error text, primary key (run, name));
create table if not exists marks (
  pipeline text primary key, covered text not null default '{}', tried text not null default '{}', due text);
"""


@dataclass(frozen=True, slots=True)
class StepRun:
    """One step of one run. `seconds` over all attempts; `error` as `FrazilError.as_dict`."""

    name: str
    state: StepState
    attempts: int = 0
    started_at: str | None = None
    ended_at: str | None = None
    seconds: float = 0.0
    message: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a pipeline. Times are RFC 3339, UTC.

    `driver`: `frazil`, or `outside` when another orchestrator calls step by step. `covered`: heads of the raw tables that its
    models read. `process`: id of the process that runs it, or that made it in order to run it itself.
    """

    id: str
    pipeline: str
    state: RunState
    driver: str
    cause: Mapping[str, Any]
    created_at: str
    started_at: str | None
    ended_at: str | None
    process: int | None
    resumed: int
    cancel: bool
    covered: Heads
    error: Mapping[str, Any] | None
    steps: tuple[StepRun, ...]

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def step(self, name: str) -> StepRun:
        return next(step for step in self.steps if step.name == name)

    @property
    def seconds(self) -> float | None:
        """From start to end, or until now; None before the start."""
        if self.started_at is None:
            return None
        end = datetime.now(UTC) if self.ended_at is None else datetime.fromisoformat(self.ended_at)
        return round((end - datetime.fromisoformat(self.started_at)).total_seconds(), 3)

    @property
    def ended_at_seconds(self) -> float:
        """When it ended, seconds since 1970; 0 before."""
        return 0.0 if self.ended_at is None else datetime.fromisoformat(self.ended_at).timestamp()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: what `frazil runs ID --json` and `GET /runs/{id}` say."""
        return {
            "run_id": self.id,
            "pipeline": self.pipeline,
            "state": self.state,
            "cause": dict(self.cause),
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "seconds": self.seconds,
            "resumed": self.resumed,
            "covered": heads_json(self.covered),
            "error": None if self.error is None else dict(self.error),
            "steps": [
                {
                    "name": step.name,
                    "state": step.state,
                    "attempts": step.attempts,
                    "started_at": step.started_at,
                    "ended_at": step.ended_at,
                    "seconds": round(step.seconds, 3),
                    "message": step.message,
                    "result": dict(step.result),
                    "error": None if step.error is None else dict(step.error),
                }
                for step in self.steps
            ],
        }


class RunStore:
    """The runs of one project."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "runs.db"
        self.logs = state_dir / "runs"

    # ------------------------------------------------------------ runs

    def create(
        self, pipeline: Pipeline, cause: Mapping[str, Any], *, id: str | None = None, driver: str = "frazil", process: int | None = None
    ) -> Run:
        """Put a run into the queue."""
        with self._writing() as rows:
            made = self._insert(rows, pipeline, cause, id=id, driver=driver, process=process)
        return self.get(made)

    def join(self, pipeline: Pipeline, cause: Mapping[str, Any], *, process: int | None = None) -> tuple[Run, bool]:
        """The run that a trigger gets: one that is queued and has not begun, else a new one; True when it is new.

        Law: a run that several triggers get had not begun when the last of them came, so it covers what all of them saw.
        """
        with self._writing() as rows:
            found = rows.execute(
                "select id from runs where pipeline = ? and state = 'queued' and driver = 'frazil' and cancel = 0", (pipeline.name,)
            ).fetchone()
            joined = found["id"] if found is not None else self._insert(rows, pipeline, cause, process=process)
        return self.get(joined), found is None

    def _insert(
        self,
        rows: sqlite3.Connection,
        pipeline: Pipeline,
        cause: Mapping[str, Any],
        *,
        id: str | None = None,
        driver: str = "frazil",
        process: int | None = None,
    ) -> str:
        if id is not None and not _ID.fullmatch(id):
            hint = "letters, digits, dot, dash and underscore, at most 200, the first a letter or digit"
            raise ConfigError(f"{id[:80]!r} is no name for a run", code="run.bad_id", hint=hint, run=id[:80])
        made = id or f"{pipeline.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        rows.execute(
            "insert into runs (id, pipeline, state, driver, cause, created_at, process) values (?, ?, 'queued', ?, ?, ?, ?)",
            (made, pipeline.name, driver, json.dumps(dict(cause)), _now(), process),
        )
        rows.executemany(
            "insert into steps (run, place, name, state) values (?, ?, ?, 'waiting')",
            [(made, place, step.name) for place, step in enumerate(pipeline.steps)],
        )
        self._forget(rows, pipeline.name)
        return made

    def get(self, id: str) -> Run:
        """A run by id. Raises ConfigError `run.unknown`."""
        with self._reading() as rows:
            row = rows.execute("select * from runs where id = ?", (id,)).fetchone()
            if row is not None:
                return _run(row, rows.execute("select * from steps where run = ? order by place", (id,)).fetchall())
        raise ConfigError(f"no run {id[:80]!r}", code="run.unknown", hint="`frazil runs` lists them", run=id[:80])

    def find(self, id: str) -> Run | None:
        try:
            return self.get(id)
        except ConfigError:
            return None

    def runs(self, *, pipeline: str | None = None, states: Sequence[str] = (), driver: str | None = None, limit: int = 50) -> list[Run]:
        """Runs, the newest first."""
        marks = ", ".join("?" for _ in states)
        where = "where (?1 is null or pipeline = ?1) and (?2 is null or driver = ?2)" + (f" and state in ({marks})" if states else "")
        with self._reading() as rows:
            found = rows.execute(
                f"select * from runs {where} order by created_at desc, rowid desc limit {int(limit)}", (pipeline, driver, *states)
            ).fetchall()
            return [_run(row, rows.execute("select * from steps where run = ? order by place", (row["id"],)).fetchall()) for row in found]

    def counts(self) -> dict[tuple[str, str], int]:
        """How many runs are kept, by pipeline and state."""
        with self._reading() as rows:
            found = rows.execute("select pipeline, state, count(*) as number from runs group by pipeline, state").fetchall()
        return {(row["pipeline"], row["state"]): row["number"] for row in found}

    def begin(self, id: str, process: int) -> bool:
        """Mark a run as running here; False when it is over or was cancelled before it began."""
        with self._writing() as rows:
            changed = rows.execute(
                "update runs set state = 'running', process = ?, started_at = coalesce(started_at, ?), ended_at = null, error = null,"
                " resumed = resumed + (state = 'interrupted')"
                " where id = ? and cancel = 0 and (state in ('queued', 'running', 'interrupted') or driver = 'outside')",
                (process, _now(), id),
            )
            return changed.rowcount == 1

    def end(self, id: str, state: RunState, error: Mapping[str, Any] | None = None) -> None:
        with self._writing() as rows:
            rows.execute(
                "update runs set state = ?, ended_at = ?, error = ? where id = ?",
                (state, _now(), None if error is None else json.dumps(dict(error), default=str), id),
            )

    def cancel(self, id: str) -> Run:
        """Ask for an end: a run in the queue is over at once, one that runs stops as soon as its step lets it."""
        with self._writing() as rows:
            rows.execute("update runs set cancel = 1 where id = ? and state not in ('succeeded', 'failed', 'cancelled')", (id,))
            queued = rows.execute(
                "update runs set state = 'cancelled', ended_at = ? where id = ? and state in ('queued', 'interrupted')", (_now(), id)
            )
            if queued.rowcount:
                rows.execute("update steps set state = 'cancelled' where run = ? and state in ('waiting', 'interrupted')", (id,))
        return self.get(id)

    def interrupted(self, id: str) -> None:
        """What a run's process could not say itself: it ended in the middle."""
        with self._writing() as rows:
            rows.execute("update runs set state = case cancel when 1 then 'cancelled' else 'interrupted' end where id = ?", (id,))
            rows.execute("update steps set state = 'interrupted', ended_at = ? where run = ? and state = 'running'", (_now(), id))

    # ------------------------------------------------------------ steps

    def step(self, id: str, name: str, state: StepState, **facts: Any) -> None:
        """Write a step's state and the facts that come with it: columns of `steps` by name."""
        written = {name: json.dumps(value, default=str) if name in ("result", "error") and value is not None else value
                   for name, value in facts.items()}  # fmt: skip
        written |= {"started_at": _now()} if state == "running" else {}
        written |= {"ended_at": _now() if state not in ("waiting", "running") else None}
        columns = ", ".join(f"{column} = ?" for column in written)
        with self._writing() as rows:
            rows.execute(f"update steps set state = ?, {columns} where run = ? and name = ?", (state, *written.values(), id, name))

    # ------------------------------------------------------------ what is covered

    def cover(self, id: str, heads: Heads) -> None:
        """Note that a run reads the raw tables at these heads, or later."""
        run = self.get(id)
        with self._writing() as rows:
            rows.execute("update runs set covered = ? where id = ?", (json.dumps(heads_json(heads)), id))
            self._raise(rows, run.pipeline, "covered", heads)

    def tried(self, pipeline: str, heads: Heads) -> None:
        """Note that a run was started for these heads: they start no other one, even if it fails."""
        with self._writing() as rows:
            self._raise(rows, pipeline, "tried", heads)

    def known(self, pipeline: str) -> Heads:
        """Heads that need no run any more: covered by one, or started one."""
        with self._reading() as rows:
            row = rows.execute("select covered, tried from marks where pipeline = ?", (pipeline,)).fetchone()
        return {} if row is None else later(heads_from(json.loads(row["covered"])), heads_from(json.loads(row["tried"])))

    def due(self, pipeline: str) -> datetime | None:
        """The moment after which a schedule's times count."""
        with self._reading() as rows:
            row = rows.execute("select due from marks where pipeline = ?", (pipeline,)).fetchone()
        return None if row is None or row["due"] is None else datetime.fromisoformat(row["due"])

    def set_due(self, pipeline: str, moment: datetime) -> None:
        with self._writing() as rows:
            rows.execute("insert or ignore into marks (pipeline) values (?)", (pipeline,))
            rows.execute("update marks set due = ? where pipeline = ?", (moment.isoformat(), pipeline))

    def _raise(self, rows: sqlite3.Connection, pipeline: str, column: str, heads: Heads) -> None:
        rows.execute("insert or ignore into marks (pipeline) values (?)", (pipeline,))
        row = rows.execute(f"select {column} from marks where pipeline = ?", (pipeline,)).fetchone()
        merged = later(heads_from(json.loads(row[column])), heads)
        rows.execute(f"update marks set {column} = ? where pipeline = ?", (json.dumps(heads_json(merged)), pipeline))

    # ------------------------------------------------------------ files

    def log_of(self, id: str) -> Path:
        """The run's log: one JSON object per line."""
        return self.logs / f"{id}.log"

    def _forget(self, rows: sqlite3.Connection, pipeline: str) -> None:
        old = rows.execute(
            "select id from runs where pipeline = ? and state in ('succeeded', 'failed', 'cancelled')"
            " order by created_at desc, rowid desc limit -1 offset ?",
            (pipeline, KEPT),
        ).fetchall()
        for row in old:
            rows.execute("delete from runs where id = ?", (row["id"],))
            self.log_of(row["id"]).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._opened() as connection:
            connection.execute("begin immediate")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._opened() as connection:
            yield connection

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not self.path.exists()
            connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            try:
                connection.row_factory = sqlite3.Row
                connection.execute("pragma synchronous = full")
                connection.execute("pragma foreign_keys = on")
                if fresh or connection.execute("select count(*) from sqlite_master where name = 'marks'").fetchone()[0] == 0:
                    connection.execute("pragma journal_mode = wal")
                    connection.executescript(_SCHEMA)
                yield connection
            finally:
                connection.close()
        except (sqlite3.OperationalError, OSError) as error:
            raise Unavailable(
                f"the runs cannot be read or written: {error}",
                code="run.store_unavailable",
                hint="check the disk and the rights of .frazil/runs.db",
                file=str(self.path),
            ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _run(row: sqlite3.Row, steps: Sequence[sqlite3.Row]) -> Run:
    return Run(
        id=row["id"],
        pipeline=row["pipeline"],
        state=row["state"],
        driver=row["driver"],
        cause=json.loads(row["cause"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        process=row["process"],
        resumed=row["resumed"],
        cancel=bool(row["cancel"]),
        covered=heads_from(json.loads(row["covered"])),
        error=None if row["error"] is None else json.loads(row["error"]),
        steps=tuple(
            StepRun(
                name=step["name"],
                state=step["state"],
                attempts=step["attempts"],
                started_at=step["started_at"],
                ended_at=step["ended_at"],
                seconds=step["seconds"],
                message=step["message"],
                result=json.loads(step["result"]),
                error=None if step["error"] is None else json.loads(step["error"]),
            )
            for step in steps
        ),
    )
