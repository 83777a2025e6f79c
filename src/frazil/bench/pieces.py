"""A file of lines, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

PIECE_BYTES = 16 << 20
REFERENCE_RECORDS = 5_000
"""Records of the row on the readable reference, which takes some 100 µs for each."""


def pieces(path: str, size: int = PIECE_BYTES) -> Iterator[bytes]:
    """A file in pieces of about `size` bytes that end with a line."""
    rest = b""
    with open(path, "rb") as file:
        while piece := file.read(size):
            end = piece.rfind(b"\n") + 1
            if end == 0:
                rest += piece
                continue
            yield rest + piece[:end] if rest else piece[:end]
            rest = piece[end:]
    if rest:
        yield rest


def lines_of(body: bytes) -> list[bytes]:
    """The lines of a piece, without their ends."""
    return body.removesuffix(b"\n").split(b"\n")
