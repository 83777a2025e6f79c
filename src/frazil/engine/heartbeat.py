"""What workers are doing, for people and health checks in other processes: one small file, replaced as a whole.

Nothing is decided by it; the table alone holds progress.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

State = Literal["starting", "running", "standby", "waiting", "stopped", "done"]
"""standby: another process holds the lease · waiting: a system does not answer · stopped: for an operator."""


@dataclass
class Pulse:
    """One contract's worker. `error` as `FrazilError.as_dict`, None when all is well."""

    contract: str
    state: State = "starting"
    lag: int = 0
    commits: int = 0
    landed: int = 0
    dead: int = 0
    duplicates: int = 0
    last_commit: str | None = None
    error: dict[str, Any] | None = None


@dataclass
class Heartbeat:
    """Writes `<role>.json` into the directory of running things."""

    directory: Path
    role: str = "process"
    pulses: dict[str, Pulse] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pulse(self, contract: str) -> Pulse:
        return self.pulses.setdefault(contract, Pulse(contract))

    def write(self) -> None:
        """Publish all pulses. A full disk or a lost directory is no reason to stop: the next beat tries again."""
        facts = {
            "pid": os.getpid(),
            "at": datetime.now(UTC).isoformat(),
            "contracts": {name: asdict(pulse) for name, pulse in list(self.pulses.items())},
        }
        with self._lock:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                fresh = self.directory / f".{self.role}.{os.getpid()}.json"
                fresh.write_text(json.dumps(facts))
                fresh.replace(self.directory / f"{self.role}.json")
            except OSError:
                return


def read(directory: Path, role: str = "process") -> dict[str, Any] | None:
    """The last beat, with `alive` telling whether its process still runs; None when there never was one."""
    try:
        facts: dict[str, Any] = json.loads((directory / f"{role}.json").read_text())
    except (OSError, ValueError):
        return None
    facts["alive"] = _alive(int(facts.get("pid", 0)))
    return facts


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
