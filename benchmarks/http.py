"""Events over HTTP: a real `frazil serve` on the embedded log beside the same server doing nothing, and a lean client on the same cores.

Rounds alternate between the two servers. Afterwards the log is read and must hold exactly what was acknowledged.
`python -m benchmarks.http [--seconds 4] [--rounds 3]`; figures go to `benchmarks/http.json`, which the page takes up.
"""

from __future__ import annotations

import argparse
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
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc

from benchmarks import events
from frazil.batch import Position
from frazil.bench import clock
from frazil.contract.load import load_file
from frazil.project import Project

HERE: Final = Path(__file__).parent
TARGET: Final = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
PATH: Final = "/api/v1/ingest?contract=events"
DEADLINE_S: Final = 60.0
SHAPES: Final = ((1000, 8), (1000, 32), (100, 32), (1, 32))
"""Events per body and connections of each run; the first is the one that the page leads with."""


def bodies(path: str, batch: int, most: int = 100) -> list[bytes]:
    """Bodies of `batch` good events; sent again and again, since the door does not look for duplicates."""
    lines = Path(path).read_bytes().split(b"\n")[:-1][: batch * most]
    return [b"\n".join(lines[at : at + batch]) + b"\n" for at in range(0, len(lines) - batch + 1, batch)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A server in a process of its own, answering."""

    name: str
    command: list[str]
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Server:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=HERE.parent)
        began = time.monotonic()
        while time.monotonic() - began < DEADLINE_S:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended: {' '.join(self.command)}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/health/live", timeout=2):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        self.process.terminate()
        raise SystemExit("the server did not answer in time")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    def cpu_seconds(self) -> float:
        """Of all its threads; its workers' too once they ended, so only one process is measured."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        if not stat.exists():
            return float("nan")
        user, system = stat.read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def frazil(project: Path, workers: int) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "frazil.cli", "--project", str(project), "serve", "--port", str(port), "--workers", str(workers)]
    return Server("frazil", command, port)


def empty() -> Server:
    port = free_port()
    return Server("empty", [sys.executable, "-m", "benchmarks.empty_server", str(port)], port)


def load_tool() -> Path:
    """The client, built."""
    command = ["cargo", "build", "--quiet", "--locked", "--release", "-p", "data-processor-core", "--example", "http_load"]
    subprocess.run(command, check=True, cwd=HERE.parent)
    return TARGET / "release" / "examples" / "http_load"


def packed(scratch: Path, made: list[bytes]) -> Path:
    file = scratch / f"bodies-{len(made[0].splitlines())}"
    file.write_bytes(b"".join(len(body).to_bytes(4, "little") + body for body in made))
    return file


def drive(tool: Path, server: Server, file: Path, batch: int, clients: int, seconds: float) -> dict[str, Any]:
    """One run: a second to warm up, then the measurement."""
    expected = f'"accepted":{batch if server.name == "frazil" else 1}'
    command = [str(tool), f"127.0.0.1:{server.port}", PATH, str(file), str(clients), "1", str(seconds), expected]
    before = server.cpu_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{server.name}: {done.stderr[:2000]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    answered = sum(figures["acknowledged"])
    return {
        "server": server.name,
        "batch": batch,
        "clients": clients,
        **figures,
        "requests_per_second": figures["requests"] / figures["seconds"],
        "events_per_second": figures["requests"] * batch / figures["seconds"],
        "server_cpu_us_per_request": (server.cpu_seconds() - before) / answered * 1e6,
        "client_cpu_us_per_request": figures["client_cpu_seconds"] / figures["requests"] * 1e6,
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


def promise(due: Counter[bytes], made: list[bytes], acknowledged: list[int]) -> None:
    """Count how often each record was acknowledged."""
    for body, times in zip(made, acknowledged, strict=True):
        for line in body.splitlines():
            due[line] += times


def summed_up(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of every figure over the rounds of one server and shape."""
    figures = {name: statistics.median(run[name] for run in runs) for name in runs[0] if isinstance(runs[0][name], int | float)}
    return {"server": runs[0]["server"], **figures, "clients": runs[0]["clients"], "batch": runs[0]["batch"], "rounds": len(runs)}


def project_in(scratch: Path) -> Path:
    project = scratch / "bench"
    (project / "contracts").mkdir(parents=True)
    (project / "frazil.toml").write_text('name = "bench"\ndefault_contract = "events"\n')
    shutil.copy(HERE / "events.odcs.yaml", project / "contracts")
    assert load_file(HERE / "events.odcs.yaml").name == "events"
    return project


def measure(chosen: argparse.Namespace, scratch: Path) -> tuple[list[dict[str, Any]], int]:
    """All runs, and how many records were acknowledged; SystemExit when the log does not hold just these."""
    tool, clean = load_tool(), events.generate(100_000).clean
    made = {batch: bodies(clean, batch) for batch, _ in chosen.shapes}
    files = {batch: packed(scratch, made[batch]) for batch in made}
    project = project_in(scratch)
    due: Counter[bytes] = Counter()
    runs: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(server) for server in (frazil(project, chosen.workers), empty())]
        for _ in range(chosen.rounds):
            for batch, clients in chosen.shapes:
                for server in servers:
                    run = drive(tool, server, files[batch], batch, clients, chosen.seconds)
                    runs.setdefault((server.name, batch, clients), []).append(run)
                    if server.name == "frazil":
                        promise(due, made[batch], run["acknowledged"])
                    told(run)
    found = in_log(project)
    if found != due:
        raise SystemExit(f"{due.total():,} records were acknowledged, the log holds {found.total():,}")
    return [summed_up(rounds) for rounds in runs.values()], due.total()


def told(run: dict[str, Any]) -> None:
    line = "{server:>6} {batch:>5} x {clients:<3} {requests_per_second:>8,.0f} req/s {events_per_second:>10,.0f} ev/s"
    line += "  p50 {p50_ms:6.1f}  p95 {p95_ms:6.1f}  p99 {p99_ms:6.1f} ms   cpu/request: server {server_cpu_us_per_request:6,.0f} µs"
    print((line + "  client {client_cpu_us_per_request:5,.0f} µs").format(**run), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--shapes", type=lambda text: [tuple(map(int, one.split("x"))) for one in text.split(",")], default=SHAPES)
    parser.add_argument("--dry", action="store_true", help="print only, keep http.json")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=HERE.parent / "target" if (HERE.parent / "target").exists() else None) as scratch:
        runs, total = measure(chosen, Path(scratch))
    by_shape = {(run["server"], run["batch"], run["clients"]): run for run in runs}
    first = next(iter(chosen.shapes))
    figures = by_shape["frazil", *first] | {"acknowledged": total, "in_log": total, "workers": chosen.workers, "machine": clock.machine()}
    figures["measured"] = datetime.now(UTC).strftime("%Y-%m-%d")
    figures |= {"cores": len(os.sched_getaffinity(0)), "runs": runs}
    print("\nmedians")
    for run in runs:
        told(run)
    for batch, clients in chosen.shapes:
        share = by_shape["frazil", batch, clients]["requests_per_second"] / by_shape["empty", batch, clients]["requests_per_second"]
        print(f"{batch:>5} x {clients:<3} {share:7.1%} of the empty server")
    if not chosen.dry:
        (HERE / "http.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
