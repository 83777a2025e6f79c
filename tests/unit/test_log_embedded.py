"""The embedded log on disk: what lies where, what survives a restart, what is refused."""

from __future__ import annotations

import json
import re
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import data_processor_rs as kernel
import pytest

from frazil.batch import Position
from frazil.errors import Corrupt, FrazilError, Throttled, Unavailable
from frazil.log import IdempotencyKey, Record
from frazil.log.embedded import EmbeddedReader, EmbeddedRetention, EmbeddedWriter, frazil_error

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def writer_of(directory: Path, **options: int) -> EmbeddedWriter:
    return EmbeddedWriter(directory, min_free_bytes=0, **options)


def everything(directory: Path) -> list[bytes | None]:
    reader, position, found = EmbeddedReader(directory), Position.empty(), list[bytes | None]()
    while (batch := reader.read(after=position, limit=100)) is not None:
        found += batch.rows.column("value").to_pylist()
        position = position.after(batch.spans)
    reader.close()
    return found


def test_a_log_is_a_directory_with_an_identity_and_segments_named_by_their_first_offset(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "down" / "topic"
    writer = writer_of(directory)
    writer.append([Record(b"a"), Record(b"b")], request=1, received_at=NOW)
    writer.roll()
    writer.append([Record(b"c")], request=2, received_at=NOW)
    assert json.loads((directory / "log.json").read_text())["log_id"] == writer.log_id
    assert uuid.UUID(writer.log_id).version == 4
    assert sorted(path.name for path in directory.glob("seg-*.db")) == [f"seg-{base:020}.db" for base in (0, 2)]
    writer.close()


def test_opening_a_reader_gives_the_log_its_identity(tmp_path: Path) -> None:
    reader = EmbeddedReader(tmp_path / "topic")
    assert reader.lag(Position.empty()) == 0
    writer = writer_of(tmp_path / "topic")
    assert writer.log_id == reader.log_id
    writer.append([Record(b"a")], request=1, received_at=NOW)
    assert reader.read(after=Position.empty(), limit=1) is not None
    writer.close()


def test_many_who_open_a_log_at_once_see_one_identity(tmp_path: Path) -> None:
    seen, gate = list[str](), threading.Barrier(8)

    def open_it() -> None:
        gate.wait()
        seen.append(EmbeddedReader(tmp_path / "topic").log_id)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 1
    assert len(seen) == 8
    assert [path.name for path in (tmp_path / "topic").iterdir()] == ["log.json"]


def test_a_restart_goes_on_where_the_log_ended(tmp_path: Path) -> None:
    key = IdempotencyKey("k", b"digest", b"receipt")
    for life in range(3):
        writer = writer_of(tmp_path / "topic")
        appended = writer.append([Record(b"%d" % life)], request=life, received_at=NOW)
        assert appended.spans[0].first == life + min(life, 1)
        repeated = writer.append([Record(b"key")], request=9, received_at=NOW, idempotency=key)
        assert repeated.repeated == (life > 0)
        writer.close()
    assert everything(tmp_path / "topic") == [b"0", b"key", b"1", b"2"]


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 9 << 20])
def test_a_record_of_any_size_comes_back(size: int, tmp_path: Path) -> None:
    writer = writer_of(tmp_path / "topic")
    values = [b"before", bytes(range(256)) * (size // 256) + b"x" * (size % 256), b"after"]
    writer.append([Record(value) for value in values], request=1, received_at=NOW)
    assert everything(tmp_path / "topic") == values
    writer.close()


def test_a_read_ends_near_its_limit_of_bytes(tmp_path: Path) -> None:
    writer = writer_of(tmp_path / "topic")
    writer.append([Record(b"x" * 100_000)] * 100, request=1, received_at=NOW)
    reader = kernel.EmbeddedLogReader(str(tmp_path / "topic"))
    rows = reader.read(-1, 1_000_000, max_bytes=500_000)
    assert rows is not None
    assert 5 <= len(rows) <= 16
    writer.close()


def test_times_before_1970_and_microseconds_are_kept(tmp_path: Path) -> None:
    writer, at = writer_of(tmp_path / "topic"), datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    writer.append([Record(b"a")], request=-(2**63), received_at=at, format="ndjson")
    batch = EmbeddedReader(tmp_path / "topic").read(after=Position.empty(), limit=1)
    assert batch is not None
    row = batch.rows.to_pylist()[0]
    assert (row["received_at"], row["request"], row["source"]["format"]) == (at, -(2**63), "ndjson")
    writer.close()


def test_a_closed_writer_finishes_what_was_queued_and_takes_nothing_more(tmp_path: Path) -> None:
    writer = kernel.EmbeddedLogWriter(str(tmp_path / "topic"), min_free_bytes=0)
    for number in range(50):
        writer.submit([(b"%d" % number, None, None)], request=1, received_at_us=0)
    writer.close()
    assert len(writer.completed()) == 50
    assert everything(tmp_path / "topic") == [b"%d" % number for number in range(50)]
    with pytest.raises(kernel.LogUnavailable) as refused:
        writer.append([(b"late", None, None)], request=1, received_at_us=0)
    assert refused.value.code == "log.closed"
    writer.close()


def test_a_log_that_was_made_anew_stops_an_open_reader(tmp_path: Path) -> None:
    directory = tmp_path / "topic"
    writer, reader = writer_of(directory), EmbeddedReader(directory)
    position = Position.empty().after(writer.append([Record(b"a")], request=1, received_at=NOW).spans)
    writer.close()
    directory.rename(tmp_path / "aside")
    with pytest.raises(Corrupt) as gone:
        reader.read(after=position, limit=1)
    assert gone.value.code == "log.recreated"
    anew = writer_of(directory)
    anew.append([Record(b"b")], request=1, received_at=NOW)
    for one in (reader, EmbeddedReader(directory)):
        with pytest.raises(Corrupt) as stopped:
            one.read(after=position, limit=1)
        assert stopped.value.code == "log.recreated"
    anew.close()


def test_a_backup_that_was_put_back_and_grew_again_is_noticed(tmp_path: Path) -> None:
    directory = tmp_path / "topic"
    writer = writer_of(directory)
    writer.append([Record(b"a")], request=1, received_at=NOW)
    writer.close()
    backup = {path.name: path.read_bytes() for path in directory.iterdir()}
    writer = writer_of(directory)
    position = Position.empty().after(writer.append([Record(b"b")], request=2, received_at=NOW).spans)
    writer.close()
    for path in directory.iterdir():
        path.unlink()
    for name, content in backup.items():
        (directory / name).write_bytes(content)
    with pytest.raises(Corrupt) as shorter:
        EmbeddedReader(directory).read(after=position, limit=1)
    assert shorter.value.code == "log.truncated"
    writer = writer_of(directory)
    writer.append([Record(b"b")], request=3, received_at=NOW)
    with pytest.raises(Corrupt) as changed:
        EmbeddedReader(directory).read(after=position, limit=1)
    assert changed.value.code == "log.record_changed"
    writer.close()


def test_retention_without_a_floor_for_this_log_deletes_nothing(tmp_path: Path) -> None:
    writer = writer_of(tmp_path / "topic")
    writer.append([Record(b"a")], request=1, received_at=NOW)
    writer.roll()
    retention = EmbeddedRetention(tmp_path / "topic")
    assert retention.unlink(Position({"another": {"0": ("99", None)}})) == 0
    assert everything(tmp_path / "topic") == [b"a"]
    writer.close()


def test_a_sealed_segment_is_moved_out_of_its_write_ahead_log(tmp_path: Path) -> None:
    writer = writer_of(tmp_path / "topic")
    writer.append([Record(b"a" * 100_000)], request=1, received_at=NOW)
    writer.roll()
    assert (tmp_path / "topic" / f"seg-{0:020}.db-wal").stat().st_size == 0
    assert everything(tmp_path / "topic") == [b"a" * 100_000]
    writer.close()


def test_a_wait_ends_in_time_when_nothing_comes(tmp_path: Path) -> None:
    reader = EmbeddedReader(tmp_path / "topic")
    before = datetime.now(UTC)
    assert reader.read(after=Position.empty(), limit=1, wait=timedelta(milliseconds=60)) is None
    assert timedelta(milliseconds=60) <= datetime.now(UTC) - before < timedelta(seconds=30)


@pytest.mark.prop(12)
def test_kernel_errors_keep_their_code_hint_and_facts(tmp_path: Path) -> None:
    writer = EmbeddedWriter(tmp_path / "topic", min_free_bytes=2**60)
    with pytest.raises(Throttled) as full:
        writer.append([Record(b"a")], request=1, received_at=NOW)
    error = full.value
    assert (error.code, error.retry, error.exit_code) == ("log.disk_full", "backoff", 75)
    assert error.retry_after >= 1
    assert error.hint
    assert isinstance(error.context["free_bytes"], int)
    assert isinstance(error.__cause__, kernel.LogThrottled)
    writer.close()


def test_every_kernel_error_of_the_log_has_its_class_in_frazils_tree() -> None:
    names = [name for name in vars(kernel) if name.startswith("Log")]
    assert {"LogCorrupt", "LogExpired", "LogThrottled", "LogUnavailable"} <= set(names)
    for name in names:
        error = vars(kernel)[name]("what is true")
        error.code, error.hint, error.retry, error.context = "log.some", "do", "never", {"retry_after": 3}
        mapped = frazil_error(error)
        assert type(mapped) is not FrazilError
        assert mapped.code == "log.some"


def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable) as refused:
        EmbeddedReader(tmp_path / "file" / "topic")
    assert re.search("file", str(refused.value.context["path"]))


def test_a_broken_identity_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text('{"log_id": 7}')
    with pytest.raises(Corrupt):
        EmbeddedReader(tmp_path)
