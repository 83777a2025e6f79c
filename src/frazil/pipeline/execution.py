"""The process that runs a run: its lease, its signals, its watch over cancellation and over the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from frazil.errors import FrazilError, Unavailable
from frazil.pipeline import StepState, find
from frazil.pipeline.journal import Journal
from frazil.pipeline.runner import Runner, Stopped
from frazil.pipeline.store import Run, RunStore
from frazil.settings import Settings
from frazil.table.lease import Lease, holder
from frazil.telemetry import logger

_log = logger("pipeline")
SCHEDULER = "schedule"
"""The lease of the process that starts what is in the queue."""
_LOOK_SECONDS = 0.25


def leases(settings: Settings) -> Path:
    """Where processes say what they work on."""
    return settings.state_dir / "run"


def lease_name(pipeline: str) -> str:
    return f"pipeline-{pipeline}"


def store_of(settings: Settings) -> RunStore:
    return RunStore(settings.state_dir)


@dataclass
class Execution:
    """Runs one run in this process, one at a time per pipeline and project.

    SIGINT cancels the run; SIGTERM, and with `attend` the end of the parent process, interrupt it, so that a scheduler takes it
    up again. Works in the main thread, where signals arrive.
    """

    settings: Settings
    runner: Runner
    attend: bool = False
    waiting: Callable[[Run | None], None] = lambda ahead: None
    _parent: int = field(default_factory=os.getppid)
    _state: StepState | None = None
    _working: bool = False

    def run(self, id: str, only: tuple[str, ...] = ()) -> Run:
        """Wait for the pipeline's lease, then run. Returns the run as it ended; a run that is over already is left alone."""
        store = self.runner.store
        lease = Lease(leases(self.settings), lease_name(store.get(id).pipeline))
        done = threading.Event()
        watch = threading.Thread(target=self._watch, args=(id, done), name="watch", daemon=True)
        with self._signals():
            watch.start()
            try:
                if not self._lead(lease, id) or not store.begin(id, os.getpid()):
                    return self._not_begun(id)
                journal = Journal(store.log_of(id), loud=self.attend)
                with journal.listening(), self._interruptible():
                    _log.info("run begins", run=id, pipeline=self.runner.pipeline.name, cause=dict(store.get(id).cause))
                    return replace(self.runner, journal=journal).run(id, only)
            except Stopped:
                return self._stopped(id)
            finally:
                done.set()
                lease.release()

    def _lead(self, lease: Lease, id: str) -> bool:
        told = False
        while not lease.take():
            run = self.runner.store.get(id)
            if self._state is not None or run.ended:
                return False
            if not told:
                self.waiting(_running(self.runner.store, run.pipeline))
                told = True
            time.sleep(_LOOK_SECONDS)
        settle(self.runner.store, self.runner.pipeline.name, but=id)
        return self._state is None

    def _not_begun(self, id: str) -> Run:
        run = self.runner.store.get(id)
        return self._stopped(id) if self._state is not None and not run.ended else run

    def _stopped(self, id: str) -> Run:
        """A person's end is final; anything else leaves the run to be taken up."""
        store = self.runner.store
        if self._state == "cancelled":
            store.cancel(id)
            store.end(id, "cancelled")
        else:
            store.interrupted(id)
        return store.get(id)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        states: dict[int, StepState] = {signal.SIGINT: "cancelled", signal.SIGTERM: "interrupted", signal.SIGUSR1: "cancelled"}

        def signalled(number: int, _frame: object) -> None:
            self._state = self._state or states[number]
            if self._working:
                self._working = False  # once: what cleans up must not be broken off, too
                raise Stopped(self._state)

        before = {number: signal.signal(number, signalled) for number in states}
        try:
            yield
        finally:
            for number, was in before.items():
                signal.signal(number, was)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        self._working = True
        try:
            if self._state is not None:
                raise Stopped(self._state)
            yield
        finally:
            self._working = False

    def _watch(self, id: str, done: threading.Event) -> None:
        while not done.wait(_LOOK_SECONDS):
            with suppress(FrazilError):
                if self.runner.store.get(id).cancel:
                    os.kill(os.getpid(), signal.SIGUSR1)
                    return
            if self.attend and os.getppid() != self._parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return


def settle(store: RunStore, pipeline: str | None = None, *, but: str = "", directory: Path | None = None) -> list[Run]:
    """Mark runs as interrupted whose process is gone; those marked.

    With `directory` the leases decide which pipelines are at work; without, the caller holds the lease of `pipeline`.
    """
    found = []
    for run in store.runs(pipeline=pipeline, states=("running",), limit=1_000):
        if run.id == but or run.driver == "outside":
            continue
        if directory is not None and holder(directory, lease_name(run.pipeline)) is not None:
            continue
        if store.get(run.id).state != "running":
            continue
        store.interrupted(run.id)
        _log.warning("run was interrupted", run=run.id, pipeline=run.pipeline, process=run.process)
        found.append(store.get(run.id))
    return found


def trigger(settings: Settings, pipeline: str, cause: Mapping[str, Any], children: list[subprocess.Popen[bytes]]) -> tuple[Run, bool]:
    """Put a run of a pipeline into the queue and see to it that someone starts it; True when it is a new run.

    Args:
        children: Processes that the caller started before; those that ended are forgotten, a new one is added. They end with
            the caller.

    Raises:
        ConfigError: `pipeline.unknown`.
    """
    store = store_of(settings)
    run, new = store.join(find(pipeline), cause)
    children[:] = [child for child in children if child.poll() is None]
    if new and holder(leases(settings), SCHEDULER) is None:
        children.append(launch(settings, run))
    return run, new


def launch(settings: Settings, run: Run) -> subprocess.Popen[bytes]:
    """Start a process that runs `run` and ends with this one.

    Raises:
        Unavailable: `pipeline.not_started`: the machine gives no process.
    """
    root = str(settings.root.resolve())
    command = [sys.executable, "-m", "frazil.cli", "--project", root, "run", run.pipeline, "--id", run.id, "--attend", "--json"]
    log = store_of(settings).log_of(run.id)
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.with_suffix(".err").open("ab") as said:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
    except OSError as error:
        raise Unavailable(
            f"no process for run {run.id}: {error}", code="pipeline.not_started", hint="try again later", run=run.id
        ) from error


def _running(store: RunStore, pipeline: str) -> Run | None:
    found: Sequence[Run] = store.runs(pipeline=pipeline, states=("running",), limit=1)
    return found[0] if found else None
