"""The HTTP API of a project: its routes, and the server around them."""

from __future__ import annotations

import errno
import functools
import gc
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from uvicorn.supervisors.multiprocess import Multiprocess

import frazil
from frazil import telemetry
from frazil.api import dead, health, ingest, live, live_windows, metrics, openapi, pipelines, status, trace
from frazil.api.answers import Answer
from frazil.api.door import Door
from frazil.api.guard import Guard, check_binding, refusal
from frazil.api.problems import Refused
from frazil.api.protocol import BoundedProtocol, ServerConfig
from frazil.api.shapes import Problem
from frazil.errors import ConfigError, FrazilError
from frazil.settings import Settings

if TYPE_CHECKING:
    from frazil.project import Project

PREFIX: Final = "/api/v1"
INGEST: Final = f"{PREFIX}/ingest"
EVENTS: Final = f"{PREFIX}/events/"
TOPIC: Final = EVENTS + "{topic}"
_log = telemetry.logger("api")
START_SECONDS: Final = 120
"""How long a worker may be silent, as it is while it starts, before it is replaced."""
STOP_SECONDS: Final = 5
"""How long a stop waits for requests under way; then they are cut, unacknowledged."""
_COLLECT_AFTER: Final = 20_000
"""Objects more than before after which garbage is looked for: some hundred requests under way are none, and leave none."""

Endpoint = Callable[[Request], Awaitable[Response]]


class PlainRoute(APIRoute):
    """A route whose endpoint takes the request and gives the answer; FastAPI documents it and stays out of the way."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


class Api(FastAPI):
    """The project's API. The guard stands around all of it.

    Events come in by thousands of requests a second: a POST of them goes straight to its endpoint, past the router and past what
    FastAPI puts around every route. It is the same endpoint, and the guard answers its errors as it answers all others.
    """

    def __init__(self, project: Project, **facts: Any) -> None:
        self.door = Door(project)
        self._guard = Guard(self._dispatch, ids=self.door.ids, loopback_only=project.settings.api.auth == "none")
        self._straight: dict[str, APIRoute] = {}
        super().__init__(**facts)
        self.state.door = self.door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._guard(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
            return None
        path: str = scope["path"]
        if path == INGEST:
            scope["route"] = self._route(INGEST)
            answer = ingest.ingest
        elif path.startswith(EVENTS) and len(path) > len(EVENTS) and "/" not in path[len(EVENTS) :]:
            scope["route"] = self._route(TOPIC)
            scope["path_params"] = {"topic": path[len(EVENTS) :]}
            answer = ingest.ingest_topic
        else:
            await super().__call__(scope, receive, send)
            return None
        scope["app"] = self
        return await answer(Request(scope, receive))

    def _route(self, path: str) -> APIRoute:
        if path not in self._straight:
            self._straight[path] = next(route for route in self.routes if isinstance(route, APIRoute) and route.path == path)
        return self._straight[path]


def create_app(project: Project) -> Api:
    """The project's API. Opens its logs at start-up and closes them, drained, at shutdown.

    Raises:
        ConfigError, ContractError: The project cannot be served as it is.
    """

    @asynccontextmanager
    async def lifespan(app: Api) -> AsyncIterator[None]:
        await app.door.open()
        pipelines.watch(project.settings)
        gc.collect()
        gc.freeze()  # what is here now stays: no collection need look at it again
        gc.set_threshold(_COLLECT_AFTER, 20, 20)
        yield
        await watched.close()
        await windows.close()
        await app.door.close()

    watched, windows = live.Live(project), live_windows.LiveWindows(project)
    app = Api(
        project,
        title="Frazil",
        version=frazil.__version__,
        summary="Events in, trusted tables out",
        description="Errors are `application/problem+json` with a stable `code` and a `hint` that says what to do.",
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    _add_routes(app)
    app.router.routes.append(WebSocketRoute(f"{PREFIX}/live/{{topic}}", watched.serve))
    app.router.routes.append(WebSocketRoute(f"{PREFIX}/live/windows/{{name}}", windows.serve))
    app.add_exception_handler(FrazilError, _refuse)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _refuse_route)  # type: ignore[arg-type]
    _document_problems(app)
    return app


def _add_routes(app: FastAPI) -> None:
    add = functools.partial(_add, app)
    add("POST", "/ingest", ingest.ingest, "Take events in", openapi.TAKEN, openapi.INGEST, code=202)
    add("POST", "/events/{topic}", ingest.ingest_topic, "Take events of one contract in", openapi.TAKEN, openapi.TOPIC, code=202)
    add("GET", "/status/{job_id}", status.status, "How far a request is", openapi.STATUS_ANSWERS, openapi.STATUS)
    add("GET", "/dead-letters", dead.dead_letters, "Open dead letters by cause", openapi.LETTERS_ANSWERS, openapi.LETTERS)
    add(
        "POST",
        "/dead-letters/replay",
        dead.replay,
        "Mend and replay dead letters",
        openapi.REPLAY_ANSWERS,
        openapi.REPLAY,
    )
    trace.add_routes(add)
    pipelines.add_routes(add)
    add("GET", "/health", health.health, "All components", openapi.HEALTH_ANSWERS)
    add("GET", "/health/live", health.live, "The process answers", openapi.LIVE_ANSWERS)
    add("GET", "/health/ready", health.ready, "Events can be taken in", openapi.HEALTH_ANSWERS)
    add("GET", "/metrics", _metrics, "Prometheus metrics of this process", openapi.METRICS_ANSWERS)
    for path, place in (("/", "/docs"), (f"{PREFIX}/docs", "/docs"), (f"{PREFIX}/openapi.json", "/openapi.json")):
        app.add_api_route(path, functools.partial(_redirect, place), include_in_schema=False, response_class=Response)


def _add(
    app: FastAPI, method: str, path: str, endpoint: Endpoint, summary: str, answers: openapi.Answers, extra: Any = None, *, code: int = 200
) -> None:
    app.router.add_api_route(
        PREFIX + path,
        endpoint,
        methods=[method],
        summary=summary,
        status_code=code,
        responses=answers,
        openapi_extra=extra,
        response_class=Response,
        route_class_override=PlainRoute,
        tags=["operations" if path.startswith(("/health", "/metrics")) else "events"],
    )


async def _metrics(_: Request) -> Response:
    """Requests, records, appends, in Prometheus' text format."""
    return metrics.exposition()


async def _redirect(place: str) -> Response:
    return RedirectResponse(place)


async def _refuse(request: Request, error: FrazilError) -> Response:
    return refusal(error, request.scope["state"]["request"])


async def _refuse_route(request: Request, error: HTTPException) -> Response:
    """The router's own refusals: no such route, no such method."""
    known = {404: ("http.not_found", "no such address", "see /docs"), 405: ("http.method_not_allowed", "no such method here", "see /docs")}
    code, message, hint = known.get(error.status_code, ("http.refused", str(error.detail), ""))
    refused = Refused(message, code=code, hint=hint, headers=error.headers, path=request.url.path[:200])
    return refusal(refused, request.scope["state"]["request"])


def _document_problems(app: FastAPI) -> None:
    """Put the shape that refusals share into the schema; the routes refer to it by name."""
    generate = app.openapi

    def documented() -> dict[str, Any]:
        schema = generate()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas["Problem"].pop("$defs", None)
        return schema

    app.openapi = documented  # type: ignore[method-assign]


# ---------------------------------------------------------------- the server


def bind(host: str, port: int) -> socket.socket:
    """A listening address, taken now so that a port in use is an error before anything starts.

    Raises:
        ConfigError: `config.port_in_use`, `config.bad_address`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host.strip("[]"), port))
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} is in use",
                code="config.port_in_use",
                hint="stop the other program, or choose a port with FRAZIL_API__PORT",
                port=port,
            ) from error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}", code="config.bad_address", hint="correct api.host or api.port", host=host
        ) from error
    taken.set_inheritable(True)
    return taken


class DrainingServer(uvicorn.Server):
    """A stop by a signal is a clean end, once everything under way was answered: the signal is not raised again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()


def server(project: Project) -> uvicorn.Server:
    """The server, not started: run it with `run(sockets=[bind(…)])`, stop it from another thread by `should_exit = True`."""
    return DrainingServer(_config(project.settings, create_app(project), factory=False))


def serve(
    project: Project, host: str | None = None, port: int | None = None, workers: int = 1, ready: Callable[[str], None] | None = None
) -> None:
    """Serve a project until SIGTERM or SIGINT; requests under way are finished and the logs drained before it returns.

    Args:
        host, port: Override the settings. Port 0 takes a free one.
        workers: Processes that share the port.
        ready: Called with the URL as soon as the port is taken.

    Raises:
        ConfigError: The address cannot or must not be used.
        ContractError: A contract file is wrong.
    """
    settings = project.settings
    host = host or settings.api.host
    check_binding(host, settings.api.auth)
    taken = bind(host, settings.api.port if port is None else port)
    try:
        if ready is not None:
            name = f"[{host}]" if ":" in host else host
            ready(f"http://{name}:{taken.getsockname()[1]}")
        if workers == 1:
            server(project).run(sockets=[taken])
        else:
            assert project.contracts  # a broken contract is an error here, not in every worker
            config = _config(settings, functools.partial(_worker_app, settings), factory=True)
            config.workers = workers
            Multiprocess(config, sockets=[taken]).run()
    finally:
        taken.close()


class _Bridge(logging.Handler):
    """What the server and the event loop have to say, as structured lines like all others."""

    def emit(self, record: logging.LogRecord) -> None:
        say = _log.error if record.levelno >= logging.ERROR else _log.warning
        say("server", logger=record.name, message=record.getMessage(), exc_info=record.exc_info or None)


def _configure_logs() -> None:
    if not structlog.is_configured():
        telemetry.configure()
    for name in ("uvicorn.error", "asyncio"):
        outer = logging.getLogger(name)
        outer.handlers, outer.propagate = [_Bridge(logging.WARNING)], False


def _worker_app(settings: Settings) -> FastAPI:
    from frazil.project import Project

    _configure_logs()
    threading.Thread(target=_stop_with_parent, name="parent", daemon=True).start()
    return create_app(Project(settings))


def _stop_with_parent() -> None:
    """End a worker whose supervisor was killed: nobody else would."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def server_config(app: Any, *, factory: bool = False) -> ServerConfig:
    """The web server's settings for an app, or for a function that makes one."""
    return ServerConfig(
        app,
        factory=factory,
        loop="auto",
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_keep_alive=30,
        timeout_worker_healthcheck=START_SECONDS,
        lifespan="on",
    )


def _config(settings: Settings, app: Any, *, factory: bool) -> ServerConfig:
    _configure_logs()
    config = server_config(app, factory=factory)
    # A margin over the body's own time, so that a route can still answer 408 before the connection is cut.
    config.message_seconds = settings.api.body_timeout.total_seconds() + 5
    return config
