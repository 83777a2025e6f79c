"""Events over HTTP: a real `frazil serve` on the embedded log, and a client of our own on the same cores. Afterwards the log is
read and must hold exactly what was acknowledged.

`python -m benchmarks.http [--seconds 10]`; figures go to `benchmarks/http.json`, which the page takes up.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc

from benchmarks import events
from frazil.batch import Position
from frazil.contract.load import load_file
from frazil.project import Project

HERE = Path(__file__).parent
DEADLINE_S = 60.0


def bodies(path: str, batch: int, most: int = 200) -> list[bytes]:
    """Bodies of `batch` good events; sent again and again, since the door does not look for duplicates."""
    lines = Path(path).read_bytes().split(b"\n")[:-1][: batch * most]
    return [b"\n".join(lines[at : at + batch]) + b"\n" for at in range(0, len(lines) - batch + 1, batch)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serving(project: Path, port: int) -> subprocess.Popen[bytes]:
    """A server that answers."""
    command = [sys.executable, "-m", "frazil.cli", "--project", str(project), "serve", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    began = time.monotonic()
    while time.monotonic() - began < DEADLINE_S:
        if server.poll() is not None:
            raise SystemExit(f"the server ended: {server.stderr.read().decode() if server.stderr else ''}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/health/live", timeout=2) as answer:
                if answer.status == 200:
                    return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    server.terminate()
    raise SystemExit("the server did not answer in time")


class Client:
    """Sends bodies over several connections, and counts what was acknowledged."""

    def __init__(self, port: int, made: list[bytes], batch: int) -> None:
        self.port, self.made, self.batch = port, made, batch
        self.acknowledged: Counter[int] = Counter()
        self.latencies: list[float] = []
        self._sent = itertools.cycle(range(len(made)))

    async def connection(self, until: float) -> None:
        """One connection that is kept: a body, its answer, the next body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while time.perf_counter() < until:
            number = next(self._sent)
            body = self.made[number]
            head = (
                f"POST /api/v1/ingest?contract=events HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
                f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            began = time.perf_counter()
            writer.write(head.encode())
            writer.write(body)
            await writer.drain()
            status, answer = await response(reader)
            self.latencies.append(time.perf_counter() - began)
            if status != 202 or json.loads(answer)["accepted"] != self.batch:
                raise SystemExit(f"{status}: {answer[:500]!r}")
            self.acknowledged[number] += 1
        writer.close()

    async def drive(self, clients: int, seconds: float) -> dict[str, float]:
        """A second to warm up, then the measurement."""
        await asyncio.gather(*(self.connection(time.perf_counter() + 1) for _ in range(clients)))
        self.latencies.clear()
        began = time.perf_counter()
        await asyncio.gather(*(self.connection(began + seconds) for _ in range(clients)))
        spent = time.perf_counter() - began
        cuts = statistics.quantiles(self.latencies, n=100)
        return {
            "clients": clients,
            "batch": self.batch,
            "requests": len(self.latencies),
            "seconds": spent,
            "events_per_second": len(self.latencies) * self.batch / spent,
            "p50_ms": cuts[49] * 1e3,
            "p95_ms": cuts[94] * 1e3,
            "p99_ms": cuts[98] * 1e3,
        }


def in_log(root: Path) -> Counter[bytes]:
    """How often each record is in the log."""
    project = Project.at(root)
    reader = project.log_reader(project.contract("events"))
    found: Counter[bytes] = Counter()
    position = Position.empty()
    while batch := reader.read(after=position, limit=200_000):
        counts = pc.value_counts(batch.rows.column("value"))
        found.update(dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))
        position = position.after(batch.spans)
    reader.close()
    return found


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    length = next(int(line.split(":")[1]) for line in head if line.lower().startswith("content-length:"))
    return int(head[0].split()[1]), await reader.readexactly(length)


def promised(client: Client) -> Counter[bytes]:
    """How often each record was acknowledged."""
    due: Counter[bytes] = Counter()
    for number, times in client.acknowledged.items():
        for line in client.made[number].splitlines():
            due[line] += times
    return due


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1000)
    chosen = parser.parse_args()
    made = bodies(events.generate(100_000).clean_path, chosen.batch)
    assert load_file(HERE / "events.odcs.yaml").name == "events"
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "bench"
        (project / "contracts").mkdir(parents=True)
        (project / "frazil.toml").write_text('name = "bench"\ndefault_contract = "events"\n')
        shutil.copy(HERE / "events.odcs.yaml", project / "contracts")
        port = free_port()
        server = serving(project, port)
        try:
            client = Client(port, made, chosen.batch)
            figures = asyncio.run(client.drive(chosen.clients, chosen.seconds))
        finally:
            server.terminate()
            server.wait(30)
        found, due = in_log(project), promised(client)
        if found != due:
            raise SystemExit(f"{due.total():,} records were acknowledged, the log holds {found.total():,}")
        figures |= {"acknowledged": due.total(), "in_log": found.total(), "cores": len(os.sched_getaffinity(0))}
    (HERE / "http.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
