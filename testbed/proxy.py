"""A door before a Kafka broker on loopback: it passes everything on, or delays, throttles, cuts, falls silent, or loses answers.

One thread moves frames (four bytes of length, then that many), so that an answer can be lost whole and by what was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

PRODUCE, END_TRANSACTION = 0, 26
"""Numbers of requests in Kafka's protocol."""

T = TypeVar("T")
Frames = asyncio.Queue[tuple[float, bytes]]
"""When a frame is due (monotonic seconds), and the frame."""


@dataclass
class Fault:
    """What a door does to what passes. `delay`: seconds each way; `rate`: bytes per second each way; `silent`: takes all, gives nothing."""

    delay: float = 0.0
    rate: float = 0.0
    silent: bool = False
    shut: bool = False
    losing: dict[int, int] = field(default_factory=dict)  # kind of request: how many of its answers are lost from now on
    lost: int = 0


class Door:
    """Listens on `port` of loopback and passes to `upstream`, until closed. Methods may be called from any thread."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.fault = Fault()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"door-{upstream}", daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._enter, "127.0.0.1", 0, backlog=512))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def lost(self) -> int:
        """How many answers were lost so far."""
        return self.fault.lost

    def slow(self, *, delay: float = 0.0, rate: float = 0.0) -> None:
        """From now on every frame takes `delay` seconds longer, and no connection moves more than `rate` bytes a second (0: as it can)."""
        self.fault.delay, self.fault.rate = delay, rate

    def cut(self) -> None:
        """Reset every connection and let nobody in until `mend`."""
        self.fault.shut = True
        self._do(self._reset())

    def hush(self) -> None:
        """Connections stay open and say nothing more until `mend`: what a lost route looks like."""
        self.fault.silent = True

    def lose(self, kind: int, count: int) -> None:
        """The broker does the next `count` requests of this kind; their answers are lost, and the connection with each."""
        self.fault.losing[kind] = count

    def mend(self) -> None:
        """No fault any more. Connections that were silent are reset: what they swallowed is gone."""
        was_silent = self.fault.silent
        self.fault = Fault(lost=self.fault.lost)
        if was_silent:
            self._do(self._reset())

    def close(self) -> None:
        self.fault.shut = True
        self._server.close()
        self._do(self._reset())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _reset(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault.shut:
            writer.transport.abort()
            return
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        both, asked = {writer, inner_writer}, dict[int, int]()
        self._writers |= both
        ways = (self._carry(reader, inner_writer, asked, up=True), self._carry(inner_reader, writer, asked, up=False))
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for one in both:
                one.transport.abort()
            self._writers -= both

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, int], *, up: bool) -> None:
        """One way of a connection, until it ends. `asked`: which kind of request each number that is still to be answered was."""
        frames: Frames = asyncio.Queue(1_000)
        giving = asyncio.ensure_future(self._give(frames, writer))
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while not giving.done():
                    head = await reader.readexactly(4)
                    frame = head + await reader.readexactly(int.from_bytes(head))
                    if up:
                        kind, _, number = struct.unpack_from(">hhi", frame, 4)
                        asked[number] = kind
                    elif self._loses(asked.pop(int.from_bytes(frame[4:8], signed=True), -1)):
                        return
                    if not self.fault.silent:
                        await frames.put((time.monotonic() + self.fault.delay, frame))
        finally:
            giving.cancel()
            await asyncio.gather(giving, return_exceptions=True)

    async def _give(self, frames: Frames, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, frame = await frames.get()
                if (left := due - time.monotonic()) > 0:
                    await asyncio.sleep(left)
                if self.fault.rate:
                    await asyncio.sleep(len(frame) / self.fault.rate)
                if not self.fault.silent:
                    writer.write(frame)
                    await writer.drain()

    def _loses(self, kind: int) -> bool:
        left = self.fault.losing.get(kind, 0)
        if left:
            self.fault.losing[kind] = left - 1
            self.fault.lost += 1
        return left > 0
