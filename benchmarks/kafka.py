"""The same project on Kafka, the broker on the same machine: API -> Kafka, Kafka -> Iceberg, and how soon a processor is back.

Each number comes with the CPU seconds that API, broker, client and processor took of it. Afterwards the books must balance and the
table must hold each event once. `python -m benchmarks.kafka [--events 1000000]`; figures go to `benchmarks/kafka.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from testbed.kafka import Cluster

from benchmarks import events
from benchmarks.http import PATH, Server, bodies, frazil, load_tool, packed
from frazil import telemetry
from frazil.bench import clock
from frazil.log import Record
from frazil.project import Project
from frazil.sink.books import verify

HERE: Final = Path(__file__).parent
BATCH: Final = 1_000
IN_FLIGHT: Final = 50
DEADLINE_S: Final = 120.0
TICK: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class Bench:
    """A project on a broker of its own."""

    scratch: Path
    cluster: Cluster

    @property
    def root(self) -> Path:
        return self.scratch / "bench"

    @property
    def project(self) -> Project:
        return Project.at(self.root)

    def made(self, name: str, partitions: int) -> None:
        """A fresh project: other topics, other tables."""
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "contracts").mkdir(parents=True)
        kafka = f'[log]\nurl = "kafka://{self.cluster.address}"\n[kafka]\npartitions = {partitions}\ntopic_prefix = "{name}."\n'
        (self.root / "frazil.toml").write_text(f'name = "bench"\ndefault_contract = "events"\n{kafka}')
        shutil.copy(HERE / "events.odcs.yaml", self.root / "contracts")

    def processor(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "frazil.cli", "--project", str(self.root), "process", *words]
        with (self.scratch / "process.log").open("ab") as said:
            return subprocess.Popen(command, stdout=said, stderr=said)

    def landed(self) -> int:
        table = self.project.lake.raw(self.project.contract("events"))
        head = table.current_snapshot()
        return 0 if head is None or head.summary is None else int(head.summary.additional_properties.get("total-records", "0"))

    def offsets(self) -> int:
        """Records in the log; there are no transactions in it."""
        reader = self.project.log_reader(self.project.contract("events"))
        ends = reader.ends()
        reader.close()
        return sum(end + 1 for end in ends.values())

    def balanced(self) -> int:
        """Records of the log, each accounted for; SystemExit otherwise."""
        project, contract = self.project, self.project.contract("events")
        reader = project.log_reader(contract)
        books = verify(contract, reader, project.sink(contract), project.dead_letters)
        reader.close()
        if not books.balanced or books.pending:
            raise SystemExit(f"the books do not balance: {books}")
        return books.records


def cpu_seconds(process: subprocess.Popen[bytes] | None) -> float:
    """Of all threads of a process that runs."""
    assert process is not None
    user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICK


def into_kafka(bench: Bench, seconds: float, clients: int) -> dict[str, Any]:
    """Bodies of 1,000 events over HTTP, each acknowledged by the broker; a second to warm up, then the measurement."""
    bench.made("door", 3)
    tool, made = load_tool(), bodies(events.generate(100_000).clean, BATCH)
    file, broker = packed(bench.scratch, made), bench.cluster.nodes[0].process
    server: Server = frazil(bench.root, 1)
    with server:
        before = (server.cpu_seconds(), cpu_seconds(broker))
        command = [str(tool), f"127.0.0.1:{server.port}", PATH, str(file), str(clients), "1", str(seconds), f'"accepted":{BATCH}']
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"http_load: {done.stderr[:2000]}")
        spent = (server.cpu_seconds() - before[0], cpu_seconds(broker) - before[1])
    run = json.loads(done.stdout)
    answered = sum(run["acknowledged"]) * BATCH
    if (found := bench.offsets()) != answered:
        raise SystemExit(f"{answered:,} events were acknowledged, the log holds {found:,}")
    return {
        "events_per_second": round(run["requests"] * BATCH / run["seconds"]),
        "clients": clients,
        "batch": BATCH,
        "p50_ms": run["p50_ms"],
        "p95_ms": run["p95_ms"],
        "acknowledged": answered,
        "api_cpu_us_per_event": round(spent[0] / answered * 1e6, 2),
        "broker_cpu_us_per_event": round(spent[1] / answered * 1e6, 2),
        "client_cpu_us_per_event": round(run["client_cpu_seconds"] / (run["requests"] * BATCH) * 1e6, 2),
    }


async def fill(bench: Bench, values: list[bytes], request: int = 1) -> None:
    """Events into the topic as the door stores them, without the door."""
    project = bench.project
    writer, waiting = project.log_writer(project.contract("events")), []
    for number, at in enumerate(range(0, len(values), BATCH)):
        records = [Record(value, None, index + 1) for index, value in enumerate(values[at : at + BATCH])]
        waiting.append(writer.append_soon(records, request=request + number, received_at=datetime.now(UTC)))
        if len(waiting) == IN_FLIGHT:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)
    await asyncio.to_thread(writer.close)


def lines(file: str) -> list[bytes]:
    return Path(file).read_bytes().split(b"\n")[:-1]


def into_iceberg(bench: Bench, count: int, rounds: int) -> dict[str, Any]:
    """A log that is full, landed by one `frazil process`: from the first commit, which carries the start of Python, to the last."""
    runs = []
    for number in range(rounds):
        bench.made(f"lake{number}", 3)
        asyncio.run(fill(bench, lines(events.generate(count).whole)))
        runs.append(landing(bench, count))
    return {"events": count, "rounds": rounds} | {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def landing(bench: Bench, count: int) -> dict[str, float]:
    broker = bench.cluster.nodes[0].process
    before, began = cpu_seconds(broker), time.monotonic()
    process = bench.processor("--until-idle")
    _, _, used = os.wait4(process.pid, 0)
    seconds, broker_cpu = time.monotonic() - began, cpu_seconds(broker) - before
    bench.balanced()
    commits = [shot.timestamp_ms for shot in bench.project.lake.raw(bench.project.contract("events")).snapshots()]
    between = (commits[-1] - commits[0]) / 1000
    first = int(bench.project.lake.raw(bench.project.contract("events")).snapshots()[0].summary["total-records"])  # type: ignore[index]
    return {
        "events_per_second_whole_run": count / seconds,
        "events_per_second": (bench.landed() - first) / between,
        "commits": len(commits),
        "process_cpu_us_per_event": (used.ru_utime + used.ru_stime) / count * 1e6,
        "broker_cpu_us_per_event": broker_cpu / count * 1e6,
    }


def restarts(bench: Bench, rounds: int) -> dict[str, Any]:
    """From the start of a processor to its first commit, while events wait: after a stop in order, and after a kill -9."""
    bench.made("again", 3)
    found: dict[str, list[float]] = {"stopped": [], "killed": []}
    process, waiting = bench.processor(), lines(events.generate(20_000).clean)
    asyncio.run(fill(bench, waiting[:500]))
    wait_for(lambda: bench.landed() > 0)
    for number in range(2 * rounds):
        how = "killed" if number % 2 else "stopped"
        process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGTERM)
        process.wait(60)
        asyncio.run(fill(bench, waiting[500 * (number + 1) : 500 * (number + 2)], request=10 * (number + 1)))
        before, began = bench.landed(), time.monotonic()
        process = bench.processor()
        wait_for(lambda before=before: bench.landed() > before)
        found[how].append(time.monotonic() - began)
    process.terminate()
    process.wait(60)
    bench.balanced()
    return {f"{how}_s": {"median": round(statistics.median(times), 2), "worst": round(max(times), 2)} for how, times in found.items()}


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"it did not happen in {DEADLINE_S:.0f} s")
        time.sleep(0.02)


def main() -> None:
    telemetry.configure_once(level="warning")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kafka", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="to land from Kafka, in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6, help="of API -> Kafka")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--only", choices=["door", "lake", "restart"])
    parser.add_argument("--dry", action="store_true", help="print only, keep kafka.json")
    chosen = parser.parse_args()
    parts: dict[str, Callable[[Bench], dict[str, Any]]] = {
        "door": lambda bench: into_kafka(bench, chosen.seconds, chosen.clients),
        "lake": lambda bench: into_iceberg(bench, chosen.events, chosen.rounds),
        "restart": lambda bench: restarts(bench, chosen.rounds),
    }
    figures: dict[str, Any] = {"measured": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": clock.machine()}
    with tempfile.TemporaryDirectory(dir=HERE.parent / "target") as scratch, Cluster(Path(scratch) / "kafka") as cluster:
        bench = Bench(Path(scratch), cluster)
        for name, part in parts.items():
            if chosen.only in (None, name):
                figures[name] = part(bench)
                print(name, json.dumps(figures[name], indent=1), flush=True)
    if not chosen.dry and chosen.only is None:
        (HERE / "kafka.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
