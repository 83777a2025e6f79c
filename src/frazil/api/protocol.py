"""The HTTP/1.1 connection: uvicorn's, with bounds on headers and time and with problems instead of plain text."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from frazil.api import problems
from frazil.errors import FrazilError

MAX_HEADER_BYTES: Final = 64 * 1024


class ServerConfig(uvicorn.Config):
    """The server's configuration. `message_seconds`: how long a request may take to arrive, headers and body."""

    message_seconds = 35.0


class Malformed(FrazilError):
    """What came is not an HTTP request."""

    code = "http.malformed"


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A request, headers and body, must be complete in the config's `message_seconds`, headers within 64 KiB."""

    config: ServerConfig
    _deadline: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

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
        if self._deadline is None:
            self._wait()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_message_complete(self) -> None:
        self._rest()
        super().on_message_complete()

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
        self._deadline = self.loop.call_later(self.config.message_seconds, self._expire)

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
