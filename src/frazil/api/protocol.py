"""The HTTP/1.1 connection: uvicorn's, with bounds on headers and time and with problems instead of plain text.

What happens once per request is kept short here: no timer, no copy of the body.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from frazil.api import problems
from frazil.errors import FrazilError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent, HTTPResponseStartEvent, HTTPScope

MAX_HEADER_BYTES: Final = 64 * 1024
HELD_BYTES: Final = 256 * 1024
"""Bytes of a body that a connection may hold unread; then it reads no more from its socket."""
TICK_SECONDS: Final = 0.5
"""How often overdue connections are looked for."""


class ServerConfig(uvicorn.Config):
    """The server's configuration. `message_seconds`: how long a request may take to arrive, headers and body."""

    message_seconds = 35.0
    _watch: Watch | None = None

    def watch(self, connection: BoundedProtocol) -> None:
        """Close a connection when it is overdue."""
        if self._watch is None or self._watch.loop is not connection.loop:
            self._watch = Watch(connection.loop)
        self._watch.add(connection)


class Watch:
    """Closes overdue connections. One timer for all of them: setting a timer costs more than reading a small request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._connections: set[BoundedProtocol] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: BoundedProtocol) -> None:
        self._connections.add(connection)
        if self._timer is None:
            self._timer = self.loop.call_later(TICK_SECONDS, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        for connection in [one for one in self._connections if one.due <= now]:
            connection.expire()
        self._connections = {one for one in self._connections if not one.transport.is_closing()}
        self._timer = self.loop.call_later(TICK_SECONDS, self._look) if self._connections else None


class Cycle(RequestResponseCycle):
    """A request and its answer. The body stays in the pieces it came in: whoever wants it whole copies it once."""

    # What uvicorn's own gives every request anew.
    disconnected = False
    more_body = True
    response_started = False
    response_complete = False
    chunked_encoding: bool | None = None
    expected_content_length = 0
    held = 0
    _start: HTTPResponseStartEvent | None = None

    def __init__(self, connection: BoundedProtocol, scope: HTTPScope, *, keep_alive: bool) -> None:
        self.scope = scope
        self.transport, self.flow = connection.transport, connection.flow
        self.logger, self.access_logger, self.access_log = connection.logger, connection.access_logger, connection.access_log
        self.default_headers = connection.server_state.default_headers
        self.on_response = connection.on_response_complete
        self.tasks = connection.tasks
        self.waiting_for_100_continue = connection.expect_100_continue
        self.keep_alive = keep_alive
        self.message_event = asyncio.Event()
        self.pieces: deque[bytes] = deque()

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Have the app answer; where it did not, uvicorn says so."""
        error: BaseException | None = None
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as caught:
            error = caught
        if error is not None or not self.response_complete:

            async def outcome(*_: object) -> None:
                if error is not None:
                    raise error

            await super().run_asgi(outcome)
        self.tasks.discard(asyncio.current_task())  # type: ignore[arg-type]

    def take(self) -> list[bytes] | None:
        """All of the body, in pieces, if it is here: then nobody need wait for it."""
        if self.more_body or self.disconnected or self.response_complete:
            return None
        pieces = list(self.pieces)
        self.pieces.clear()
        self.held = 0
        self.message_event.clear()
        return pieces

    async def receive(self) -> ASGIReceiveEvent:
        """The next piece of the body."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.message_event.is_set() and not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            await self.message_event.wait()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        piece = self.pieces.popleft() if self.pieces else b""
        self.held -= len(piece)
        if not self.pieces:
            self.message_event.clear()
        return {"type": "http.request", "body": piece, "more_body": self.more_body or bool(self.pieces)}

    async def send(self, message: ASGISendEvent) -> None:
        """Status, headers and body of an answer in one write; what comes in parts goes uvicorn's way."""
        if message["type"] == "http.response.start" and self._start is None and not self.response_started:
            self._start = message
            return
        start, self._start = self._start, None
        if start is None or message["type"] != "http.response.body":
            await super().send(message)
        elif message.get("more_body") or not self.answer(start["status"], start["headers"], message["body"]):
            await super().send(start)
            await super().send(message)

    def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole answer in one write; False, and nothing is sent, where that is not all there is to do."""
        if self.flow.write_paused or self.disconnected or self.response_started or self.scope["method"] == "HEAD":
            return False
        known = dict(headers)
        if known.get(b"content-length") != b"%d" % len(body) or b"connection" in known or b"transfer-encoding" in known:
            return False
        lines = [b"%b: %b\r\n" % header for header in (*self.default_headers, *headers)]
        head = STATUS_LINE[status] + b"".join(lines)
        if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1 or b"\0" in head:
            raise RuntimeError("a header holds a line break")
        self.response_started = self.response_complete = True
        self.transport.write(b"%b%b\r\n%b" % (head, b"" if self.keep_alive else b"connection: close\r\n", body))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.scope["state"].pop("cycle", None)  # they know each other: memory that only the collector would find
        self.on_response()
        return True


class Malformed(FrazilError):
    """What came is not an HTTP request."""

    code = "http.malformed"


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A request, headers and body, must be complete in the config's `message_seconds`, headers within 64 KiB."""

    config: ServerConfig
    cycle: Cycle
    due = math.inf
    """When it is overdue, by the loop's clock: a request that has not arrived, or nothing asked for too long."""
    _idle = False
    _header_bytes = 0
    _too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        self.config.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.due = math.inf
        super().connection_lost(exc)

    def expire(self) -> None:
        """Close what is idle; cut what has not arrived in time."""
        if not self.transport.is_closing():
            self.transport.close() if self._idle else self.transport.abort()

    def eof_received(self) -> None:
        """The client sent all it will: a request it left unfinished is answered 400, then the connection closes."""
        unfinished = self.cycle is not None and self.cycle.more_body and not self.cycle.response_started
        if unfinished and not self.transport.is_closing():
            self._answer(
                400, Malformed("the request ended before its body did", hint="send as many bytes as Content-Length says", code="body.cut")
            )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        if self._idle or self.due == math.inf:
            self._wait()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request. As uvicorn does, with a cycle that copies nothing; there is no limit on concurrency and no root path here."""
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        if parser.should_upgrade() and self._should_upgrade():
            return
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        before = self.cycle
        self.cycle = Cycle(self, scope, keep_alive=version != "1.0" and parser.should_keep_alive())
        scope["state"]["cycle"] = self.cycle
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:  # pipelined: after the one before it
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.tasks.add(self.loop.create_task(cycle.run_asgi(app)))  # it takes itself out of them: a callback would cost another turn

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if (self.parser.should_upgrade() and self._should_upgrade()) or cycle.response_complete:
            return
        cycle.pieces.append(body)
        cycle.held += len(body)
        if cycle.held > HELD_BYTES:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self.due = math.inf
        cycle = self.cycle
        if (self.parser.should_upgrade() and self._should_upgrade()) or cycle.response_complete:
            return
        cycle.more_body = False
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with what was pipelined, else wait for the next request as long as the config keeps idle connections."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.due == math.inf:
            self._idle = True
            self.due = self.loop.time() + self.timeout_keep_alive

    def send_400_response(self, msg: str) -> None:
        """Answer what could not be read as a request, as a problem; named by uvicorn."""
        if self._too_large:
            hint = f"keep the address and the headers within {MAX_HEADER_BYTES} bytes"
            self._answer(431, Malformed("the headers are too large", hint=hint, code="http.headers_too_large"))
        else:
            self._answer(400, Malformed("this is not an HTTP request", hint="check Content-Length, chunks and header syntax"))

    def _answer(self, status: int, error: FrazilError) -> None:
        content = json.dumps(problems.body_of(error, status)).encode()
        head = f"content-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + content)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            self._too_large = True
            raise ValueError("headers too large")  # the parser passes it on as its own error

    def _wait(self) -> None:
        self._idle = False
        self.due = self.loop.time() + self.config.message_seconds
