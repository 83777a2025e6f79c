"""`frazil tail`: events as they are judged good."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode

import typer

from frazil.cli import session
from frazil.cli.output import Json, emit, say
from frazil.errors import EXIT_AGAIN, ConfigError, FrazilError, Unavailable

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_TOO_SLOW, _LOST = 4008, (1001, 1006, 1012, 4001)
_REFUSED = {4000, 4003, 4004, 4010}
_PATIENCE_S = 30.0


def register(app: typer.Typer) -> None:
    app.command()(tail)


def tail(
    topic: Annotated[str | None, typer.Argument(help="Contract, or windows/NAME; default: the project's contract.")] = None,
    where: Annotated[str | None, typer.Option("--where", help="Only these: event_type = 'purchase' and value > 10.")] = None,
    after: Annotated[str | None, typer.Option("--after", help="Go on after this cursor; '' is the beginning of the log.")] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many events.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="The API; default: the project's own.")] = None,
    as_json: Json = False,
) -> None:
    """Show events as soon as they are judged good, or results of a live window as they change.

    A lost connection is taken up where it was.
    """
    name, place = _address(topic, url)
    left, cursor, since = count, after, time.monotonic()
    while left is None or left > 0:
        asked = {key: value for key, value in (("where", where), ("after", cursor)) if value is not None}
        try:
            with _connected(f"{place}/api/v1/live/{quote(name)}?{urlencode(asked)}") as connection:
                for frame in connection:
                    event = json.loads(frame)
                    if "error" in event:
                        raise _refusal(event["error"])
                    cursor, since = event["cursor"], time.monotonic()
                    _show(event, as_json)
                    left = None if left is None else left - 1
                    if left == 0:
                        return
            since = _again(connection, since)
        except OSError as error:
            if time.monotonic() - since > _PATIENCE_S or cursor is None:
                raise Unavailable(
                    f"{place} does not answer: {error}", hint="is `frazil up` running?", code="live.unavailable", url=place
                ) from error
            time.sleep(1)


def _address(topic: str | None, url: str | None) -> tuple[str, str]:
    if url is not None and topic is not None:
        return topic, url.rstrip("/").replace("http", "ws", 1)
    project = session.project()
    api = project.settings.api
    window = topic is not None and topic.startswith("windows/")
    name = f"windows/{project.window(str(topic)[8:]).name}" if window else project.contract(topic).name
    return name, (url or f"http://{api.host}:{api.port}").rstrip("/").replace("http", "ws", 1)


def _connected(address: str) -> ClientConnection:
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    try:
        return connect(address, max_size=None, proxy=None, open_timeout=10)
    except WebSocketException as error:
        raise OSError(str(error)) from error


def _again(connection: ClientConnection, since: float) -> float:
    """After an orderly close: say why, and go on where it was."""
    code = connection.close_code
    if code == _TOO_SLOW:
        say("[dim]too slow: going on at the last cursor[/]")
        return time.monotonic()
    if code in _REFUSED:
        raise ConfigError(f"the API closed: {connection.close_reason}", code="live.refused", hint="start without --after")
    if code in _LOST and time.monotonic() - since > _PATIENCE_S:
        raise typer.Exit(EXIT_AGAIN)
    time.sleep(0.5)
    return since


def _refusal(facts: dict[str, Any]) -> FrazilError:
    return ConfigError(facts["message"], code=facts["code"], hint=facts["hint"])


def _show(event: dict[str, Any], as_json: bool) -> None:
    emit(event if as_json or "event" not in event else event["event"])
    sys.stdout.flush()
