"""The local engine: one worker per contract pumps the log into its table, in threads; the kernel releases the GIL.

A worker never decides what is right: `flow.pump` and its one swap do. It decides when to pump, how long to wait for a
system that does not answer, and when an operator has to look.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from frazil import flow
from frazil.batch import Position
from frazil.engine.cadence import Backoff, Cadence
from frazil.engine.heartbeat import Heartbeat, Pulse
from frazil.engine.lease import Lease
from frazil.engine.metrics import COMMIT_SECONDS, COMMITS, LAG, LAST_COMMIT, RECORDS, RETRIES, STOPPED, WAITING
from frazil.engine.patience import BETWEEN, PatientProcessor
from frazil.engine.watch import Watch
from frazil.errors import EXIT_AGAIN, EXIT_FAILED, EXIT_OPERATOR, EXIT_YES, CommitConflict, FrazilError, Throttled, Unavailable
from frazil.log import LogReader
from frazil.process import Processor
from frazil.sink import Commit, DeadLetters, KeyIndex, Sink
from frazil.telemetry import logger

_log = logger("process")
SYSTEMS = Backoff(0.2, 30.0)
_POLL = 0.1  # seconds between looks at what others do
_OFTEN = 0.5  # seconds: a worker that commits more often than this does not tell of each commit
_PATIENCE_UNTIL_IDLE = 60.0  # seconds a run that has an end waits for a system


@dataclass
class Line:
    """The parts that land one contract's records. `upkeep` runs after commits, between pumps, and may raise."""

    contract: str
    log: LogReader
    process: Processor
    keys: KeyIndex
    sink: Sink
    letters: DeadLetters
    lease: Lease | None = None
    upkeep: Callable[[Commit], None] = lambda commit: None
    watch: Watch = field(default_factory=Watch)


@dataclass(frozen=True)
class Pace:
    """How a worker runs. `until_idle`: commit without delay and end when the log has nothing more. Times in seconds."""

    batch_records: int = 100_000
    max_delay: float = 5.0
    attempts: int = 3
    until_idle: bool = False
    poll: float = 0.1  # between looks at the log
    drain: float = 10.0  # longest time spent on what waits once a stop was asked for
    backoff: Backoff = SYSTEMS  # for systems
    between: Backoff = BETWEEN  # for a batch whose processing fails

    @property
    def cadence(self) -> Cadence:
        return Cadence(full=self.batch_records, max_delay=self.max_delay)


class Worker:
    """Pumps one contract until told to stop. `run` returns an exit code and never raises.

    Laws: a batch whose processing fails is tried `attempts` times, then only its records at fault are set aside; a
    system that does not answer is waited for and nothing is skipped; a conflict means pump again; what an operator has
    to see stops this worker alone.
    """

    def __init__(self, line: Line, pace: Pace, pulse: Pulse, *, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> None:
        self._line = replace(line, process=PatientProcessor(line.process, attempts=pace.attempts, backoff=pace.between, sleep=stop.wait))
        self._pace = pace
        self._pulse = pulse
        self._stop = stop
        self._beat = beat
        self._position: Position | None = None
        self._first_seen: float | None = None
        self._last_commit: float | None = None
        self._looked = 0.0
        self._failures = 0
        self._failing_since = 0.0
        self._left_since: float | None = None
        self._adopted = False

    def run(self) -> int:
        code: int | None = None
        while code is None:
            try:
                code = self._turn()
                self._recovered()
            except CommitConflict as error:
                code = self._overtaken(error)
            except Exception as error:
                code = self._failed(error)
        self._pulse.state = "stopped" if code else "done"
        self._beat()
        self._line.watch.ended(self._pulse.error if code else None)
        self._line.log.close()  # a group gives the partitions to the others at once
        if self._line.lease is not None:
            self._line.lease.release()
        return code

    def _turn(self) -> int | None:
        """One look at the log, and a commit if one is due; an exit code when the work is over."""
        if self._stop.is_set():
            return self._drain()
        if not self._leads():
            return self._watch()
        if not self._adopted:
            self._follow()
        if self._pace.until_idle:
            return None if self._pump() else self._finished()
        waiting = self._lag()
        now = time.monotonic()
        if waiting == 0:
            self._first_seen = None
            self._stop.wait(self._pace.poll)
            return None
        self._first_seen = self._first_seen or now
        due = self._pace.cadence.due(waiting, self._first_seen, self._last_commit)
        if due > now:
            self._stop.wait(min(due - now, self._pace.poll))
            return None
        if self._pump() is None:
            self._stop.wait(self._pace.poll)  # what waits is another's: members of a group share a log
        return None

    def _pump(self) -> Commit | None:
        began = time.monotonic()
        line = self._line
        commit = flow.pump(line.log, line.process, line.keys, line.sink, limit=self._pace.batch_records)
        self._first_seen = None
        if commit is None:
            self._position = None  # the log has nothing: look at the table again next time
            return None
        self._last_commit, self._left_since = began, None
        self._position = commit.position
        self._count(commit, time.monotonic() - began)
        self._line.watch.committed(commit, time.monotonic() - began)
        self._follow()
        self._line.upkeep(commit)
        return commit

    def _follow(self) -> None:
        """Let `dead_letters` take over what the commits set aside; being late is harmless, so trouble only waits."""
        try:
            self._line.letters.adopt(self._line.sink)
            self._adopted = True
        except (Unavailable, CommitConflict) as error:
            self._adopted = False
            if self._pace.until_idle:
                raise  # a run that has an end ends with the letters in place, or says that it could not
            _log.warning("dead letters follow later", contract=self._line.contract, code=error.code)

    def _lag(self) -> int:
        """Records behind the table. The table itself is asked anew now and then: others may commit or rewind."""
        now = time.monotonic()
        if self._position is None or now - self._looked > self._pace.max_delay:
            self._position = self._line.sink.head().position
            self._looked = now
        lag = self._line.log.lag(self._position)
        self._pulse.lag = lag
        LAG.labels(self._line.contract).set(lag)
        return lag

    def _leads(self) -> bool:
        if self._line.lease is None or self._line.lease.take():
            self._pulse.state = "running"
            return True
        return False

    def _watch(self) -> int | None:
        """Another process pumps: stand by; a run that has an end ends when the other one has landed everything."""
        if self._pulse.state != "standby":
            _log.info("another process pumps; standing by", contract=self._line.contract)
            self._pulse.state = "standby"
            self._beat()
        self._position = None
        if self._lag() == 0 and self._pace.until_idle:
            return EXIT_YES
        self._stop.wait(0.5)
        return None

    def _finished(self) -> int | None:
        """Idle: over once the letters followed, too."""
        if not self._adopted:
            self._stop.wait(_POLL)
            return None
        if self._lag() == 0:
            return EXIT_YES
        # What is left belongs to another member of the group, which lands it, or is gone and will be found to be.
        now = time.monotonic()
        self._left_since = self._left_since or now
        if now - self._left_since > _PATIENCE_UNTIL_IDLE:
            _log.warning("records are left to other members of the group", contract=self._line.contract, lag=self._pulse.lag)
            return EXIT_AGAIN
        self._stop.wait(_POLL)
        return None

    def _drain(self) -> int:
        """Land what waits now, for a bounded time; what comes later, or does not make it, stays in the log."""
        deadline = time.monotonic() + self._pace.drain
        left: int | None = None
        while self._leads() and time.monotonic() < deadline and left != 0:
            try:
                left = self._lag() if left is None else left
                commit = self._pump()
            except CommitConflict:
                left = None
                continue
            except Unavailable:
                break
            if commit is None:
                break
            left = max(0, left - commit.landed - commit.dead - commit.duplicates)
        return EXIT_YES

    def _overtaken(self, error: CommitConflict) -> int | None:
        RETRIES.labels(self._line.contract, "conflict").inc()
        self._position = None
        self._failures += 1
        _log.info("someone else committed first; pumping again", contract=self._line.contract, code=error.code)
        self._stop.wait(random.uniform(0.0, 0.05 * min(self._failures, 10)))
        return None

    def _failed(self, error: Exception) -> int | None:
        """Wait for what may come back, stop for what needs an operator."""
        facts = error.as_dict() if isinstance(error, FrazilError) else _unexpected(error)
        if isinstance(error, FrazilError) and error.retry == "never":
            return self._stopped(error, facts)
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if self._pulse.state == "waiting" and (self._stop.is_set() or self._out_of_patience(now)):
            _log.error("gave up waiting", contract=self._line.contract, **_logged(facts))
            return EXIT_AGAIN if isinstance(error, Unavailable) else EXIT_FAILED
        wait = self._pace.backoff.wait(self._failures)
        if isinstance(error, Throttled):
            wait = max(wait, float(error.retry_after))
        self._failures += 1
        self._position = None
        RETRIES.labels(self._line.contract, "unavailable" if isinstance(error, Unavailable) else "unexpected").inc()
        WAITING.labels(self._line.contract).set(1)
        self._pulse.state, self._pulse.error = "waiting", facts
        unexpected = None if isinstance(error, FrazilError) else error
        _log.warning(
            "waiting for a system", contract=self._line.contract, wait_seconds=round(wait, 2), **_logged(facts), exc_info=unexpected
        )
        self._beat()
        self._stop.wait(wait)
        return None

    def _out_of_patience(self, now: float) -> bool:
        return self._pace.until_idle and now - self._failing_since > _PATIENCE_UNTIL_IDLE

    def _stopped(self, error: FrazilError, facts: dict[str, object]) -> int:
        self._pulse.state, self._pulse.error = "stopped", facts
        STOPPED.labels(self._line.contract).set(1)
        _log.error("stopped for an operator", contract=self._line.contract, **_logged(facts))
        return EXIT_OPERATOR if error.exit_code == EXIT_OPERATOR else EXIT_FAILED

    def _recovered(self) -> None:
        if self._failures:
            self._failures, self._failing_since = 0, 0.0
            self._pulse.error = None
            WAITING.labels(self._line.contract).set(0)

    def _count(self, commit: Commit, seconds: float) -> None:
        name, pulse = self._line.contract, self._pulse
        for outcome, count in (("landed", commit.landed), ("dead", commit.dead), ("duplicate", commit.duplicates)):
            RECORDS.labels(name, outcome).inc(count)
        COMMITS.labels(name).inc()
        COMMIT_SECONDS.labels(name).observe(seconds)
        LAST_COMMIT.labels(name).set(commit.committed_at.timestamp())
        pulse.commits += 1
        pulse.landed += commit.landed
        pulse.dead += commit.dead
        pulse.duplicates += commit.duplicates
        pulse.last_commit = _text(commit.committed_at)
        counts = {"landed": commit.landed, "dead": commit.dead, "duplicates": commit.duplicates}
        often = self._pace.max_delay < _OFTEN
        (_log.debug if often else _log.info)("committed", contract=name, snapshot=commit.version, seconds=round(seconds, 3), **counts)
        if not often:
            self._beat()


class Engine:
    """All workers of one process. `run` returns when every worker has ended, with the gravest of their exit codes."""

    def __init__(self, lines: Sequence[Callable[[], Line]], names: Sequence[str], pace: Pace, heartbeat: Heartbeat) -> None:
        self._lines = dict(zip(names, lines, strict=True))
        self._pace = pace
        self._heartbeat = heartbeat
        self._stop = threading.Event()
        self._codes: dict[str, int] = {}

    @property
    def pulses(self) -> Mapping[str, Pulse]:
        """What each contract's worker says of itself."""
        return self._heartbeat.pulses

    def stop(self) -> None:
        """Ask every worker to land what waits and to end."""
        self._stop.set()

    def run(self) -> int:
        threads = [threading.Thread(target=self._work, args=(name,), name=f"pump-{name}") for name in self._lines]
        for thread in threads:
            thread.start()
        beaten = 0.0
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(timeout=0.1)
            if time.monotonic() - beaten > 2.0:
                self._heartbeat.write()
                beaten = time.monotonic()
        self._heartbeat.write()
        return gravest(self._codes.values())

    def _work(self, name: str) -> None:
        pulse = self._heartbeat.pulse(name)
        attempt = 0
        while True:
            try:
                line = self._lines[name]()
                break
            except Unavailable as error:
                pulse.state, pulse.error = "waiting", error.as_dict()
                _log.warning("waiting for a system", contract=name, **_logged(error.as_dict()))
                if self._stop.wait(self._pace.backoff.wait(attempt)) or (self._pace.until_idle and attempt > 8):
                    self._codes[name] = EXIT_AGAIN
                    return
                attempt += 1
            except Exception as error:
                facts = error.as_dict() if isinstance(error, FrazilError) else _unexpected(error)
                pulse.state, pulse.error = "stopped", facts
                _log.error("cannot start", contract=name, **_logged(facts), exc_info=None if isinstance(error, FrazilError) else error)
                self._codes[name] = error.exit_code if isinstance(error, FrazilError) else EXIT_FAILED
                return
        self._codes[name] = Worker(line, self._pace, pulse, stop=self._stop, beat=self._heartbeat.write).run()


def gravest(codes: Iterable[int]) -> int:
    """What a process with several workers exits with: an operator's case before a failure before try again before yes."""
    seen = set(codes)
    return next((code for code in (EXIT_OPERATOR, EXIT_FAILED, EXIT_AGAIN) if code in seen), EXIT_YES)


def _unexpected(error: Exception) -> dict[str, object]:
    return {"code": "process.unexpected", "message": f"{type(error).__name__}: {error}", "hint": "", "retry": "backoff", "context": {}}


def _logged(facts: dict[str, object]) -> dict[str, object]:
    """An error's facts as fields of a log line."""
    return {"code": facts["code"], "error": facts["message"], "hint": facts["hint"], "facts": facts["context"]}


def _text(moment: datetime) -> str:
    return moment.isoformat()
