"""A disk that fails, fills up or runs out of files: the writer says so, stops when it must, and loses nothing acknowledged."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from frazil.batch import Position
from frazil.errors import Throttled, Unavailable
from frazil.log import Record
from frazil.log.embedded import EmbeddedReader, EmbeddedRetention, EmbeddedWriter
from tests.conformance.test_log import NOW
from tests.faults.log_kills import Said, judge, read_all, run, start


@pytest.mark.parametrize("when", sorted({1, 2, *random.Random(3).sample(range(3, 40), 8)}))
def test_an_io_error_of_fsync_stops_the_writer_for_good(when: int, tmp_path: Path) -> None:
    directory, said = tmp_path / "topic", Said()
    run(directory, said, batches=1)  # the directory is there; the error hits the appends
    run(directory, said, [f"fsync:error=EIO:when={when}"], start=100, batches=30, segment_bytes=300_000)
    codes = {code for _, _, code in said.failed}
    assert codes <= {"log.write_failed", "log.unavailable"}
    failed = [batch for _, batch, code in said.failed if code == "log.write_failed"]
    if failed:  # otherwise it could not even be opened
        later = [batch for (_, batch) in said.acked if batch > failed[0]]
        assert later == [], "records were acknowledged after a failed write"
    judge(directory, said)
    run(directory, said, start=1_000, batches=3)
    judge(directory, said)


def test_the_first_append_after_a_failed_write_fails_at_once(tmp_path: Path) -> None:
    said = Said()
    run(tmp_path / "topic", said, batches=2)
    run(tmp_path / "topic", said, ["fsync:error=EIO:when=4"], start=10, batches=10)
    assert [code for *_, code in said.failed if code == "log.write_failed"], said.failed
    judge(tmp_path / "topic", said)


@pytest.mark.parametrize("when", [1, 3, 8, 15])
def test_a_write_that_finds_the_disk_full_asks_to_wait(when: int, tmp_path: Path) -> None:
    directory, said = tmp_path / "topic", Said()
    run(directory, said, batches=2)
    run(directory, said, [f"pwrite64:error=ENOSPC:when={when}..{when + 4}"], start=10, batches=30)
    assert {code for *_, code in said.failed} <= {"log.disk_full", "log.write_failed", "log.unavailable"}
    judge(directory, said)


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode(errors="replace").strip() or f"mount ended with {done.returncode}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(place)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: a full disk is NOT tested, only a limit on file sizes ({_said(mounted)})")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("min_free_bytes", [0, 1024 * 1024])
def test_a_full_disk_is_said_aloud_and_the_log_resumes_after_freeing(small_disk: Path, min_free_bytes: int) -> None:
    ballast, directory = small_disk / "ballast", small_disk / "topic"
    ballast.write_bytes(b"x" * 3 * 1024 * 1024)
    writer = EmbeddedWriter(directory, min_free_bytes=min_free_bytes)
    stored: list[bytes] = []
    with pytest.raises(Throttled) as full:  # noqa: PT012  # which append fails is the disk's to say
        for number in range(10_000):
            value = b"%d:" % number + b"." * 5_000
            writer.append([Record(value)], request=1, received_at=NOW)
            stored.append(value)
    assert full.value.code == "log.disk_full"
    assert full.value.retry_after >= 1
    assert stored
    assert list(read_all(directory).values()) == stored
    if min_free_bytes:
        assert shutil.disk_usage(small_disk).free >= min_free_bytes - 256 * 1024
    ballast.unlink()
    writer.append([Record(b"after")], request=1, received_at=NOW)
    assert list(read_all(directory).values()) == [*stored, b"after"]
    writer.close()


def test_a_limit_on_file_sizes_is_said_aloud_and_the_log_resumes_after_raising_it(tmp_path: Path) -> None:
    program = f"""
import resource, sys
import data_processor_rs as kernel
writer, acked = kernel.EmbeddedLogWriter({str(tmp_path / "topic")!r}, min_free_bytes=0), 0
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
for turn in range(3):
    try:
        while True:
            writer.append([(b"a:%d:0:" % acked + b"." * 9_000, None, None)], request=1, received_at_us=0)
            acked += 1
    except kernel.LogThrottled as error:
        assert error.code == "log.disk_full", error.code
        assert acked > 10
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
writer.append([(b"a:%d:0:" % acked, None, None)], request=1, received_at_us=0)
print(acked + 1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(read_all(tmp_path / "topic")) == int(done.stdout)


def test_retention_frees_a_full_disk(small_disk: Path) -> None:
    writer = EmbeddedWriter(small_disk / "topic", segment_bytes=512 * 1024, min_free_bytes=512 * 1024)
    with pytest.raises(Throttled):  # noqa: PT012
        for _ in range(10_000):
            writer.append([Record(b"." * 50_000)], request=1, received_at=NOW)
    end = EmbeddedReader(small_disk / "topic").ends()["0"]
    assert EmbeddedRetention(small_disk / "topic").unlink(Position({writer.log_id: {"0": (str(end), None)}})) > 0
    writer.append([Record(b"after")], request=1, received_at=NOW)
    writer.close()


def test_running_out_of_files_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    directory, said = tmp_path / "topic", Said()
    for files in range(8, 30, 3):
        child = start(directory, files=files, start=files * 100, batches=40, name="a", size=60, pad=2_000)
        heard, _ = child.communicate(timeout=60)
        for line in heard.splitlines():
            said.hear("a", line)
    assert said.acked, "no limit was high enough to append at all"
    assert {code for *_, code in said.failed} <= {"log.unavailable"}
    judge(directory, said)


def test_a_reader_that_finds_no_file_descriptor_is_unavailable_and_goes_on_later(tmp_path: Path) -> None:
    program = f"""
import os, resource, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from frazil.batch import Position
from frazil.errors import Unavailable
from frazil.log.embedded import EmbeddedReader
reader = EmbeddedReader({str(tmp_path / "topic")!r})
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
try:
    reader.read(after=Position.empty(), limit=10)
    sys.exit("it read without a file")
except Unavailable:
    pass
for one in taken:
    os.close(one)
batch = reader.read(after=Position.empty(), limit=10)
print(batch.rows.column("value").to_pylist())
"""
    writer = EmbeddedWriter(tmp_path / "topic", min_free_bytes=0)
    writer.append([Record(b"a")], request=1, received_at=NOW)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[b'a']"), done.stderr
    writer.close()


def test_a_floor_above_the_disk_refuses_everything_and_stores_nothing(tmp_path: Path) -> None:
    writer = EmbeddedWriter(tmp_path / "topic", min_free_bytes=2**62)
    with pytest.raises(Throttled) as full:
        writer.append([Record(b"a")], request=1, received_at=NOW)
    assert full.value.code == "log.disk_full"
    assert full.value.context["min_free_bytes"] == 2**62
    assert EmbeddedReader(tmp_path / "topic").ends() == {"0": -1}
    writer.close()
    with pytest.raises(Unavailable):
        writer.append([Record(b"a")], request=1, received_at=NOW)
