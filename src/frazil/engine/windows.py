"""Live windows: a second pump per contract, with its own sink, pace and lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from frazil.engine.heartbeat import Heartbeat
from frazil.engine.lease import Lease
from frazil.engine.lines import running_dir
from frazil.engine.local import Engine, Line, Pace
from frazil.engine.metrics import SPILLED, WINDOW_MEMORY
from frazil.engine.window_topics import WindowTopics
from frazil.errors import Corrupt, FrazilError
from frazil.project import Project
from frazil.settings import Settings
from frazil.sink import Commit
from frazil.sink.window_progress import METRICS
from frazil.sink.window_results import WindowResults
from frazil.sink.windows import WindowKeys, WindowSink
from frazil.telemetry import logger

ROLE = "live"
_MAX_DELAY = 0.01  # seconds an event waits for others to be counted with it
_POLL_EMBEDDED, _POLL_KAFKA = 0.003, 0.03
_BATCH = 20_000  # bounds the memory of a commit: all windows that it touches
_TIDY_SECONDS = 600.0
_TOPIC_SECONDS = 0.1
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
        specs = {spec.name: spec for spec in project.windows.values() if spec.contract == name}
        sink = project.window_sink(contract)
        METRICS.watch(name, project.window_file(contract), list(specs))
        results = WindowResults(project.lake, project.window_file(contract), name, specs)
        topics = WindowTopics(project, name, list(specs.values()))
        every = settings.process.max_delay.total_seconds()
        return Line(
            contract=name,
            log=project.log_reader(contract),  # all of it: windows of one key need every partition
            process=project.processor(contract),
            keys=WindowKeys(sink),
            sink=sink,
            letters=Following([(results.adopt, every), (topics.adopt, _TOPIC_SECONDS)], at_once=at_once),
            lease=Lease(running_dir(settings), f"windows-{name}"),
            upkeep=_after_commits(sink),
        )

    return make


class Following:
    """Lets the lake and the topics take over results: between the pump's commits, never in their way.

    It stands where a raw table's pump has its dead letters; the windows' own pump sets none aside.
    """

    def __init__(self, followers: Sequence[tuple[Callable[[], int], float]], *, at_once: bool) -> None:
        self._followers = [(follow, every, threading.Lock()) for follow, every in followers]
        self._at_once = at_once

    def adopt(self, sink: object) -> int:
        """Let each follower go on: now, or so many seconds from now in a thread of its own."""
        for follow, every, waiting in self._followers:
            if self._at_once:
                follow()
            elif waiting.acquire(blocking=False):
                threading.Thread(target=self._later, args=(follow, every, waiting), daemon=True, name="live-windows").start()
        return 0

    def open(self, ids: object, at: object) -> Any:
        raise Corrupt("live windows hold no dead letters", code="sink.no_letters", hint="they are in `dead_letters`")

    def _later(self, follow: Callable[[], int], every: float, waiting: threading.Lock) -> None:
        time.sleep(every)
        waiting.release()  # what comes from here on is for the next one
        try:
            follow()
        except FrazilError as error:
            _log.warning("results follow later", code=error.code, error=error.message)


def _after_commits(sink: WindowSink) -> Callable[[Commit], None]:
    done = [time.monotonic()]
    name, told = sink.contract.name, [0]

    def after(commit: Commit) -> None:
        held, _, spilled = sink.store.memory()
        WINDOW_MEMORY.labels(name).set(held)
        SPILLED.labels(name).inc(spilled - told[0])
        told[0] = spilled
        if time.monotonic() - done[0] > _TIDY_SECONDS:
            done[0] = time.monotonic()
            sink.maintain()

    return after
