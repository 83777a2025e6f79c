"""The laws of landing, checked on a world: what must hold after every step, whatever was killed, refused, late or overtaken.

What the tables hold is read here file by file from the committed versions the test kept, not by the code under test.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import pyarrow.parquet as pq
from pyiceberg.table.snapshots import Snapshot

from frazil.batch import Place, Span, Totals
from frazil.errors import CommitConflict
from frazil.sink import books
from frazil.sink.letters import Letters
from frazil.table.history import history
from tests.world import CONTRACTS, THINGS, Version, World

OPEN = ("parse", "validate", "identity", "process")
Row = dict[str, Any]
LetterRow = tuple[int, Row]  # sequence number of the commit that set it aside, letter


@cache
def _file(path: str) -> tuple[Row, ...]:
    return tuple(pq.ParquetFile(path.removeprefix("file://")).read().to_pylist())


_ROWS: dict[int, dict[Place, Row]] = {}


def rows_of(version: Version) -> dict[Place, Row]:
    """Rows of a committed version by place; none doubled, no file in two entries."""
    known = _ROWS.get(version.snapshot.snapshot_id)
    if known is not None:
        return known
    snapshot: Snapshot = version.snapshot
    paths = [
        entry.data_file.file_path
        for manifest in snapshot.manifests(version.table.io)
        for entry in manifest.fetch_manifest_entry(version.table.io, discard_deleted=True)
    ]
    assert len(paths) == len(set(paths)), "a file in two live entries"
    rows = [row for path in paths for row in _file(path)]
    placed = {place_of(row): row for row in rows}
    assert len(placed) == len(rows), "a position landed twice"
    _ROWS[version.snapshot.snapshot_id] = placed
    return placed


def place_of(row: Row) -> Place:
    return Place(row["_log"], row["_partition"], row["_offset"])


def set_aside(version: Version) -> list[Row]:
    return [row for file in version.markers.set_aside for row in _file(file.path)]


def lineage(world: World, head: int | None = None) -> list[Version]:
    """The whole committed history of the head, oldest first, expired versions included."""
    at = world.archive.get(world.head().version if head is None else head)
    chain = []
    while at is not None:
        chain.append(at)
        at = None if at.parent is None else world.archive[at.parent]
    return chain[::-1]


class Laws:
    """Checks a world; remembers what it has checked, so that each commit is checked once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.checked = 0
        self.pending: dict[int, tuple[int, int]] = {}
        self.seen: object = None
        self.head = world.head()

    def hold(self, *, quick: bool = False) -> None:
        """All laws, unless nothing was committed since the last time."""
        now = (self.world.weather.commits, self.world.requests)
        if quick and now == self.seen:
            return
        self.seen = now
        self.head = self.world.head()
        for version in sorted(self.world.archive.values(), key=lambda one: one.seq):
            if version.seq > self.checked:
                self.commit_law(version)
                self.checked = version.seq
        chain = lineage(self.world, self.head.version)
        truth = [(version.seq, letter) for version in chain for letter in set_aside(version)]
        rows = rows_of(chain[-1]) if chain else {}
        self.follower(truth)
        self.balance(rows, truth)
        self.jobs(rows, newest(truth))
        self.audit(full=not quick)

    # ------------------------------------------------------------ law 4: letters follow the history

    def follower(self, truth: list[LetterRow]) -> None:
        known = self.read()
        assert Counter(map(_told, known.rows.to_pylist())) == Counter(_told(letter) for _, letter in truth), (
            "dead letters follow the committed history"
        )
        speaking = {place_of(letter): _told(letter) for letter in known.newest().to_pylist()}
        assert speaking == {place: _told(letter) for place, letter in newest(truth).items()}, "the newest letter speaks"

    def read(self) -> Letters:
        for _ in range(3):
            try:
                return self.world.letters.at(self.head)
            except CommitConflict:
                self.head = self.world.head()
        raise AssertionError("letters cannot be read")

    def adopted(self) -> None:
        """At rest the table itself holds what the history set aside."""
        table = self.world.lake.dead_letters()
        truth = Counter(_told(letter) for version in lineage(self.world) for letter in set_aside(version))
        assert Counter(_told(letter) for letter in table.scan().to_arrow().to_pylist()) == truth

    # ------------------------------------------------------------ laws 1, 2, 5: the books

    def balance(self, rows: dict[Place, Row], truth: list[LetterRow]) -> None:
        head, letters = self.head, newest(truth)
        decided = {place for place in self.world.sent if _reached(place, head)}
        assert set(rows) | set(letters) == decided, "nothing lost, nothing invented"
        keys = Counter(row["k"] for row in rows.values())
        assert max(keys.values(), default=0) <= 1, "a key landed twice"
        standing = Counter(_standing(place, rows, letters) for place in decided)
        recount = Totals(len(decided), standing["landed"], standing["dead"], standing["duplicates"])
        assert head.totals.get(self.world.log.log_id, Totals()) == recount, "totals equal a recount"
        for place, letter in letters.items():
            self.letter_law(place, letter, rows)
        found = books.verify(THINGS, self.world.log, self.world.sink, self.world.letters)
        assert found.balanced, found.as_dict()
        open_ones = sum(letter["stage"] in OPEN and place not in rows for place, letter in letters.items())
        held = sum(1 for place in self.world.sent if place.offset >= self.world.log.oldest().get(place.partition, 0))
        waiting = len(self.world.sent) - len(decided)
        assert (found.landed, found.dead, found.duplicates, found.open) == (recount.landed, recount.dead, recount.duplicates, open_ones)
        assert found.pending == waiting
        assert found.records == len(self.world.sent)
        assert found.before == len(self.world.sent) - held

    def letter_law(self, place: Place, letter: Row, rows: dict[Place, Row]) -> None:
        value = self.world.sent[place][0]
        if letter["stage"] != "dedupe":
            assert letter["value"] == value, "a letter carries its record's own bytes"
        elif place not in rows:
            first = Place(**letter["first"])
            assert first in rows, "a duplicate whose first is gone is a lost record"
            if letter["_replay"] is None:
                assert value is not None
                assert {name: rows[first][name] for name in ("k", "n")} == json.loads(value), "a duplicate is equal to its first"

    # ------------------------------------------------------------ laws 6, 7: marts, jobs, audit

    def mart(self) -> None:
        """A mart that reads by `_commit`, and is rebuilt when the epoch moved, holds each landed row once."""
        chain, head = lineage(self.world), self.world.head()
        rows = list(rows_of(chain[-1]).values()) if chain else []
        self.world.mart.refresh(rows, head.epoch)
        expected = Counter((row["_commit"], row["_partition"], row["_offset"], row["k"], row["n"]) for row in rows)
        assert Counter(self.world.mart.rows) == expected, "a mart sees each landed row once"

    def jobs(self, rows: dict[Place, Row], letters: dict[Place, Row]) -> None:
        rewinds = sum(version.markers.kind == "rewind" for version in self.world.archive.values())
        waiting = Counter(request for _, request in self.world.sent.values())
        waiting.subtract(request for place, (_, request) in self.world.sent.items() if place in rows or place in letters)
        for request, pending in waiting.items():
            before = self.pending.get(request)
            assert not before or before[0] != rewinds or pending <= before[1], "a job only moves forward"
            self.pending[request] = (rewinds, pending)

    def job(self, request: int) -> books.Verdicts:
        """A request's verdicts, compared with where its records stand."""
        mine = sorted(place for place, (_, of) in self.world.sent.items() if of == request)
        spans = [Span(mine[0].log, partition, *_ends(mine, partition)) for partition in sorted({place.partition for place in mine})]
        return books.verdicts(self.world.lake, self.world.sink, self.world.letters, request, spans)

    def audit(self, *, full: bool) -> None:
        head = self.head
        for partition, oldest in self.world.log.oldest().items():
            last = head.position.last(self.world.log.log_id, partition)
            assert oldest - 1 <= (-1 if last is None else last), "what follows the position is held"
        if not full:
            return
        told = history(self.world.lake, self.world.raw)
        assert {entry.snapshot_id for entry in told} == set(self.world.archive), "every commit is in the audit log"
        assert [entry.sequence for entry in told] == sorted({version.seq for version in self.world.archive.values()})
        current = {entry.snapshot_id for entry in told if entry.current}
        chain = [version for version in lineage(self.world, head.version) if version.markers.kind != "maintenance"]
        assert current >= {version.snapshot.snapshot_id for version in chain}, "the history knows what the head stands on"

    # ------------------------------------------------------------ laws 3, 5, 6: between a commit and the one before it

    def commit_law(self, new: Version) -> None:
        parent = self.world.archive.get(new.parent or 0)
        before, after = {} if parent is None else rows_of(parent), rows_of(new)
        added = [row for place, row in after.items() if place not in before]
        earlier = [row["_commit"] for one in self.world.archive.values() if one.seq < new.seq for row in rows_of(one).values()]
        assert not added or min(row["_commit"] for row in added) > max(earlier, default=0), "_commit grows"
        assert all(after[place] == row for place, row in before.items() if place in after), "a landed row never changes"
        kind, markers = new.markers.kind, new.markers
        if parent is not None:
            assert kind in ("pump", "switch") or markers.position == parent.markers.position, "only a pump moves the position"
            for log, parts in parent.markers.position.logs.items():
                for partition, (last, _) in parts.items():
                    assert (markers.position.last(log, partition) or 0) >= int(last), "the position moves forward"
        assert not markers.set_aside or kind in ("pump", "replay", "undo", "discard"), "letters are set aside once"
        assert kind == "undo" or set(before) <= set(after), "rows stay"
        assert kind != "maintenance" or before == after, "maintenance changes no row"
        if kind == "pump":
            self.cut_law(new, parent, before, after)

    def cut_law(self, new: Version, parent: Version | None, before: dict[Place, Row], after: dict[Place, Row]) -> None:
        """The sequential oracle: every record alone, under the contract the commit names."""
        batch = sorted(
            place
            for place in self.world.sent
            if _within(place, new.markers.position) and (parent is None or not _within(place, parent.markers.position))
        )
        keys = {row["k"]: (row["n"], place) for place, row in before.items()}
        rows, aside = {}, []
        most = max(int(field.maximum or 0) for field in CONTRACTS[new.markers.contract or ""].fields if field.name == "n")
        for place in batch:
            said = _said(self.world.sent[place][0])
            if said is None:
                aside.append((place, "parse", None))
            elif not isinstance(said["n"], int) or said["n"] > most:
                aside.append((place, "validate", None))
            elif said["k"] not in keys:
                keys[said["k"]] = (said["n"], place)
                rows[place] = (said["k"], said["n"])
            elif keys[said["k"]][0] == said["n"]:
                aside.append((place, "dedupe", keys[said["k"]][1]))
            else:
                aside.append((place, "identity", None))
        assert {place: (row["k"], row["n"]) for place, row in after.items() if place not in before} == rows, "cuts change nothing"
        told = [(place_of(one), one["stage"], None if one["first"] is None else Place(**one["first"])) for one in set_aside(new)]
        assert sorted(told, key=str) == sorted(aside, key=str), "cuts change nothing"


def newest(truth: list[LetterRow]) -> dict[Place, Row]:
    return {place_of(letter): letter for _, letter in truth}


def _told(letter: Row) -> tuple[object, ...]:
    first = letter["first"]
    return (
        place_of(letter), letter["stage"], letter["value"], letter["_replay"], letter["_commit"], letter["_request"],
        None if first is None else Place(**first), json.dumps(letter["violations"]),
    )  # fmt: skip


def _said(value: bytes | None) -> Row | None:
    """A record as JSON, None when it is none."""
    try:
        said: Row | None = None if value is None else json.loads(value)
    except ValueError:
        return None
    return said


def _standing(place: Place, rows: dict[Place, Row], letters: dict[Place, Row]) -> str:
    return "landed" if place in rows else "duplicates" if letters[place]["stage"] == "dedupe" else "dead"


def _reached(place: Place, head: Any) -> bool:
    return _within(place, head.position)


def _within(place: Place, position: Any) -> bool:
    last = position.last(place.log, place.partition)
    return last is not None and place.offset <= last


def _ends(mine: list[Place], partition: str) -> tuple[int, int]:
    offsets = [place.offset for place in mine if place.partition == partition]
    return min(offsets), max(offsets)
