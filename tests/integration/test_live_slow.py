"""Clients that do not keep up: let go of with a code, and nothing is lost to them; others notice nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from frazil.api import live, live_windows
from frazil.project import Project
from tests.integration.test_live_windows import counting, project, until
from tests.serving import SECONDS, Served, order, serving

EVENTS, AT_ONCE = 30_000, 2_000
PADDING = "x" * 900  # not compressed: more than what is in flight, the 10,000 that may wait, and all buffers


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(project(tmp_path_factory.mktemp("slow") / "project")) as running:
        yield running


def opened(served: Served, what: str) -> ClientConnection:
    """A client with a small buffer of its own."""
    plain = socket.create_connection(("127.0.0.1", served.port))
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    address = f"ws://127.0.0.1:{served.port}/api/v1/live/{what}"
    return connect(address, sock=plain, proxy=None, open_timeout=SECONDS, max_queue=4, ping_interval=None, compression=None)


def test_a_client_that_takes_nothing_is_closed_with_4008_and_goes_on_where_it_was(served: Served) -> None:
    with opened(served, "orders") as slow, opened(served, "orders") as quick:
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
    with opened(served, f"orders?after={cursor}") as again:
        assert seen + list(taken(again, EVENTS - len(seen))) == list(range(EVENTS)), "nothing is lost and nothing comes twice"


def until_closed(connection: ClientConnection) -> Iterator[dict[str, Any]]:
    with suppress(ConnectionClosed):
        while True:
            yield json.loads(connection.recv(timeout=SECONDS))


def taken(connection: ClientConnection, count: int) -> Iterator[int]:
    for _ in range(count):
        yield int(json.loads(connection.recv(timeout=SECONDS))["event"]["number"])


def test_a_slow_client_of_a_window_skips_what_was_replaced_and_has_the_newest(served: Served) -> None:
    with counting(served.root), opened(served, "windows/minutes") as quick:
        served.send([order(at="2026-11-20T13:00:00Z", note="slow", value=1)])
        told = until(quick, lambda frame: frame["key"] == {"note": "slow"})[-1]
        for _ in range(20):
            served.send([order(at="2026-11-20T13:00:00Z", note="slow", value=1)])
            until(quick, lambda frame: frame["key"] == {"note": "slow"})
        with opened(served, f"windows/minutes?after={told['cursor']}") as late:
            newest = until(late, lambda frame: frame["key"] == {"note": "slow"})[-1]
    assert newest["values"]["orders"] == 21
    assert newest["revision"] == told["revision"] + 20


class Stuck:
    """A client's end that takes nothing: `send_text` never returns."""

    code: int | None = None

    async def send_text(self, text: str) -> None:
        await asyncio.sleep(SECONDS)

    async def close(self, code: int, reason: str) -> None:
        self.code = code


def test_a_client_of_a_window_that_takes_nothing_is_closed_with_4008(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path / "project")
    with serving(root) as running, counting(root), opened(running, "windows/minutes") as quick:
        running.send([order(note="a", value=1)])
        until(quick, lambda frame: frame["key"] == {"note": "a"})
    here = Project.at(root)
    spec, clients, stuck = here.window("minutes"), live_windows.LiveWindows(here), Stuck()
    monkeypatch.setattr(live_windows, "_PATIENCE_S", 0.05)
    client: Any = stuck
    asyncio.run(asyncio.wait_for(clients._send(client, spec, clients._reader(spec), 0, only_final=False), SECONDS))
    assert stuck.code == live.TOO_SLOW
