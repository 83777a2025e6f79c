"""Patches for dead letters: a small language that changes fields of a JSON record and nothing else.

    value = number(value); currency = upper(currency); delete(/properties/debug)

A patch edits the record's own bytes: what it does not name stays byte for byte as it came. It is read here, never
given to an interpreter. A statement that does not apply to a record (`number("ten")`) leaves that whole record as it
was: it stays an open letter and a replay names it.

    patch      = statement { ";" statement }
    statement  = path "=" value | "delete" "(" path ")" | "rename" "(" path "," path ")" | "default" "(" path "," value ")"
    value      = JSON literal | 'text' | path | function "(" value { "," value } ")"
    path       = name { "." name } | JSON pointer (RFC 6901), `/items/*/price` means every item | `any of these` in backquotes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from frazil.batch import Batch, Place
from frazil.errors import ConfigError
from frazil.sink.mend.document import NotMendable
from frazil.sink.mend.statements import Statement
from frazil.sink.mend.syntax import Reader


@dataclass(frozen=True, slots=True)
class Patch:
    """A parsed patch; calling it mends the `value` column of 0..n raw rows (`RAW`), places stay as they are."""

    text: str
    statements: tuple[Statement, ...]

    @classmethod
    def parse(cls, text: str) -> Patch:
        """Read a patch.

        Raises:
            ConfigError: `mend.syntax` with the position (from 1) and what was expected there.
        """
        return cls(text, tuple(Reader(text).statements()))

    def apply(self, value: bytes | None) -> bytes | None:
        """The mended record; the record itself when it is not JSON or a statement does not apply to it."""
        if value is None:
            return None
        try:
            record = value.decode()
            for statement in self.statements:
                record = statement.apply(record)
            return record.encode()
        except (NotMendable, UnicodeError, RecursionError):
            return value

    def __call__(self, batch: Batch) -> Batch:
        return with_values(batch, [self.apply(value) for value in batch.rows.column("value").to_pylist()])


def unchanged(batch: Batch) -> Batch:
    """The mend of a replay after the contract was corrected: the records are good as they are."""
    return batch


def with_values(batch: Batch, values: list[bytes | None]) -> Batch:
    """The same raw rows with other bytes."""
    rows = batch.rows
    column = rows.schema.get_field_index("value")
    return Batch(rows.set_column(column, rows.schema.field(column), pa.array(values, rows.schema.field(column).type)), batch.spans)


@dataclass(frozen=True, slots=True)
class Replacement:
    """Whole new values: the way to repair a record that is not JSON, where no field can be named.

    `one`: the value of the only selected letter. `by_place`: a value per letter; letters it does not name stay.
    """

    one: bytes | None = None
    by_place: tuple[tuple[Place, bytes], ...] = ()

    @classmethod
    def read(cls, file: Path) -> Replacement:
        """Read a `--value-file`.

        Either the bytes of one record, or one line `log/partition/offset<TAB>value` per letter, as `dead list --json`
        names them. A last newline does not belong to the value.

        Raises:
            ConfigError: `mend.value_file`: the file cannot be read.
        """
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{file} cannot be read: {error}", hint="name a readable file", code="mend.value_file", file=str(file)
            ) from error
        lines = content.splitlines()
        placed = [pair for line in lines if (pair := _placed(line)) is not None]
        if lines and len(placed) == len(lines):
            return cls(by_place=tuple(placed))
        return cls(one=content.removesuffix(b"\n").removesuffix(b"\r"))

    def __call__(self, batch: Batch) -> Batch:
        """Raises ConfigError `mend.several_letters` when one value is to replace more than one record."""
        if self.one is not None:
            if len(batch) > 1:
                raise ConfigError(
                    f"one value cannot replace {len(batch):,} records",
                    hint="select one letter, or write one line `log/partition/offset<TAB>value` per letter",
                    code="mend.several_letters",
                    letters=len(batch),
                )
            return with_values(batch, [self.one] * len(batch))
        wanted = dict(self.by_place)
        return with_values(batch, [wanted.get(place, value) for place, value in _valued(batch)])


def _placed(line: bytes) -> tuple[Place, bytes] | None:
    name, separator, value = line.partition(b"\t")
    try:
        return (Place.parse(name.decode()), value) if separator else None
    except (ValueError, UnicodeError):
        return None


def _valued(batch: Batch) -> Iterator[tuple[Place, bytes | None]]:
    rows = batch.rows.select(["log", "partition", "offset", "value"]).to_pylist()
    return ((Place(row["log"], row["partition"], row["offset"]), row["value"]) for row in rows)


def chained(*mends: Callable[[Batch], Batch]) -> Callable[[Batch], Batch]:
    """Several mends, one after the other."""

    def all_of(batch: Batch) -> Batch:
        for mend in mends:
            batch = mend(batch)
        return batch

    return all_of


__all__ = ["Patch", "Replacement", "chained", "unchanged", "with_values"]
