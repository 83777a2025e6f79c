"""Live windows: a second pump per contract, with its own sink, pace and lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from frazil.engine.heartbeat import Heartbeat
from frazil.engine.lease import Lease
from frazil.engine.lines import running_dir
from frazil.engine.local import Engine, Line, Pace
from frazil.errors import Corrupt, FrazilError
from frazil.project import Project
from frazil.settings import Settings
from frazil.sink import Commit
from frazil.sink.window_results import WindowResults
from frazil.sink.windows import WindowKeys, WindowSink
from frazil.telemetry import logger

ROLE = "live"
_MAX_DELAY = 0.01  # seconds an event waits for others to be counted with it
_POLL_EMBEDDED, _POLL_KAFKA = 0.003, 0.03
_BATCH = 20_000  # bounds the memory of a commit: all windows that it touches
_TIDY_SECONDS = 600.0
_log = logger("live")


def engine(settings: Settings, *, until_idle: bool = False) -> Engine | None:
    """An engine for all contracts that have windows; None when there are no windows."""
    project = Project(settings)
    names = sorted({spec.contract for spec in project.windows.values()})
    if not names:
        return None
    pace = Pace(
        batch_records=_BATCH,
        max_delay=_MAX_DELAY,
        attempts=settings.process.attempts,
        until_idle=until_idle,
        poll=_POLL_KAFKA if project.logs_are_kafka else _POLL_EMBEDDED,
    )
    return Engine([_maker(settings, name, at_once=until_idle) for name in names], names, pace, Heartbeat(running_dir(settings), ROLE))


def _maker(settings: Settings, name: str, *, at_once: bool) -> Callable[[], Line]:
    def make() -> Line:
        project = Project(settings)
        contract = project.contract(name)
        sink = project.window_sink(contract)
        specs = {spec.name: spec for spec in project.windows.values() if spec.contract == name}
        results = WindowResults(project.lake, project.window_file(contract), name, specs)
        every = settings.process.max_delay.total_seconds()
        return Line(
            contract=name,
            log=project.log_reader(contract),  # all of it: windows of one key need every partition
            process=project.processor(contract),
            keys=WindowKeys(sink),
            sink=sink,
            letters=Following(results, 0.0 if at_once else every),
            lease=Lease(running_dir(settings), f"windows-{name}"),
            upkeep=_tidy(sink),
        )

    return make


class Following:
    """Lets the lake take over final results: between the pump's commits, never in their way.

    It stands where a raw table's pump has its dead letters; the windows' own pump sets none aside.
    """

    def __init__(self, results: WindowResults, every: float) -> None:
        self._results, self._every = results, every
        self._waiting = threading.Lock()

    def adopt(self, sink: object) -> int:
        """Take over what is final: now (`every` is zero), or at the latest `every` seconds from now, in another thread."""
        if not self._every:
            return self._results.adopt()
        if self._waiting.acquire(blocking=False):
            threading.Thread(target=self._later, daemon=True, name="live-windows").start()
        return 0

    def open(self, ids: object, at: object) -> Any:
        raise Corrupt("live windows hold no dead letters", code="sink.no_letters", hint="they are in `dead_letters`")

    def _later(self) -> None:
        time.sleep(self._every)
        self._waiting.release()  # what comes from here on is for the next one
        try:
            self._results.adopt()
        except FrazilError as error:
            _log.warning("final results follow later", code=error.code, error=error.message)


def _tidy(sink: WindowSink) -> Callable[[Commit], None]:
    done = [time.monotonic()]

    def after(commit: Commit) -> None:
        if time.monotonic() - done[0] > _TIDY_SECONDS:
            done[0] = time.monotonic()
            sink.maintain()

    return after
