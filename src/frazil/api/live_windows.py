"""`WS /live/windows/{name}`: results of a live window as they change and when they are final.

Clients read what the windows' own file holds: a result that was replaced before a client took it is not sent, so one that
is slow sees fewer revisions, never wrong ones. One that takes nothing at all is closed with a code.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import data_processor_rs as kernel
from starlette.websockets import WebSocket

from frazil import telemetry
from frazil.api.live import BAD_REQUEST, STOPPED, TOO_SLOW, UNKNOWN, gone, refuse
from frazil.errors import ConfigError, FrazilError
from frazil.sink.window_frames import STATES, frame
from frazil.sink.window_progress import METRICS

if TYPE_CHECKING:
    from frazil.contract.windows import WindowSpec
    from frazil.project import Project

_LOOK_S = 0.004
_PATIENCE_S = 10.0
_AT_ONCE = 500
_log = telemetry.logger("live")


class LiveWindows:
    """All clients that watch windows of a server."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._stopping = asyncio.Event()
        watch_windows(project)

    async def serve(self, socket: WebSocket) -> None:
        """One client, until it leaves, takes nothing, or the server stops."""
        try:
            spec = await asyncio.to_thread(self._project.window, socket.path_params["name"])
        except FrazilError as error:
            await refuse(socket, UNKNOWN, error)
            return
        try:
            after = _number(socket.query_params.get("after"))
        except ConfigError as error:
            await refuse(socket, BAD_REQUEST, error)
            return
        only_final = socket.query_params.get("final") in ("1", "true")
        reader = await asyncio.to_thread(self._reader, spec)
        if after is None:
            after = 0 if reader is None else reader.last()
        await socket.accept()  # only now: what changes from here on is seen
        sending = asyncio.create_task(self._send(socket, spec, reader, after, only_final=only_final))
        leaving = asyncio.create_task(gone(socket))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()

    async def close(self) -> None:
        self._stopping.set()

    def _reader(self, spec: WindowSpec) -> kernel.WindowReader | None:
        """None while nothing was counted yet."""
        file = self._project.window_file(self._project.contract(spec.contract))
        if not file.exists():
            return None
        try:
            reader = kernel.WindowReader(str(file))
            reader.progress()
            return reader
        except kernel.KernelError:
            return None

    async def _send(self, socket: WebSocket, spec: WindowSpec, reader: Any, after: int, *, only_final: bool) -> None:
        try:
            while not self._stopping.is_set():
                if reader is None:
                    await asyncio.sleep(0.1)
                    reader = await asyncio.to_thread(self._reader, spec)
                    continue
                newest = reader.last()
                if newest <= after:
                    await asyncio.sleep(_LOOK_S)
                    continue
                found = reader.changes(after, window=spec.name, limit=_AT_ONCE)
                for outcome in found:
                    if not only_final or STATES[outcome[6]] == "final":
                        async with asyncio.timeout(_PATIENCE_S):
                            await socket.send_text(frame(spec, outcome))
                reached = found[-1][0] if found else after
                after = reached if len(found) == _AT_ONCE else max(newest, reached)
            await socket.close(STOPPED, "the server stops: connect again with after=<the last cursor>")
        except TimeoutError:
            _log.info("client_too_slow", window=spec.name, after=after)
            await socket.close(TOO_SLOW, "too slow: connect again with after=<the last cursor>")
        except kernel.KernelError as error:
            _log.warning("live windows wait", window=spec.name, error=str(error))
            await socket.close(STOPPED, "connect again with after=<the last cursor>")


def watch_windows(project: Project) -> None:
    """Show the project's windows at `/metrics`. A windows.yaml that is wrong is told to those who ask for a window."""
    try:
        specs = list(project.windows.values())
    except FrazilError as error:
        _log.warning("no live windows", code=error.code, error=error.message)
        return
    for contract in {spec.contract for spec in specs}:
        names = [spec.name for spec in specs if spec.contract == contract]
        METRICS.watch(contract, project.window_file(project.contract(contract)), names)


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ConfigError(
            f"{text!r} is no cursor", hint="hand back the `cursor` of the last result; 0 is the beginning", code="live.cursor"
        )
    return int(text)
