"""The thread that builds and sends events, one for a process and project, with a bounded queue before it.

Laws: `tell` never waits and never raises; an event that a receiver did not take is kept on disk and sent before newer ones once
it answers; what is neither sent nor kept is counted (`frazil_lineage_events_total{outcome="dropped"}`) and said in the log.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import Counter

from frazil.errors import FrazilError, Unavailable
from frazil.lineage import Receiver
from frazil.lineage.outbox import Outbox
from frazil.lineage.transport import transport
from frazil.settings import Settings
from frazil.telemetry import logger, registry

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

Make = Callable[[], "Iterable[RunEvent]"]
"""Builds events; called in the sender's thread, since building them may read tables."""

EVENTS = Counter("frazil_lineage_events", "OpenLineage events by what became of them", ("outcome",), registry=registry)
DRAIN_SECONDS = 5.0
_TICK_SECONDS = 0.5
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_SAY_SECONDS = 60.0
_log = logger("lineage")


class Sender:
    """Takes makers of events and sees to it that the events leave. Starts its thread with the first."""

    def __init__(self, settings: Settings, to: Receiver) -> None:
        self.settings = settings
        self._send = transport(to, settings.lineage.timeout.total_seconds())
        self._outbox = Outbox(settings.state_dir / "lineage", settings.lineage.keep)
        self._queue: queue.Queue[Make] = queue.Queue(settings.lineage.queue)
        self._sources: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._deadline: float | None = None
        self._again_at, self._failures = 0.0, 0
        self._look_at = 0.0
        self._dropped, self._said_at = 0, 0.0

    def tell(self, make: Make) -> None:
        """Have events built and sent. A full queue drops them, which is counted and said."""
        try:
            self._queue.put_nowait(make)
        except queue.Full:
            self._drop("the queue is full", "raise [lineage] queue, or look at the receiver")
            return
        if self._thread is None:
            self._start()

    def listen(self, source: Callable[[], None]) -> None:
        """Call `source` now and then in the sender's thread: for what is told after a time."""
        self._sources.append(source)
        if self._thread is None:
            self._start()

    def close(self, seconds: float = DRAIN_SECONDS) -> None:
        """Send what waits for this long, keep the rest on disk, end the thread."""
        self._deadline = time.monotonic() + seconds
        if self._thread is not None:
            self._thread.join(seconds + self.settings.lineage.timeout.total_seconds() + 1.0)
        self._say_dropped()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="lineage", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            try:
                make = self._queue.get(timeout=0.02 if self._deadline is not None else _TICK_SECONDS)
            except queue.Empty:
                if self._deadline is not None:
                    return
                self._idle()
                continue
            self._tell(make)
            self._tick()

    def _idle(self) -> None:
        self._tick()
        if time.monotonic() >= max(self._again_at, self._look_at):
            self._resend()

    def _tick(self) -> None:
        for source in self._sources:
            try:
                source()
            except Exception as error:  # what observes must not end with what it observes
                _log.warning("a lineage source failed", error=f"{type(error).__name__}: {error}", exc_info=error)

    def _tell(self, make: Make) -> None:
        from openlineage.client.serde import Serde

        try:
            events = [Serde.to_json(event) for event in make()]
        except Exception as error:
            _log.warning("a lineage event could not be built", error=f"{type(error).__name__}: {error}", exc_info=error)
            self._drop("an event could not be built", "see the log; please report it")
            return
        for event in events:
            self._deliver(event)

    def _deliver(self, event: str) -> None:
        if self._late() or time.monotonic() < self._again_at or not self._resend():
            self._keep(event)
            return
        try:
            self._send(event)
        except Unavailable as error:
            self._went_away(error)
            self._keep(event)
        except FrazilError as error:
            self._drop(error.message, error.hint)
        else:
            self._sent()

    def _resend(self) -> bool:
        """Send what was kept, oldest first; False when the receiver is still away."""
        if time.monotonic() < self._look_at and not self._failures:
            return True
        with self._outbox.taken() as kept:
            for file in kept:
                if self._late():
                    return False
                try:
                    self._send(file.read_text())
                except FileNotFoundError:
                    continue
                except Unavailable as error:
                    self._went_away(error)
                    return False
                except FrazilError as error:
                    self._drop(error.message, error.hint)
                else:
                    self._sent()
                self._outbox.done(file)
        self._look_at = time.monotonic() + _LONGEST_WAIT  # other processes may have kept some meanwhile
        return True

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _sent(self) -> None:
        EVENTS.labels("sent").inc()
        if self._failures:
            _log.info("the lineage receiver answers again", attempts=self._failures)
            self._failures, self._again_at = 0, 0.0

    def _went_away(self, error: Unavailable) -> None:
        if not self._failures:
            _log.warning("lineage events are kept until the receiver answers", code=error.code, error=error.message, hint=error.hint)
        self._again_at = time.monotonic() + min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._look_at = 0.0

    def _keep(self, event: str) -> None:
        self._look_at = 0.0
        if self._outbox.keep(event):
            EVENTS.labels("kept").inc()
        else:
            self._drop("no more events can be kept", "raise [lineage] keep, or look at receiver and disk")

    def _drop(self, why: str, hint: str) -> None:
        EVENTS.labels("dropped").inc()
        self._dropped += 1
        if time.monotonic() - self._said_at > _SAY_SECONDS or self._said_at == 0.0:
            self._said_at = time.monotonic()
            _log.warning("lineage events are dropped", code="lineage.dropped", error=why, hint=hint, dropped=self._dropped)
            self._dropped = 0

    def _say_dropped(self) -> None:
        if self._dropped:
            _log.warning("lineage events were dropped", code="lineage.dropped", dropped=self._dropped)
            self._dropped = 0
