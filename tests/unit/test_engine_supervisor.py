"""The supervisor: starts, restarts with growing waits, leaves an operator's case stopped, drains in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from frazil.engine import heartbeat
from frazil.engine.heartbeat import Heartbeat
from frazil.engine.lease import Lease, holder

SUPERVISED = """
import json, sys
from frazil.engine.cadence import Backoff
from frazil.engine.supervisor import Role, Supervisor
roles = [Role(name, [sys.executable, "-c", code], frozenset(fatal)) for name, code, fatal in json.loads(sys.argv[1])]
sys.exit(Supervisor(roles, backoff=Backoff(0.05, 0.2), grace=5.0).run())
"""
WAITS = """
import signal, sys, pathlib
def ended(*_):
    with open({file!r}, "a") as f: f.write("{name} ended\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, ended)
with open({file!r}, "a") as f: f.write("{name} began\\n")
while True: signal.pause()
"""
ENDS = """
with open({file!r}, "a") as f: f.write("{name} began\\n")
raise SystemExit({code})
"""


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def supervised(roles: list[tuple[str, str, list[int]]]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", SUPERVISED, json.dumps(roles)], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_roles_are_stopped_in_order_so_that_what_came_in_is_drained(tmp_path: Path) -> None:
    file = tmp_path / "said"
    roles = [(name, WAITS.format(file=str(file), name=name), []) for name in ("serve", "process")]
    with supervised(roles) as process:
        until(lambda: file.exists() and file.read_text().count("began") == 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert file.read_text().splitlines()[2:] == ["serve ended", "process ended"]


def test_a_crashed_role_is_started_again_and_the_others_go_on(tmp_path: Path) -> None:
    file = tmp_path / "said"
    roles = [("a", ENDS.format(file=str(file), name="a", code=1), []), ("b", WAITS.format(file=str(file), name="b"), [])]
    with supervised(roles) as process:
        until(lambda: file.exists() and file.read_text().count("a began") >= 3)
        assert file.read_text().count("b began") == 1
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_78_leaves_a_role_stopped_and_is_the_exit_code(tmp_path: Path) -> None:
    file = tmp_path / "said"
    roles = [("a", ENDS.format(file=str(file), name="a", code=78), []), ("b", WAITS.format(file=str(file), name="b"), [])]
    with supervised(roles) as process:
        until(lambda: file.exists() and file.read_text().count("began") == 2)
        time.sleep(0.5)
        assert file.read_text().count("a began") == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 78


def test_a_fatal_code_ends_everything(tmp_path: Path) -> None:
    file = tmp_path / "said"
    roles = [("a", ENDS.format(file=str(file), name="a", code=2), [2]), ("b", WAITS.format(file=str(file), name="b"), [])]
    with supervised(roles) as process:
        assert process.wait(20) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "said"
    with supervised([("a", WAITS.format(file=str(file), name="a"), [])]) as process:
        until(lambda: file.exists() and "began" in file.read_text())
        process.kill()
        until(lambda: "a ended" in file.read_text())


def test_one_holds_the_lease_and_its_end_frees_it(tmp_path: Path) -> None:
    first, second = Lease(tmp_path, "x"), Lease(tmp_path, "x")
    assert first.take()
    assert first.take()
    assert not second.take()
    assert holder(tmp_path, "x") == os.getpid()
    first.release()
    assert holder(tmp_path, "x") is None
    assert second.take()
    second.release()


def test_a_killed_holder_frees_the_lease(tmp_path: Path) -> None:
    take = f"assert Lease(Path({str(tmp_path)!r}), 'x').take()"
    code = f"from frazil.engine.lease import Lease; from pathlib import Path; {take}; print('held', flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert not Lease(tmp_path, "x").take()
    process.kill()
    process.wait()
    lease = Lease(tmp_path, "x")
    assert lease.take()
    lease.release()


def test_a_heartbeat_tells_others_how_workers_are(tmp_path: Path) -> None:
    beat = Heartbeat(tmp_path / "run")
    beat.pulse("events").lag = 7
    beat.write()
    facts = heartbeat.read(tmp_path / "run")
    assert facts is not None
    assert facts["alive"]
    assert facts["contracts"]["events"]["lag"] == 7
    assert heartbeat.read(tmp_path / "nowhere") is None
    (tmp_path / "run" / "process.json").write_text("{")
    assert heartbeat.read(tmp_path / "run") is None
