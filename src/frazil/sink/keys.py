"""All deduplication of the Iceberg sink: within the batch and against the version of the table that the batch will be swapped on.

A cache of keys is tagged with the snapshot it reflects and with the file each key lies in. It only says where to look: every hit
is read back from the table and compared by typed values. Files in the partitions of a batch are always looked at, from the
cache when they fit into it, from the file itself when they do not; other files, newest first, as far as the bound goes.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass

import data_processor_rs as kernel
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table
from pyiceberg.types import LongType

from frazil.batch import Batch, Processed
from frazil.contract import Contract
from frazil.contract.derive import arrow_schema, partition_field
from frazil.errors import CommitConflict, Corrupt
from frazil.sink import Commit, Decision, Head
from frazil.sink.compare import equal_content, like
from frazil.sink.decide import Fates, Matches, column, column_of, content_columns, decided, joined, key_columns, place_list, places, plain
from frazil.sink.iceberg import LandedFiles, local_path
from frazil.table.catalog import Lake, answering

BUCKET_BYTES = 21
"""The kernel's cache is a hash table of 16 bytes of key, 4 of tag, 1 of control; at most 7/8 full, it grows by doubling."""

OF_PLACE = ["_log", "_partition", "_offset"]


def needed_bytes(keys: int) -> int:
    """What the cache takes for this many keys."""
    return BUCKET_BYTES * (1 << max(keys * 8 // 7, 7).bit_length()) + 512


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A live data file: its tag in the cache, its partition (days since 1970; None: any), rows, age and range of offsets."""

    tag: int
    path: str
    day: int | None
    rows: int
    sequence: int
    offsets: tuple[int, int] | None


class TableKeys:
    """The key index of one raw table. May be shared by a pump and a replay of one process.

    Args:
        max_bytes: Most bytes the cache may hold.
    """

    def __init__(self, lake: Lake, contract: Contract, *, max_bytes: int) -> None:
        self.lake = lake
        self.contract = contract
        self.max_bytes = max_bytes
        self._keys = key_columns(contract)
        self._content = content_columns(contract)
        self._layout = pa.RecordBatch.from_pylist([], schema=arrow_schema(contract))
        self._lock = threading.Lock()
        self._tags = itertools.count()
        self._cache = kernel.KeyCache()
        self._version: int | None = None
        self._source: str | None = None  # the column whose day partitions the table
        self._files: dict[str, KeyFile] = {}
        self._covered: dict[int, KeyFile] = {}

    def __len__(self) -> int:
        return len(self._cache)

    @property
    def size_bytes(self) -> int:
        return self._cache.size_bytes

    def decide(self, processed: Processed, head: Head) -> Decision:
        """Decide each good row as if it came alone, in the batch's order, against `head` plus the rows before it.

        Raises:
            CommitConflict: A row of the batch has landed from its very place already: letters were read at another head.
            Corrupt: The batch does not balance, or `head` is not one of this table.
            Unavailable: A file cannot be read.
        """
        table = head.handle
        if not isinstance(table, Table):
            raise Corrupt("this head was not read from an Iceberg table", code="sink.foreign_head", hint="pass what `head()` returned")
        good = processed.good.rows
        with self._lock, answering("keys cannot be read", table=table.name()[-1]):
            self._reflect(table)
            self._refuse_landed(processed.good, head)
            fates = self._fates(good) if self._keys and good.num_rows else Fates.all_land(good.num_rows)
        return decided(self.contract, processed, fates)

    def advance(self, head: Head, commit: Commit) -> None:
        """Take over a commit's keys; only while the cache still reflects `head` and the commit lies directly on it."""
        done = commit.handle
        if not isinstance(done, LandedFiles) or done.landed is None:
            return
        parent = done.landed.snapshot.parent_snapshot_id or 0
        with self._lock:
            if self._version != head.version or parent != head.version:
                return
            with answering("keys cannot be read", table=done.landed.table.name()[-1]):
                for file in done.added:
                    self._files[file.file_path] = one = self._file(done.landed.table, file, commit.sequence)
                    if self._keys and self._make_room(one, keep=()):
                        self._load(one)
            self._version = commit.version

    # ---------------------------------------------------------------- what the cache reflects

    def _reflect(self, table: Table) -> None:
        """Bring the list of live files to this version of the table; forget keys of files that are not live any more."""
        fields, version = table.spec().fields, table.metadata.current_snapshot_id or 0
        self._source = table.schema().find_column_name(fields[0].source_id) if fields else None
        if version == self._version:
            return
        snapshot = table.current_snapshot()
        manifests: Iterable[ManifestFile] = snapshot.manifests(table.io) if snapshot is not None else ()
        live = {}
        for manifest in manifests:
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                path = entry.data_file.file_path
                live[path] = self._files.get(path) or self._file(table, entry.data_file, entry.sequence_number or 0)
        self._files, self._version = live, version
        self._forget({tag for tag, file in self._covered.items() if file.path not in live})

    def _file(self, table: Table, file: DataFile, sequence: int) -> KeyFile:
        at = table.schema().find_field("_offset").field_id
        bounds = [values.get(at) for values in (file.lower_bounds or {}, file.upper_bounds or {})]
        low, high = (None if value is None else int(from_bytes(LongType(), value)) for value in bounds)
        fits = table.spec().fields and file.spec_id == table.spec().spec_id
        return KeyFile(
            tag=next(self._tags),
            path=file.file_path,
            day=file.partition[0] if fits else None,
            rows=file.record_count,
            sequence=sequence,
            offsets=None if low is None or high is None else (low, high),
        )

    def _forget(self, tags: set[int]) -> None:
        if tags:
            self._covered = {tag: file for tag, file in self._covered.items() if tag not in tags}
            self._cache.retain(list(self._covered))

    def _load(self, file: KeyFile) -> bool:
        """Take over a file's keys; False when they turn out not to fit."""
        self._cache.add(self._read(file, self._tops()), self._keys, file.tag)
        self._covered[file.tag] = file
        if self._cache.size_bytes <= self.max_bytes:
            return True
        self._forget({file.tag})
        return False

    def _make_room(self, file: KeyFile, keep: Iterable[KeyFile]) -> bool:
        """Whether the file's keys fit; older files that are not in `keep` make room for it."""
        kept = {one.tag for one in keep}
        leaving: set[int] = set()
        keys = len(self._cache) + file.rows
        for old in sorted(self._covered.values(), key=lambda one: one.sequence):
            if needed_bytes(keys) <= self.max_bytes:
                break
            if old.tag not in kept:
                leaving.add(old.tag)
                keys -= old.rows
        if needed_bytes(keys) > self.max_bytes:
            return False
        self._forget(leaving)
        return True

    # ---------------------------------------------------------------- a batch

    def _fates(self, good: pa.RecordBatch) -> Fates:
        aside = self._cover(good)
        earlier, tags = (pa.array(one) for one in self._cache.probe(good, self._keys))
        matches = [self._match(file, good, pc.indices_nonzero(pc.equal(tags, file.tag))) for file in self._hit(tags)]
        hits = pc.indices_nonzero(pc.greater_equal(tags, 0))
        missed = _without(hits, matches)
        if len(missed):  # two keys with one hash: the file that the cache named does not hold this one, any other may
            matches += [self._match(file, good, missed) for file in self._files.values()]
        unseen = pc.indices_nonzero(pc.less(tags, 0))
        for file in aside:
            matches.append(self._match(file, good, _without(unseen, matches)))
        repeated = _without(pc.indices_nonzero(pc.greater_equal(earlier, 0)), matches)
        if len(repeated):  # the key came first in this very batch
            matches.append(self._compared(repeated, good.take(earlier.take(repeated)), good.take(repeated)))
        return Fates.of(good.num_rows, matches)

    def _hit(self, tags: pa.Array) -> list[KeyFile]:
        return [self._covered[tag] for tag in pc.unique(tags).to_pylist() if tag >= 0]

    def _cover(self, good: pa.RecordBatch) -> list[KeyFile]:
        """Load the files of the batch's partitions, then others, newest first; answers those that do not fit."""
        days = self._days(good)
        newest = sorted(self._files.values(), key=lambda file: file.sequence, reverse=True)
        wanted = [file for file in newest if days is None or file.day is None or file.day in days]
        aside = []
        for file in wanted:
            if file.tag in self._covered:
                continue
            if not (self._make_room(file, keep=wanted) and self._load(file)):
                aside.append(file)
        for file in newest:
            if file.tag in self._covered or file in aside:
                continue
            if needed_bytes(len(self._cache) + file.rows) > self.max_bytes or not self._load(file):
                break
        return aside

    def _days(self, good: pa.RecordBatch) -> set[int] | None:
        """Partitions that can hold the batch's keys: those of its event times. None: any, as the key does not fix the time."""
        event_time = self.contract.event_time
        if event_time is None or not column_of(event_time) == partition_field(self.contract) == self._source:
            return None
        days = pc.unique(column(good, column_of(event_time)).cast(pa.date32())).cast(pa.int32())
        return set(days.to_pylist())

    def _match(self, file: KeyFile, good: pa.RecordBatch, at: pa.Array) -> Matches:
        """Rows `at` of the batch whose key is in the file, compared with the rows that have it."""
        mine = good.take(at)
        keys = self._read(file, self._tops())
        both = pa.concat_batches([keys, like(mine, keys)])
        found = pa.array(kernel.KeyCache().probe(both, self._keys)[0]).slice(keys.num_rows)
        inside = pc.and_(pc.greater_equal(found, 0), pc.less(found, keys.num_rows))
        at, mine, found = at.filter(inside), mine.filter(inside), found.filter(inside)
        return self._compared(at, self._read(file, [*self._content, *OF_PLACE]).take(found) if len(at) else mine, mine)

    def _compared(self, at: pa.Array, first: pa.RecordBatch, mine: pa.RecordBatch) -> Matches:
        equal = equal_content(first, mine, self.contract, self._content) if len(at) else pa.nulls(0, pa.bool_())
        return Matches.compared(at, equal, first)

    def _refuse_landed(self, good: Batch, head: Head) -> None:
        """A replay's rows lie at or before the position: none may have landed from there already."""
        old = at_or_before(good.rows, head)
        if not len(old):
            return
        mine, offsets = set(place_list(places(old))), old.column("_offset")
        low, high = (pc.min(offsets).as_py(), pc.max(offsets).as_py())
        for file in self._files.values():
            if file.offsets is None or not (file.offsets[1] < low or high < file.offsets[0]):
                found = mine & set(place_list(places(self._read(file, OF_PLACE))))
                if found:
                    raise CommitConflict(
                        f"{len(found)} record(s) have landed from their place already",
                        hint="the letters were read at another head: read them again",
                        first=str(min(found)),
                    )

    # ---------------------------------------------------------------- files

    def _tops(self) -> list[str]:
        """Top-level columns that hold the key."""
        return list(dict.fromkeys(name.split(".")[0] for name in self._keys))

    def _read(self, file: KeyFile, columns: list[str]) -> pa.RecordBatch:
        """Columns of a file in the contract's plain types; null where the file is older than the column."""
        path, model = str(local_path(file.path)), self._layout.select(columns)
        try:
            rows = kernel.read_iceberg_parquet(path, columns=columns)
        except kernel.ParquetFault as fault:
            if fault.code != "parquet.unknown_column":
                raise
            there = set(pq.read_schema(path).names)
            rows = kernel.read_iceberg_parquet(path, columns=[name for name in columns if name in there] or ["_offset"])
        return like(pa.record_batch(rows), model)


def at_or_before(good: pa.RecordBatch, head: Head) -> pa.RecordBatch:
    """Rows that do not lie after the head's position."""
    offsets = good.column("_offset")
    old = pa.repeat(pa.scalar(False), good.num_rows)
    for log, partition in itertools.product(*(pc.unique(plain(good.column(name))).to_pylist() for name in OF_PLACE[:2])):
        last = head.position.last(log, partition)
        if last is not None and pc.min(offsets).as_py() <= last:
            here = pc.and_(pc.equal(good.column("_log"), log), pc.equal(good.column("_partition"), partition))
            old = pc.or_(old, pc.and_(here, pc.less_equal(offsets, last)))
    return good.filter(old)


def _without(at: pa.Array, matches: Iterable[Matches]) -> pa.Array:
    """Indices that no match names yet."""
    named = joined([one.at for one in matches], pa.uint64())
    return at.filter(pc.invert(pc.is_in(at, value_set=named)))
