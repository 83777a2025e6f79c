"""`frazil up`: every role as a process of its own, started, watched, restarted and drained together."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from frazil.engine.cadence import Backoff
from frazil.errors import EXIT_OPERATOR, EXIT_YES
from frazil.telemetry import logger

_log = logger("up")
_STEADY = 30.0  # seconds a role must run before a crash counts as the first again
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


@dataclass
class Role:
    """A child process. `stops_all`: when it ends with this code nothing else makes sense (usage, a port in use)."""

    name: str
    command: Sequence[str]
    fatal_codes: frozenset[int] = frozenset()
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    crashes: int = 0
    again_at: float | None = None
    stopped_with: int | None = None


@dataclass
class Supervisor:
    """Runs roles until a signal; stops them in the order given, so that what was taken in is drained.

    Laws: a crashed role is started again after a growing wait; exit 78 leaves it stopped and says so, the others go on;
    when the supervisor dies, its children get SIGTERM.
    """

    roles: Sequence[Role]
    on_ready: Callable[[], bool] = lambda: True
    backoff: Backoff = field(default_factory=lambda: Backoff(0.5, 30.0))
    grace: float = 30.0
    _stopping: bool = False

    def run(self) -> int:
        """Start everything, watch until a signal, then drain. Returns the exit code of the whole."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        for role in self.roles:
            self._start(role)
        ready = False
        while not self._stopping:
            ready = ready or self.on_ready()
            for role in self.roles:
                self._watch(role)
            if all(role.stopped_with is not None for role in self.roles):
                break
            time.sleep(0.1)
        self._drain()
        codes = [role.stopped_with for role in self.roles if role.stopped_with]
        return codes[0] if codes else EXIT_YES

    def _signalled(self, number: int, frame: object) -> None:
        if self._stopping:
            for role in self.roles:
                if role.process is not None:
                    role.process.kill()
        self._stopping = True

    def _start(self, role: Role) -> None:
        role.process = subprocess.Popen(list(role.command), start_new_session=True, preexec_fn=_die_with_parent)
        role.started, role.again_at = time.monotonic(), None

    def _watch(self, role: Role) -> None:
        now = time.monotonic()
        if role.stopped_with is not None or role.process is None:
            return
        if role.again_at is not None:
            if now >= role.again_at:
                self._start(role)
            return
        code = role.process.poll()
        if code is None:
            return
        if code == EXIT_OPERATOR or code in role.fatal_codes:
            role.stopped_with = code
            _log.error("role stopped for an operator", role=role.name, exit=code, hint="`frazil doctor` says what to do")
            self._stopping = self._stopping or code in role.fatal_codes
            return
        role.crashes = 0 if now - role.started > _STEADY else role.crashes
        wait = self.backoff.wait(role.crashes)
        role.crashes += 1
        role.again_at = now + wait
        _log.warning("role ended; starting it again", role=role.name, exit=code, wait_seconds=round(wait, 1))

    def _drain(self) -> None:
        """Stop one role after the other: first what takes in, last what lands."""
        for role in self.roles:
            process = role.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(self.grace)
            except subprocess.TimeoutExpired:
                _log.error("role did not end in time; killed", role=role.name, seconds=self.grace)
                process.kill()
                process.wait()


def command(*words: str) -> list[str]:
    """This very installation's command line."""
    return [sys.executable, "-m", "frazil.cli", *words]


def _die_with_parent() -> None:
    """In the child, before exec: ask Linux for SIGTERM when the supervisor is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
        if os.getppid() == 1:
            os._exit(1)
