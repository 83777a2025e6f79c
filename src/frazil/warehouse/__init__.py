"""❼ Landed events become a star schema: dbt runs the project's models over the lake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["success", "warn", "error", "fail", "skipped"]
SETTLED = ("Compilation", "Parser", "Binder", "Catalog", "Conversion", "Out of Range", "Mismatch Type", "Not implemented")
"""Kinds of errors, of dbt and of DuckDB, that lie in a query or in its rows."""


@dataclass(frozen=True)
class NodeResult:
    """What became of one seed, model or test.

    `rows` is None where the engine does not tell. `message`: what is wrong; of a mart that was built, how: which files, and whether it
    was continued or why it was rebuilt; else empty.
    """

    name: str
    kind: Literal["seed", "model", "test", "snapshot"]
    outcome: Outcome
    seconds: float
    rows: int | None
    message: str
    relation: str | None

    @property
    def settled(self) -> bool:
        """Whether it failed for what its query or its rows say, which waiting does not change. False for words that are not known."""
        kinds = tuple(f"{kind} Error" for kind in SETTLED)
        return self.outcome == "error" and any(line.strip().startswith(kinds) for line in self.message.splitlines()[:2])


@dataclass(frozen=True)
class Transformation:
    """One run of dbt over the warehouse."""

    invocation_id: str
    target: str
    seconds: float
    nodes: Sequence[NodeResult]

    @property
    def failed(self) -> tuple[NodeResult, ...]:
        """Nodes that ended with `error` or `fail`; a warning is not a failure."""
        return tuple(node for node in self.nodes if node.outcome in ("error", "fail"))
