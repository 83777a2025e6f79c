"""`python -m benchmarks.live_windows [--kafka] [--rate N] [--seconds N]`: from an event's POST to its window's result on a WebSocket.

`frazil serve` and `frazil live` run as in production, with the shop's windows and one more: a window per probe. A probe is an
event in every request, of which there are 100 per second; its time runs from before the request is sent until its result is
received. With `--kafka` the log is a topic of one broker, started here. Sender, broker and all roles share the machine.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from testbed.kafka import Cluster, free_ports
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parent.parent
PROBE = """
  probe:
    from: events
    where: user_id = 'probe'
    key: [session_id]
    tumbling: 1h
    values: {n: count}
"""
KINDS = ("page_view", "click", "search", "add_to_cart", "purchase")


_PER_SECOND = 100  # requests
_CONNECTIONS = 4


def template(count: int) -> str:
    """A request's text but for ids, time and probe: building it must not be what is measured."""
    lines = []
    for number in range(count):
        is_probe = number == count - 1
        user = "probe" if is_probe else f"u_{random.randrange(20_000)}"
        session = "{probe}" if is_probe else f"s_{random.randrange(60_000)}"
        facts = f'"event_id":"{{ids}}-{number:012x}","event_type":"{random.choice(KINDS)}","user_id":"{user}","session_id":"{session}"'
        lines.append(f'{{{facts},"timestamp":"{{now}}","value":{random.randrange(10_000) / 100},"currency":"EUR"}}')
    return "\n".join(lines)


def body(text: str, probe: str) -> bytes:
    """One request, the last event of which is the probe."""
    ids = str(uuid4()).rpartition("-")[0]
    return text.replace("{ids}", ids).replace("{now}", datetime.now(UTC).isoformat()).replace("{probe}", probe).encode()


def listen(port: int, seen: dict[str, float], ready: threading.Event) -> None:
    with connect(f"ws://127.0.0.1:{port}/api/v1/live/windows/probe", proxy=None, max_size=None) as socket:
        ready.set()
        try:
            for frame in socket:
                seen.setdefault(json.loads(frame)["key"]["session_id"], time.perf_counter())
        except ConnectionClosed:
            return


def send(port: int, rate: int, seconds: float, sent: dict[str, float], mark: str = "p") -> float:
    """Requests at an even pace over a few connections; events per second that were reached."""
    per_request = max(1, rate // _PER_SECOND)
    texts = [template(per_request) for _ in range(16)]
    numbers, failures = itertools.count(), []
    total = int(seconds * rate / per_request)
    began = time.perf_counter()

    def one_connection() -> None:
        client = http.client.HTTPConnection("127.0.0.1", port)
        while (number := next(numbers)) < total and not failures:
            time.sleep(max(0.0, began + number * per_request / rate - time.perf_counter()))
            probe = f"{mark}{number}"
            content = body(texts[number % len(texts)], probe)
            sent[probe] = time.perf_counter()
            client.request("POST", "/api/v1/ingest?contract=events", content, {"content-type": "application/x-ndjson"})
            answer = client.getresponse()
            if answer.status != 202 or b'"rejected":0' not in answer.read():
                failures.append(answer.status)

    threads = [threading.Thread(target=one_connection) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"refused: {failures}")
    return total * per_request / (time.perf_counter() - began)


def spent(processes: dict[str, Any]) -> dict[str, float]:
    """Seconds of CPU that each process used so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for name, process in processes.items():
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12])) / ticks
    return found


def measure(rate: int, seconds: float, warm: float, *, kafka: bool) -> None:
    with tempfile.TemporaryDirectory() as place, ExitStack() as closing:
        shop = Path(place) / "shop"
        shutil.copytree(ROOT / "shop", shop, ignore=shutil.ignore_patterns(".frazil"))
        (shop / "windows.yaml").write_text((shop / "windows.yaml").read_text() + PROBE)
        environment, running = dict(os.environ), {}
        port = free_ports(1)[0]
        if kafka:
            cluster = closing.enter_context(Cluster(Path(place) / "kafka"))
            environment["FRAZIL_LOG__URL"] = f"kafka://{cluster.address}"
            running["broker"] = cluster.nodes[0].process
        command = [sys.executable, "-m", "frazil.cli", "--project", str(shop)]
        for role in (["serve", "--port", str(port), "--quiet"], ["live"]):
            running[role[0]] = subprocess.Popen([*command, *role], stderr=subprocess.DEVNULL, env=environment)
            closing.callback(stop, running[role[0]])
        until_ready(port)
        sent: dict[str, float] = {}
        seen: dict[str, float] = {}
        ready = threading.Event()
        threading.Thread(target=listen, args=(port, seen, ready), daemon=True).start()
        ready.wait(30)
        send(port, rate, warm, {}, "w")
        time.sleep(1.0)
        seen.clear()
        before = spent({**running, "sender": Self()})
        reached = send(port, rate, seconds, sent)
        deadline = time.monotonic() + 20
        while len(seen) < len(sent) and time.monotonic() < deadline:
            time.sleep(0.05)
        after = spent({**running, "sender": Self()})
        shares = {name: round((after[name] - before[name]) / seconds, 2) for name in after}
        told({"log": "kafka" if kafka else "embedded", "asked_per_s": rate, "reached_per_s": round(reached)}, sent, seen, shares)


class Self:
    """This process, for `spent`."""

    pid = os.getpid()


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def told(facts: dict[str, object], sent: dict[str, float], seen: dict[str, float], shares: dict[str, float]) -> None:
    times = sorted((seen[probe] - at) * 1000 for probe, at in sent.items() if probe in seen)
    cuts = statistics.quantiles(times, n=100)
    measured = {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "max_ms": times[-1]}
    rounded = {name: round(value, 1) for name, value in measured.items()}
    print(json.dumps({**facts, "probes": len(sent), "missing": len(sent) - len(times), **rounded, "cores": shares}))


def until_ready(port: int) -> None:
    for _ in range(600):
        try:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            client.request("GET", "/api/v1/health/ready")
            if client.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the API did not get ready")


if __name__ == "__main__":
    given = argparse.ArgumentParser()
    given.add_argument("--rate", type=int, default=10_000)
    given.add_argument("--seconds", type=float, default=20.0)
    given.add_argument("--warm", type=float, default=5.0, help="seconds of the same traffic before")
    given.add_argument("--kafka", action="store_true")
    asked = given.parse_args()
    measure(asked.rate, asked.seconds, asked.warm, kafka=asked.kafka)
