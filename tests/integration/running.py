"""Commands and roles as a person runs them: real processes, real ports, real files."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from frazil.cli import app

FRAZIL = (sys.executable, "-m", "frazil.cli")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


ROLES = ("up", "serve", "process", "maintain")


def frazil(*words: str, cwd: Path, stdin: bytes = b"", **env: str) -> Done:
    """Run one command to its end: roles in a process of their own, the rest in this one, which has everything loaded."""
    if words[0] in ROLES:
        done = subprocess.run(
            [*FRAZIL, *words], cwd=cwd, input=stdin, capture_output=True, env={**os.environ, **env}, timeout=280, check=False
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
    out, err = io.StringIO(), io.StringIO()
    structlog.reset_defaults()  # whatever another test left
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        for name, value in env.items():
            patch.setenv(name, value)
        try:
            code = app.run(list(words))
        finally:
            structlog.reset_defaults()
    return Done(code, out.getvalue(), err.getvalue())


@dataclass
class Up:
    """A running `frazil up`."""

    url: str
    process: subprocess.Popen[bytes]
    said: Path

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def up(root: Path, **env: str) -> Iterator[Up]:
    """`frazil up` on a free port, ready."""
    said = root / "up.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [*FRAZIL, "up", "--port", "0"], cwd=root, stdout=log, stderr=log, env={**os.environ, **env}, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 90
        while (found := re.search(r"POST (http://[^/]+)/", said.read_text())) is None:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
        yield Up(found[1], process, said)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
