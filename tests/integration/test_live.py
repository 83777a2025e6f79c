"""Events over WebSocket: a real server, real clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from frazil.api import live
from frazil.batch import Batch, Processed
from frazil.errors import ConfigError
from frazil.log import Record
from frazil.process.where import Where
from frazil.project import Project
from tests.serving import SECONDS, Served, make_project, order, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(make_project(tmp_path_factory.mktemp("live") / "project")) as running:
        yield running


def watch(served: Served, topic: str = "orders", *, headers: dict[str, str] | None = None, **asked: str) -> ClientConnection:
    address = f"ws://127.0.0.1:{served.port}/api/v1/live/{topic}?{urlencode(asked)}"
    return connect(address, proxy=None, open_timeout=SECONDS, additional_headers=headers or {})


def take(connection: ClientConnection, count: int) -> list[dict[str, Any]]:
    return [json.loads(connection.recv(timeout=SECONDS)) for _ in range(count)]


def test_events_come_as_they_were_sent_once_and_in_order(served: Served) -> None:
    with watch(served) as one, watch(served) as other:
        sent = [order(value=number) for number in range(50)]
        served.send(sent[:20])
        served.send([order(value=-1), *sent[20:]])
        for connection in (one, other):
            frames = take(connection, 50)
            assert [frame["event"] for frame in frames] == sent, "the dead one is not among them"
            offsets = [frame["offset"] for frame in frames]
            assert offsets == sorted(set(offsets))


def test_a_client_goes_on_after_its_cursor(served: Served) -> None:
    with watch(served) as first:
        served.send([order(value=1), order(value=2)])
        cursor = take(first, 2)[0]["cursor"]
    served.send([order(value=3)])
    with watch(served, after=cursor) as second:
        served.send([order(value=4)])
        assert [frame["event"]["value"] for frame in take(second, 3)] == [2, 3, 4]


def test_nothing_is_lost_or_doubled_between_catching_up_and_now(served: Served) -> None:
    with watch(served) as first:
        served.send([order(value=0)])
        cursor = take(first, 1)[0]["cursor"]
    over = threading.Event()

    def traffic() -> None:
        for number in range(1, 301):
            served.send([order(value=number)])
        over.set()

    sender = threading.Thread(target=traffic)
    sender.start()
    try:
        seen = []
        for _ in range(3):  # connects anew in the middle of the traffic
            with watch(served, after=cursor) as connection:
                frames = take(connection, 100)
                seen += [frame["event"]["value"] for frame in frames]
                cursor = frames[-1]["cursor"]
    finally:
        sender.join()
    assert seen == list(range(1, 301))


def test_a_condition_chooses(served: Served) -> None:
    with watch(served, where="value >= 10 and note = 'x'") as connection:
        served.send([order(value=5, note="x"), order(value=10), order(value=11, note="x"), order(value=12, note="x")])
        assert [frame["event"]["value"] for frame in take(connection, 2)] == [11, 12]


@pytest.mark.parametrize(
    ("topic", "asked", "code", "says"),
    [
        ("nobody", {}, live.UNKNOWN, "contract.unknown"),
        ("orders", {"where": "value >"}, live.BAD_REQUEST, "where.syntax"),
        ("orders", {"where": "prize = 1"}, live.BAD_REQUEST, "where.unknown_field"),
        ("orders", {"where": "value = 'x'"}, live.BAD_REQUEST, "where.syntax"),
        ("orders", {"after": "yesterday"}, live.BAD_REQUEST, "live.cursor"),
        ("orders", {"after": "0:99999999"}, live.GONE, None),
    ],
)
def test_what_cannot_be_shown_is_closed_with_a_code_and_a_reason(
    served: Served, topic: str, asked: dict[str, str], code: int, says: str | None
) -> None:
    with watch(served, topic, **asked) as connection, pytest.raises(ConnectionClosed) as closed:  # noqa: PT012
        if says is not None:
            assert take(connection, 1)[0]["error"]["code"] == says
        connection.recv(timeout=SECONDS)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, bool(closed.value.rcvd.reason)) == (code, True)


def test_a_web_page_of_somebody_else_is_refused(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused, watch(served, headers={"Origin": "http://evil.example"}):
        pass
    assert refused.value.response.status_code == 403


def test_a_client_that_does_not_keep_up_is_let_go_of() -> None:
    watcher = live.Watcher(None, None)  # type: ignore[arg-type]
    many = live.Judged(pa.RecordBatch.from_pylist([{"a": 1}]), [live.Event("0", n, "}") for n in range(4_000)])
    for _ in range(3):
        watcher.offer(many)
    assert watcher.too_slow
    assert [watcher.queue.get_nowait() is None for _ in range(3)] == [False, False, True]


def test_two_who_come_at_once_share_one_feed(tmp_path: Path) -> None:
    project = Project.at(make_project(tmp_path / "project"))
    contract, feeds = project.contract("orders"), live.Live(project)

    async def come() -> set[live.Feed]:
        loop = asyncio.get_running_loop()
        return set(await asyncio.gather(*(feeds._attached(contract, live.Watcher(None, loop)) for _ in range(5))))

    (feed,) = asyncio.run(come())
    feed.stop()


def test_a_feed_outlives_what_nobody_foresaw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.at(make_project(tmp_path / "project"))
    contract = project.contract("orders")
    judge, failures = project.processor(contract), [RuntimeError("unforeseen")]

    def process(raw: Batch) -> Processed:
        if failures:
            raise failures.pop()
        return judge(raw)

    monkeypatch.setattr(Project, "processor", lambda *_: process)

    async def heard() -> int:
        watcher = live.Watcher(None, asyncio.get_running_loop())
        feed = await asyncio.to_thread(live.Feed, project, contract)
        feed.add(watcher)
        writer = project.log_writer(contract)
        try:
            for number in range(1_000):
                record = Record(json.dumps(order()).encode())
                await asyncio.to_thread(writer.append, [record], request=number + 1, received_at=datetime.now(UTC))
                with contextlib.suppress(TimeoutError):
                    found = await asyncio.wait_for(watcher.queue.get(), 0.1)
                    return len(found.events) if found is not None else 0
        finally:
            feed.stop()
            writer.close()
        return 0

    assert asyncio.run(heard()) > 0
    assert not failures


def test_tail_shows_events_as_lines(served: Served, tmp_path: Path) -> None:
    with watch(served) as connection:
        served.send([order(value=41), order(value=42)])
        cursor = take(connection, 1)[0]["cursor"]
    command = [
        sys.executable,
        "-m",
        "frazil.cli",
        "tail",
        "orders",
        "--url",
        f"http://127.0.0.1:{served.port}",
        "--after",
        cursor,
        "-n",
        "1",
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["value"] == 42


def test_conditions_hold_as_in_sql(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project")
    contract = Project.at(root).contract("orders")
    from frazil.process.where import _empty

    schema = _empty(contract).schema
    base = {at.name: None for at in schema}
    rows = pa.RecordBatch.from_pylist([base | {"value": value, "note": note} for value, note in [(1, "a"), (2, None), (None, "b")]], schema)
    cases = {
        "value > 1": [False, True, False],
        "not value > 1": [True, False, False],
        "value != 1": [False, True, False],
        "note is null": [False, True, False],
        "note is not null and value is not null": [True, False, False],
        "note in ('a', 'b')": [True, False, True],
        "note not in ('a')": [False, False, True],
        "note like 'a%' or value = 2": [True, True, False],
        "id = '1dc27378-d9a2-4d75-ab45-8d5a2dd641b1'": [False, False, False],
        "at >= '2026-11-20T00:00:00Z'": [False, False, False],
    }
    for text, holds in cases.items():
        assert Where(text, contract)(rows).to_pylist() == holds, text
    with pytest.raises(ConfigError):
        Where("", contract)
