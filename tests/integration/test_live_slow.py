"""Clients that do not keep up: let go of with a code, and nothing is lost to them; others notice nothing."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from frazil.api import app, live, live_windows
from frazil.log import Record
from frazil.project import Project
from tests.integration.test_live_windows import WINDOWS, counting, project, until
from tests.serving import ORDERS, SECONDS, Served, make_project, order, serving

EVENTS, AT_ONCE = 30_000, 2_000
PADDING = "x" * 900  # not compressed: more than what is in flight, the 10,000 that may wait, and all buffers


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(project(tmp_path_factory.mktemp("slow") / "project")) as running:
        yield running


def opened(port: int, what: str) -> ClientConnection:
    """A client with a small buffer of its own, which reads on only as its messages are asked for."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    plain.settimeout(SECONDS)
    plain.connect(("127.0.0.1", port))
    address = f"ws://127.0.0.1:{port}/api/v1/live/{what}"
    return connect(address, sock=plain, proxy=None, open_timeout=SECONDS, max_queue=4, ping_interval=None, compression=None)


def test_a_client_that_takes_nothing_is_closed_with_4008_and_goes_on_where_it_was(served: Served) -> None:
    with opened(served.port, "orders") as slow, opened(served.port, "orders") as quick:
        numbers: list[int] = []
        reading = threading.Thread(target=lambda: numbers.extend(taken(quick, EVENTS)))
        reading.start()
        for first in range(0, EVENTS, AT_ONCE):
            served.send([order(number=number, padding=PADDING) for number in range(first, first + AT_ONCE)])
        reading.join(SECONDS)
        assert numbers == list(range(EVENTS)), "the other client has them all"
        frames = list(until_closed(slow))  # only now
    assert slow.close_code == live.TOO_SLOW == 4008
    seen, cursor = [int(frame["event"]["number"]) for frame in frames], frames[-1]["cursor"]
    assert seen == list(range(len(seen)))
    assert 0 < len(seen) < EVENTS
    with opened(served.port, f"orders?after={cursor}") as again:
        assert seen + list(taken(again, EVENTS - len(seen))) == list(range(EVENTS)), "nothing is lost and nothing comes twice"


def until_closed(connection: ClientConnection) -> Iterator[dict[str, Any]]:
    with suppress(ConnectionClosed):
        while True:
            yield json.loads(connection.recv(timeout=SECONDS))


def taken(connection: ClientConnection, count: int) -> Iterator[int]:
    for _ in range(count):
        yield int(json.loads(connection.recv(timeout=SECONDS))["event"]["number"])


def test_a_slow_client_of_a_window_skips_what_was_replaced_and_has_the_newest(served: Served) -> None:
    with counting(served.root), opened(served.port, "windows/minutes") as quick:
        served.send([order(at="2026-11-20T13:00:00Z", note="slow", value=1)])
        told = until(quick, lambda frame: frame["key"] == {"note": "slow"})[-1]
        for _ in range(20):
            served.send([order(at="2026-11-20T13:00:00Z", note="slow", value=1)])
            until(quick, lambda frame: frame["key"] == {"note": "slow"})
        with opened(served.port, f"windows/minutes?after={told['cursor']}") as late:
            newest = until(late, lambda frame: frame["key"] == {"note": "slow"})[-1]
    assert newest["values"]["orders"] == 21
    assert newest["revision"] == told["revision"] + 20


KEYS, NOTE = 1_000, "x" * 4_000  # results of 4 MB: all buffers on the way hold a tenth of it


@contextmanager
def serving_here(root: Path) -> Iterator[int]:
    """The real server in a thread of this process, where its patience can be shortened, with small buffers; its port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "_configure_logs", lambda: None)
        running, taken = app.server(Project.at(root)), app.bind("127.0.0.1", 0)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)  # each connection has it from here
        port = int(taken.getsockname()[1])
        thread = threading.Thread(target=running.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        try:
            due = time.monotonic() + SECONDS
            while not running.started:
                assert thread.is_alive(), "it did not start"
                assert time.monotonic() < due, "it does not answer"
                time.sleep(0.01)
            yield port
        finally:
            running.should_exit = True
            thread.join(SECONDS)
            taken.close()


def test_a_client_of_a_window_that_takes_nothing_is_closed_with_4008_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = ORDERS.replace("maxLength: 200", "maxLength: 5000")
    root = make_project(tmp_path / "project", contracts={"orders": contract})
    (root / "windows.yaml").write_text(WINDOWS)
    notes = {f"{number:04}{NOTE}" for number in range(KEYS)}
    project = Project.at(root)
    writer = project.log_writer(project.contract("orders"))
    writer.append([Record(json.dumps(order(note=note)).encode()) for note in notes], request=1, received_at=datetime.now(UTC))
    writer.close()
    with capture_logs() as said, serving_here(root) as port, counting(root):
        with opened(port, "windows/minutes?after=0") as quick:
            assert {frame["key"]["note"] for frame in received(quick, KEYS)} == notes
        with opened(port, "windows/minutes?after=0") as slow:
            monkeypatch.setattr(live_windows, "_PATIENCE_S", 0.2)
            first = json.loads(slow.recv(timeout=SECONDS))  # and no more
            due = time.monotonic() + SECONDS
            while not (told := [line for line in said if line["event"] == "client_too_slow"]):
                assert time.monotonic() < due, "nobody gave up on it"
                time.sleep(0.01)
            monkeypatch.undo()
            frames = [first, *until_closed(slow)]
        assert slow.close_code == live.TOO_SLOW
        assert told == [{"component": "live", "window": "minutes", "after": 0, "event": "client_too_slow", "log_level": "info"}]
        seen = {frame["key"]["note"] for frame in frames}
        assert 0 < len(seen) == len(frames) < KEYS
        with opened(port, f"windows/minutes?after={frames[-1]['cursor']}") as again:
            rest = {frame["key"]["note"] for frame in received(again, KEYS - len(seen))}
    assert seen | rest == notes, "nothing is lost"


def received(connection: ClientConnection, count: int) -> Iterator[dict[str, Any]]:
    for _ in range(count):
        yield json.loads(connection.recv(timeout=SECONDS))
