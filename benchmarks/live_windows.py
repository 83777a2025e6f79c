"""`python -m benchmarks.live_windows [--rate N] [--seconds N]`: from an event's POST to its window's result on a WebSocket.

`frazil serve` and `frazil live` run as in production, with the shop's windows and one more: a window per probe. A probe is an
event in every request; its time runs from before the request is sent until its result is received.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

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


def body(count: int, probe: str) -> bytes:
    """One request: `count` events, the last of which is the probe."""
    now = datetime.now(UTC).isoformat()
    lines = []
    for number in range(count):
        user = "probe" if number == count - 1 else f"u_{random.randrange(20_000)}"
        session = probe if user == "probe" else f"s_{random.randrange(60_000)}"
        facts = f'"event_id":"{uuid4()}","event_type":"{random.choice(KINDS)}","user_id":"{user}","session_id":"{session}"'
        lines.append(f'{{{facts},"timestamp":"{now}","value":{random.randrange(10_000) / 100},"currency":"EUR"}}')
    return "\n".join(lines).encode()


def listen(port: int, seen: dict[str, float], ready: threading.Event) -> None:
    with connect(f"ws://127.0.0.1:{port}/api/v1/live/windows/probe", proxy=None, max_size=None) as socket:
        ready.set()
        try:
            for frame in socket:
                seen.setdefault(json.loads(frame)["key"]["session_id"], time.perf_counter())
        except ConnectionClosed:
            return


def send(port: int, rate: int, seconds: float, sent: dict[str, float], mark: str = "p") -> float:
    """Requests at an even pace; the rate that was reached."""
    per_request, client = max(1, rate // 100), http.client.HTTPConnection("127.0.0.1", port)
    began = time.perf_counter()
    for number in range(int(seconds * rate / per_request)):
        probe = f"{mark}{number}"
        content = body(per_request, probe)
        time.sleep(max(0.0, began + number * per_request / rate - time.perf_counter()))
        sent[probe] = time.perf_counter()
        client.request("POST", "/api/v1/ingest?contract=events", content, {"content-type": "application/x-ndjson"})
        answer = client.getresponse()
        if answer.status != 202 or b'"rejected":0' not in answer.read():
            raise SystemExit(f"refused: {answer.status}")
    return len(sent) * per_request / (time.perf_counter() - began)


def measure(rate: int, seconds: float, port: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        shop = Path(place) / "shop"
        shutil.copytree(ROOT / "shop", shop, ignore=shutil.ignore_patterns(".frazil"))
        (shop / "windows.yaml").write_text((shop / "windows.yaml").read_text() + PROBE)
        command = [sys.executable, "-m", "frazil.cli", "--project", str(shop)]
        roles = [["serve", "--port", str(port), "--quiet"], ["live"]]
        running = [subprocess.Popen([*command, *role], stderr=subprocess.DEVNULL) for role in roles]
        try:
            until_ready(port)
            sent: dict[str, float] = {}
            seen: dict[str, float] = {}
            ready = threading.Event()
            threading.Thread(target=listen, args=(port, seen, ready), daemon=True).start()
            ready.wait(30)
            send(port, rate, 3.0, {}, "w")  # warm
            time.sleep(1.0)
            seen.clear()
            reached = send(port, rate, seconds, sent)
            deadline = time.monotonic() + 10
            while len(seen) < len(sent) and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
    told(rate, reached, sent, seen)


def told(rate: int, reached: float, sent: dict[str, float], seen: dict[str, float]) -> None:
    times = sorted((seen[probe] - at) * 1000 for probe, at in sent.items() if probe in seen)
    cuts = statistics.quantiles(times, n=100)
    facts = {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "max_ms": times[-1]}
    rounded = {name: round(value, 1) for name, value in facts.items()}
    print(
        json.dumps(
            {"asked_per_s": rate, "reached_per_s": round(reached), "probes": len(sent), "missing": len(sent) - len(times), **rounded}
        )
    )


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
    given.add_argument("--port", type=int, default=18_099)
    asked = given.parse_args()
    measure(asked.rate, asked.seconds, asked.port)
