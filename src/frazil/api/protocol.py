"""The HTTP/1.1 connection: uvicorn's, with bounds on headers and time and with problems instead of plain text.

What happens once per request is kept short here: no timer, no copy of the body.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from frazil.api import problems
from frazil.errors import FrazilError

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent, HTTPResponseBodyEvent, HTTPResponseStartEvent

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

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts)
        self.pieces: deque[bytes] = deque()
        self.held = 0
        self._start: HTTPResponseStartEvent | None = None

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
        elif self._is_simple(start, message):
            self._answer(start, message["body"])
        else:
            await super().send(start)
            await super().send(message)

    def _is_simple(self, start: HTTPResponseStartEvent, body: HTTPResponseBodyEvent) -> bool:
        if self.flow.write_paused or self.disconnected or body.get("more_body") or self.scope["method"] == "HEAD":
            return False
        known = dict(start["headers"])
        return (
            known.get(b"content-length") == b"%d" % len(body["body"]) and b"connection" not in known and b"transfer-encoding" not in known
        )

    def _answer(self, start: HTTPResponseStartEvent, body: bytes) -> None:
        headers = [*self.default_headers, *start["headers"]]
        head = b"".join([STATUS_LINE[start["status"]], *[b"%b: %b\r\n" % header for header in headers]])
        if head.count(b"\n") != len(headers) + 1 or head.count(b"\r") != len(headers) + 1 or b"\0" in head:
            raise RuntimeError("a header holds a line break")
        self.response_started = self.response_complete = True
        self.transport.write(b"%b%b\r\n%b" % (head, b"" if self.keep_alive else b"connection: close\r\n", body))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def is_whole(self) -> bool:
        """Whether all of the body is here: reading it will not wait."""
        return not self.more_body


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
        super().on_header(name, value)

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
        self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        scope["state"]["is_whole"] = self.cycle.is_whole
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:  # pipelined: after the one before it
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete or (self.parser.should_upgrade() and self._should_upgrade()):
            return
        cycle.pieces.append(body)
        cycle.held += len(body)
        if cycle.held > HELD_BYTES:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self.due = math.inf
        super().on_message_complete()

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
