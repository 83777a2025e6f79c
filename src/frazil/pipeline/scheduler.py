"""Starts pipelines by clock and by snapshot, runs what others put into the queue, takes up what was interrupted."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from frazil.errors import FrazilError
from frazil.pipeline import find
from frazil.pipeline.execution import SCHEDULER, launch, leases, settle, store_of
from frazil.pipeline.news import Heads
from frazil.pipeline.store import Run, RunStore
from frazil.settings import PipelineSettings, Settings
from frazil.table.lease import Lease
from frazil.telemetry import logger

_log = logger("schedule")
_TICK_SECONDS = 0.25
_LOOK_SECONDS = 1.0
_DRAIN_SECONDS = 20.0
RESUMES = 3
"""How often a run is taken up again: one that takes its process down each time must not do so for ever."""


def next_due(plan: PipelineSettings, after: datetime) -> datetime | None:
    """The first moment of a schedule strictly after `after`, UTC; None without a schedule. Pure."""
    if plan.schedule is None:
        return None
    return next(CronSim(plan.schedule, after.astimezone(ZoneInfo(plan.timezone)))).astimezone(UTC)


@dataclass
class Scheduler:
    """One per project: a lease lets the others stand by.

    Laws: a schedule's time starts one run, however many times were missed; a snapshot with rows that no run covers and none
    was started for starts one run, once its pipeline rests; a run is never started twice.

    Args:
        news: What is new above the given heads: tables and the heads now; None when nothing is.
    """

    settings: Settings
    news: Callable[[Heads], Heads | None]
    start: Callable[[Settings, Run], subprocess.Popen[bytes]] = launch
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _looked: float = float("-inf")

    @property
    def store(self) -> RunStore:
        return store_of(self.settings)

    @property
    def plans(self) -> Mapping[str, PipelineSettings]:
        return {name: plan for name, plan in self.settings.pipelines if plan.schedule is not None or plan.on is not None}

    def run(self, stop: threading.Event) -> int:
        """Work until `stop`; then end what runs, so that the next scheduler takes it up."""
        lease = Lease(leases(self.settings), SCHEDULER)
        try:
            while not stop.is_set():
                if lease.take():
                    try:
                        self.tick()
                    except FrazilError as error:
                        _log.warning("scheduler waits", **_logged(error))
                        stop.wait(2.0)
                stop.wait(_TICK_SECONDS)
        finally:
            self._drain()
            lease.release()
        return 0

    def tick(self) -> None:
        """Look once at everything."""
        self._children = {run: child for run, child in self._children.items() if child.poll() is None}
        self._take_up()
        for name, plan in self.plans.items():
            self._by_clock(name, plan)
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            for name, plan in self.plans.items():
                self._by_snapshot(name, plan)
            self._looked = time.monotonic()
        self._start_queued()

    def _take_up(self) -> None:
        settle(self.store, directory=leases(self.settings))
        for run in self.store.runs(states=("interrupted",), driver="frazil", limit=100):
            if run.id in self._children:
                continue
            newest = self.store.runs(pipeline=run.pipeline, driver="frazil", limit=1)[0]
            if newest.id != run.id and newest.state in ("running", "succeeded"):
                facts = {"code": "pipeline.superseded", "message": f"run {newest.id} began after it was interrupted", "hint": ""}
                self.store.end(run.id, "cancelled", {"step": _broken_off(run), **facts})
            elif run.resumed >= RESUMES:
                said = f"its process ended in the middle {run.resumed + 1} times"
                hint = f"`frazil runs {run.id}` shows its log; was the machine out of memory?"
                self.store.end(run.id, "failed", {"step": _broken_off(run), "code": "pipeline.interrupted", "message": said, "hint": hint})
                _log.error("run given up", run=run.id, pipeline=run.pipeline, resumed=run.resumed)
            else:
                _log.info("run is taken up again", run=run.id, pipeline=run.pipeline, resumed=run.resumed + 1)
                self._children[run.id] = self.start(self.settings, run)

    def _by_clock(self, name: str, plan: PipelineSettings) -> None:
        now = self.now()
        since = self.store.due(name)
        if since is None:
            self.store.set_due(name, now)  # a schedule begins when it is first seen
            return
        due = next_due(plan, since)
        if due is None or due > now:
            return
        self.store.set_due(name, now)
        run, new = self.store.join(find(name), {"kind": "schedule", "schedule": plan.schedule, "due": due.isoformat()})
        _log.info("scheduled", pipeline=name, run=run.id, due=due.isoformat(), new=new)

    def _by_snapshot(self, name: str, plan: PipelineSettings) -> None:
        if plan.on != "snapshot" or self._busy(name) or not self._spaced(name, plan):
            return
        heads = self.news(self.store.known(name))
        if heads is None:
            return
        run, new = self.store.join(find(name), {"kind": "snapshot", "snapshots": {table: at.snapshot_id for table, at in heads.items()}})
        self.store.tried(name, heads)
        _log.info("new snapshot", pipeline=name, run=run.id, new=new, tables=sorted(heads))

    def _busy(self, name: str) -> bool:
        """While a run works or waits, what lands is left to it or to the next look."""
        return bool(self.store.runs(pipeline=name, states=("queued", "running", "interrupted"), driver="frazil", limit=1))

    def _spaced(self, name: str, plan: PipelineSettings) -> bool:
        last = self.store.runs(pipeline=name, limit=1)
        if not last or last[0].started_at is None:
            return True
        return self.now() - datetime.fromisoformat(last[0].started_at) >= plan.spacing

    def _start_queued(self) -> None:
        working = {run.pipeline for run in self.store.runs(states=("running",), limit=100) if run.driver == "frazil"}
        for run in reversed(self.store.runs(states=("queued",), limit=100)):
            if run.driver != "frazil" or run.id in self._children or run.pipeline in working or _alive(run.process):
                continue
            self._children[run.id] = self.start(self.settings, run)
            working.add(run.pipeline)

    def _drain(self) -> None:
        for child in self._children.values():
            child.terminate()
        deadline = time.monotonic() + _DRAIN_SECONDS
        for child in self._children.values():
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.1, deadline - time.monotonic()))
            if child.poll() is None:
                child.kill()
                child.wait()


def _broken_off(run: Run) -> str:
    return next((step.name for step in run.steps if step.state == "interrupted"), "")


def _alive(process: int | None) -> bool:
    """Whether the process that made a run in order to run it is still there."""
    if process is None:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _logged(error: FrazilError) -> dict[str, object]:
    return {"code": error.code, "error": error.message, "hint": error.hint, "facts": dict(error.context)}
