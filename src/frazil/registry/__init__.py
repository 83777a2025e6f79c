"""Schema registries: where writers say how their records are encoded, and where a contract's schema is announced.

A registry's schema never changes under its id, so what it says of a record may be remembered for ever.
"""

from __future__ import annotations

from typing import Protocol

from frazil.errors import ContractError

SchemaId = int | str
"""A number that the registry gave, or a GUID as text."""


class SchemaRegistry(Protocol):
    """The part of a registry that Frazil needs. Every call may raise `Unavailable` (`registry.unavailable`): ask again later."""

    def schema(self, schema_id: SchemaId) -> str | None:
        """The Avro schema with this id as JSON; None when there is none."""
        ...

    def incompatible(self, subject: str, schema: str) -> str | None:
        """What the registry has against the schema as the subject's next version; None when it would take it."""
        ...

    def announce(self, subject: str, schema: str, compatibility: str) -> int:
        """Make it the subject's newest version unless it is one already; the schema's id.

        Raises:
            ContractError: `registry.incompatible`.
        """
        ...


def refused_change(subject: str, refusal: str) -> ContractError:
    """What a change is refused with that the registry would not take as the subject's next version."""
    return ContractError(
        refusal,
        code="registry.incompatible",
        hint="`frazil contracts plan` shows what changed; make the new field optional, or loosen the contract's compatibility",
        subject=subject,
    )
