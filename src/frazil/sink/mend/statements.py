"""What a patch consists of: statements that edit a record's text, and the expressions in them."""

from __future__ import annotations

from dataclasses import dataclass

from frazil.sink.mend.document import MISSING, Missing, Value, decode, encode, expand, get, put, remove
from frazil.sink.mend.functions import FUNCTIONS

PathParts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written in the patch."""

    value: Value

    def of(self, record: str, star: PathParts) -> Value | Missing:
        return self.value


@dataclass(frozen=True, slots=True)
class Field:
    """The value at a path of the record as the statements before left it."""

    path: PathParts

    def of(self, record: str, star: PathParts) -> Value | Missing:
        raw = get(record, _bound(self.path, star))
        return MISSING if isinstance(raw, Missing) else decode(raw)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of values. Missing and null come out as they went in, but for `default`."""

    name: str
    arguments: tuple[Expression, ...]

    def of(self, record: str, star: PathParts) -> Value | Missing:
        first, *rest = (argument.of(record, star) for argument in self.arguments)
        if self.name == "default":
            return rest[0] if first is None or isinstance(first, Missing) else first
        if first is None or isinstance(first, Missing):
            return first
        return FUNCTIONS[self.name].apply(first, *rest)


Expression = Literal | Field | Call


@dataclass(frozen=True, slots=True)
class Assign:
    """`path = value`; a missing value changes nothing. `only_missing`: `default(path, value)`."""

    path: PathParts
    value: Expression
    only_missing: bool = False

    def apply(self, record: str) -> str:
        for path, star in list(expand(record, self.path)):
            if self.only_missing:
                present = get(record, path)
                if not isinstance(present, Missing) and decode(present) is not None:
                    continue
            value = self.value.of(record, star)
            if not isinstance(value, Missing):
                record = put(record, path, encode(value))
        return record


@dataclass(frozen=True, slots=True)
class Delete:
    """`delete(path)`; a missing member changes nothing."""

    path: PathParts

    def apply(self, record: str) -> str:
        for path, _ in reversed(list(expand(record, self.path))):  # from the end: indexes before stay true
            record = remove(record, path)
        return record


@dataclass(frozen=True, slots=True)
class Rename:
    """`rename(from, to)`: the value moves with its own text; a missing member changes nothing."""

    source: PathParts
    target: PathParts

    def apply(self, record: str) -> str:
        for path, star in list(expand(record, self.source)):
            raw = get(record, path)
            if not isinstance(raw, Missing):
                record = put(remove(record, path), _bound(self.target, star), raw)
        return record


Statement = Assign | Delete | Rename


def _bound(path: PathParts, star: PathParts) -> PathParts:
    """A path whose `*` are the items of the target they go along with, first to first."""
    indexes = iter(star)
    return tuple(next(indexes, part) if part == "*" else part for part in path)
