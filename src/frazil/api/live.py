"""`WS /live/{topic}`: events as soon as they are judged good, before they land.

Each contract that somebody watches is read and judged once, whatever the number of clients. A client that does not keep
up is closed with a code and resumes where it was by `after`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from starlette.websockets import WebSocket, WebSocketDisconnect

from frazil import telemetry
from frazil.batch import Batch, Position, Processed, told
from frazil.errors import ConfigError, ContractError, FrazilError
from frazil.process.where import Where

if TYPE_CHECKING:
    from frazil.contract import Contract
    from frazil.log import LogReader
    from frazil.project import Project

TOO_SLOW, UNKNOWN, BAD_REQUEST, GONE, STOPPED = 4008, 4004, 4000, 4010, 4001
"""Close codes: the client does not keep up · no such contract · a parameter is wrong · the log no longer holds what follows `after` ·
the server stops."""

_WAITING = 10_000  # events a client may be behind
_AT_ONCE = 5_000
_WAIT = timedelta(seconds=0.5)
_PAUSE_S = 1.0
_log = telemetry.logger("live")


class Event(NamedTuple):
    """A good event: where it lies, and its frame's text without the cursor."""

    partition: str
    offset: int
    body: str


@dataclass(frozen=True)
class Judged:
    """Good rows with their events, in order: the same number of both."""

    rows: pa.RecordBatch
    events: list[Event]

    def of(self, where: Where | None) -> Iterable[Event]:
        if where is None:
            return self.events
        return [event for event, holds in zip(self.events, where(self.rows).to_pylist(), strict=True) if holds]


@dataclass(eq=False)
class Watcher:
    """One client's share of a feed."""

    where: Where | None
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[Judged | None] = field(default_factory=asyncio.Queue)
    waiting: int = 0
    too_slow: bool = False

    def offer(self, judged: Judged | None) -> None:
        """From the event loop: queue it, or give up on a client that is too far behind. None: nothing more comes."""
        if judged is not None and self.waiting + len(judged.events) > _WAITING:
            self.too_slow, judged = True, None
        if judged is not None:
            self.waiting += len(judged.events)
        self.queue.put_nowait(judged)


class Feed:
    """Reads and judges one contract's log from its end on, for all who watch it."""

    def __init__(self, project: Project, contract: Contract) -> None:
        self._reader, self._process = project.log_reader(contract), project.processor(contract)
        self._name = contract.name
        self._position: Position | None = at_end(self._reader)
        self._watchers: set[Watcher] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"live-{contract.name}", daemon=True)
        self._thread.start()

    def add(self, watcher: Watcher) -> None:
        with self._lock:
            self._watchers.add(watcher)

    def remove(self, watcher: Watcher) -> bool:
        """Whether nobody watches any more."""
        with self._lock:
            self._watchers.discard(watcher)
            return not self._watchers

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                position = self._position or at_end(self._reader)
                batch = self._reader.read(after=position, limit=_AT_ONCE, wait=_WAIT)
                if batch is None:
                    continue
                self._position = position.after(batch.spans)
                self._spread(judged(self._process(batch), batch))
            except FrazilError as error:
                _log.warning("the live feed waits", contract=self._name, code=error.code, error=error.message)
                self._stop.wait(_PAUSE_S)
                self._position = None if error.retry == "never" else self._position  # what it cannot go on from is skipped: live is now
            except Exception as error:  # its watchers would wait for ever
                _log.error("the live feed goes on from now", contract=self._name, error=str(error), exc_info=error)
                self._stop.wait(_PAUSE_S)
                self._position = None
        self._reader.close()

    def _spread(self, found: Judged) -> None:
        if not found.events:
            return
        with self._lock:
            watchers = list(self._watchers)
        for watcher in watchers:
            with contextlib.suppress(RuntimeError):  # its loop is gone
                watcher.loop.call_soon_threadsafe(watcher.offer, found)


class Live:
    """All feeds of a server."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._feeds: dict[str, Feed] = {}
        self._opening = asyncio.Lock()
        self._watchers: set[Watcher] = set()

    async def serve(self, socket: WebSocket) -> None:
        """One client, until it leaves, falls behind, or the server stops."""
        try:
            contract = self._project.contract(socket.path_params["topic"])
            where = socket.query_params.get("where")
            condition = Where(where, contract) if where else None
            reader = await asyncio.to_thread(self._project.log_reader, contract)
            start = cursor(socket.query_params.get("after"), reader.log_id)
        except ContractError as error:
            await refuse(socket, UNKNOWN, error)
            return
        except ConfigError as error:
            await refuse(socket, BAD_REQUEST, error)
            return
        watcher = Watcher(condition, asyncio.get_running_loop())
        feed = await self._attached(contract, watcher)
        now = await asyncio.to_thread(at_end, reader)
        await socket.accept()  # only now: what is sent to us from here on is seen
        sending = asyncio.create_task(self._send(socket, watcher, contract, reader, start, now))
        leaving = asyncio.create_task(gone(socket))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            self._watchers.discard(watcher)
            if feed.remove(watcher) and self._feeds.get(contract.name) is feed:
                self._feeds.pop(contract.name).stop()
            await asyncio.to_thread(reader.close)

    async def close(self) -> None:
        for watcher in list(self._watchers):
            watcher.offer(None)
        for feed in self._feeds.values():
            feed.stop()

    async def _attached(self, contract: Contract, watcher: Watcher) -> Feed:
        async with self._opening:  # of two who come at once, one opens the feed
            if contract.name not in self._feeds:
                self._feeds[contract.name] = await asyncio.to_thread(Feed, self._project, contract)
            feed = self._feeds[contract.name]
            feed.add(watcher)
        self._watchers.add(watcher)
        return feed

    async def _send(
        self, socket: WebSocket, watcher: Watcher, contract: Contract, reader: LogReader, start: Position | None, now: Position
    ) -> None:
        """What was missed since `start`, then what comes; each event once, in order per partition."""
        position = now if start is None else start
        try:
            if start is not None:
                process = self._project.processor(contract)
                while (batch := await asyncio.to_thread(reader.read, after=position, limit=_AT_ONCE)) is not None:
                    found = judged(await asyncio.to_thread(process, batch), batch)
                    await _frames(socket, found.of(watcher.where), position, reader.log_id)
                    position = position.after(batch.spans)
            while (waiting := await watcher.queue.get()) is not None:
                watcher.waiting -= len(waiting.events)
                position = await _frames(socket, waiting.of(watcher.where), position, reader.log_id)
            if watcher.too_slow:
                _log.info("client_too_slow", contract=contract.name)
                await socket.close(TOO_SLOW, "too slow: connect again with after=<the last cursor>")
            else:
                await socket.close(STOPPED, "the server stops: connect again with after=<the last cursor>")
        except FrazilError as error:
            await socket.close(GONE, f"{error.code}: {error.message}"[:120])


def judged(processed: Processed, raw: Batch) -> Judged:
    """The good rows of a batch with the text of their events: the record's own bytes where they are JSON."""
    rows = processed.good.rows
    own = dict(zip(_places(raw.rows, ""), raw.rows.column("value").to_pylist(), strict=True))
    keys, headers = rows.column("_key").to_pylist(), rows.column("_headers").to_pylist()
    events = []
    for index, (partition, offset) in enumerate(_places(rows, "_")):
        value = own.get((partition, offset)) or b""
        text = value.decode() if value.lstrip()[:1] == b"{" else json.dumps(_typed(rows.slice(index, 1)), default=str)
        key = "" if keys[index] is None else f'"key":{json.dumps(told(keys[index]))},'
        said = "" if headers[index] is None else f'"headers":{headers[index]},'
        events.append(Event(partition, offset, f'"partition":"{partition}","offset":{offset},{key}{said}"event":{text}}}'))
    return Judged(rows, events)


def _typed(row: pa.RecordBatch) -> dict[str, Any]:
    """A good row as an event: Avro has no text of its own."""
    return {name: value for name, value in row.to_pylist()[0].items() if name not in ("_key", "_headers")}


def cursor(text: str | None, log_id: str) -> Position | None:
    """A position as clients hand it back: `partition:offset[,partition:offset…]`; None for now.

    Raises:
        ConfigError: `live.cursor`.
    """
    if text is None:
        return None
    try:
        pairs = [part.split(":") for part in text.split(",")] if text else []
        return Position({log_id: {str(int(partition)): (str(int(offset)), None) for partition, offset in pairs}})
    except ValueError as error:
        raise ConfigError(f"{text!r} is no cursor", hint="hand back the `cursor` of the last event", code="live.cursor") from error


def at_end(reader: LogReader) -> Position:
    """The end of a log now."""
    return Position({reader.log_id: {name: (str(last), None) for name, last in reader.ends().items() if last >= 0}})


async def _frames(socket: WebSocket, events: Iterable[Event], position: Position, log_id: str) -> Position:
    """Send events that lie after the position; the position they lead to."""
    reached = {name: int(last) for name, (last, _) in position.logs.get(log_id, {}).items()}
    for event in events:
        if event.offset <= reached.get(event.partition, -1):
            continue
        reached[event.partition] = event.offset
        at = ",".join(f"{name}:{last}" for name, last in sorted(reached.items()))
        await socket.send_text(f'{{"cursor":"{at}",{event.body}')
    return Position({log_id: {name: (str(last), None) for name, last in reached.items()}})


async def gone(socket: WebSocket) -> None:
    """Until the client leaves; what it says is ignored."""
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.receive_text()


async def refuse(socket: WebSocket, code: int, error: FrazilError) -> None:
    """Accept, so that a browser sees the code, and close."""
    await socket.accept()
    await socket.send_json({"error": error.as_dict()})
    await socket.close(code, f"{error.code}: {error.message}"[:120])


def _places(rows: pa.RecordBatch, prefix: str) -> list[tuple[str, int]]:
    partitions, offsets = rows.column(f"{prefix}partition").to_pylist(), rows.column(f"{prefix}offset").to_pylist()
    return list(zip(partitions, offsets, strict=True))
