"""A killed writer: what was acknowledged is there, nothing else was invented, and the next writer goes on."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.faults.log_kills import Said, command, judge, need_strace, read_all, run, start

WORK = {"batches": 14, "roll_every": 5, "unlink_every": 9, "unlink": 6}
"""Appends, rolls, checkpoints and an unlink: every write-side system call of the log occurs in it."""

SYSCALLS = ["fsync", "pwrite64", "ftruncate", "rename", "unlink"]


def test_kills_at_random_moments_lose_nothing_acknowledged(tmp_path: Path) -> None:
    directory, said, dice = tmp_path / "topic", Said(), random.Random(7)
    for life in range(12):
        child = start(directory, start=life * 100_000, size=dice.choice([1, 7, 60]), pad=dice.choice([0, 100, 3_000]), roll_every=9)
        assert child.stdout is not None
        wanted = dice.randrange(1, 40)
        for line in child.stdout:
            said.hear("a", line)
            wanted -= line.startswith("acked")
            if wanted <= 0:
                break
        child.kill()
        for line in child.stdout:
            said.hear("a", line)
        child.communicate()
        if life % 3 == 2:
            judge(directory, said)
    run(directory, said, start=5_000_000, batches=3)
    assert said.closed
    judge(directory, said)


def calls(directory: Path, syscall: str) -> int:
    """How often the work makes a system call."""
    need_strace()
    with tempfile.NamedTemporaryFile("r") as counted:
        traced = command(directory, {"name": "a", **WORK}, [f"{syscall}:delay_exit=0"])
        traced = [counted.name if word == "/dev/null" else word for word in traced]
        traced[1:1] = ["-e", f"trace={syscall}"]
        subprocess.run(traced, capture_output=True, timeout=120, check=True)
        return len(re.findall(rf"\b{syscall}\(", counted.read()))


def chosen(total: int, dice: random.Random) -> list[int]:
    """The first, the last and some calls between them."""
    between = dice.sample(range(2, total), min(6, max(0, total - 2)))
    return sorted({1, total, *between})


@pytest.mark.parametrize("syscall", SYSCALLS)
def test_a_kill_at_a_write_side_system_call_loses_nothing_acknowledged(syscall: str, tmp_path: Path) -> None:
    total = calls(tmp_path / "counted", syscall)
    assert total > 0, f"the work makes no {syscall}: choose another call"
    kills = 0
    for when in chosen(total, random.Random(syscall)):
        directory, said = tmp_path / f"{syscall}-{when}", Said()
        kills += run(directory, said, [f"{syscall}:signal=SIGKILL:when={when}"], **WORK) != 0
        # Nobody may need to repair anything: a reader first, then a writer that goes on.
        read_all(directory)
        run(directory, said, start=1_000, batches=3)
        assert said.closed
        judge(directory, said, oldest=7)
    assert kills > 0


def test_a_kill_while_the_logs_identity_is_made_leaves_one_identity(tmp_path: Path) -> None:
    directory, said = tmp_path / "topic", Said()
    for number, syscall in enumerate(["fsync", "linkat", "unlink"]):
        for when in (1, 2, 3):
            run(directory, said, [f"{syscall}:signal=SIGKILL:when={when}"], batches=1, start=number * 10 + when)
    run(directory, said, start=9_000, batches=2)
    judge(directory, said)
    assert (directory / "log.json").read_text().count("log_id") == 1


def test_a_stopped_process_that_wakes_up_does_not_disturb_the_others(tmp_path: Path) -> None:
    directory, said = tmp_path / "topic", Said()
    sleeper = start(directory, name="sleeper", batches=200, pause=0.001)
    assert sleeper.stdout is not None
    said.hear("sleeper", sleeper.stdout.readline())
    for line in sleeper.stdout:
        said.hear("sleeper", line)
        break
    for turn in range(5):
        sleeper.send_signal(signal.SIGSTOP)
        other = start(directory, name="other", start=turn * 100, batches=20, roll_every=3)
        try:
            heard, _ = other.communicate(timeout=0.5)
        except subprocess.TimeoutExpired:  # the sleeper holds the lock
            heard = ""
        sleeper.send_signal(signal.SIGCONT)
        heard = heard or other.communicate(timeout=60)[0]
        for line in heard.splitlines():
            said.hear("other", line)
    for line in sleeper.communicate(timeout=60)[0].splitlines():
        said.hear("sleeper", line)
    assert len(said.acked) == 300
    judge(directory, said)
