"""Power cuts: what a disk holds at a moment is all there is. Acknowledged records are in it, and it can be read and written on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.log_kills import Said, judge, run, start

CUTS = 4


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, capture_output=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk of 64 MiB in a file: what is not in the file did not reach the disk."""
    disk = tmp_path / "disk.img"
    with disk.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", str(disk)], check=True, capture_output=True)
        with mounted(disk, tmp_path / "try"):
            pass
    except (OSError, subprocess.CalledProcessError) as failed:
        if os.environ.get("CI") and shutil.which("mkfs.ext4") is None:
            pytest.fail("mkfs.ext4 is absent: power cuts were NOT tested")
        pytest.skip(f"a disk image cannot be made and mounted here: power cuts are NOT tested ({failed})")
    return disk


def hear(child: subprocess.Popen[str], said: Said) -> None:
    """Take in what the child has said so far, without waiting."""
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    heard = b""
    while (piece := _piece(child.stdout.fileno())) is not None and piece:
        heard += piece
    for line in heard.decode().splitlines():
        said.hear("a", line)


def _piece(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, 65_536)
    except BlockingIOError:
        return None


def test_a_power_cut_loses_nothing_acknowledged(image: Path, tmp_path: Path) -> None:
    said, dice, most = Said(), random.Random(11), 0
    with mounted(image, tmp_path / "live") as live:
        child = start(live / "topic", roll_every=7, pad=300)
        for cut in range(CUTS):
            goal, until = len(said.acked) + dice.randrange(5, 60), time.monotonic() + 60
            while len(said.acked) < goal:
                assert time.monotonic() < until
                hear(child, said)
            child.send_signal(signal.SIGSTOP)
            hear(child, said)
            copy = tmp_path / f"cut-{cut}.img"
            shutil.copyfile(image, copy)
            child.send_signal(signal.SIGCONT)
            with mounted(copy, tmp_path / f"after-{cut}") as after:
                judge(after / "topic", said)
                most = max(most, len(said.acked))
                later = Said(dict(said.acked))
                run(after / "topic", later, name="later", batches=2)
                judge(after / "topic", later)
        child.kill()
        child.communicate()
    assert most > 20
