"""What the fault tests of the log share: the appender process, strace, and the judgement of what is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from frazil.batch import Position
from frazil.log.embedded import EmbeddedReader

APPENDER = Path(__file__).with_name("log_appender.py")


@dataclass
class Said:
    """What appenders said: what was acknowledged and where, and what was refused."""

    acked: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    failed: list[tuple[str, int, str]] = field(default_factory=list)
    closed: bool = False

    def hear(self, name: str, line: str) -> None:
        match line.split():
            case ["acked", batch, first, last]:
                self.acked[name, int(batch)] = (int(first), int(last))
            case ["failed", batch, code, _]:
                self.failed.append((name, int(batch), code))
            case ["closed"]:
                self.closed = True


def need_strace() -> str:
    """The way to strace; without it the tests are skipped, loudly, but never in CI."""
    found = shutil.which("strace")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("strace is absent: the kill tests did not run")
        pytest.skip("strace is absent: kills at chosen system calls are NOT tested")
    return found


def command(directory: Path, todo: dict[str, Any], inject: Sequence[str] = ()) -> list[str]:
    traced = (
        [need_strace(), "-f", "-qq", "-o", os.devnull, *(word for rule in inject for word in ("-e", f"inject={rule}"))] if inject else []
    )
    return [*traced, sys.executable, str(APPENDER), str(directory), json.dumps(todo)]


def run(directory: Path, said: Said, inject: Sequence[str] = (), **todo: Any) -> int:
    """Run an appender to its end or its death; its exit status."""
    todo = {"name": "a", **todo}
    done = subprocess.run(command(directory, todo, inject), capture_output=True, text=True, timeout=120, check=False)
    for line in done.stdout.splitlines():
        said.hear(todo["name"], line)
    killed = {-signal.SIGKILL, 128 + signal.SIGKILL}
    assert done.returncode == 0 or done.returncode in killed, done.stderr
    return done.returncode


def start(directory: Path, **todo: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(command(directory, {"name": "a", **todo}), stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def read_all(directory: Path) -> dict[int, bytes]:
    """Every record by its offset; asserts that there is no gap and no offset twice."""
    reader, position, held = EmbeddedReader(directory), Position.empty(), dict[int, bytes]()
    expected = reader.oldest()["0"]
    while (batch := reader.read(after=position, limit=1_000)) is not None:
        for offset, value in zip(batch.rows.column("offset").to_pylist(), batch.rows.column("value").to_pylist(), strict=True):
            assert offset == expected, f"offset {offset} where {expected} was due"
            held[offset] = value
            expected += 1
        position = position.after(batch.spans)
    assert reader.lag(position) == 0
    assert reader.ends()["0"] == expected - 1
    reader.close()
    return held


def judge(directory: Path, said: Said, *, oldest: int = 0) -> None:
    """Acknowledged records are readable where it was said; nothing was invented, repeated or torn apart."""
    held = read_all(directory)
    for (name, batch), (first, last) in said.acked.items():
        for number, offset in enumerate(range(first, last + 1)):
            if offset >= oldest:
                assert held[offset].startswith(f"{name}:{batch}:{number}:".encode()), f"batch {batch} of {name} is not at {offset}"
    assert len(set(held.values())) == len(held), "a record is in the log twice"
    batches: dict[tuple[bytes, bytes], list[int]] = {}
    for value in held.values():
        name_, batch_, number_, pad = value.split(b":")
        assert pad == b"." * len(pad)
        batches.setdefault((name_, batch_), []).append(int(number_))
    for (name_, batch_), numbers in batches.items():
        if (name_.decode(), int(batch_)) not in said.acked and min(held) > 0:
            continue  # the beginning of an unacknowledged batch may lie behind the floor
        whole = numbers == list(range(len(numbers)))
        assert whole or oldest > 0, f"half of batch {batch_!r} is in the log"
