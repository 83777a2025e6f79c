"""Avro object container files as canonical JSON, in plain Python (Avro 1.12): the readable reference of the kernel's reader."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from frazil.contract import Contract, Field
from frazil.process import reference_spell as spell

Fields = Sequence[Field]
_UNITS = {"millis": "ms", "micros": "us", "nanos": "ns"}
_PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")


class NotAvro(Exception):
    """The file is torn, or its values are not of its schema."""


class _Cursor:
    def __init__(self, content: bytes, at: int = 0) -> None:
        self.content, self.at = content, at

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.content) - self.at:
            raise NotAvro
        self.at += count
        return self.content[self.at - count : self.at]

    def long(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if value >= 1 << 64:
            raise NotAvro
        return (value >> 1) ^ -(value & 1)

    def run(self) -> bytes:
        return self.take(self.long())

    def blocks(self) -> Iterator[None]:
        """Once for each item of an array or map."""
        while (count := self.long()) != 0:
            if count < 0 and self.long() < 0:
                raise NotAvro
            yield from (None for _ in range(abs(count)))


def records(contract: Contract, file: bytes) -> list[bytes]:
    """The records of a file, in order.

    Raises:
        NotAvro: Nothing of the file can be used.
    """
    cursor = _Cursor(file)
    if cursor.take(4) != b"Obj\x01":
        raise NotAvro
    header = {cursor.run(): cursor.run() for _ in cursor.blocks()}
    mark = cursor.take(16)
    reader = _Reader(json.loads(header[b"avro.schema"]))
    unpack = _CODECS[header.get(b"avro.codec", b"null")]
    found = []
    while cursor.at < len(file):
        count, block = cursor.long(), _Cursor(unpack(cursor.run()))
        found += [reader.value(reader.schema, block, "object", contract.fields, "") for _ in range(count)]
        if block.at != len(block.content) or cursor.take(16) != mark:
            raise NotAvro
    return found


_CODECS: dict[bytes, Callable[[bytes], bytes]] = {
    b"null": lambda packed: packed,
    b"deflate": lambda packed: zlib.decompress(packed, -15),
    b"zstandard": lambda packed: pa.CompressedInputStream(pa.BufferReader(packed), "zstd").read(),
    b"snappy": lambda packed: _snappy(packed[:-4]),
}


def _snappy(packed: bytes) -> bytes:
    length = shift = 0
    for byte in packed:  # its length stands before a block
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return bytes(pa.decompress(packed, length, "snappy", asbytes=True))


class _Reader:
    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.names: dict[str, tuple[Any, str]] = {}
        self._name(schema, "")

    def _name(self, schema: Any, space: str) -> None:
        """Notes every named type by its full name, with the namespace of what is inside it."""
        if isinstance(schema, list):
            for branch in schema:
                self._name(branch, space)
        elif isinstance(schema, dict):
            if schema["type"] in ("record", "enum", "fixed"):
                name = schema["name"] if "." in schema["name"] else f"{schema.get('namespace', space)}.{schema['name']}"
                space = name.rpartition(".")[0]
                self.names[name.lstrip(".")] = (schema, space)
            for inner in (schema["type"], schema.get("items"), schema.get("values"), *(one["type"] for one in schema.get("fields", ()))):
                self._name(inner, space)

    def value(self, schema: Any, at: _Cursor, kind: str | None, below: Any, space: str) -> bytes:
        """The next value as JSON. `kind` and `below` are what the contract has there: an object's fields, an array's items."""
        if isinstance(schema, list):
            choice = at.long()
            if not 0 <= choice < len(schema):
                raise NotAvro
            return self.value(schema[choice], at, kind, below, space)
        if isinstance(schema, str):
            if schema in _PRIMITIVES:
                return _leaf(schema, {}, at, kind)
            schema, space = self.names.get(f"{space}.{schema}".lstrip("."), self.names.get(schema, (None, "")))
        name = schema["type"]
        if name == "record":
            return self._record(schema, at, below if kind == "object" else (), space)
        if name in ("array", "map"):
            return self._many(schema, at, kind, below, space)
        if isinstance(name, str) and (name in _PRIMITIVES or name in ("enum", "fixed")):
            return _leaf(name, schema, at, kind)
        return self.value(name, at, kind, below, space)

    def _record(self, schema: Any, at: _Cursor, fields: Fields, space: str) -> bytes:
        full = schema["name"] if "." in schema["name"] else f"{schema.get('namespace', space)}.{schema['name']}"
        inside = full.rpartition(".")[0]
        known = {field.name: field for field in fields}
        pairs = [
            (one["name"].encode(), self.value(one["type"], at, *_inside(known.get(one["name"])), space=inside)) for one in schema["fields"]
        ]
        return spell.members(pairs)

    def _many(self, schema: Any, at: _Cursor, kind: str | None, below: Any, space: str) -> bytes:
        if schema["type"] == "array":
            item: tuple[str | None, Any] = _inside(below) if kind == "array" else (None, None)
            return b"[" + b",".join(self.value(schema["items"], at, *item, space=space) for _ in at.blocks()) + b"]"
        known = {field.name: field for field in below} if kind == "object" else {}
        pairs = []
        for _ in at.blocks():
            name = at.run()
            inside = _inside(known.get(name.decode("utf-8", "replace")))
            pairs.append(spell.quoted(name) + b":" + self.value(schema["values"], at, *inside, space=space))
        return b"{" + b",".join(pairs) + b"}"


def _inside(field: Field | None) -> tuple[str | None, Any]:
    if field is None:
        return None, None
    return field.kind, field.items if field.kind == "array" else field.fields


def _leaf(name: str, schema: Any, at: _Cursor, kind: str | None) -> bytes:
    logical = schema.get("logicalType", "")
    if name == "null":
        return b"null"
    if name == "boolean":
        return {b"\0": b"false", b"\1": b"true"}[at.take(1)]
    if name in ("int", "long"):
        return _whole(at.long(), name, logical, kind)
    if name in ("float", "double"):
        return spell.double(struct.unpack("<f" if name == "float" else "<d", at.take(4 if name == "float" else 8))[0])
    if name == "string":
        return spell.text(at.run(), kind)
    if name == "enum":
        return spell.quoted(schema["symbols"][at.long()].encode())
    content = at.take(schema["size"]) if name == "fixed" else at.run()
    if logical == "decimal":
        return spell.decimal(int.from_bytes(content, "big", signed=True), schema.get("scale", 0))
    if logical == "uuid" and len(content) == 16:
        return spell.uuid(content)
    return spell.binary(content, kind)


def _whole(value: int, name: str, logical: str, kind: str | None) -> bytes:
    if name == "int" and not -(1 << 31) <= value < 1 << 31:
        raise NotAvro
    family, _, unit = logical.rpartition("-")
    if name == "int" and logical == "date":
        return spell.day(value, kind)
    if family == "time" and (name, unit) in (("int", "millis"), ("long", "micros")):
        return spell.time_of_day(value, _UNITS[unit], kind)
    if name == "long" and family in ("timestamp", "local-timestamp"):
        return spell.instant(value, _UNITS[unit], family == "timestamp", kind)
    return str(value).encode()
