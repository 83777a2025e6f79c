"""What a changed contract would do to recorded traffic: the log's records judged again, and nothing written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from frazil.batch import Batch, Place, Position
from frazil.contract import Contract
from frazil.contract.evolution import evolution, refused
from frazil.errors import ContractError
from frazil.log import LogReader
from frazil.project import Project
from frazil.table.evolve import fitting

_STEP = 50_000
_SHOWN = 200  # characters of an example


@dataclass
class Plan:
    """How verdicts would move. `causes`: newly bad records by code and path, most first, each with an example.

    `changes`: every difference of the rules: path, effect (additive, loosened, tightened, breaking), message, and whether the
    `compatibility` of the contract as it is now refuses it.
    """

    contract: str
    version: str
    records: int = 0
    still_good: int = 0
    still_bad: int = 0
    newly_good: int = 0
    newly_bad: int = 0
    table_change: str = "none"
    causes: list[dict[str, Any]] = field(default_factory=list)
    compatibility: str = "none"
    changes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def allowed(self) -> bool:
        """Whether the change may be made: no rule forbids it, no good record becomes bad, and the table can take it."""
        forbidden = any(change["refused"] for change in self.changes)
        return not (forbidden or self.newly_bad or self.table_change.startswith("impossible"))

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "allowed": self.allowed}


def planned(
    project: Project, name: str | None, changed: Contract | None, *, last: int, judged: Callable[[int], None] = lambda count: None
) -> Plan:
    """Judge the newest `last` records that the log still holds under `changed` and compare.

    With `changed` None the project's own file is the change, and the verdicts compared with are those of the dead letters.
    """
    now = project.contract(name)
    new = changed or now
    plan = Plan(new.name, new.version, table_change=_table_change(project, new), compatibility=now.compatibility)
    plan.changes = _changes(now, new)
    judge = project.processor(new)
    before: Callable[[Batch], set[int]]
    if changed is None:
        bad_places = _recorded(project, now)
        before = lambda raw: {row for row, place in enumerate(_places(raw)) if place in bad_places}  # noqa: E731
    else:
        old = project.processor(now)
        before = lambda raw: _bad_rows(raw, old(raw).dead)  # noqa: E731
    counted: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], dict[str, Any]] = {}
    for raw in _newest(project.log_reader(now), last):
        dead = judge(raw).dead
        was, will = before(raw), _bad_rows(raw, dead)
        plan.records += len(raw)
        plan.still_bad += len(was & will)
        plan.newly_good += len(was - will)
        plan.newly_bad += len(will - was)
        _explain(raw, dead, will - was, counted, examples)
        judged(len(raw))
    plan.still_good = plan.records - plan.still_bad - plan.newly_good - plan.newly_bad
    plan.causes = [{**examples[cause], "count": count} for cause, count in counted.most_common()]
    return plan


def _changes(now: Contract, new: Contract) -> list[dict[str, Any]]:
    """What differs, each with the verdict of the contract in force: a change cannot allow itself."""
    changes = evolution(now, new)
    forbidden = refused(changes, now.compatibility)
    return [{**change._asdict(), "refused": change in forbidden} for change in changes]


def _table_change(project: Project, contract: Contract) -> str:
    """What the table would go through: nothing, columns added, or why it cannot."""
    found = project.lake.find(project.lake.raw_name(contract))
    if found is None:
        return "none yet: it would be created"
    try:
        wanted = fitting(found, contract)
    except ContractError as error:
        return f"impossible: {error.message}"
    added = sorted(set(wanted._name_to_id) - set(found.schema()._name_to_id))
    return f"columns added: {', '.join(added)}" if added else "none"


def _newest(log: LogReader, last: int) -> Any:
    """Batches of the newest `last` records, oldest first."""
    try:
        ends, oldest = log.ends(), log.oldest()
        starts = {part: str(end - last) for part, end in ends.items() if end - last >= oldest.get(part, 0)}
        position = Position({log.log_id: {part: (start, None) for part, start in starts.items()}} if starts else {})
        while (raw := log.read(after=position, limit=_STEP)) is not None:
            position = position.after(raw.spans)
            yield raw
    finally:
        log.close()


def _recorded(project: Project, contract: Contract) -> set[Place]:
    """Places that their contract refused when they were processed."""
    head = project.sink(contract).head()
    letters = project.dead_letters.at(head).newest()
    refused = [row["stage"] in ("parse", "validate", "discard") for row in letters.select(["stage"]).to_pylist()]
    rows = letters.select(["_log", "_partition", "_offset"]).to_pylist()
    return {Place(row["_log"], row["_partition"], row["_offset"]) for row, bad in zip(rows, refused, strict=True) if bad}


def _places(raw: Batch) -> list[Place]:
    columns = (raw.rows.column(name).to_pylist() for name in ("log", "partition", "offset"))
    return [Place(*place) for place in zip(*columns, strict=True)]


def _bad_rows(raw: Batch, dead: Batch) -> set[int]:
    """Indexes in `raw` of the records that became letters."""
    if not len(dead):
        return set()
    index = {place: row for row, place in enumerate(_places(raw))}
    columns = (dead.rows.column(name).to_pylist() for name in ("_log", "_partition", "_offset"))
    return {index[Place(*place)] for place in zip(*columns, strict=True)}


def _explain(
    raw: Batch, dead: Batch, newly: set[int], counted: Counter[tuple[str, str]], examples: dict[tuple[str, str], dict[str, Any]]
) -> None:
    if not newly:
        return
    offsets = raw.rows.column("offset").to_pylist()
    wanted = {offsets[row] for row in newly}
    for letter in dead.rows.to_pylist():
        if letter["_offset"] not in wanted or not letter["violations"]:
            continue
        first = letter["violations"][0]
        cause = (first["code"], first["path"])
        counted[cause] += 1
        if cause not in examples:
            text = (letter["value"] or b"").decode("utf-8", "backslashreplace")[:_SHOWN]
            known = {"code": first["code"], "path": first["path"], "message": first["message"], "hint": first["hint"]}
            examples[cause] = {**known, "offset": letter["_offset"], "value": text}
