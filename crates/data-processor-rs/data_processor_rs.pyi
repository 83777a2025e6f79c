"""Frazil's kernel. Arrow objects cross by the C data interface: `pa.record_batch(x)` takes what is returned here."""

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any, Protocol, Self, final, type_check_only

__all__ = [
    "Admission",
    "AvroSchema",
    "BodyDecoder",
    "BodyError",
    "Column",
    "CsvDialect",
    "DistinctRows",
    "EmbeddedLogReader",
    "EmbeddedLogWriter",
    "Event",
    "Events",
    "FileBatch",
    "FileReader",
    "FormatError",
    "IdempotencyMismatch",
    "KernelError",
    "KeyCache",
    "LandedBatch",
    "Landing",
    "LogCorrupt",
    "LogExpired",
    "LogThrottled",
    "LogUnavailable",
    "ParquetFault",
    "Plan",
    "PlanError",
    "Rows",
    "Schema",
    "TransformedEvent",
    "ValidationError",
    "WindowConflict",
    "WindowCorrupt",
    "WindowReader",
    "WindowStore",
    "WindowUnavailable",
    "admit",
    "canonical",
    "deduplicate",
    "equal_rows",
    "parse_avro",
    "parse_csv",
    "parse_events",
    "parse_json",
    "parse_parquet",
    "process",
    "read_iceberg_parquet",
    "transform_batch",
    "validate_schema",
    "write_iceberg",
    "write_iceberg_parquet",
]

@type_check_only
class ArrowArray(Protocol):
    """Anything that exports one Arrow array or record batch (pyarrow, polars, this module)."""
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...

@type_check_only
class ArrowStream(Protocol):
    """Anything that exports a stream of record batches (pyarrow tables and readers, polars frames)."""
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

@type_check_only
class Readable(Protocol):
    """A binary file object."""
    def read(self, size: int, /) -> bytes: ...

# ---------------------------------------------------------------- errors (subclasses of Exception; facts as attributes)

class KernelError(Exception):
    """`code`, `retry`, `hint` and `context` (dict) as attributes, with the words of `frazil.errors`."""

    code: str
    retry: str
    hint: str
    context: dict[str, Any]

class PlanError(KernelError): ...
class BodyError(KernelError): ...
class FormatError(KernelError): ...
class ParquetFault(KernelError): ...
class LogUnavailable(KernelError): ...
class LogThrottled(KernelError): ...
class LogCorrupt(KernelError): ...
class LogExpired(KernelError): ...
class IdempotencyMismatch(KernelError): ...
class WindowUnavailable(KernelError): ...
class WindowConflict(KernelError): ...
class WindowCorrupt(KernelError): ...

# ---------------------------------------------------------------- Arrow rows

@final
class Rows:
    """A record batch owned by the kernel."""
    def __len__(self) -> int: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...
    def __arrow_c_schema__(self) -> object: ...

@final
class DistinctRows:
    """A batch without the rows that repeat an earlier one: `write_iceberg_parquet` reads what stays in place, anyone else gets a copy."""
    def __len__(self) -> int: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...
    def __arrow_c_schema__(self) -> object: ...

@final
class Column:
    """An array owned by the kernel."""
    def __len__(self) -> int: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...

# ---------------------------------------------------------------- process

@final
class Plan:
    """A compiled contract: `Contract.plan` of Frazil. Immutable, shared between threads."""
    def __new__(cls, plan: str) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def hash(self) -> str: ...

def process(plan: Plan, raw: ArrowArray) -> tuple[Rows, Rows]:
    """Judge raw records (`RAW` layout): good rows (contract columns + `LINEAGE`) and dead rows (`LETTERS`). GIL released."""

@final
class Admission:
    """A body split into records, each judged: what the door answers and what the log appends, without a copy per record."""
    @property
    def accepted(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def errors(self) -> list[dict[str, Any]]:
        """The first violations (at most `max_errors`), `index` set."""
    @property
    def errors_total(self) -> int: ...
    @property
    def size_bytes(self) -> int:
        """Bytes that its records hold in memory: the body itself, or canonical JSON."""
    def __len__(self) -> int: ...
    def records(self) -> list[bytes]: ...
    def line(self, index: int) -> int | None:
        """1-based line of an NDJSON or CSV record, row of an Avro or Parquet file; None for JSON."""

def admit(
    plan: Plan, body: bytes, *, format: str, received_at_us: int, max_errors: int = 100, dialect: CsvDialect | None = None
) -> Admission:
    """Split a body into records and judge each. GIL released.

    `json` (one object or one array) and `ndjson` records stay byte for byte. Rows of `csv` and records of files (`avro`, an object
    container; `parquet`) become canonical JSON under the contract, at most 256 MiB of it; the `errors` of `csv` carry `line` and
    `column` (the column's name or None), too.

    Raises:
        BodyError: `body.empty`, `body.invalid_json` (a JSON body that is cut or broken), `body.invalid_encoding`, `body.invalid_csv`
            (an open quote, text after a closing quote, a column that stands twice; `line` and `column` in the facts), those of
            `FileReader`, `body.too_large`: nothing of it may be stored.
        FormatError: an unknown format; names the known ones.
    """

@final
class CsvDialect:
    """How a CSV text is spelled. The default is RFC 4180 with a header.

    `delimiter` and `quote` are one ASCII character each, an empty `quote` means none. `columns` names the columns, before a header's
    names; needed when `header` is false. An unquoted cell that is empty or one of `nulls` is missing.

    Raises FormatError `csv.bad_dialect`.
    """
    def __new__(
        cls,
        *,
        delimiter: str = ",",
        quote: str = '"',
        header: bool = True,
        columns: Sequence[str] | None = None,
        nulls: Sequence[str] = ...,
    ) -> Self: ...

@final
class BodyDecoder:
    """Decompresses a request body piece by piece: `identity`, `gzip` (several members), `zstd` (several frames, window <= 8 MiB).

    Raises BodyError: `body.too_large` over `max_bytes`, `body.ratio_exceeded` over `max_ratio` once 1 MiB came out, `body.bad_compression`.
    """
    def __new__(cls, encoding: str, *, max_bytes: int, max_ratio: int = 100) -> Self: ...
    def feed(self, chunk: bytes) -> None: ...
    def finish(self) -> bytes:
        """The whole body. Raises `body.bad_compression` when the stream is cut."""

# The founding interface: without a plan the generic event contract shipped with the wheel applies.

@final
class Events:
    """Parsed records: typed columns of those that could be typed, and every violation found so far."""
    def __len__(self) -> int: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...
    def line(self, index: int) -> int | None:
        """1-based line of a record in NDJSON or CSV, row in an Avro or Parquet file; None for JSON."""
    @property
    def violations(self) -> list[ValidationError]: ...
    @property
    def plan(self) -> Plan: ...

@final
class ValidationError:
    """One broken rule: `index`, `path`, `code`, `message`, `hint`, `value` (JSON-ready)."""

    index: int
    path: str
    code: str
    message: str
    hint: str
    value: object
    def as_dict(self) -> dict[str, Any]: ...

Event = Events
TransformedEvent = Rows
Schema = Plan

@final
class FileBatch:
    """Records of an Avro or Parquet file, judged: `__len__` counts good and refused ones."""
    def __len__(self) -> int: ...
    @property
    def rows(self) -> Rows:
        """The contract's columns, `event_date` and `event_hour` of the good records, in order."""
    @property
    def violations(self) -> list[ValidationError]:
        """Every violation of the refused records; `index` is the record's number in its file, from 0."""
    @property
    def first(self) -> int:
        """Number of the batch's first record in its file."""
    @property
    def refused(self) -> int: ...

@final
class FileReader:
    """Iterates over an Avro object container or a Parquet file batch by batch. GIL released; memory bounded by the batch.

    `received_at_us` is the time of records without one and bounds event times. Not shared between threads at once.

    Raises:
        BodyError: `body.invalid_avro`, `body.invalid_parquet`, `avro.bad_schema`, `avro.unknown_codec`, `body.too_large`; what came
            before the damage was yielded.
        FormatError: a format other than `avro` and `parquet`.
    """
    def __new__(cls, plan: Plan, file: bytes, *, format: str, received_at_us: int, batch_size: int = 65536) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> FileBatch: ...

def canonical(plan: Plan, file: bytes, *, format: str) -> list[bytes]:
    """The records of an Avro or Parquet file as canonical JSON under a contract, in order: what the log holds of them.

    Raises:
        BodyError, FormatError: as `FileReader`.
    """

@final
class AvroSchema:
    """The schema that single Avro values were written with, read for a contract.

    Raises:
        BodyError: `avro.bad_schema`.
    """
    def __new__(cls, plan: Plan, text: str) -> Self: ...
    def canonical(self, values: list[bytes]) -> list[bytes | str]:
        """Each value, without a registry's frame, as canonical JSON; as text, why it is no value of the schema. GIL released."""

def parse_events(data: bytes, plan: Plan | None = None, *, format: str = "json", dialect: CsvDialect | None = None) -> Events:
    """Parse a body of a named format: `json`, `ndjson`, `csv`, `avro` or `parquet`. Raises as `admit`."""

def parse_avro(data: bytes, plan: Plan | None = None) -> Events:
    """Parse an Avro object container file: members by name, writer's types to the contract's. All at once; `FileReader` goes by batches."""

def parse_parquet(data: bytes, plan: Plan | None = None) -> Events:
    """Parse a Parquet file: columns by name, any physical layout. All at once; `FileReader` goes by batches."""

def parse_csv(data: bytes, plan: Plan | None = None, *, dialect: CsvDialect | None = None) -> Events:
    """Parse rows of cells: columns by name (`properties.price` is `price` in `properties`), values typed by the contract."""

def parse_json(data: bytes, plan: Plan | None = None) -> Events: ...
def validate_schema(events: Events, plan: Plan | None = None) -> list[ValidationError]:
    """Every violation of every record, in order of records."""

def transform_batch(events: Events, plan: Plan | None = None) -> Rows:
    """Valid rows with `event_date`, `event_hour`."""

# ---------------------------------------------------------------- deduplicate

def deduplicate(rows: ArrowArray, key: Sequence[str]) -> DistinctRows:
    """Rows whose key was not seen before in the batch; the first stays, order kept. `key`: column names, dotted when nested."""

@final
class KeyCache:
    """Keys seen, each with a caller's tag (a file's number): exact for UUIDs, 128-bit keyed hash otherwise. Bounded by the caller."""
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    def add(self, rows: ArrowArray, key: Sequence[str], tag: int) -> None:
        """Take over the keys of rows; a key already there keeps its tag."""
    def fresh(self, rows: ArrowArray, key: Sequence[str], tag: int) -> DistinctRows:
        """Rows whose key is new here and in the batch, order kept; their keys are taken over with the tag.

        Keys that are no UUIDs are told apart by 128 bits: who must be certain asks `probe` and compares the rows.
        """
    def retain(self, tags: Sequence[int]) -> None:
        """Forget keys with other tags."""
    def probe(self, rows: ArrowArray, key: Sequence[str]) -> tuple[Column, Column]:
        """Per row, both int64: the index of the first earlier row of the batch with the same key or -1; the tag of the cached key or -1.

        Earlier rows are compared by exact key, a cached tag may be a hash collision: read the row back.
        """

def equal_rows(left: ArrowArray, right: ArrowArray, columns: Sequence[str]) -> Column:
    """Boolean per row: the named columns hold equal typed values (null equals null, NaN equals NaN, text dictionary or plain)."""

# ---------------------------------------------------------------- NDJSON of any size into files

@final
class LandedBatch:
    """What became of one batch: `records == good + duplicates + len(letters)`."""
    @property
    def records(self) -> int: ...
    @property
    def good(self) -> int:
        """Rows written."""
    @property
    def duplicates(self) -> int:
        """Records that met the contract and whose key came before; the first one stays."""
    @property
    def letters(self) -> Rows:
        """Dead letters (`LETTERS` layout): `_log` is `name`, `_offset` the record's number in the input from 0, `source.line` its line.
        `value` is null for a line far over the longest record: only its size was kept."""

@final
class Landing:
    """NDJSON of any size: read, judged, freed of duplicates and written as day-partitioned Parquet, batch by batch.

    Iterate to the end, then call `finish`. Memory is bounded by `batch_bytes`, `buffer_bytes` and `key_memory_bytes`, whatever the size
    of the input, apart from 1.3 bytes for each key that lies on the scratch disk. With `threads=2` another thread judges batches ahead of
    the caller's, which writes in order and judges when nothing waits for it: same rows, letters and files.
    GIL released, but to read from a file object. A landing that is dropped before `finish` leaves no file.
    """
    def __new__(
        cls,
        source: str | PathLike[str] | Readable,
        plan: Plan,
        location: str | PathLike[str],
        *,
        schema_json: str,
        received_at_us: int,
        key: Sequence[str] = ...,
        partition_field: str | None = None,
        file_prefix: str = "",
        name: str = "input",
        batch_bytes: int = 8_388_608,
        threads: int = 1,
        key_memory_bytes: int = 268_435_456,
        scratch: str | PathLike[str] | None = None,
        compression: str = "zstd",
        compression_level: int = 1,
        target_bytes: int = 134_217_728,
        buffer_bytes: int = 33_554_432,
        durable: bool = True,
    ) -> Self:
        """`source`: a path, or anything whose `read(n)` gives at most n bytes, b"" at the end.

        `schema_json`: Iceberg schema of the contract's columns, `event_date` and `event_hour`. `received_at_us`: µs since 1970, bounds
        event times. `key`: columns that identify an event, dotted when nested; none: nothing is a duplicate. Keys that are no UUIDs
        are told apart by 128 bits. `batch_bytes`: input of a batch, or of `threads` smaller ones. `buffer_bytes`: memory of all open
        files together; past it those without new rows, then the largest, write a row group. Everything else: `write_iceberg_parquet`.

        `key_memory_bytes`: most bytes of keys in memory, at most 32 each; less than 256 KiB counts as that. Past it they move to sorted
        files in the folder `scratch` (None: the system's own, `TMPDIR`): 16 bytes each, twice while files are merged. The files have no
        name and vanish with the landing, however it ends. What is a duplicate stays exact.

        Raises:
            KernelError: `landing.read`; `key.scratch_failed` when a folder is named and cannot be written.
            FormatError, ParquetFault: as `write_iceberg_parquet`.
        """
    def __iter__(self) -> Self: ...
    def __next__(self) -> LandedBatch:
        """Land the next batch. After an error no file is left.

        Raises:
            KernelError: `landing.read`, or whatever the file object raises. `key.scratch_failed`, `key.scratch_full`,
                `key.scratch_changed`: keys that do not fit into memory, and the scratch disk fails.
            ParquetFault: rows that do not fit the schema, a disk that is full.
        """
    @property
    def key_memory_bytes(self) -> int:
        """Bytes that keys hold in memory now; 0 after the last batch."""
    @property
    def key_scratch_bytes(self) -> int:
        """Bytes of keys on the scratch disk now; 0 while all fit into memory, and after the last batch."""
    def finish(self) -> list[dict[str, Any]]:
        """Close the files: one dict per DataFile, as `write_iceberg_parquet`.

        Raises:
            KernelError: `landing.unfinished` before the last batch, after an error, and the second time.
        """

# ---------------------------------------------------------------- Parquet for Iceberg

def write_iceberg_parquet(
    rows: ArrowArray | ArrowStream | Iterable[ArrowArray],
    location: str,
    *,
    schema_json: str,
    partition_field: str | None = None,
    file_prefix: str = "",
    compression: str = "zstd",
    compression_level: int = 1,
    target_bytes: int = 134_217_728,
    durable: bool = True,
) -> list[dict[str, Any]]:
    """Write rows below a local directory, one or more files per UTC day of `partition_field` (dotted when nested).

    A stream or iterator is pulled batch by batch while writing, so the rows never lie in memory together; the batches of
    an iterator may lay out text differently.

    `schema_json` is the Iceberg schema (JSON of the spec): names columns, field ids, required. Columns are matched by name, an
    optional one that is missing is written as null. Files are `{location}/{field}_day=YYYY-MM-DD/{file_prefix}{n}.parquet`
    (without partition `{location}/{file_prefix}{n}.parquet`), fsynced with their directories when `durable`.

    Returns one dict per file: `path`, `partition` (days since 1970 or None), `record_count`, `file_size_in_bytes`, and by field id
    `column_sizes`, `value_counts`, `null_value_counts`, `nan_value_counts`, `lower_bounds`, `upper_bounds` (bytes, Iceberg's
    single-value serialisation, text truncated to 16 characters by the spec's rule), `split_offsets`.
    """

def read_iceberg_parquet(path: str, *, columns: Sequence[str] | None = None) -> Rows:
    """Read one file back."""

def write_iceberg(events: Events | ArrowArray | ArrowStream, table_path: str, *, plan: Plan | None = None) -> list[dict[str, Any]]:
    """The founding name: valid events as day-partitioned zstd Parquet with field ids below `table_path`."""

# ---------------------------------------------------------------- embedded log

@final
class EmbeddedLogWriter:
    """One topic's writer: one thread, group commit; acknowledged means fsynced. Several processes may append."""
    def __new__(
        cls,
        directory: str,
        *,
        segment_bytes: int = 67_108_864,
        queue_bytes: int = 268_435_456,
        group_bytes: int = 8_388_608,
        min_free_bytes: int | None = None,
    ) -> Self: ...
    @property
    def log_id(self) -> str: ...
    def append(
        self,
        records: Admission | Sequence[tuple[bytes | None, bytes | None, int | None]],
        *,
        request: int,
        received_at_us: int,
        format: str = "json",
        idempotency: tuple[str, bytes, bytes] | None = None,
    ) -> tuple[int, int, str, int, bytes, bool]:
        """(first, last, check, request, receipt, repeated); blocks until durable, GIL released."""
    def submit(
        self,
        records: Admission | Sequence[tuple[bytes | None, bytes | None, int | None]],
        *,
        request: int,
        received_at_us: int,
        format: str = "json",
        idempotency: tuple[str, bytes, bytes] | None = None,
    ) -> int:
        """Queue an append; its ticket. `fileno()` becomes readable when `completed()` has something."""
    def fileno(self) -> int: ...
    def completed(self) -> list[tuple[int, tuple[int, int, str, int, bytes, bool] | KernelError]]: ...
    def roll(self) -> None:
        """Seal the live segment and start the next."""
    def seal(self) -> None:
        """Take no more records, whoever appends: every later append is `log.sealed`. Safe to repeat."""
    def unlink(self, through: int) -> int:
        """Delete sealed segments that end at or before an offset; how many."""
    def close(self) -> None: ...

@final
class EmbeddedLogReader:
    """Reads one topic, read-only, from any process."""
    def __new__(cls, directory: str) -> Self: ...
    @property
    def log_id(self) -> str: ...
    def read(self, after: int, limit: int, max_bytes: int = 268_435_456) -> Rows | None:
        """Records after an offset (-1: from the oldest) in `RAW` layout, or None when there are none."""
    def resume(self, after: int, check: str | None, limit: int, max_bytes: int = 268_435_456) -> tuple[Rows, str] | None:
        """As `read`, with the check of the last record. Given `check`, the record at `after` must have it while the log holds it."""
    def check(self, offset: int) -> str | None:
        """Checksum of the record at an offset; None when the log does not hold it."""
    def first(self) -> int: ...
    def end(self) -> int: ...
    def segments(self) -> list[dict[str, Any]]: ...
    def close(self) -> None: ...

# ---------------------------------------------------------------- live windows

@final
class WindowStore:
    """State, position and keys of a contract's live windows in one SQLite file, open for writing. GIL released.

    `windows` is the JSON of `WindowSpec.plan`s; `key` and `content` name the columns that identify an event and that its
    repetitions agree in; `most_bytes` bounds what is held of open windows in memory: the rest lies in the file.

    Raises:
        PlanError: A window or column makes no sense.
        WindowUnavailable: The file did not answer; nothing was stored.
        WindowCorrupt: The file is not what was written.
    """
    def __new__(cls, path: str, windows: str, *, key: Sequence[str], content: Sequence[str], most_bytes: int = 67_108_864) -> Self: ...
    def head(self) -> tuple[int, str, str]:
        """Number of commits, position and totals (JSON, empty at the beginning)."""
    def seen(self, rows: ArrowArray, events: ArrowArray) -> Rows:
        """n rows x 4 columns: `fate` (0 new, 1 the same event, 2 another one), `log`, `partition`, `offset` of the first."""
    def landed(self, log: str, partition: str, offset: int) -> bool: ...
    def memory(self) -> tuple[int, int, int]:
        """Bytes of open windows held in memory now, the most there were, and how many keys went back to the file to make room."""
    def append(
        self, rows: ArrowArray, events: ArrowArray, *, head: int, position: str, totals: str, replay: str | None, now_us: int
    ) -> tuple[int, int, int]:
        """Count events in one transaction; answers number of commits, results given out, late pairs.

        Raises:
            WindowConflict: Anything but maintenance was committed since `head`; nothing is changed.
        """
    def maintain(self, keep_us: int) -> int: ...

@final
class WindowReader:
    """What other processes see of a contract's live windows. Never writes. GIL released."""
    def __new__(cls, path: str) -> Self: ...
    def position(self) -> str: ...
    def last(self) -> int:
        """The largest number of a result given out; 0 before the first."""
    def changes(
        self, after: int, *, window: str | None = None, limit: int = 10_000
    ) -> list[tuple[int, str, int, int, str, int, int, str, int]]:
        """Results after a number: number, window, start, end (us), key (JSON), revision, state, values (JSON), time (us).

        state: 0 provisional, 1 final, 2 merged into an earlier session.
        """
    def progress(self) -> list[tuple[str, int | None, int, int, str]]:
        """Window, watermark (us), open windows, late pairs, position it counts from (JSON)."""
    def late(self, window: str, limit: int) -> list[tuple[str, int, int, int, tuple[str, str, int]]]:
        """Newest first: key (JSON), start, event time, watermark (us), place."""
    def landed(self) -> list[tuple[str, str, int, int, str | None]]:
        """Places of events that are remembered: log, partition, offset, number of the commit, replay."""
