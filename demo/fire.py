"""Events over HTTP in requests of mixed sizes while the processing role is killed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from demo.stage import Failed, Stage
from frazil.cli.pieces import Piece
from frazil.cli.sender import Sender

SIZES = (1, 7, 50, 400, 1_000, 4_000)


@dataclass
class Fire:
    """What happened while events were sent. Times in seconds since the first request."""

    sent: int = 0
    requests: int = 0
    rejected: int = 0
    seconds: float = 0.0
    kills: list[tuple[float, int, int]] = field(default_factory=list)  # when, process id, landed so far
    restarts: list[float] = field(default_factory=list)  # seconds until the next one worked
    drained: float = 0.0  # from the last answer until everything was in the table
    failure: Exception | None = None


def mixed(file: Path, seed: int) -> Iterator[Piece]:
    """The lines of a file in requests of 1 to 4,000 events, in order."""
    chance = random.Random(seed)
    lines = file.read_bytes().splitlines()
    at = 0
    while at < len(lines):
        size = chance.choice(SIZES)
        chosen = lines[at : at + size]
        yield Piece(chosen, [f"{file.name}:{at + index + 1}" for index in range(len(chosen))], "ndjson")
        at += size


def open_fire(stage: Stage, file: Path, kill_at: tuple[float, ...], rate: float, told: Callable[[Fire], None]) -> Fire:
    """Send a file at a steady rate, and kill the processing role when these shares of it are out."""
    fire = Fire()
    pieces = list(mixed(file, seed=1))
    total = sum(len(piece.records) for piece in pieces)
    gates = [(share * total, threading.Event()) for share in kill_at]
    sending = threading.Thread(target=_send, args=(stage, pieces, rate, fire, gates))
    began = time.monotonic()
    sending.start()
    for share, gate in gates:
        while fire.sent < share and sending.is_alive():
            told(fire)
            time.sleep(0.05)
        _kill(stage, fire, began)
        gate.set()
        told(fire)
    while sending.is_alive():
        told(fire)
        sending.join(0.05)
    if fire.failure is not None:
        raise fire.failure
    fire.drained = stage.wait_for(lambda: _landed(stage, total), 90, "not everything landed")
    told(fire)
    return fire


def _send(stage: Stage, pieces: list[Piece], rate: float, fire: Fire, gates: list[tuple[float, threading.Event]]) -> None:
    """Send at a steady rate; at a gate wait for its kill, so that there is work to be killed in."""
    sender = Sender(stage.url, "events")
    began, held = time.monotonic(), 0.0
    try:
        for piece in pieces:
            sender.send(piece)
            fire.sent += len(piece.records)
            for share, gate in gates:
                if fire.sent >= share and not gate.is_set():
                    stopped = time.monotonic()
                    gate.wait(90)
                    held += time.monotonic() - stopped
            time.sleep(max(0.0, fire.sent / rate - (time.monotonic() - began - held)))
    except Exception as error:
        fire.failure = error
    finally:
        fire.seconds = time.monotonic() - began - held
        fire.requests, fire.rejected = sender.tally.requests, sender.tally.rejected
        sender.close()


def _kill(stage: Stage, fire: Fire, began: float) -> None:
    stage.wait_for(lambda: _has_landed(stage), 60, "processing landed nothing")
    landed = int(stage.pulse()["contracts"]["events"]["landed"])
    pid = stage.kill_worker()
    fire.kills.append((time.monotonic() - began, pid, landed))
    fire.restarts.append(stage.wait_for(lambda: stage.worker_pid() not in (None, pid), 60, "processing was not started again"))


def _has_landed(stage: Stage) -> bool:
    """Whether the living processing role has landed events."""
    pulse = stage.pulse()
    return stage.worker_pid() is not None and int(pulse["contracts"].get("events", {}).get("landed", 0)) > 0


def _landed(stage: Stage, total: int) -> bool:
    """Whether the table's position covers every event."""
    rows = stage.facts("log", "show", "events")
    if rows[0]["last"] + 1 < total:
        raise Failed(f"the log holds {rows[0]['last'] + 1:,} of {total:,} events")
    return bool(rows[0]["lag"] == 0)
