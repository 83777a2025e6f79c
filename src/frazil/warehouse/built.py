"""What a mart remembers, in the commit that made it, of what it was made from; and whether it may go on from there.

A mart reads raw tables by landing order (`_commit`), directly or through other marts. It goes on from its own rows only
while all of this holds: its last commit is ours, its shape is the same, no raw table below it lost rows (`frazil.epoch`)
or was made anew, and no mart below it was built anew. Otherwise it is built anew, and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.types import LongType

from frazil.table.files import planned
from frazil.table.snapshots import ancestry, markers_of, standing


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a raw table was read: `commit` is its largest `_commit` then, 0 for none; `epoch` as in its markers."""

    uuid: str
    commit: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Built:
    """What one commit of a mart was made from.

    `inputs`: by table it reads (raw or mart), the reach of every raw table through it. `generations`: of the marts it
    reads. `generation`: a name of its own last full build.
    """

    shape: str
    generation: str
    inputs: Mapping[str, Mapping[str, Reach]] = field(default_factory=dict)
    generations: Mapping[str, str] = field(default_factory=dict)
    invocation: str = ""

    def as_marker(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_marker(cls, marker: Mapping[str, Any]) -> Built:
        inputs = {name: {raw: Reach(**reach) for raw, reach in below.items()} for name, below in marker["inputs"].items()}
        return cls(marker["shape"], marker["generation"], inputs, marker["generations"], marker["invocation"])


@dataclass(frozen=True, slots=True)
class Plan:
    """How a mart is built now. `why`: why in full; empty when it goes on. `idle`: nothing it reads has changed."""

    now: Built
    before: Built | None
    why: str

    @property
    def idle(self) -> bool:
        return not self.why and self.before is not None and self.before.inputs == self.now.inputs

    def whole(self) -> Plan:
        """The same plan for a model that cannot go on from its own rows; still idle when nothing changed."""
        return self if self.why or self.idle else replace(self, why="it has no key to go on by")

    def after(self, raw: str) -> int:
        """`_commit` of a raw table up to which this mart has its rows, through whichever input knows least."""
        before = {} if self.before is None or self.why else self.before.inputs
        return min((below[raw].commit for below in before.values() if raw in below), default=0)


def reach_of(table: Table) -> Reach:
    """How far one version of a raw table reaches. From the metrics in its manifests: no data file is opened."""
    commits = [last_commit(table, task.file) for task in planned(table)]
    return Reach(
        str(table.metadata.table_uuid), max((one for one in commits if one is not None), default=0), standing(table.metadata).epoch
    )


def last_commit(raw: Table, file: DataFile) -> int | None:
    """The largest `_commit` in a file of a raw table; None when its metrics do not say."""
    bound = (file.upper_bounds or {}).get(raw.schema().find_field("_commit").field_id)
    return None if bound is None else int(from_bytes(LongType(), bound))


def built_of(table: Table | None) -> Built | None:
    """What a mart was made from; None when it is not there, or its last commit but maintenance is not a build of ours."""
    if table is None:
        return None
    for snapshot in reversed(ancestry(table.metadata)):
        markers = markers_of(snapshot)
        if markers is None or markers.kind not in ("maintenance", "transform"):
            return None
        if markers.kind == "transform":
            return Built.from_marker(markers.built)
    return None


def plan(now: Built, mart: Table | None, *, full_refresh: bool = False) -> Plan:
    """Decide how to build a mart whose making would be `now` on top of its current version."""
    before = built_of(mart)
    return Plan(now, before, _why(now, before, mart, full_refresh))


def _why(now: Built, before: Built | None, mart: Table | None, full_refresh: bool) -> str:
    if mart is None or mart.metadata.current_snapshot() is None:
        return "it is not there yet"
    if full_refresh:
        return "a full refresh was asked for"
    if before is None:
        return "its last commit is not ours: somebody edited or rewound it"
    if before.shape != now.shape:
        return "its model, or a view, seed or macro below it, changed"
    if before.inputs.keys() != now.inputs.keys():
        return "it reads other tables now"
    for name, generation in now.generations.items():
        if before.generations.get(name) != generation:
            return f"{name} was built anew"
    for name, below in now.inputs.items():
        for raw, reach in below.items():
            then = before.inputs[name].get(raw)
            if then is None or (then.uuid, then.epoch) != (reach.uuid, reach.epoch) or then.commit > reach.commit:
                return f"rows were taken out of {raw}"
    return ""
