"""What is new in the raw tables since a run read them: pure functions of Iceberg metadata.

A commit is news when it added or took away rows. Maintenance is not, nor is another engine's rewrite (`replace`), nor what
pipelines write themselves: marts and quality results are no raw tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

RAW: Final = "raw_"
"""Tables that pipelines read; everything else in the namespace is written by them or by the platform."""
_SILENT: Final = ("maintenance", "transform")


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of one table: its identity, and the sequence number and id of a snapshot of its own."""

    uuid: str
    sequence: int
    snapshot_id: str


Heads = Mapping[str, Pin]
"""Pins by table name."""


def pin(metadata: TableMetadata) -> Pin | None:
    """The head of a table; None while it has none."""
    head = metadata.current_snapshot()
    return None if head is None else Pin(str(metadata.table_uuid), head.sequence_number or 0, str(head.snapshot_id))


def has_news(metadata: TableMetadata, known: Pin | None) -> bool:
    """Whether a commit above `known` in the head's ancestry added or removed rows.

    Snapshots that were expired in between cannot be asked any more: they count as news, so that none is missed.
    """
    after = known.sequence if known is not None and known.uuid == str(metadata.table_uuid) else 0
    by_id = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    at, below = metadata.current_snapshot(), after
    while at is not None and (at.sequence_number or 0) > after:
        if _changed_rows(at):
            return True
        below = at.sequence_number or 0
        at = None if at.parent_snapshot_id is None else by_id.get(at.parent_snapshot_id)
    return at is None and below > after + 1


def later(one: Heads, other: Heads) -> dict[str, Pin]:
    """Table by table the pin of the higher sequence number; `other` wins where the table was made anew."""
    merged = dict(one)
    for name, found in other.items():
        was = merged.get(name)
        if was is None or was.uuid != found.uuid or was.sequence < found.sequence:
            merged[name] = found
    return merged


def heads_json(heads: Heads) -> dict[str, dict[str, Any]]:
    return {name: {"uuid": at.uuid, "sequence": at.sequence, "snapshot_id": at.snapshot_id} for name, at in heads.items()}


def heads_from(spelled: Mapping[str, Mapping[str, Any]]) -> dict[str, Pin]:
    return {name: Pin(str(at["uuid"]), int(at["sequence"]), str(at["snapshot_id"])) for name, at in spelled.items()}


def raw_tables(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(RAW))


def _changed_rows(snapshot: Snapshot) -> bool:
    if snapshot.summary is None:
        return True
    said = snapshot.summary.additional_properties
    if said.get("frazil.kind") in _SILENT or snapshot.summary.operation.value == "replace":
        return False
    return said.get("frazil.kind") == "rewind" or any(int(said.get(name, 0)) > 0 for name in ("added-records", "deleted-records"))
