"""Reads the text of a patch into its statements."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from frazil.errors import ConfigError
from frazil.sink.mend.document import Raw, decode
from frazil.sink.mend.functions import FUNCTIONS
from frazil.sink.mend.statements import Assign, Call, Delete, Expression, Field, Literal, PathParts, Rename, Statement

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[^\W\d]\w*")
_DOTTED = re.compile(r"[^\W\d]\w*(\.(\w+|\*))*")
_POINTER = re.compile(r"(/[^/\s=,();`'\"]+)+")
_TEXT = re.compile(r"'((?:[^'\\]|\\.)*)'")
_STATEMENTS = ("delete", "rename", "default")


class Reader:
    """One patch, read from left to right without backtracking over a statement."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def statements(self) -> Iterator[Statement]:
        """Raises ConfigError `mend.syntax`."""
        while True:
            yield self._statement()
            if self._take(";") and self._peek():
                continue
            if self._peek():
                self._fail("`;` or the end")
            return

    def _statement(self) -> Statement:
        name = self._word()
        after = _SPACE.match(self.text, self.at + len(name))
        if name in _STATEMENTS and after and self.text[after.end() : after.end() + 1] == "(":
            self.at = after.end() + 1
            return self._command(name)
        path = self._path()
        self._expect("=")
        return Assign(path, self._expression())

    def _command(self, name: str) -> Statement:
        path = self._path()
        statement: Statement
        if name == "delete":
            statement = Delete(path)
        elif name == "rename":
            self._expect(",")
            statement = Rename(path, self._path())
        else:
            self._expect(",")
            statement = Assign(path, self._expression(), only_missing=True)
        self._expect(")")
        return statement

    def _expression(self) -> Expression:
        first = self._peek()
        if not first:
            self._fail("a value")
        if first == "'":
            return Literal(self._quoted())
        name = self._word()
        if name in ("true", "false", "null") or first in '"-0123456789{[':
            return self._literal()
        after = _SPACE.match(self.text, self.at + len(name))
        if name and after and self.text[after.end() : after.end() + 1] == "(":
            return self._call(name, after.end() + 1)
        return Field(self._path())

    def _call(self, name: str, inside: int) -> Call:
        function = FUNCTIONS.get(name)
        if function is None:
            self._fail(f"one of the functions {', '.join(sorted(FUNCTIONS))}")
        start, self.at = self.at, inside
        arguments = [self._expression()]
        while self._take(","):
            arguments.append(self._expression())
        self._expect(")")
        if not function.least <= len(arguments) <= function.most:
            self.at = start
            self._fail(f"`{function.says}`")
        return Call(name, tuple(arguments))

    def _literal(self) -> Literal:
        try:
            _, end = json.JSONDecoder(parse_constant=self._fail).raw_decode(self.text, self.at)
        except ValueError:
            self._fail("a JSON value")
        raw, self.at = self.text[self.at : end], end
        value = decode(raw)
        return Literal(Raw(json.dumps(json.loads(value), ensure_ascii=False)) if isinstance(value, Raw) else value)

    def _quoted(self) -> str:
        found = _TEXT.match(self.text, self.at)
        if found is None:
            self._fail("a closing `'`")
        self.at = found.end()
        return re.sub(r"\\(.)", r"\1", found[1])

    def _path(self) -> PathParts:
        first = self._peek()
        if first == "`":
            end = self.text.find("`", self.at + 1)
            if end < 0:
                self._fail("a closing backquote")
            name, self.at = self.text[self.at + 1 : end], end + 1
            return _pointer(name) if name.startswith("/") else (name,)
        found = (_POINTER if first == "/" else _DOTTED).match(self.text, self.at)
        if found is None:
            self._fail("a field, like `value` or `/properties/price`")
        self.at = found.end()
        return _pointer(found[0]) if first == "/" else tuple(found[0].split("."))

    def _word(self) -> str:
        self._peek()
        found = _NAME.match(self.text, self.at)
        return found[0] if found else ""

    def _peek(self) -> str:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.text[self.at : self.at + 1]

    def _take(self, sign: str) -> bool:
        if self._peek() != sign:
            return False
        self.at += 1
        return True

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            self._fail(f"`{sign}`")

    def _fail(self, expected: str) -> NoReturn:
        self._peek()
        found = repr(self.text[self.at : self.at + 12]) if self.at < len(self.text) else "the end"
        raise ConfigError(
            f"the patch cannot be read at character {self.at + 1}: expected {expected}, found {found}",
            hint="write it like `value = number(value); currency = upper(currency)`",
            code="mend.syntax",
            patch=self.text,
            position=self.at + 1,
        )


def _pointer(text: str) -> PathParts:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))
