"""Request bodies, read within limits: size while it streams, time, and what all requests together may hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final

import data_processor_rs as kernel
from starlette.types import Receive

from frazil.api.problems import Refused
from frazil.errors import Throttled
from frazil.settings import ApiSettings

ENCODINGS: Final = {"": "identity", "identity": "identity", "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
COMPRESSED_BYTES: Final = 64 * 1024
"""What a compressed body counts as at least when it is decided where to read it: it may hold much more than it looks."""
_SLICE = 256 * 1024


class Budget:
    """Bytes of bodies that requests hold at the same time, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def lease(self) -> Lease:
        return Lease(self)


class Lease:
    """One request's share of the budget; gives it back at the end of the `with` block."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def add(self, size: int) -> None:
        """Hold `size` bytes more. Raises Throttled when all requests together would hold too much."""
        if self._budget.held + size > self._budget.limit:
            raise Throttled(
                f"requests hold {self._budget.held} bytes already, at most {self._budget.limit}",
                code="server.busy",
                hint="send again after Retry-After seconds, or fewer requests at a time",
                retry_after=1,
                held=self._budget.held,
                limit=self._budget.limit,
            )
        self._budget.held += size
        self._bytes += size

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._budget.held -= self._bytes
        self._bytes = 0


def encoding_of(headers: Mapping[str, str]) -> str:
    """The body's encoding in the kernel's words. Raises Refused (415) and names the known ones."""
    named = headers.get("content-encoding", "").strip().lower()
    if named not in ENCODINGS:
        raise Refused(
            f"unknown Content-Encoding {named[:80]!r}",
            code="encoding.unknown",
            hint="known encodings: identity, gzip, zstd",
            headers={"Accept-Encoding": "gzip, zstd"},
            encoding=named[:80],
        )
    return ENCODINGS[named]


async def read(
    headers: Mapping[str, str],
    receive: Receive,
    limits: ApiSettings,
    lease: Lease,
    take: Callable[[], list[bytes] | None] = lambda: None,
) -> list[bytes]:
    """The body as it came, in pieces.

    Args:
        take: All of it, if it has arrived already, so that no clock need run and nobody waits.

    Raises:
        Refused: `body.too_large` before anything is read when Content-Length says so, else as soon as it shows; `body.too_slow`;
            `body.cut` when the client went away or sent another number of bytes than it said.
        Throttled: All requests together hold too much.
    """
    declared = _declared(headers)
    if declared is not None and declared > limits.max_body_bytes:
        raise too_large(limits.max_body_bytes, bytes=declared)
    pieces = take()
    if pieces is not None:
        size = sum(map(len, pieces))
        if size > limits.max_body_bytes:
            raise too_large(limits.max_body_bytes, bytes=size)
        lease.add(size)
    else:
        seconds = limits.body_timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                pieces, size = await _pieces(receive, limits.max_body_bytes, lease)
        except TimeoutError:
            raise too_slow(seconds) from None
    if declared is not None and size != declared:
        raise Refused("the body has not the length it said", code="body.cut", hint="send it again", bytes=size, declared=declared)
    return pieces


async def _pieces(receive: Receive, limit: int, lease: Lease) -> tuple[list[bytes], int]:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("the client went away before its body was complete", code="body.cut", hint="send it again", bytes=size)
        piece = message.get("body", b"")
        if piece:
            size += len(piece)
            if size > limit:
                raise too_large(limit, bytes=size)
            lease.add(len(piece))
            pieces.append(piece)
        if not message.get("more_body", False):
            return pieces, size


def too_slow(seconds: float) -> Refused:
    return Refused(
        f"the body did not arrive in {seconds:g} s",
        code="body.too_slow",
        hint="send smaller bodies, or compress them with gzip or zstd",
        headers={"Connection": "close"},
        seconds=seconds,
    )


def too_large(limit: int, **facts: int) -> Refused:
    return Refused(
        f"the body has more than {limit} bytes",
        code="body.too_large",
        hint="split it into several requests, or raise api.max_body_bytes",
        limit=limit,
        **facts,  # type: ignore[arg-type]
    )


def decoded(pieces: list[bytes], encoding: str, limits: ApiSettings) -> bytes:
    """The body's content. Releases the GIL while it decompresses.

    Raises:
        BodyError: `body.too_large`, `body.ratio_exceeded`, `body.bad_compression`.
    """
    if encoding == "identity":
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    decoder = kernel.BodyDecoder(encoding, max_bytes=limits.max_body_bytes, max_ratio=limits.max_ratio)
    for piece in pieces:
        for start in range(0, len(piece), _SLICE):
            decoder.feed(piece[start : start + _SLICE])
    return decoder.finish()


def _declared(headers: Mapping[str, str]) -> int | None:
    named = headers.get("content-length")
    if named is None:
        return None
    if not named.isascii() or not named.isdigit():
        raise Refused("Content-Length is not a number", code="body.cut", hint="send the body's length in bytes", declared=named[:40])
    return int(named)
