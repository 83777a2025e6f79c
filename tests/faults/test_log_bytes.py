"""Torn and flipped bytes: a reader gives every record as it was written, or stops and says where. Never something else."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frazil.batch import Position
from frazil.errors import Corrupt, FrazilError, Unavailable
from frazil.log import Record
from frazil.log.embedded import EmbeddedReader, EmbeddedWriter
from tests.conformance.test_log import NOW
from tests.faults.log_kills import Said, run

PLACES = int(os.environ.get("EXAMPLES", "60"))
Harm = Callable[[bytearray], None]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A log of three segments made by another process, and what it holds; this process opens copies of it only."""
    directory, said = tmp_path_factory.mktemp("pristine") / "topic", Said()
    run(directory, said, start=1, batches=21, pad=700, size=9, roll_every=9, segment_bytes=10_000_000)
    copy = directory.with_name("read")
    shutil.copytree(directory, copy)
    return directory, records(copy)


def records(directory: Path) -> list[bytes]:
    reader, position, values = EmbeddedReader(directory), Position.empty(), list[bytes]()
    try:
        while (batch := reader.read(after=position, limit=100)) is not None:
            values += batch.rows.column("value").to_pylist()
            position = position.after(batch.spans)
    finally:
        reader.close()
    return values


def stopped(directory: Path, expected: list[bytes]) -> FrazilError | None:
    """Read everything: None when it is exactly what was written, else the error."""
    try:
        found = records(directory)
    except (Corrupt, Unavailable) as error:
        return error
    assert found == expected, f"silently wrong: {len(found)} of {len(expected)} records, or others"
    return None


def harmed(pristine: Path, scratch: Path, file: str, harm: Harm) -> Path:
    """A copy of the log with one file harmed. `file` is a glob; the last match is taken."""
    if scratch.exists():
        shutil.rmtree(scratch)
    shutil.copytree(pristine, scratch)
    target = sorted(scratch.glob(file))[-1]
    content = bytearray(target.read_bytes())
    harm(content)
    target.write_bytes(content)
    return scratch


def flip(place: int, bit: int) -> Harm:
    def harm(content: bytearray) -> None:
        content[place] ^= 1 << bit

    return harm


def cut(length: int) -> Harm:
    def harm(content: bytearray) -> None:
        del content[length:]

    return harm


def places(size: int, dice: random.Random) -> Iterator[int]:
    """The first and last 64 bytes, in steps, and places between."""
    yield from range(0, 64, 4)
    yield from range(size - 64, size, 8)
    yield from (dice.randrange(size) for _ in range(PLACES))


def size_of(pristine: Path, file: str) -> int:
    return sorted(pristine.glob(file))[-1].stat().st_size


@pytest.mark.parametrize("file", ["seg-00000000000000000000.db", "seg-*.db-wal", "seg-*.db", "acknowledged"])
def test_a_flipped_bit_never_gives_other_records(file: str, pristine: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    directory, expected = pristine
    size, dice = size_of(directory, file), random.Random(file)
    where = range(size) if size < 64 else places(size, dice)
    errors = [stopped(harmed(directory, tmp_path / "harmed", file, flip(place, dice.randrange(8))), expected) for place in where]
    if file.startswith("seg-0") or file.endswith("-wal"):
        assert any(isinstance(error, Corrupt) for error in errors), "no flip was ever noticed: nothing was tested"


@pytest.mark.parametrize("file", ["seg-00000000000000000000.db", "seg-*.db-wal", "seg-*.db"])
def test_a_cut_file_never_gives_fewer_records_in_silence(file: str, pristine: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    directory, expected = pristine
    size, dice = size_of(directory, file), random.Random(file)
    lengths = [0, *(place for place in places(size, dice) if place < size)][: PLACES + 20]
    errors = [stopped(harmed(directory, tmp_path / "harmed", file, cut(length)), expected) for length in lengths]
    assert any(isinstance(error, Corrupt) for error in errors)


def test_a_lost_tail_that_was_acknowledged_stops_readers_and_writers(pristine: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    directory, expected = pristine
    size = size_of(directory, "seg-*.db-wal")
    harmed(directory, tmp_path / "harmed", "seg-*.db-wal", cut(size - 40_000))
    error = stopped(tmp_path / "harmed", expected)
    assert error is not None
    assert error.code == "log.truncated"
    assert error.exit_code == 78
    writer = EmbeddedWriter(tmp_path / "harmed", min_free_bytes=0)
    with pytest.raises(Corrupt) as refused:
        writer.append([Record(b"over the gap")], request=1, received_at=NOW)
    assert refused.value.code == "log.truncated"
    writer.close()


def test_a_flipped_record_is_named_by_segment_and_offset(pristine: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    directory, expected = pristine

    def harm(content: bytearray) -> None:
        content[content.index(b"a:3:2:")] ^= 1

    harmed(directory, tmp_path / "harmed", "seg-00000000000000000000.db", harm)
    error = stopped(tmp_path / "harmed", expected)
    assert error is not None
    assert error.code == "log.checksum"
    assert str(error.context["segment"]).endswith("seg-00000000000000000000.db")
    assert 0 <= int(str(error.context["offset"])) <= expected.index(next(value for value in expected if value.startswith(b"a:3:2:")))


def test_a_missing_segment_is_not_a_gap(pristine: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    directory, expected = pristine
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    segments = sorted(copy.glob("seg-*.db"))
    assert len(segments) >= 3
    for lost in copy.glob(segments[1].name + "*"):
        lost.unlink()
    error = stopped(copy, expected)
    assert error is not None
    assert error.code == "log.checksum"


def test_a_segment_of_another_log_is_refused(pristine: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    copy, other = tmp_path / "copy", Said()
    shutil.copytree(pristine[0], copy)
    run(tmp_path / "other", other, batches=3)
    shutil.copy(next((tmp_path / "other").glob("log.json")), copy / "log.json")
    error = stopped(copy, pristine[1])
    assert error is not None
    assert error.code == "log.recreated"
