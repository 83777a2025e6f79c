"""Events over HTTP: a real `frazil serve` on the embedded log, and a client of our own on the same cores.

`python -m benchmarks.http [--seconds 10]`; figures go to `benchmarks/http.json`, which the page takes up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks import events
from frazil.contract.load import load_file

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
    """A server that is ready."""
    command = [sys.executable, "-m", "frazil.cli", "--project", str(project), "serve", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    began = time.monotonic()
    while time.monotonic() - began < DEADLINE_S:
        if server.poll() is not None:
            raise SystemExit(f"the server ended: {server.stderr.read().decode() if server.stderr else ''}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/health/ready", timeout=2) as answer:
                if answer.status == 200:
                    return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    server.terminate()
    raise SystemExit("the server was not ready in time")


async def client(port: int, sent: Iterator[bytes], until: float, batch: int, latencies: list[float]) -> None:
    """One connection that is kept: a body, its answer, the next body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        body = next(sent)
        head = (
            f"POST /api/v1/ingest?contract=events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        began = time.perf_counter()
        writer.write(head.encode())
        writer.write(body)
        await writer.drain()
        status, answer = await response(reader)
        latencies.append(time.perf_counter() - began)
        if status != 202 or json.loads(answer)["accepted"] != batch:
            raise SystemExit(f"{status}: {answer[:500]!r}")
    writer.close()


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    length = next(int(line.split(":")[1]) for line in head if line.lower().startswith("content-length:"))
    return int(head[0].split()[1]), await reader.readexactly(length)


def endless(made: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from made


async def drive(port: int, made: list[bytes], batch: int, clients: int, seconds: float) -> dict[str, float]:
    sent = endless(made)
    await asyncio.gather(*(client(port, sent, time.perf_counter() + 1, batch, []) for _ in range(clients)))  # warm
    latencies: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(client(port, sent, began + seconds, batch, latencies) for _ in range(clients)))
    spent = time.perf_counter() - began
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "clients": clients,
        "batch": batch,
        "requests": len(latencies),
        "seconds": spent,
        "events_per_second": len(latencies) * batch / spent,
        "p50_ms": cuts[49] * 1e3,
        "p95_ms": cuts[94] * 1e3,
        "p99_ms": cuts[98] * 1e3,
    }


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
            figures = asyncio.run(drive(port, made, chosen.batch, chosen.clients, chosen.seconds))
        finally:
            server.terminate()
            server.wait(30)
    (HERE / "http.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
