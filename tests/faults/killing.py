"""What the kill tests share: a project, commands forked to be killed, and the judgement by sets of what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from frazil.cli import app
from frazil.log import Record
from frazil.project import Project
from frazil.sink.books import Books
from frazil.sink.books import verify as balance
from frazil.table import files
from tests.shared import ROOT

CONTRACT = "events"


@dataclass
class Child:
    """A forked command."""

    pid: int
    zygote: Zygote

    def ended(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.zygote.ask({"poll": self.pid})["code"]

    def wait(self, seconds: float = 60.0) -> int:
        deadline = time.monotonic() + seconds
        while (code := self.ended()) is None:
            assert time.monotonic() < deadline, f"process {self.pid} did not end in {seconds:g} s"
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def stop(self) -> None:
        """SIGTERM: it lands what waits and ends."""
        os.kill(self.pid, signal.SIGTERM)
        assert self.wait() == 0


@dataclass
class Zygote:
    """See `tests/faults/zygote.py`."""

    log: Path
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        words = [sys.executable, "-m", "tests.faults.zygote"]
        self.process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def start(self, *argv: str, point: dict[str, Any] | None = None, **env: str) -> Child:
        """Fork `frazil` with these words."""
        return Child(self.ask({"argv": list(argv), "point": point, "log": str(self.log), "env": env})["pid"], self)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


@contextmanager
def zygote(place: Path) -> Iterator[Zygote]:
    made = Zygote(place / "words.log")
    try:
        yield made
    finally:
        made.close()


@dataclass
class Ground:
    """A project with one contract, and what was brought to disk: `acked` ids of good events, `bad` records that break it."""

    root: Path
    acked: list[str] = field(default_factory=list)
    bad: int = 0
    repeated: int = 0
    records: int = 0

    @classmethod
    def made(cls, root: Path) -> Ground:
        assert app.run(["init", str(root), "--example", "blank", "--name", "shop"]) == 0
        return cls(root)

    @property
    def project(self) -> Project:
        return Project.at(self.root)

    def batch(self, good: int, bad: int, repeated: int) -> list[bytes]:
        """New events, records that break the contract, and events that were there before; what they are is remembered."""
        fresh = [str(uuid.uuid4()) for _ in range(good)]
        again = (self.acked or fresh)[-repeated:] if repeated else []
        self.acked += fresh
        self.bad += bad
        self.repeated += len(again)
        self.records += good + bad + len(again)
        return [event(one) for one in fresh] + [b'{"id": "no"}'] * bad + [event(one) for one in again]

    def append(self, good: int = 24, bad: int = 3, repeated: int = 3) -> None:
        """Bring a batch to the log directly; returns when it is durable."""
        project = self.project
        writer = project.log_writer(project.contract(CONTRACT))
        try:
            records = [Record(value) for value in self.batch(good, bad, repeated)]
            writer.append(records, request=self.records, received_at=datetime.now(UTC))
        finally:
            writer.close()

    def books(self) -> Books:
        """The balance now; asserts that nothing is missing, doubled or invented, whatever was cut off."""
        project = self.project
        contract = project.contract(CONTRACT)
        reader = project.log_reader(contract)
        try:
            books = balance(contract, reader, project.sink(contract), project.dead_letters)
        finally:
            reader.close()
        assert books.balanced, (books.findings, books.differences)
        return books

    def ids(self) -> Counter[str]:
        """Ids of all rows, by PyIceberg alone."""
        project = self.project
        rows = files.found(project.lake.raw(project.contract(CONTRACT)), ["id"])
        return Counter(str(uuid.UUID(bytes=bytes(one))) if isinstance(one, bytes) else str(one) for one in rows.column("id").to_pylist())

    def judge(self) -> None:
        """0 lost, 0 doubled, 0 invented: by sets of ids, and by the books."""
        rows = self.ids()
        assert [one for one, count in rows.items() if count > 1] == [], "doubled"
        assert set(self.acked) - set(rows) == set(), "lost"
        assert set(rows) - set(self.acked) == set(), "invented"
        books = self.books()
        assert (books.records, books.pending) == (self.records, 0)
        assert (books.landed, books.dead, books.duplicates) == (len(self.acked), self.bad, self.repeated)
        assert app.run(["-C", str(self.root), "verify", "--json"]) == 0


def event(id: str) -> bytes:
    return json.dumps({"id": id, "at": "2026-11-20T12:00:00Z", "kind": "test", "amount": 1}).encode()


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
