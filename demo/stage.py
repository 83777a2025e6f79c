"""What the story happens on: a project in `.demo/`, its commands, its processes, the kills."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from frazil.cli import app

FRAZIL = (sys.executable, "-m", "frazil.cli")


class Failed(Exception):
    """A step of the demo did not do what it should."""


class Stage:
    """One project directory and what runs on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        os.environ["FRAZIL_API__PORT"] = str(self.port)

    def clear(self) -> None:
        """Remove what an earlier run left; never anything that is not such a project."""
        if not self.root.exists():
            return
        if not (self.root / "frazil.toml").is_file():
            raise Failed(f"{self.root} is not a project of an earlier demo; move it away")
        shutil.rmtree(self.root)

    def run(self, *words: str, codes: Sequence[int] = (0,), show: bool = False) -> str:
        """Run one command line on the project, in this process, which has everything loaded; its stdout.

        `show` leaves its words on the screen.
        """
        out, err = io.StringIO(), io.StringIO()
        place = ["--project", str(self.root)] if self.root.exists() else []
        with ExitStack() as quiet:
            if not show:
                quiet.enter_context(redirect_stdout(out))
                quiet.enter_context(redirect_stderr(err))
            code = app.run([*place, *words])
        if code not in codes:
            raise Failed(f"`frazil {' '.join(words)}` ended with {code}\n{err.getvalue()}")
        return out.getvalue()

    def facts(self, *words: str, codes: Sequence[int] = (0,)) -> Any:
        """The JSON answer of a command."""
        return json.loads(self.run(*words, "--json", codes=codes))

    @contextmanager
    def up(self) -> Iterator[subprocess.Popen[bytes]]:
        """`frazil up` in the background, its words in `up.log`; drained and stopped at the end."""
        smaller = {**os.environ, "FRAZIL_PROCESS__BATCH_RECORDS": "10000"}  # more commits to be killed in
        with (self.root / "up.log").open("wb") as log:
            process = subprocess.Popen([*FRAZIL, "up"], cwd=self.root, env=smaller, stdout=log, stderr=log, start_new_session=True)
        try:
            self.wait_for(self._ready, 60, "the API did not get ready", process)
            self.wait_for(lambda: self.worker_pid() is not None, 60, "processing did not start", process)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def wait_for(self, true: Callable[[], bool], seconds: float, otherwise: str, process: subprocess.Popen[bytes] | None = None) -> float:
        """Poll until something is true; the seconds it took."""
        began = time.monotonic()
        while not true():
            if process is not None and process.poll() is not None:
                raise Failed(f"`frazil up` ended with {process.returncode}; see {self.root / 'up.log'}")
            if time.monotonic() - began > seconds:
                raise Failed(f"{otherwise} within {seconds:g} s; see {self.root / 'up.log'}")
            time.sleep(0.05)
        return time.monotonic() - began

    def pulse(self) -> dict[str, Any]:
        """What the processing role last said of itself: `pid` and its contracts."""
        try:
            facts: dict[str, Any] = json.loads((self.root / ".frazil" / "run" / "process.json").read_text())
        except (OSError, ValueError):
            return {"pid": None, "contracts": {}}
        return facts

    def worker_pid(self) -> int | None:
        """Process id of the living processing role."""
        pid = self.pulse()["pid"]
        try:
            os.kill(pid or 0, 0)
        except (ProcessLookupError, PermissionError):
            return None
        return pid or None

    def kill_worker(self) -> int:
        """SIGKILL the processing role, which can neither notice nor prepare; its process id."""
        pid = self.worker_pid()
        if pid is None:
            raise Failed("there is no processing role to kill")
        os.kill(pid, signal.SIGKILL)
        return pid

    def _ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/api/v1/health/ready", timeout=1.0):
                return True
        except (urllib.error.URLError, OSError):
            return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
