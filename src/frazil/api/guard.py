"""The guard around every route: ids, who may talk to us, the access log, metrics, and the last word on unexpected errors."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from frazil.api import metrics, problems
from frazil.api.answers import Answer
from frazil.api.problems import Refused
from frazil.api.receipts import RequestIds
from frazil.errors import ConfigError, FrazilError
from frazil.telemetry import concerning, logger, told

if TYPE_CHECKING:
    from frazil.api.protocol import Cycle

_log = logger("api")
_CLIENT_ID_CHARACTERS: Final = 128
_HOST_CHARACTERS: Final = 300
_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")


def headers_of(scope: Scope) -> dict[str, str]:
    """A request's headers by lower-case name; of a repeated one the first counts."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


App = Callable[[Scope, Receive, Send], Awaitable[Answer | None]]


class Guard:
    """Pure ASGI middleware; costs no task and copies nothing.

    Args:
        app: An ASGI app, which may also return an answer instead of sending it.
        loopback_only: No credentials are asked for: refuse requests that a web page or a rebound name may have sent.
    """

    def __init__(self, app: App, *, ids: RequestIds, loopback_only: bool) -> None:
        self._app = app
        self._ids = ids
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket" and self._loopback_only:
                try:
                    _check_sender(headers_of(scope))
                except FrazilError:  # a web page of somebody else: the handshake is refused
                    await send({"type": "websocket.close", "code": 4003})
                    return
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self._ids.next())
        state = scope.setdefault("state", {})
        state["request"] = exchange.request
        state["headers"] = exchange.headers
        state["facts"] = exchange.facts
        concerning(exchange.facts)
        try:
            if self._loopback_only:
                _check_sender(exchange.headers)
            given = await self._app(scope, receive, exchange.send)
            if given is not None:
                await exchange.answer(given, receive)
        except FrazilError as error:
            await exchange.refuse(scope, receive, error)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a panic of the kernel is no Exception
            _log.exception("request_failed", method=scope["method"], path=scope["path"], error=repr(error))
            unexpected = FrazilError(
                "something unexpected went wrong", code="server.failed", hint="find the request id in the server's log"
            )
            await exchange.refuse(scope, receive, unexpected)
        finally:
            exchange.done()


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send, request: int) -> None:
        self.request = request
        self.name = str(request)
        self.facts: dict[str, str] = {"request": self.name}  # what the route knows of it comes to this, for every line in the log
        self.headers = headers_of(scope)
        self._scope = scope
        self._send = send
        self._started = time.perf_counter()
        self._status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self.name.encode()), _NOSNIFF]
        await self._send(message)

    async def answer(self, answer: Answer, receive: Receive) -> None:
        """Send an answer, at once where the connection can."""
        cycle: Cycle | None = self._scope["state"].get("cycle")
        headers = [*answer.raw_headers, (b"x-request-id", self.name.encode()), _NOSNIFF]
        if cycle is not None and cycle.answer(answer.status_code, headers, answer.body):
            self._status = answer.status_code
        else:
            await answer(self._scope, receive, self.send)

    async def refuse(self, scope: Scope, receive: Receive, error: FrazilError) -> None:
        """Answer with a problem, unless an answer is under way already."""
        if self._status == 0:
            await refusal(error, self.request)(scope, receive, self.send)

    def done(self) -> None:
        seconds = time.perf_counter() - self._started
        scope, status = self._scope, self._status or 499
        metrics.count_request(getattr(scope.get("route"), "path", "unmatched"), scope["method"], status, seconds)
        facts: dict[str, str | int | float] = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "ms": round(seconds * 1000, 2),
            **self.facts,
        }
        client = self.headers.get("x-request-id")
        if client is not None:
            facts["client_request"] = client[:_CLIENT_ID_CHARACTERS]
        told("api", "request", facts)


def refusal(error: FrazilError, request: int) -> Response:
    """The problem for an error, after it was counted and logged with its facts."""
    status = problems.status_of(error)
    metrics.REFUSED.labels(error.code).inc()
    facts = error.as_dict()
    if isinstance(error, Refused) and error.errors:
        facts["violations"] = [{name: told[name] for name in ("index", "path", "code")} for told in error.errors[:3]]
    log = _log.error if status >= 500 else _log.warning
    log("request_refused", status=status, exc_info=error if status == 500 and error.code != "server.failed" else None, **facts)
    return problems.response_of(error, request=request)


@functools.lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    name = host.strip().strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_binding(host: str, auth: str) -> None:
    """Refuse to open a door without a lock.

    Raises:
        ConfigError: `config.open_door` when nobody is asked for credentials and other machines could connect;
            `config.unknown_auth` when the asked-for check does not exist in this version.
    """
    if auth != "none":
        raise ConfigError(
            f"api.auth = {auth!r} is not available in this version", hint='known: auth = "none"', code="config.unknown_auth", auth=auth
        )
    if not is_loopback(host):
        raise ConfigError(
            f'with api.auth = "none" the API listens on this machine only, not on {host}',
            hint='set api.host = "127.0.0.1", and put a proxy that checks credentials in front',
            code="config.open_door",
            host=host,
        )


def _check_sender(headers: Mapping[str, str]) -> None:
    """Without credentials any web page in the user's browser could write here: only names of this machine may."""
    host, origin = headers.get("host"), headers.get("origin")
    for header, url in (("Host", host and "//" + host), ("Origin", origin)):
        if url is not None and not _is_here(url):
            host = _hostname(url)
            raise Refused(
                f"{header} {host[:80]!r} is not this machine",
                code="host.not_allowed",
                hint="call http://localhost, or put a proxy that checks credentials in front",
                header=header,
                host=host[:80],
            )


def _is_here(url: str) -> bool:
    # Long ones are nobody's name and would fill the memory of those seen before.
    return _is_known_here(url) if len(url) <= _HOST_CHARACTERS else is_loopback(_hostname(url))


@functools.lru_cache(maxsize=256)
def _is_known_here(url: str) -> bool:
    return is_loopback(_hostname(url))


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def named(request: Request, **facts: str) -> None:
    """Name what a request is about in every line logged for it from here on, its own line too."""
    request.scope["state"]["facts"].update(facts)
