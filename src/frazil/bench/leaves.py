"""A contract as flat columns with rules: what every peer's types and checks are made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from frazil.contract import Contract, Field

UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = rf"^({_OCTET}\.){{3}}{_OCTET}$"


@dataclass(frozen=True)
class Leaf:
    """A scalar field, and the objects it lies in."""

    above: tuple[Field, ...]
    field: Field

    @property
    def path(self) -> tuple[str, ...]:
        return (*(one.name for one in self.above), self.field.name)

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    @property
    def always(self) -> bool:
        """Whether no good record lacks it."""
        return self.field.required and all(one.required for one in self.above)

    @property
    def pattern(self) -> str | None:
        """The regular expression its text must meet; formats that one can say so are among them."""
        if self.field.kind == "uuid":
            return UUID
        return IPV4 if self.field.format == "ipv4" else self.field.pattern


def leaves(contract: Contract) -> list[Leaf]:
    """All scalar fields, depth first, in contract order."""
    return list(_below((), contract.fields))


def _below(above: tuple[Field, ...], fields: tuple[Field, ...]) -> Iterator[Leaf]:
    for one in fields:
        if one.kind == "object":
            yield from _below((*above, one), one.fields)
        else:
            yield Leaf(above, one)


def measured(contract: Contract) -> Contract:
    """The contract as all candidates have it: members that it does not name are dropped, since no peer keeps them."""
    return dataclasses.replace(contract, unknown="drop")


def with_text_ids(contract: Contract) -> Contract:
    """The same with UUIDs as text under a pattern: what engines without a UUID type write."""

    def rewritten(one: Field) -> Field:
        if one.kind == "object":
            return dataclasses.replace(one, fields=tuple(map(rewritten, one.fields)))
        return dataclasses.replace(one, kind="string", pattern=UUID) if one.kind == "uuid" else one

    return dataclasses.replace(contract, fields=tuple(map(rewritten, contract.fields)))


def event_time(contract: Contract) -> Leaf | None:
    """The leaf that says when it happened."""
    return next((one for one in leaves(contract) if one.field.path == contract.event_time), None)


def key(contract: Contract) -> list[str]:
    """Dotted names of the key's columns."""
    by_pointer = {one.field.path: one.dotted for one in leaves(contract)}
    return [by_pointer[pointer] for pointer in contract.key]


def beyond_peers(contract: Contract) -> str | None:
    """Why the peers cannot be made from this contract; None when they can."""
    for leaf in leaves(contract):
        one = leaf.field
        if one.kind in ("array", "json"):
            return f"`{leaf.dotted}` is {'an array' if one.kind == 'array' else 'any JSON'}"
        if one.unit is not None or one.zone is not None:
            return f"`{leaf.dotted}` is a time with a unit or a zone of its own"
    time = event_time(contract)
    if time is None or not time.always or time.field.kind != "timestamp":
        return "there is no timestamp of the event that every record has"
    return None
