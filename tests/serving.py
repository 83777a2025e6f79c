"""A real server in its own process on a free port, a project made for it, and a plain client."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from frazil.batch import Position
from frazil.flow import pump
from frazil.log import Record
from frazil.project import Project

SECONDS = 90.0
LAUNCH = """
import sys
from frazil.api import serve
from frazil.project import Project
serve(Project.at(), workers=int(sys.argv[1]), ready=lambda url: print(url, flush=True))
"""
ORDERS = """\
apiVersion: v3.1.0
kind: DataContract
id: orders
name: orders
version: 1.0.0
status: active
schema:
  - name: orders
    customProperties:
      - {property: eventTime, value: at}
      - {property: unknownFields, value: keep}
    properties:
      - {name: id, logicalType: string, logicalTypeOptions: {format: uuid}, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: at, logicalType: timestamp, required: true}
      - {name: value, logicalType: number, logicalTypeOptions: {minimum: 0, maximum: 1000}}
      - {name: note, logicalType: string, logicalTypeOptions: {maxLength: 200}}
"""
TOML = """\
name = "till"
default_contract = "orders"
[log]
min_free_bytes = 0
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem; fails when the answer is none."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json
        assert problem["status"] == self.status
        assert problem["detail"]
        assert problem["hint"], problem
        return str(problem["code"])


def make_project(root: Path, *, toml: str = TOML, contracts: Mapping[str, str] | None = None) -> Path:
    """Write a project with the contracts `orders` and `bills` (the same under another name)."""
    given = {"orders": ORDERS, "bills": ORDERS.replace("orders", "bills")} if contracts is None else contracts
    (root / "contracts").mkdir(parents=True)
    (root / "frazil.toml").write_text(toml)
    for name, text in given.items():
        (root / "contracts" / f"{name}.odcs.yaml").write_text(text)
    return root


def order(**fields: object) -> dict[str, object]:
    """A valid order; `fields` override."""
    return {"id": str(uuid4()), "at": "2026-11-20T12:34:56Z", "value": 1.5, **fields}


def land_orders(project: Project, *values: int) -> None:
    """Append orders with these keys to the log of a made project, and land them."""
    contract = project.contract("orders")
    writer = project.log_writer(contract)
    given = [{"id": f"0189d5a0-0000-7000-8000-{value:012d}", "at": "2026-11-20T12:00:00Z"} for value in values]
    writer.append([Record(json.dumps(one).encode()) for one in given], request=1, received_at=datetime(2026, 11, 20, 12, 30, tzinfo=UTC))
    writer.close()
    reader = project.log_reader(contract)
    assert pump(reader, project.processor(contract), project.keys(contract), project.sink(contract)) is not None
    reader.close()


def lines(records: Iterable[object]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@dataclass
class Served:
    """A running server. `call` speaks HTTP/1.1 on a fresh connection each time."""

    root: Path
    process: subprocess.Popen[str]
    port: int
    said: Path
    _readers: dict[str, Any] = field(default_factory=dict)

    def call(self, method: str, path: str, body: bytes | None = None, *, prefix: str = "/api/v1", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, prefix + path, body, named)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def send(self, records: Iterable[object], path: str = "/ingest", **headers: str) -> Answer:
        """POST records as NDJSON."""
        return self.call("POST", path, lines(records), **{"content_type": "application/x-ndjson", **headers})

    def raw(self, request: bytes, *, half_close: bool = False, wait: float = SECONDS) -> bytes:
        """Write bytes to a socket and read until the server closes or `wait` is over."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            connection.sendall(request)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            try:
                while piece := connection.recv(65536):
                    received += piece
            except (TimeoutError, ConnectionResetError):
                pass
            return received

    @cached_property
    def project(self) -> Project:
        """The same project, opened in the test's own process."""
        return Project.at(self.root)

    def log_end(self, contract: str = "orders") -> int:
        """Last durable offset, -1 for an empty log."""
        return int(self._reader(contract).ends()["0"])

    def log_values(self, after: int, contract: str = "orders") -> list[bytes]:
        """Records after an offset."""
        reader = self._reader(contract)
        position = Position.empty() if after < 0 else Position({reader.log_id: {"0": (str(after), None)}})
        values: list[bytes] = []
        while (batch := reader.read(after=position, limit=100_000)) is not None:
            values += batch.rows.column("value").to_pylist()
            position = position.after(batch.spans)
        return values

    def rss_bytes(self) -> int:
        """Resident memory now."""
        return self._memory("VmRSS")

    def peak_bytes(self) -> int:
        """The most resident memory since `forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self) -> None:
        (Path("/proc") / str(self.process.pid) / "clear_refs").write_text("5")

    def log_lines(self, **wanted: object) -> list[dict[str, Any]]:
        """Structured log lines of the server that hold all the wanted facts."""
        found = []
        for line in self.said.read_text().splitlines():
            facts = json.loads(line) if line.startswith("{") else {}
            if facts and all(facts.get(name) == value for name, value in wanted.items()):
                found.append(facts)
        return found

    def logged(self, seconds: float = 10.0, **wanted: object) -> list[dict[str, Any]]:
        """As `log_lines`, waiting until there is one: the line of a request is written after its answer has gone out."""
        deadline = time.monotonic() + seconds
        while not (found := self.log_lines(**wanted)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def stop(self, signal_number: int = signal.SIGTERM, seconds: float = 20.0) -> int:
        """End the server; its exit code."""
        self.process.send_signal(signal_number)
        return self.process.wait(seconds)

    def _memory(self, name: str) -> int:
        status = (Path("/proc") / str(self.process.pid) / "status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def _reader(self, contract: str) -> Any:
        if contract not in self._readers:
            self._readers[contract] = self.project.log_reader(self.project.contract(contract))
        return self._readers[contract]


@contextmanager
def serving(root: Path, *, workers: int = 1, **environment: str) -> Iterator[Served]:
    """Serve the project at `root` on a free port; `environment` is set for the server, `FRAZIL_…` settings included."""
    said = root / "server.log"
    with said.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(workers)],
            cwd=root,
            env={**os.environ, "FRAZIL_API__PORT": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), said.read_text()
        served = Served(root, process, int(url.rpartition(":")[2]), said)
        _await_answer(served)
        yield served
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _await_answer(served: Served) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if served.call("GET", "/health/live").status == 200:
                return
        except OSError:
            pass
        assert served.process.poll() is None, served.said.read_text()
        time.sleep(0.05)
    raise AssertionError(f"the server did not answer in {SECONDS} s: {served.said.read_text()}")
