"""A strict JSON reader that keeps what verdicts need: each value's own text, every member in order, the first wrong byte.

The standard library's reader takes NaN, lone surrogates and repeated names, and forgets how a number was written. This
one follows RFC 8259 to the letter. It works on decoded text; offsets of faults are given in bytes.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

JsonKind = Literal["string", "number", "boolean", "null", "object", "array"]

_SPACES = frozenset(" \t\r\n")
_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_PLAIN_STRING = re.compile(r'"([^"\\\x00-\x1f]*)"')
_PLAIN_NAME = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\r\n]*:[ \t\r\n]*')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:(?!\.)|\.[0-9]++)(?:(?![eE])|[eE][+-]?[0-9]++)")  # a part once begun must be whole
_HEX = re.compile(r"[0-9A-Fa-f]{4}")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS: dict[str, tuple[str, JsonKind]] = {"t": ("true", "boolean"), "f": ("false", "boolean"), "n": ("null", "null")}


class Node(NamedTuple):
    """A JSON value: its kind, its own text, and what is inside.

    `at` is the character it begins at. `members` of an object are (name, value) in order of the document, repeated names
    included; `items` are those of an array. `text` of a string is the string without escapes.
    """

    kind: JsonKind
    at: int
    raw: str
    text: str = ""
    members: tuple[tuple[str, Node], ...] = ()
    items: tuple[Node, ...] = ()


class NotJson(Exception):
    """Not RFC 8259. `at`: byte of the first token that is wrong, or of the first byte that cannot continue."""

    def __init__(self, at: int) -> None:
        super().__init__(f"not JSON at byte {at}")
        self.at = at


class TooDeep(Exception):
    """More levels of objects and arrays than allowed."""


class _Wrong(Exception):
    """A fault at a character; becomes `NotJson` with its byte."""

    def __init__(self, at: int) -> None:
        self.at = at


def read(text: str, max_depth: int) -> tuple[Node, int]:
    """One JSON value with nothing but white space around it, and how many members and items it has at all levels.

    Raises:
        NotJson: The text is no JSON.
        TooDeep: More than `max_depth` levels are open before anything is wrong.
    """
    reader = _Reader(text, max_depth)
    try:
        return reader.whole(), reader.members
    except _Wrong as wrong:
        raise NotJson(len(text[: wrong.at].encode())) from None


class _Reader:
    def __init__(self, text: str, max_depth: int) -> None:
        self.json = text
        self.at = 0
        self.max_depth = max_depth
        self.members = 0

    def whole(self) -> Node:
        self.skip_space()
        node = self.value(0)
        self.skip_space()
        if self.at != len(self.json):
            raise _Wrong(self.at)
        return node

    def skip_space(self) -> None:
        if self.json[self.at : self.at + 1] in _SPACES:
            self.at = _SPACE.match(self.json, self.at).end()  # type: ignore[union-attr]  # matches the empty text, too

    def peek(self) -> str:
        return self.json[self.at : self.at + 1]

    def value(self, depth: int) -> Node:
        start, first = self.at, self.peek()
        if first == '"':
            text = self.string()
            return Node("string", start, self.json[start : self.at], text)
        if first in ("{", "["):
            if depth == self.max_depth:
                raise TooDeep
            return self.object(depth + 1) if first == "{" else self.array(depth + 1)
        if first in _LITERALS:
            literal, kind = _LITERALS[first]
            if not self.json.startswith(literal, start):
                raise _Wrong(start)
            self.at += len(literal)
            return Node(kind, start, literal)
        return self.number()

    def number(self) -> Node:
        start = self.at
        found = _NUMBER.match(self.json, start)
        if found is None:
            raise _Wrong(self.at)
        self.at = found.end()
        return Node("number", start, found[0])

    def object(self, depth: int) -> Node:
        start = self.at
        members: list[tuple[str, Node]] = []
        self.at += 1
        self.skip_space()
        while self.peek() != "}" or members:
            self.members += 1
            members.append((self.name(), self.value(depth)))
            if not self.goes_on("}"):
                break
        self.at += 1
        return Node("object", start, self.json[start : self.at], members=tuple(members))

    def name(self) -> str:
        """A member's name and the colon after it; the next thing is its value."""
        if (plain := _PLAIN_NAME.match(self.json, self.at)) is not None:  # nearly all are
            self.at = plain.end()
            return plain[1]
        if self.peek() != '"':
            raise _Wrong(self.at)
        name = self.string()
        self.skip_space()
        if self.peek() != ":":
            raise _Wrong(self.at)
        self.at += 1
        self.skip_space()
        return name

    def array(self, depth: int) -> Node:
        start = self.at
        items: list[Node] = []
        self.at += 1
        self.skip_space()
        while self.peek() != "]" or items:
            self.members += 1
            items.append(self.value(depth))
            if not self.goes_on("]"):
                break
        self.at += 1
        return Node("array", start, self.json[start : self.at], items=tuple(items))

    def goes_on(self, close: str) -> bool:
        """Whether a comma follows: then the next value or name stands at `at`; else `close` does."""
        self.skip_space()
        if self.peek() == ",":
            self.at += 1
            self.skip_space()
            return True
        if self.peek() != close:
            raise _Wrong(self.at)
        return False

    def string(self) -> str:
        if (whole := _PLAIN_STRING.match(self.json, self.at)) is not None:  # nearly all are
            self.at = whole.end()
            return whole[1]
        self.at += 1
        parts: list[str] = []
        while True:
            plain = _PLAIN.match(self.json, self.at)
            parts.append(plain[0])  # type: ignore[index]  # matches the empty text, too
            self.at = plain.end()  # type: ignore[union-attr]
            stop = self.peek()
            if stop == '"':
                self.at += 1
                return "".join(parts)
            if stop != "\\":
                raise _Wrong(self.at)
            parts.append(self.escape())

    def escape(self) -> str:
        letter = self.json[self.at + 1 : self.at + 2]
        if letter in _ESCAPES and letter:
            self.at += 2
            return _ESCAPES[letter]
        high = self.unit(self.at)
        if not 0xD800 <= high < 0xE000:
            self.at += 6
            return chr(high)
        low = self.unit(self.at + 6) if high < 0xDC00 and self.json.startswith("\\u", self.at + 6) else 0
        if not 0xDC00 <= low < 0xE000:
            raise _Wrong(self.at)
        self.at += 12
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))

    def unit(self, at: int) -> int:
        """The UTF-16 unit of the `\\uXXXX` at `at`; any fault is a fault of the escape that began at `self.at`."""
        found = _HEX.match(self.json, at + 2) if self.json.startswith("\\u", at) else None
        if found is None:
            raise _Wrong(self.at)
        return int(found[0], 16)
