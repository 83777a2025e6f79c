"""The guard around every route: ids, who may talk to us, the access log, metrics, and the last word on unexpected errors."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import time
from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frazil.api import metrics, problems
from frazil.api.problems import Refused
from frazil.api.receipts import RequestIds
from frazil.errors import ConfigError, FrazilError
from frazil.telemetry import logger

_log = logger("api")
_CLIENT_ID_CHARACTERS: Final = 128


class Guard:
    """Pure ASGI middleware; costs no task and copies nothing.

    Args:
        loopback_only: No credentials are asked for: refuse requests that a web page or a rebound name may have sent.
    """

    def __init__(self, app: ASGIApp, *, ids: RequestIds, loopback_only: bool) -> None:
        self._app = app
        self._ids = ids
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self._ids.next())
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=str(exchange.request))
        scope.setdefault("state", {})["request"] = exchange.request
        try:
            if self._loopback_only:
                _check_sender(Headers(scope=scope))
            await self._app(scope, receive, exchange.send)
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
        self._scope = scope
        self._send = send
        self._started = time.perf_counter()
        self._status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = str(self.request)
            headers["X-Content-Type-Options"] = "nosniff"
        await self._send(message)

    async def refuse(self, scope: Scope, receive: Receive, error: FrazilError) -> None:
        """Answer with a problem, unless an answer is under way already."""
        if self._status == 0:
            await refusal(error, self.request)(scope, receive, self.send)

    def done(self) -> None:
        seconds = time.perf_counter() - self._started
        route = getattr(self._scope.get("route"), "path", "unmatched")
        metrics.REQUESTS.labels(route, self._scope["method"], str(self._status or 499)).inc()
        metrics.REQUEST_SECONDS.labels(route).observe(seconds)
        facts = {
            "method": self._scope["method"],
            "path": self._scope["path"],
            "status": self._status or 499,
            "ms": round(seconds * 1000, 2),
        }
        client = Headers(scope=self._scope).get("x-request-id")
        if client is not None:
            facts["client_request"] = client[:_CLIENT_ID_CHARACTERS]
        _log.info("request", **facts)


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


def _check_sender(headers: Headers) -> None:
    """Without credentials any web page in the user's browser could write here: only names of this machine may."""
    for header, host in (
        ("Host", _hostname("//" + headers.get("host", "localhost"))),
        ("Origin", _hostname(headers.get("origin", "//localhost"))),
    ):
        if not is_loopback(host):
            raise Refused(
                f"{header} {host[:80]!r} is not this machine",
                code="host.not_allowed",
                hint="call http://localhost, or put a proxy that checks credentials in front",
                header=header,
                host=host[:80],
            )


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
