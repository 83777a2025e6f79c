"""Files as requests: records cut into pieces of bounded size, each record byte for byte and with its line."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, overload

from frazil.errors import ConfigError

Format = Literal["ndjson", "json", "csv", "avro", "parquet"]
KNOWN = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json", ".csv": "csv", ".avro": "avro", ".parquet": "parquet"}
CONTENT_TYPES: dict[Format, str] = {
    "ndjson": "application/x-ndjson",
    "json": "application/json",
    "csv": "text/csv",
    "avro": "application/avro",
    "parquet": "application/vnd.apache.parquet",
}
_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Numbered(Sequence[str]):
    """Places of records that a file holds one after the other: `file[index]`."""

    name: str
    first: int
    length: int

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        of = range(self.first, self.first + self.length)[index]
        return [f"{self.name}[{at}]" for at in of] if isinstance(of, range) else f"{self.name}[{of}]"


@dataclass(frozen=True, slots=True)
class Piece:
    """The records of one request. `places`: `file:line` (NDJSON, CSV) or `file[index]` of each.

    `records` are lines, elements of an array or rows of CSV; of Avro blocks, of Parquet one file. `head` goes before them.
    """

    records: list[bytes]
    places: Sequence[str]
    format: Format
    head: bytes = b""

    @property
    def body(self) -> bytes:
        if self.format == "ndjson":
            return b"\n".join(self.records) + b"\n"
        return b"[" + b",".join(self.records) + b"]" if self.format == "json" else self.head + b"".join(self.records)

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.format]

    @property
    def can_be_cut(self) -> bool:
        """Whether the records are in `records` one by one."""
        return self.format not in ("avro", "parquet") and len(self.records) > 1

    def halves(self) -> tuple[Piece, Piece]:
        middle = len(self.records) // 2
        return (
            Piece(self.records[:middle], self.places[:middle], self.format, self.head),
            Piece(self.records[middle:], self.places[middle:], self.format, self.head),
        )


@dataclass
class Cut:
    """How large a piece may be; a single record may exceed `max_bytes` and travels alone."""

    max_records: int = 5_000
    max_bytes: int = 4 * 1024 * 1024
    from_line: int = 1
    dialect: Mapping[str, list[str]] = field(default_factory=dict)  # of CSV, as the door's parameters
    read_bytes: int = field(default=0, init=False)

    def pieces(self, path: str, format: str | None) -> Iterator[Piece]:
        """The pieces of one file; `-` is stdin.

        Raises:
            ConfigError: `send.unknown_format`; names the known. `send.no_file`.
        """
        if path == "-":
            yield from self._stream(sys.stdin.buffer, "stdin", format)
            return
        file = Path(path)
        if not file.is_file():
            raise ConfigError(f"no file {path}", code="send.no_file", hint="name a file, or - for stdin", file=path)
        known = format or KNOWN.get(file.suffix.lower()) or _unknown(path)
        with file.open("rb") as stream:
            yield from self._stream(stream, path, known)

    def _stream(self, stream: IO[bytes], name: str, format: str | None) -> Iterator[Piece]:
        if format not in (None, *CONTENT_TYPES):
            _unknown(name, format)
        if format in ("csv", "avro", "parquet"):
            yield from self._typed(stream, name, format)
            return
        first = _first_line(stream)
        array = format == "json" and (first.lstrip(_SPACE)[:1] == b"[" or not _whole(first))
        if array or (format is None and first.lstrip(_SPACE)[:1] == b"["):
            yield from self._json(first + stream.read(), name)
        else:
            yield from self._ndjson(first, stream, name)

    def _typed(self, stream: IO[bytes], name: str, format: str) -> Iterator[Piece]:
        from frazil.cli import typed_pieces

        if format == "csv":
            return typed_pieces.csv(self, stream, name, self.dialect)
        return (typed_pieces.avro if format == "avro" else typed_pieces.parquet)(self, stream, name)

    def _ndjson(self, first: bytes, stream: IO[bytes], name: str) -> Iterator[Piece]:
        records: list[bytes] = []
        places: list[str] = []
        size = 0
        for number, line in enumerate(_lines(first, stream), start=1):
            self.read_bytes += len(line)
            record = line.strip(_SPACE)
            if not record or number < self.from_line:
                continue
            if records and (len(records) >= self.max_records or size + len(record) > self.max_bytes):
                yield Piece(records, places, "ndjson")
                records, places, size = [], [], 0
            records.append(record)
            places.append(f"{name}:{number}")
            size += len(record) + 1
        if records:
            yield Piece(records, places, "ndjson")

    def _json(self, content: bytes, name: str) -> Iterator[Piece]:
        """Elements of one array, each as its own bytes. What is no JSON goes whole: the door says what is wrong with it."""
        self.read_bytes += len(content)
        elements = _elements(content)
        if elements is None:
            yield Piece([content.strip(_SPACE)], [name], "ndjson")
            return
        records: list[bytes] = []
        places: list[str] = []
        size = 0
        for index, element in enumerate(elements):
            if records and (len(records) >= self.max_records or size + len(element) > self.max_bytes):
                yield Piece(records, places, "json")
                records, places, size = [], [], 0
            records.append(element)
            places.append(f"{name}[{index}]")
            size += len(element) + 1
        if records:
            yield Piece(records, places, "json")


def _elements(content: bytes) -> list[bytes] | None:
    """The elements of a JSON array, or the one object, as they stand in the text; None when it is neither."""
    try:
        text = content.decode("utf-8")
        start = _skip(text, 0)
        if text[start] != "[":
            json.loads(text)
            return [content.strip(_SPACE)]
        decoder, found, at = json.JSONDecoder(), [], _skip(text, start + 1)
        while text[at] != "]":
            _, end = decoder.raw_decode(text, at)
            found.append(text[at:end].encode())
            at = _skip(text, end)
            if text[at] == ",":
                at = _skip(text, at + 1)
                if text[at] == "]":
                    return None
            elif text[at] != "]":
                return None
        return found if _skip(text, at + 1) == len(text) else None
    except (ValueError, IndexError, RecursionError):
        return None


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _whole(line: bytes) -> bool:
    """Whether a line is one JSON object: then a `.json` file of such lines is NDJSON."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _first_line(stream: IO[bytes]) -> bytes:
    """Everything up to the end of the first line that is not blank."""
    read = b""
    for line in stream:
        read += line
        if line.strip(_SPACE):
            break
    return read


def _lines(first: bytes, stream: IO[bytes]) -> Iterator[bytes]:
    yield from io.BytesIO(first)
    yield from stream


def _unknown(path: str, format: str | None = None) -> str:
    raise ConfigError(
        f"{format!r} is not a format that can be sent" if format else f"cannot tell the format of {path} from its name",
        code="send.unknown_format",
        hint="known formats: ndjson (.ndjson, .jsonl), json (.json), csv, avro, parquet; name one with --format",
        file=path,
    )
