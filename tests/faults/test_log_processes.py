"""Several processes on one log: no loss, no gap, no offset twice; and what is acknowledged was synced before."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from frazil.batch import Position
from frazil.log.embedded import EmbeddedReader, EmbeddedRetention
from tests.faults.log_kills import Said, command, judge, read_all, run, start

FOLLOWER = """
import sys, data_processor_rs as kernel, pyarrow as pa
reader, after, idle = kernel.EmbeddedLogReader(sys.argv[1]), -1, 0
while True:
    rows = reader.read(after, 50)
    if rows is None:
        if sys.stdin in __import__("select").select([sys.stdin], [], [], 0.002)[0]:
            if idle: break
            idle += 1
        continue
    offsets = pa.record_batch(rows).column("offset").to_pylist()
    assert offsets == list(range(after + 1, after + 1 + len(offsets))), (after, offsets)
    after = offsets[-1]
print(after)
"""


def test_two_append_while_a_third_rolls_and_a_fourth_reads(tmp_path: Path) -> None:
    directory, said = tmp_path / "topic", Said()
    EmbeddedReader(directory).close()
    follower = subprocess.Popen([sys.executable, "-c", FOLLOWER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    appenders = {name: start(directory, name=name, batches=120, pad=400) for name in ("left", "right")}
    roller = start(directory, name="roller", batches=25, roll_every=1, pause=0.01)
    for name, child in {**appenders, "roller": roller}.items():
        for line in child.communicate(timeout=120)[0].splitlines():
            said.hear(name, line)
    heard, _ = follower.communicate("", timeout=60)
    assert follower.returncode == 0
    assert len(said.acked) == 265
    assert not said.failed
    judge(directory, said)
    assert int(heard) == max(last for _, last in said.acked.values()) == EmbeddedReader(directory).ends()["0"]


def test_processes_killed_in_turns_leave_one_sequence(tmp_path: Path) -> None:
    directory, said = tmp_path / "topic", Said()
    for life in range(6):
        children = {f"{name}{life}": start(directory, name=f"{name}{life}", pad=300) for name in "ab"}
        for name, child in children.items():
            assert child.stdout is not None
            for _ in range(5 + life):
                said.hear(name, child.stdout.readline())
        for name, child in children.items():
            child.kill()
            for line in child.communicate()[0].splitlines():
                said.hear(name, line)
    run(directory, said, name="last", batches=2)
    judge(directory, said)


def test_unlinking_while_others_append_and_read_takes_only_what_lies_behind_the_floor(tmp_path: Path) -> None:
    directory, said = tmp_path / "topic", Said()
    child = start(directory, batches=150, pad=400, roll_every=5)
    reader, retention, position, gone = EmbeddedReader(directory), EmbeddedRetention(directory), Position.empty(), 0
    expected, until = 0, time.monotonic() + 60
    while child.poll() is None or reader.lag(position):
        assert time.monotonic() < until
        batch = reader.read(after=position, limit=40)
        if batch is None:
            continue
        offsets = batch.rows.column("offset").to_pylist()
        assert offsets == list(range(expected, expected + len(offsets)))
        expected, position = expected + len(offsets), position.after(batch.spans)
        gone += retention.unlink(position)
    for line in child.communicate()[0].splitlines():
        said.hear("a", line)
    assert gone > 5
    assert expected == max(last for _, last in said.acked.values()) + 1
    assert set(read_all(directory)) <= set(range(expected))


def test_nothing_is_acknowledged_before_it_was_synced(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    traced = command(tmp_path / "topic", {"name": "a", "batches": 12, "roll_every": 5}, ["fsync:delay_exit=0"])
    traced[traced.index("/dev/null")] = str(trace)
    traced[1:1] = ["-y", "-s", "16", "-e", "trace=fsync,fdatasync,pwrite64,write"]
    subprocess.run(traced, capture_output=True, timeout=120, check=True)
    unsynced: set[str] = set()
    written = acked = 0
    for line in trace.read_text().splitlines():
        if wrote := re.search(r"pwrite64\(\d+<([^>]+\.db(?:-wal)?)>", line):
            unsynced.add(wrote[1])
            written += 1
        elif synced := re.search(r"(?:fsync|fdatasync)\(\d+<([^>]+)>", line):
            unsynced.discard(synced[1])
        elif '"acked ' in line:
            acked += 1
            assert not {file for file in unsynced if file.endswith("-wal")}, f"acknowledged before {unsynced} was synced"
    assert (acked, written > acked) == (12, True)
