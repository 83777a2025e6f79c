"""NDJSON of any size into files: the same as judging, deduplicating and writing the whole at once, in bounded memory."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from frazil.contract import Contract, Field

RECEIVED_US = 1_795_000_000_000_000
DAY_US = 86_400_000_000
FIELDS = (
    Field("id", "/id", "uuid", required=True),
    Field("at", "/at", "timestamp", unit="us", required=True),
    Field("name", "/name", "string", min_length=1),
    Field("count", "/count", "integer", minimum="0"),
    Field("inner", "/inner", "object", fields=(Field("a", "/inner/a", "number"),)),
)
CONTRACT = Contract("things", "1.0.0", FIELDS, event_time="/at", unknown="refuse", max_bytes=300_000)
PLAN = kernel.Plan(CONTRACT.plan)
COLUMNS = [
    {"id": 1, "name": "id", "required": True, "type": "uuid"},
    {"id": 2, "name": "at", "required": True, "type": "timestamptz"},
    {"id": 3, "name": "name", "required": False, "type": "string"},
    {"id": 4, "name": "count", "required": False, "type": "long"},
    {"id": 5, "name": "inner", "required": False,
     "type": {"type": "struct", "fields": [{"id": 8, "name": "a", "required": False, "type": "double"}]}},
    {"id": 6, "name": "event_date", "required": True, "type": "date"},
    {"id": 7, "name": "event_hour", "required": True, "type": "int"},
]  # fmt: skip
SCHEMA = json.dumps({"type": "struct", "fields": COLUMNS})


def lines(count: int, seed: int = 1) -> list[bytes]:
    """Good ones, some repeated, some broken, some blank."""
    rng = random.Random(seed)
    good: list[bytes] = []
    found = []
    for number in range(count):
        draw = rng.random()
        if draw < 0.05 and good:
            found.append(rng.choice(good))
        elif draw < 0.1:
            found.append(rng.choice([b"{", b"", b"  \r", b'{"id":"x"}', b'{"count":-1}', b"\xff", b"[]"]))
        else:
            at = RECEIVED_US - rng.randrange(3 * DAY_US)
            name = rng.choice([None, "same", f"n{number}", "\u00e9\n" * rng.randrange(1, 9)])
            inner = rng.choice([None, {"a": rng.random()}, {}])
            event = {"id": str(uuid.UUID(int=rng.getrandbits(128))), "at": at, "name": name, "count": rng.randrange(9), "inner": inner}
            good.append(json.dumps(event).encode())
            found.append(good[-1])
    return found


def landed(source: Any, place: Path, **options: Any) -> tuple[dict[str, int], list[dict[str, Any]], list[dict[str, Any]]]:
    """Counts, letters and files."""
    given: dict[str, Any] = {"key": ["id"], "partition_field": "at", "durable": False} | options
    landing = kernel.Landing(source, PLAN, place, schema_json=SCHEMA, received_at_us=RECEIVED_US, **given)
    letters: list[dict[str, Any]] = []
    counts = {"records": 0, "good": 0, "duplicates": 0}
    for batch in landing:
        letters += pa.record_batch(batch.letters).to_pylist()
        assert batch.records == batch.good + batch.duplicates + len(batch.letters)
        counts = {name: sum_ + getattr(batch, name) for name, sum_ in counts.items()}
    return counts, letters, landing.finish()


def rows_of(files: list[dict[str, Any]]) -> dict[Any, list[dict[str, Any]]]:
    """Rows by day, in the order they were written."""
    days: dict[Any, list[dict[str, Any]]] = {}
    for file in files:
        table = pq.ParquetFile(file["path"]).read()
        assert table.num_rows == file["record_count"]
        days.setdefault(file["partition"], []).extend(table.to_pylist())
    return days


TINY = {"batch_bytes": 1, "threads": 2, "buffer_bytes": 1, "key_memory_bytes": 1}


@pytest.mark.parametrize("options", [{}, {"threads": 2}, {"batch_bytes": 1}, TINY])
@pytest.mark.parametrize("key", [["id"], ["name", "count"], []])
def test_batches_and_threads_change_nothing(tmp_path: Path, options: dict[str, Any], key: list[str]) -> None:
    given = lines(8_000)
    body = b"\n".join(given)
    (tmp_path / "in.ndjson").write_bytes(body)
    counts, letters, files = landed(tmp_path / "in.ndjson", tmp_path / "out", key=key, **options)
    events = kernel.parse_events(body, PLAN, format="ndjson")
    good = kernel.transform_batch(events)
    kept = kernel.deduplicate(good, key)
    whole = kernel.write_iceberg_parquet(kept, str(tmp_path / "whole"), schema_json=SCHEMA, partition_field="at", durable=False)
    assert rows_of(files) == rows_of(whole)
    records = [line for line in given if line.strip(b" \r")]
    assert counts == {"records": len(records), "good": len(kept), "duplicates": len(good) - len(kept)}
    found: dict[int, list[Any]] = {}
    for error in kernel.validate_schema(events):
        found.setdefault(error.index, []).append((error.path, error.code, error.message, error.hint))
    told = {
        letter["_offset"]: [(one["path"], one["code"], one["message"], one["hint"]) for one in letter["violations"]] for letter in letters
    }
    assert told == found
    for letter in letters:
        assert letter["value"] == records[letter["_offset"]] == given[letter["source"]["line"] - 1].removesuffix(b"\r")
        assert letter["_log"] == "input"


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_record_ends_with_its_line(tmp_path: Path, cut: int) -> None:
    tokens = [b"{", b'"id"', b":", b'"01934b6e-7c0a-7def-8123-456789abcdef"', b",", b'"at"', b":", b"%d" % RECEIVED_US, b"}"]
    body = b"".join(tokens[:cut]) + b"\n" + b"".join(tokens[cut:]) + b"\n" + b" ".join(tokens) + b" \t\r\n"
    counts, letters, _ = landed(io.BytesIO(body), tmp_path / "out")
    assert counts == {"records": 3, "good": 1, "duplicates": 0}
    assert [letter["source"]["line"] for letter in letters] == [1, 2]


def test_files_are_the_same_to_the_byte_however_many_threads(tmp_path: Path) -> None:
    body = b"\n".join(lines(12_000))
    written = []
    for threads in (1, 2, 3):
        _, _, files = landed(io.BytesIO(body), tmp_path / str(threads), batch_bytes=1, threads=threads)
        written.append([Path(file["path"]).read_bytes() for file in files])
    assert len(written[0]) > 2
    assert written[0] == written[1] == written[2]


def test_a_file_object_is_read_like_a_file(tmp_path: Path) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 1000))

    body = b"\r\n".join(lines(500))
    (tmp_path / "in.ndjson").write_bytes(body)
    counts, letters, files = landed(tmp_path / "in.ndjson", tmp_path / "a")
    for threads in (1, 2):
        other = landed(Slow(body), tmp_path / f"b{threads}", threads=threads)
        assert (counts, letters, rows_of(files)) == (*other[:2], rows_of(other[2]))


def test_a_line_no_record_can_be_is_a_letter_without_its_bytes(tmp_path: Path) -> None:
    good = lines(1)[0]
    body = b"\n".join([good, b"x" * 2_000_000, b"y" * 300_001, good])
    counts, letters, _ = landed(io.BytesIO(body), tmp_path / "out")
    assert counts == {"records": 4, "good": 1, "duplicates": 1}
    assert [letter["violations"][0]["code"] for letter in letters] == ["record.too_large"] * 2
    assert [letter["violations"][0]["message"].split()[0] for letter in letters] == ["2000000", "300001"]
    assert letters[0]["value"] is None


@pytest.mark.parametrize("threads", [1, 2])
def test_what_fails_leaves_no_file_and_is_raised_as_it_is(tmp_path: Path, threads: int) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 600_000:
                raise RuntimeError("the cable")
            return super().read(size)

    source = Broken(b"\n".join(lines(8_000)))
    landing = kernel.Landing(
        source, PLAN, tmp_path / "out", schema_json=SCHEMA, received_at_us=RECEIVED_US, partition_field="at", batch_bytes=1, threads=threads
    )
    assert next(landing).good > 0
    with pytest.raises(RuntimeError, match="the cable"):
        list(landing)
    with pytest.raises(kernel.KernelError) as error:
        landing.finish()
    assert error.value.code == "landing.unfinished"
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_landing_is_finished_at_its_end_and_once(tmp_path: Path) -> None:
    landing = kernel.Landing(io.BytesIO(b"\n".join(lines(9))), PLAN, tmp_path, schema_json=SCHEMA, received_at_us=RECEIVED_US)
    with pytest.raises(kernel.KernelError):
        landing.finish()
    list(landing)
    assert len(landing.finish()) == 1
    with pytest.raises(kernel.KernelError):
        landing.finish()
    with pytest.raises(kernel.KernelError) as error:
        kernel.Landing(tmp_path / "none", PLAN, tmp_path, schema_json=SCHEMA, received_at_us=RECEIVED_US)
    assert error.value.code == "landing.read"


def test_keys_move_to_a_scratch_folder_and_leave_nothing_there(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    given = lines(12_000)
    body = b"\n".join([*given, *given[:6_000]])
    options: dict[str, Any] = {"schema_json": SCHEMA, "received_at_us": RECEIVED_US, "key": ["id"], "durable": False, "batch_bytes": 1}
    small = kernel.Landing(io.BytesIO(body), PLAN, tmp_path / "small", key_memory_bytes=1, scratch=scratch, **options)
    large = kernel.Landing(io.BytesIO(body), PLAN, tmp_path / "large", **options)
    most = 0
    for few, many in zip(small, large, strict=True):
        assert (few.records, few.good, few.duplicates) == (many.records, many.good, many.duplicates)
        most = max(most, small.key_scratch_bytes)
        assert small.key_memory_bytes < 256 * 1024
        assert large.key_scratch_bytes == 0
    assert most > 16 * 8_000
    assert rows_of(small.finish()) == rows_of(large.finish())
    assert small.key_scratch_bytes == small.key_memory_bytes == 0
    assert not list(scratch.iterdir())


def test_a_scratch_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    options: dict[str, Any] = {"schema_json": SCHEMA, "received_at_us": RECEIVED_US, "key": ["id"]}
    with pytest.raises(kernel.KernelError) as error:
        kernel.Landing(io.BytesIO(b""), PLAN, tmp_path, scratch=tmp_path / "none", **options)
    assert (error.value.code, error.value.retry) == ("key.scratch_failed", "never")
    assert error.value.context["path"] == str(tmp_path / "none")


FULL = """
import json, resource, sys
import data_processor_rs as kernel
from tests.unit.test_kernel_landing import PLAN, RECEIVED_US, SCHEMA, lines
import io
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # no file may be larger
landing = kernel.Landing(io.BytesIO(b"\\n".join(lines(8_000))), PLAN, sys.argv[1], schema_json=SCHEMA, received_at_us=RECEIVED_US,
    key=["id"], key_memory_bytes=1, scratch=sys.argv[2])
try:
    list(landing)
except kernel.KernelError as error:
    print(json.dumps([error.code, error.hint]))
try:
    landing.finish()
except kernel.KernelError as error:
    print(json.dumps(error.code))
"""


def test_a_scratch_disk_that_is_full_ends_the_landing_and_leaves_nothing(tmp_path: Path) -> None:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run([sys.executable, "-c", FULL, str(out), str(scratch)], capture_output=True, text=True, check=True)
    (code, hint), after = map(json.loads, done.stdout.splitlines())
    assert (code, after) == ("key.scratch_full", "landing.unfinished")
    assert "scratch folder" in hint
    assert not list(scratch.iterdir())
    assert not list(out.rglob("*.parquet"))


MEASURE = """
import json, resource, sys
import data_processor_rs as kernel
from tests.unit.test_kernel_landing import PLAN, RECEIVED_US, SCHEMA, DAY_US
import random, uuid

pieces, threads, place = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = random.Random(1)

class Source:
    left, rest = pieces, b""
    def read(self, size):
        if not self.rest and self.left:
            self.left -= 1
            # 200 events are drawn and repeated to a quarter of a megabyte
            drawn = [(str(uuid.UUID(int=rng.getrandbits(128))).encode(), rng.randrange(5 * DAY_US), rng.random()) for _ in range(200)]
            line = b'{"id":"%s","at":%d,"name":"n%d","count":1,"inner":{"a":%r}}'
            events = [line % (id, RECEIVED_US - age, age, a) for id, age, a in drawn]
            lines = b"\\n".join(events) + b"\\n"
            self.rest = lines * ((1 << 18) // len(lines))
        given, self.rest = self.rest[:size], self.rest[size:]
        return given

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
landing = kernel.Landing(Source(), PLAN, place, schema_json=SCHEMA, received_at_us=RECEIVED_US, partition_field="at", threads=threads,
    batch_bytes=4 << 20, buffer_bytes=8 << 20, durable=False)
rows = sum(batch.good for batch in landing)
files = landing.finish()
print(json.dumps({"rows": rows, "files": sum(file["file_size_in_bytes"] for file in files),
    "grown_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}))
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_memory_is_bounded_by_the_batch_not_by_the_input(tmp_path: Path, threads: int) -> None:
    command = [sys.executable, "-c", MEASURE, "1600", str(threads), str(tmp_path)]  # 400 MB
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    whole = json.loads(done.stdout)
    assert whole["rows"] > 2_000_000
    assert whole["grown_mb"] < 64, whole  # 23 and 32 where this was written; 400 MB and 100 MB of input take the same
