"""The connection: answers in one write, bodies in the pieces they came in, and whoever is overdue is let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from frazil.api import protocol
from frazil.api.app import DrainingServer, bind
from frazil.api.protocol import BoundedProtocol, ServerConfig

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


async def talk(app: App, sent: bytes, *, message_seconds: float = 20, keep_alive: int = 20, pause: bytes = b"") -> bytes:
    """What a server of this app answers to these bytes, and to `pause` sent after the first answer, until it closes the connection."""
    config = ServerConfig(app, http=BoundedProtocol, log_config=None, access_log=False, lifespan="off", timeout_keep_alive=keep_alive)
    config.message_seconds = message_seconds
    server, taken = DrainingServer(config), bind("127.0.0.1", 0)
    running = asyncio.create_task(server.serve(sockets=[taken]))
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*taken.getsockname())
    writer.write(sent)
    answer = b""
    if pause:
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.write(pause)
    answer += await reader.read()
    writer.close()
    server.should_exit = True
    await running
    return answer


def answering(*bodies: bytes, headers: list[tuple[bytes, bytes]]) -> App:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, body in enumerate(bodies, 1):
            await send({"type": "http.response.body", "body": body, "more_body": number < len(bodies)})

    return app


ASK = b"GET /a HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"


def test_an_answer_in_parts_is_the_answer_in_one() -> None:
    whole = asyncio.run(talk(answering(b"onetwo", headers=[(b"content-length", b"6")]), ASK))
    parts = asyncio.run(talk(answering(b"one", b"two", headers=[(b"content-length", b"6")]), ASK))
    assert whole.startswith(b"HTTP/1.1 200 OK\r\n")
    assert whole.endswith(b"\r\n\r\nonetwo")
    assert sorted(whole.lower().splitlines()[2:]) == sorted(parts.lower().splitlines()[2:])


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: x=1", b"a\nb", b"a\rb", b"a\0b"])
def test_a_header_cannot_bring_another(value: bytes) -> None:
    answer = asyncio.run(talk(answering(b"x", headers=[(b"content-length", b"1"), (b"location", value)]), ASK))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert value not in answer


def test_a_body_comes_in_its_pieces() -> None:
    seen: list[bytes] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            seen.append(message["body"])
            more = message["more_body"]
        assert scope["state"]["cycle"].take() == []
        await answering(b"x", headers=[(b"content-length", b"1")])(scope, lambda: asyncio.sleep(0, {"more_body": False}), send)

    body = bytes(range(256)) * 8000
    asyncio.run(talk(app, b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body))
    assert b"".join(seen) == body
    assert len([piece for piece in seen if piece]) > 1


def test_requests_in_a_row_are_answered_in_order() -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await answering(scope["path"].encode(), headers=[(b"content-length", b"2")])(scope, receive, send)

    answer = asyncio.run(talk(app, ASK.replace(b"connection: close\r\n", b"") * 2 + ASK.replace(b"/a", b"/b")))
    assert [part[-2:] for part in answer.split(b"HTTP/1.1")[1:]] == [b"/a", b"/a", b"/b"]


@pytest.mark.parametrize("body", [b"whole", b""])
def test_a_body_that_is_here_is_taken_without_waiting(body: bytes) -> None:
    taken: list[list[bytes] | None] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        taken.extend((scope["state"]["cycle"].take(), scope["state"]["cycle"].take()))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    answer = asyncio.run(talk(app, b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"".join(taken[0] or []) == body
    assert taken[1] == []


def test_a_body_that_is_on_its_way_is_waited_for() -> None:
    taken: list[list[bytes] | None] = []
    seen: list[bytes] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        taken.append(scope["state"]["cycle"].take())
        more = True
        while more:
            message = await receive()
            seen.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    ask = b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
    answer = asyncio.run(talk(app, ask, pause=b"late"))
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert (taken, b"".join(seen)) == ([None], b"late")


@pytest.mark.parametrize("outcome", ["answers", "fails", "keeps silent"])
def test_no_task_outlives_its_request(outcome: str) -> None:
    tasks: list[set[asyncio.Task[None]]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        running = scope["state"]["cycle"].tasks
        assert asyncio.current_task() in running
        tasks.append(running)
        if outcome == "fails":
            raise ValueError("it broke")
        if outcome == "answers":
            await answering(b"x", headers=[(b"content-length", b"1")])(scope, receive, send)

    answer = asyncio.run(talk(app, ASK))
    assert answer.startswith(b"HTTP/1.1 200 " if outcome == "answers" else b"HTTP/1.1 500 ")
    assert tasks == [set()]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TICK_SECONDS", 0.02)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc"])
def test_a_request_that_does_not_arrive_is_cut(sent: bytes) -> None:
    with suppress(ConnectionResetError):  # which is how a cut is seen when bytes were on their way
        assert asyncio.run(asyncio.wait_for(talk(answering(b"", headers=[]), sent, message_seconds=0.1), 10)) == b""


@pytest.mark.usefixtures("quick")
def test_an_idle_connection_is_kept_a_while_and_then_closed() -> None:
    app = answering(b"", headers=[(b"content-length", b"0")])
    ask = ASK.replace(b"connection: close\r\n", b"")
    answer = asyncio.run(asyncio.wait_for(talk(app, ask, keep_alive=1, message_seconds=0.1, pause=ask), 10))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
