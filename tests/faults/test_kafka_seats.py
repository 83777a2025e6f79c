"""Names that the killed leave behind for who starts again, and what tells a record from another at its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from frazil.log.kafka.rows import Check
from frazil.log.kafka.seat import Seat

SIT = """
import os, signal, sys
from pathlib import Path
from frazil.log.kafka.seat import Seat
seat = Seat(Path(sys.argv[1]), "member")
seat.note("me")
print(seat.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_starts_again_finds_the_name_and_the_note_of_who_was_killed(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", SIT, str(tmp_path)], capture_output=True, text=True, check=False)
    seat = Seat(tmp_path, "member")
    assert (seat.name, seat.left) == (killed.stdout.strip(), "me")
    other = Seat(tmp_path, "member")
    assert other.left is None
    assert other.name != seat.name, "two at once never have one name"
    seat.leave()
    again = Seat(tmp_path, "member")
    assert (again.name, again.left) == (seat.name, None), "who left in order left nothing but the name"
    again.leave()
    other.leave()


def test_a_seat_whose_note_was_cut_off_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "member-0.seat").write_text('{"name": "x", "no')
    seat = Seat(tmp_path, "member")
    assert seat.left is None
    assert seat.name != "x"
    seat.leave()


def test_a_check_tells_epoch_and_content_and_reads_positions_of_old() -> None:
    one = Check("3", "00c0ffee", 17)
    assert Check.read(str(one), 19) == one
    assert one.agrees(Check("3", "00c0ffee", 17))
    assert not one.agrees(Check("3", "deadbeef", 17)), "a log that was restored counts the same epochs again"
    assert not one.agrees(Check("4", "00c0ffee", 17))
    assert Check.read("3", 19) == Check("3", None, 19)
    assert one.agrees(Check.read("3", 17))
    assert not one.agrees(Check.read("2", 17))
