"""CSV, Avro and Parquet files as pieces: cut between rows, blocks or batches, so that each piece is a whole body of its format."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Final

from frazil.cli.pieces import Cut, Numbered, Piece
from frazil.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC: Final = b"Obj\x01"
_MARK_BYTES: Final = 16


def csv(cut: Cut, stream: IO[bytes], name: str, dialect: Mapping[str, list[str]]) -> Iterator[Piece]:
    """Rows of a CSV text, its header before each piece. A row's place is `file:line`. What has no line feeds goes whole."""
    delimiter, quote = (dialect.get(key, [default])[0].encode() for key, default in (("delimiter", ","), ("quote", '"')))
    rows = _rows(stream, delimiter, quote)
    head = b""
    if dialect.get("header", ["present"])[0] != "absent":
        _, head = next(rows, (1, b""))
        if b"\r" in head.rstrip(b"\r\n"):
            yield Piece([head + stream.read()], [f"{name}:1"], "csv")
            return
        head = head if head.endswith(b"\n") else head + b"\n"
    records: list[bytes] = []
    places: list[str] = []
    size = 0
    for line, row in rows:
        cut.read_bytes += len(row)
        if line < cut.from_line:
            continue
        if records and (len(records) >= cut.max_records or size + len(row) > cut.max_bytes):
            yield Piece(records, places, "csv", head)
            records, places, size = [], [], 0
        records.append(row if row.endswith(b"\n") else row + b"\n")
        places.append(f"{name}:{line}")
        size += len(row)
    if records or head:
        yield Piece(records, places or [f"{name}:1"], "csv", head)


def _rows(stream: IO[bytes], delimiter: bytes, quote: bytes) -> Iterator[tuple[int, bytes]]:
    """Each row that is not blank, with the line it begins at; quoted cells may hold line feeds."""
    held, began, is_open = b"", 1, False
    for number, line in enumerate(stream, start=1):
        if not held:
            began = number
        is_open = bool(quote) and (is_open or quote in line) and _is_open(line, delimiter, quote, is_open)
        held += line
        if is_open:
            continue
        if held.strip(b"\r\n"):
            yield began, held
        held = b""
    if held:
        yield began, held


def _is_open(line: bytes, delimiter: bytes, quote: bytes, is_open: bool) -> bool:
    """Whether a quoted cell is open after a line, given whether one was before it."""
    at = 0
    while True:
        if not is_open:
            if line[at : at + 1] != quote:
                at = line.find(delimiter, at) + 1
                if at == 0:
                    return False
                continue
            at += 1
        close = line.find(quote, at)
        if close < 0:
            return True
        is_open = line[close + 1 : close + 2] == quote
        at = close + (2 if is_open else 1)
        if not is_open and line[at : at + 1] == delimiter:
            at += 1
        elif not is_open:
            return False


def avro(cut: Cut, stream: IO[bytes], name: str) -> Iterator[Piece]:
    """Blocks of an object container, its header before each piece. What is no container goes whole: the door says what is wrong."""
    content = stream.read()
    cut.read_bytes += len(content)
    try:
        blocks = list(_blocks(content))
    except (ValueError, IndexError):
        yield Piece([content], Numbered(name, 0, 1), "avro")
        return
    head_end = blocks[0][1] if blocks else len(content)
    head, first, count = content[:head_end], 0, 0
    taken: list[bytes] = []
    for values, start, end in blocks:
        size = sum(map(len, taken))
        if taken and (count + values > cut.max_records or size + end - start > cut.max_bytes):
            yield Piece(taken, Numbered(name, first, count), "avro", head)
            first, count, taken = first + count, 0, []
        taken.append(content[start:end])
        count += values
    yield Piece(taken, Numbered(name, first, max(count, 1)), "avro", head)


def _blocks(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Count of values, start and end of each block (Avro 1.12, "Object Container Files"). Raises ValueError or IndexError."""
    if not content.startswith(_MAGIC):
        raise ValueError("no Avro object container")
    at = 4
    while True:  # the metadata: blocks of pairs, ended by an empty one
        pairs, at = _long(content, at)
        if pairs == 0:
            break
        if pairs < 0:
            pairs, (_, at) = -pairs, _long(content, at)
        for _ in range(2 * pairs):
            length, at = _long(content, at)
            at += length
    mark = content[at : at + _MARK_BYTES]
    at += _MARK_BYTES
    while at < len(content):
        start = at
        values, at = _long(content, at)
        length, at = _long(content, at)
        at += length + _MARK_BYTES
        if values < 0 or length < 0 or content[at - _MARK_BYTES : at] != mark:
            raise ValueError("a block does not end with the file's mark")
        yield values, start, at


def _long(content: bytes, at: int) -> tuple[int, int]:
    """A zigzag number of at most 64 bit, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        value |= (content[at] & 0x7F) << shift
        at += 1
        if content[at - 1] < 0x80:
            return (value >> 1) ^ -(value & 1), at
    raise ValueError("a number is too long")


def parquet(cut: Cut, stream: IO[bytes], name: str) -> Iterator[Piece]:
    """A Parquet file: whole when it is small, else its rows in files of their own.

    Raises:
        ConfigError: `send.bad_file`: too large for one request and not readable.
    """
    import pyarrow.parquet as pq

    content = stream.read()
    cut.read_bytes += len(content)
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        count = file.metadata.num_rows
        if len(content) <= cut.max_bytes and count <= cut.max_records:
            yield Piece([content], Numbered(name, 0, max(count, 1)), "parquet")
            return
        first, columns = 0, file.schema
        twelve = any(columns.column(at).physical_type == "INT96" for at in range(len(columns)))
        for batch in file.iter_batches(batch_size=cut.max_records):
            yield Piece([_written(batch, twelve)], Numbered(name, first, batch.num_rows), "parquet")
            first += batch.num_rows
    except (OSError, ValueError, NotImplementedError) as error:
        if len(content) <= cut.max_bytes:
            yield Piece([content], Numbered(name, 0, 1), "parquet")  # the door says what is wrong with it
            return
        raise ConfigError(f"{name} cannot be cut: {error}", code="send.bad_file", hint="write the file again", file=name) from error


def _written(batch: pa.RecordBatch, twelve: bool) -> bytes:
    """Rows as a file. Times of twelve bytes stay such (`twelve`): they mean UTC, which no other spelling of them says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_batches([batch]), out, compression="zstd", use_deprecated_int96_timestamps=twelve)
    return out.getvalue()
