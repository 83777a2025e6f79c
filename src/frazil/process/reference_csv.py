"""The readable reference of CSV: a text in, canonical JSON records out, as docs/formats.md says. Oracle of the kernel's tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from frazil.contract import Contract, Field
from frazil.process.reference_json import NotJson, read
from frazil.process.reference_rules import Broken

_BREAK = re.compile(r"\r\n|\r|\n")
_NUMBERS = ("integer", "number", "decimal")
_NO_LIMIT = 1_000_000


class BadCsv(Exception):
    """The text is not CSV: nothing of it may be stored."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """As `data_processor_rs.CsvDialect`."""

    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    columns: Sequence[str] | None = None
    nulls: Sequence[str] = ()


@dataclass(slots=True)
class Branch:
    """An object of the record: the columns that are its members, and the objects below it. `required`: it must be there."""

    fields: Sequence[Field]
    required: bool = True
    columns: dict[str, int] = field(default_factory=dict)
    below: dict[str, Branch] = field(default_factory=dict)


def canonical(contract: Contract, body: bytes, dialect: Dialect) -> list[tuple[int, bytes]]:
    """The records of a CSV body, each with the line it begins at.

    Raises:
        BadCsv: An open quote, text after a closing one, a column that stands twice, a header that is missing or not UTF-8.
    """
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    rows = _rows(text, dialect)
    names = [cell for cell, _ in next(rows, (0, []))[1]] if dialect.header else []
    if dialect.columns is not None:
        names = list(dialect.columns)
    if not names or any("\ud800" <= letter <= "\udfff" for name in names for letter in name):
        raise BadCsv("no header, or one that is not UTF-8")
    root = Branch(contract.fields)
    for column, name in enumerate(names):
        _place(root, name, column)
    _check(root)
    return [(line, _record(root, row, len(names), dialect).encode("utf-8", "surrogateescape")) for line, row in rows]


def wrong_cell_count(members: int) -> Broken:
    """What is wrong with a row that has not one cell per column: it is the array of its cells."""
    hint = "give each row one cell per column; quote a cell that holds the delimiter"
    return Broken("", "csv.wrong_cell_count", f"the number of cells, {members}, is not the number of columns", hint)


def _rows(text: str, dialect: Dialect) -> Iterator[tuple[int, list[tuple[str, bool]]]]:
    """Each row that is not a blank line: its first line, and its cells as text and whether they were quoted."""
    at, line = 0, 1
    plain = re.compile(f"[^{re.escape(dialect.delimiter)}\r\n]*")
    while at < len(text):
        row: list[tuple[str, bool]] = []
        first = line
        while True:
            quoted = dialect.quote != "" and text.startswith(dialect.quote, at)
            if quoted:
                cell, end = _quoted(text, at + 1, dialect.quote)
                line += len(_BREAK.findall(text[at:end]))
            else:
                end = plain.match(text, at).end()  # type: ignore[union-attr]  # matches the empty text, too
                cell = text[at:end]
            row.append((cell, quoted))
            at = end
            if not text.startswith(dialect.delimiter, at):
                break
            at += 1
        ends = _BREAK.match(text, at)
        if ends is None and at < len(text):
            raise BadCsv(f"line {line}, column {len(row)}: text after a closing quote")
        at, line = (ends.end() if ends else at), line + 1
        if row != [("", False)]:
            yield first, row


def _quoted(text: str, at: int, quote: str) -> tuple[str, int]:
    """The text of a quoted cell and the place after its closing quote."""
    parts: list[str] = []
    while True:
        end = text.find(quote, at)
        if end < 0:
            raise BadCsv("a quote is never closed")
        parts.append(text[at:end])
        if not text.startswith(quote, end + 1):
            return "".join(parts), end + 1
        parts.append(quote)
        at = end + 2


def _place(branch: Branch, name: str, column: int) -> None:
    """A field of this name; else below the first object that the name's dots lead to; else a member nothing is known of."""
    if all(one.name != name for one in branch.fields):
        for dot in (at for at, letter in enumerate(name) if letter == "."):
            found = next((one for one in branch.fields if one.name == name[:dot] and one.kind == "object"), None)
            if found is not None:
                below = branch.below.setdefault(found.name, Branch(found.fields, found.required))
                return _place(below, name[dot + 1 :], column)
    if name in branch.columns:
        raise BadCsv(f"column {name!r} stands twice")
    branch.columns[name] = column
    return None


def _check(branch: Branch) -> None:
    if branch.columns.keys() & branch.below.keys() & {one.name for one in branch.fields}:
        raise BadCsv("a column names an object, and others what is in it")
    for below in branch.below.values():
        _check(below)


def _record(root: Branch, row: list[tuple[str, bool]], columns: int, dialect: Dialect) -> str:
    cells = [None if not quoted and (cell == "" or cell in dialect.nulls) else cell for cell, quoted in row]
    if len(cells) != columns:
        return "[" + ",".join("null" if cell is None else _string(cell) for cell in cells) + "]"
    return _object(root, cells)


def _object(branch: Branch, cells: Sequence[str | None]) -> str:
    """Members of the contract in its order, then the others in order of columns."""
    members: list[tuple[str, str]] = []
    for one in branch.fields:
        below = branch.below.get(one.name)
        if below is not None and (below.required or _is_there(below, cells)):
            members.append((one.name, _object(below, cells)))
        column = branch.columns.get(one.name)
        if column is not None and (cell := cells[column]) is not None:
            members.append((one.name, _value(one, cell)))
    known = {one.name for one in branch.fields}
    others = sorted((column, name) for name, column in branch.columns.items() if name not in known)
    members += [(name, _string(cell)) for column, name in others if (cell := cells[column]) is not None]
    return "{" + ",".join(f"{_string(name)}:{value}" for name, value in members) + "}"


def _is_there(branch: Branch, cells: Sequence[str | None]) -> bool:
    own = any(cells[column] is not None for column in branch.columns.values())
    return own or any(_is_there(below, cells) for below in branch.below.values())


def _value(one: Field, cell: str) -> str:
    """The cell as JSON of the field's type; what does not fit keeps its text."""
    kind = _json_kind(cell)
    bare = kind == "number" and cell.strip(" \t\r\n") == cell
    if (one.kind in _NUMBERS and bare) or (one.kind == "timestamp" and one.unit is not None and bare):
        return cell
    if one.kind == "boolean" and cell.isascii() and cell.lower() in ("true", "false"):
        return cell.lower()
    if (one.kind == "json" and kind is not None) or (one.kind in ("object", "array") and kind == one.kind):
        return cell
    return _string(cell)


def _json_kind(cell: str) -> str | None:
    try:
        return read(cell, _NO_LIMIT)[0].kind
    except NotJson:
        return None


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
