"""How old events are when the marts show them: `python -m benchmarks.freshness`, JSON on stdout, about three minutes.

A real `frazil up` over the shop, whose pipeline `transform` (models and tests) starts by itself on every new snapshot. First a steady
stream: every tenth of a second a body over HTTP, whose events happen as they are sent. A reader looks at `fact_events` four times a
second, as any reader of the lake would; an event is there when the first version that holds it is. Then, all at rest, a burst:
events as fast as the door takes them; measured from the first byte to the version that holds the last one. In the end the facts must be
exactly the events that were sent.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from frazil import settings as configuration
from frazil import telemetry
from frazil.project import Project
from frazil.table.files import found

ROOT = Path(__file__).resolve().parent.parent
USERS, PRODUCTS = 2_000, 500
LOOK_S, BEAT_S, DEADLINE_S = 0.25, 0.1, 180.0
KINDS = ("page_view", "click", "add_to_cart", "purchase", "search")


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def users() -> list[dict[str, Any]]:
    then = _stamp(time.time() - 86_400)
    return [{"user_id": f"u{one}", "user_name": f"user {one}", "created_at": then, "updated_at": then} for one in range(USERS)]


def products() -> list[dict[str, Any]]:
    then = _stamp(time.time() - 86_400)
    return [{"product_id": f"p{one}", "name": f"product {one}", "price": 2, "updated_at": then} for one in range(PRODUCTS)]


def events(rng: random.Random, count: int, at: float) -> list[dict[str, Any]]:
    """Events that happen at `at` (seconds since 1970)."""
    stamp = _stamp(at)
    return [
        {
            "event_id": str(UUID(int=rng.getrandbits(128), version=4)),
            "event_type": rng.choice(KINDS),
            "user_id": f"u{rng.randrange(USERS)}",
            "timestamp": stamp,
            "value": rng.randrange(10_000) / 100,
            "currency": "EUR",
            "properties": {"product_id": f"p{rng.randrange(PRODUCTS)}", "quantity": 1},
        }
        for _ in range(count)
    ]


def lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)


@dataclass
class Door:
    """One connection to the server; every record must be accepted."""

    port: int
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def send(self, contract: str, body: bytes, count: int) -> None:
        self._connection.request("POST", f"/api/v1/ingest?contract={contract}", body, {"Content-Type": "application/x-ndjson"})
        answer = self._connection.getresponse()
        said = json.loads(answer.read())
        if answer.status != 202 or said["accepted"] != count:
            raise SystemExit(f"the door said {answer.status}: {said}")


class Reader(threading.Thread):
    """Looks at a mart: when which version of it was first seen."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.project = Project(configuration.load(root))
        self.rows = 0
        self.seen: list[tuple[float, int]] = []  # seconds since 1970, version
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(LOOK_S):
            table = self.project.lake.find("fact_events")
            head = None if table is None else table.current_snapshot()
            if head is not None and head.summary is not None:
                rows = int(head.summary.additional_properties.get("total-records", "0"))
                if rows != self.rows:
                    self.rows = rows
                    self.seen.append((time.time(), head.snapshot_id))

    def wait_for(self, rows: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.rows < rows:
            if time.monotonic() > deadline:
                raise SystemExit(f"after {DEADLINE_S:.0f} s the marts have {self.rows} of {rows} events")
            time.sleep(LOOK_S)


def stream(door: Door, rng: random.Random, rate: int, seconds: float) -> int:
    """Send `rate` events a second, evenly; the number sent. A late beat is sent at once, so the rate holds."""
    began, sent = time.monotonic(), 0
    count = max(1, round(rate * BEAT_S))
    while (beat := sent // count) * BEAT_S < seconds:
        time.sleep(max(0.0, began + beat * BEAT_S - time.monotonic()))
        door.send("events", lines(events(rng, count, time.time())), count)
        sent += count
    return sent


def ages(reader: Reader, since: float) -> list[float]:
    """Of every event since then, in order: seconds from when it happened to when the mart was first seen with it."""
    table = reader.project.lake.find("fact_events")
    assert table is not None
    known: set[str] = set()
    late: list[float] = []
    for seen, version in reader.seen:
        for row in table.scan(selected_fields=("event_id", "event_timestamp"), snapshot_id=version).to_arrow().to_pylist():
            happened = row["event_timestamp"].timestamp()
            if happened >= since and row["event_id"] not in known:
                known.add(row["event_id"])
                late.append(seen - happened)
    return sorted(late)


def up(root: Path, port: int) -> subprocess.Popen[bytes]:
    on = {"FRAZIL_PIPELINES__TRANSFORM__ON": "snapshot", "FRAZIL_PIPELINES__TRANSFORM__SPACING": "1s"}
    command = [sys.executable, "-m", "frazil.cli", "--project", str(root), "up", "--port", str(port)]
    with (root / "up.log").open("wb") as log:
        return subprocess.Popen(command, env={**os.environ, **on}, stdout=log, stderr=log, cwd=ROOT)


def opened(port: int, server: subprocess.Popen[bytes]) -> Door:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        door = Door(port)
        try:
            door.send("users", lines(users()), USERS)
        except OSError:
            time.sleep(0.1)
            continue
        door.send("products", lines(products()), PRODUCTS)
        return door
    raise SystemExit("the server did not answer")


def measured(root: Path, door: Door, rate: int, seconds: float, burst: int) -> Iterator[tuple[str, Any]]:
    rng, reader = random.Random(7), Reader(root)
    reader.start()
    door.send("events", lines(events(rng, 1, time.time())), 1)
    reader.wait_for(1)  # the first build is no part of it
    began = time.time()
    sent = stream(door, rng, rate, seconds)
    reader.wait_for(1 + sent)
    late = ages(reader, began)
    quantiles = {f"p{share}": round(late[min(len(late) - 1, len(late) * share // 100)], 1) for share in (50, 95, 100)}
    yield "stream", {"events_per_s": rate, "seconds": seconds, "event_to_mart_s": quantiles, "versions": len(reader.seen) - 1}
    bodies = [lines(events(rng, 1_000, time.time())) for _ in range(burst // 1_000)]
    time.sleep(2)
    began = time.time()
    for body in bodies:
        door.send("events", body, 1_000)
    taken = time.time() - began
    whole = 1 + sent + 1_000 * len(bodies)
    reader.wait_for(whole)
    yield "burst", {"events": 1_000 * len(bodies), "http_s": round(taken, 2), "to_the_marts_s": round(reader.seen[-1][0] - began, 1)}
    reader.ended.set()
    table = reader.project.lake.find("fact_events")
    assert table is not None
    keys = found(table, ["event_id"]).column("event_id")
    if len(keys) != whole or len(keys.unique()) != whole:
        raise SystemExit(f"{whole} events were sent, the facts have {len(keys)} rows and {len(keys.unique())} keys")


def main() -> None:
    telemetry.configure_once(level="warning")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="length of the stream")
    parser.add_argument("--rate", type=int, default=1_000, help="events a second")
    parser.add_argument("--burst", type=int, default=100_000, help="events sent at once, a multiple of 1,000")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "shop"
        shutil.copytree(ROOT / "shop", root, ignore=shutil.ignore_patterns(".frazil", "dbt_packages", "target"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        server = up(root, port)
        try:
            door = opened(port, server)
            print(json.dumps(dict(measured(root, door, chosen.rate, chosen.seconds, chosen.burst)), indent=2))
        except BaseException:
            sys.stderr.write((root / "up.log").read_text()[-3000:])
            raise
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    main()
