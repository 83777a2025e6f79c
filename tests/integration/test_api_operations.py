"""The server as an operator meets it: health, metrics, documentation, stopping, several workers, a log that fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.serving import SECONDS, TOML, Answer, Served, lines, make_project, order, serving


def metric(served: Served, name: str) -> float:
    """One sample of `/metrics`; 0 when there is none yet."""
    for line in served.call("GET", "/metrics").body.decode().splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    return 0.0


def test_health_names_every_component(served: Served) -> None:
    served.send([order()])
    answer = served.call("GET", "/health")
    assert (answer.status, answer.json["state"]) == (200, "ok")
    parts = answer.json["components"]
    assert set(parts) == {"log.orders", "log.bills", "disk", "catalog", "process"}
    assert parts["log.orders"]["state"] == parts["catalog"]["state"] == parts["disk"]["state"] == "ok"
    assert served.call("GET", "/health/live").status == 200
    assert set(served.call("GET", "/health/ready").json["components"]) == {"log.orders", "log.bills", "disk"}


def test_a_disk_below_its_floor_is_not_ready_and_stores_nothing(tmp_path: Path) -> None:
    toml = TOML.replace("min_free_bytes = 0", f"min_free_bytes = {1 << 60}")
    with serving(make_project(tmp_path / "project", toml=toml)) as served:
        ready = served.call("GET", "/health/ready")
        assert (ready.status, ready.json["state"], ready.json["components"]["disk"]["state"]) == (503, "down", "down")
        assert served.call("GET", "/health/live").status == 200
        answer = served.send([order()])
        assert (answer.status, answer.code) == (503, "log.disk_full")
        assert int(answer.headers["retry-after"]) >= 1
        assert served.log_end() == -1


def test_metrics_count_what_came(served: Served) -> None:
    names = [
        'frazil_ingest_records_total{contract="bills",verdict="accepted"}',
        'frazil_ingest_records_total{contract="bills",verdict="rejected"}',
        'frazil_ingest_violations_total{code="range.below_minimum",contract="bills"}',
        'frazil_log_append_seconds_count{contract="bills"}',
        'frazil_http_requests_total{method="POST",route="/api/v1/events/{topic}",status="202"}',
        'frazil_http_refusals_total{code="body.empty"}',
        'frazil_ingest_body_bytes_total{contract="bills",format="ndjson"}',
    ]
    before = [metric(served, name) for name in names]
    records = [order(), order(), order(value=-1)]
    served.send(records, "/events/bills")
    served.send([], "/events/bills")
    after = [metric(served, name) for name in names]
    assert [new - old for old, new in zip(before, after, strict=True)] == [2, 1, 1, 1, 1, 1, len(lines(records))]
    assert metric(served, "frazil_http_body_bytes_held") == 0


def test_every_route_is_documented_and_shown(served: Served) -> None:
    document = served.call("GET", "/openapi.json")
    assert (document.status, document.headers["location"]) == (307, "/openapi.json")
    document = served.call("GET", "/openapi.json", prefix="")
    paths = document.json["paths"]
    assert set(paths) == {
        f"/api/v1{path}"
        for path in (
            "/ingest", "/events/{topic}", "/status/{job_id}", "/dead-letters", "/dead-letters/replay",
            "/trigger/{pipeline}", "/runs", "/runs/{run_id}", "/runs/{run_id}/cancel", "/events/{event_id}/trace",
            "/health", "/health/live", "/health/ready", "/metrics",
        )
    }  # fmt: skip
    for path in paths.values():
        for operation in path.values():
            assert operation["summary"]
            for answer in operation["responses"].values():
                assert all("example" in content for content in answer["content"].values())
    assert b"swagger" in served.call("GET", "/docs", prefix="").body


def test_the_examples_of_the_documentation_work(served: Served) -> None:
    post = served.call("GET", "/openapi.json", prefix="").json["paths"]["/api/v1/ingest"]["post"]
    shown = {media: content for media, content in post["requestBody"]["content"].items() if content["schema"].get("format") != "binary"}
    assert set(shown) >= {"application/json", "application/x-ndjson", "text/csv"}
    for media, content in shown.items():
        examples = [one["value"] for one in content["examples"].values()] if "examples" in content else [content["example"]]
        for example in examples:
            body = example if isinstance(example, str) else json.dumps(example)
            assert served.call("POST", "/ingest", body.encode(), content_type=media).status == 202


CHECKS = (
    ",".join(f"{what}_conformance" for what in ("status_code", "content_type", "response_headers", "response_schema"))
    + ",not_a_server_error,unsupported_method"
)


HOOKS = """
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    return str(value).encode("utf-8", "surrogatepass")

@schemathesis.hook
def map_query(context, query):
    return {name: value for name, value in query.items() if name != "wait"} if query else query  # nothing lands here
"""


def test_the_documentation_holds_for_generated_requests(served: Served) -> None:
    (served.root / "hooks.py").write_text(HOOKS)
    tool = Path(sys.executable).parent / "schemathesis"
    command = [
        tool, "run", f"http://127.0.0.1:{served.port}/openapi.json", "--max-examples", "10", "--checks", CHECKS, "--phases",
        "examples,coverage,fuzzing", "--seed", "7", "--no-color", "--generation-database", "none", "--request-timeout", "60",
    ]  # fmt: skip
    hooks = {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(served.root)}
    run = subprocess.run(command, cwd=served.root, env={**os.environ, **hooks}, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


def test_a_clients_own_request_id_is_in_the_log(served: Served) -> None:
    answer = served.send([order()], x_request_id="mine-17")
    (line,) = served.logged(event="request", client_request="mine-17")
    assert line["request"] == answer.headers["x-request-id"]
    assert (line["contract"], line["status"], line["method"]) == ("orders", 202, "POST")


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path, signal_number: int) -> None:
    with serving(make_project(tmp_path / "project")) as served:
        acknowledged: list[str] = []
        stopping = threading.Event()

        def send() -> None:
            while True:
                record = order()
                try:
                    answer = served.send([record])
                except (OSError, HTTPException):
                    if stopping.is_set():
                        return
                    raise
                assert answer.status == 202 or stopping.is_set()
                if answer.status == 202:
                    acknowledged.append(str(record["id"]))

        with ThreadPoolExecutor(6) as pool:
            senders = [pool.submit(send) for _ in range(6)]
            while len(acknowledged) < 100:
                time.sleep(0.01)
            stopping.set()
            started = time.monotonic()
            assert served.stop(signal_number) == 0
            assert time.monotonic() - started < 10
            for sender in senders:
                sender.result()
        stored = {json.loads(value)["id"] for value in served.log_values(-1)}
        assert set(acknowledged) <= stored
        assert not served.log_lines(level="error")


def test_a_kill_loses_nothing_that_was_acknowledged_and_the_receipts_stay_valid(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project")
    acknowledged: list[str] = []
    urls: list[str] = []
    for _ in range(3):
        with serving(root) as served:

            def send(served: Served = served) -> None:
                while True:
                    record = order()
                    try:
                        answer = served.send([record])
                    except (OSError, HTTPException):
                        return
                    acknowledged.append(str(record["id"]))
                    urls.append(answer.json["status_url"])

            before = len(acknowledged)
            with ThreadPoolExecutor(4) as pool:
                senders = [pool.submit(send) for _ in range(4)]
                while len(acknowledged) < before + 30:
                    time.sleep(0.005)
                os.kill(served.process.pid, signal.SIGKILL)
                for sender in senders:
                    sender.result()
    with serving(root) as served:
        values = [json.loads(value)["id"] for value in served.log_values(-1)]
        assert set(acknowledged) <= set(values)
        assert len(values) == len(set(values))
        assert served.call("GET", urls[0].removeprefix("/api/v1")).json["state"] == "queued"


def test_a_request_under_way_is_finished_by_a_stop(tmp_path: Path) -> None:
    with (
        serving(make_project(tmp_path / "project")) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection,
    ):
        record = json.dumps(order()).encode()
        head = f"POST /api/v1/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(record)}\r\n\r\n"
        connection.sendall(head.encode() + record[:10])
        time.sleep(0.3)
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.sendall(record[10:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 202")
        assert served.process.wait(15) == 0
        assert served.log_end() == 0


def test_a_client_that_hangs_does_not_hold_a_stop_up(tmp_path: Path) -> None:
    with (
        serving(make_project(tmp_path / "project")) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection,
    ):
        connection.sendall(b"POST /api/v1/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.3)
        assert served.stop(seconds=15) == 0
        assert served.log_end() == -1


def test_workers_share_a_port_and_a_log(tmp_path: Path) -> None:
    with serving(make_project(tmp_path / "project"), workers=2) as served:
        answers: list[Answer] = []
        deadline = time.monotonic() + SECONDS  # the port is served as soon as the first worker is up
        while len({int(answer.headers["x-request-id"]) >> 12 & 1023 for answer in answers}) < 2:
            assert time.monotonic() < deadline
            with ThreadPoolExecutor(8) as pool:
                answers += pool.map(lambda _: served.send([order() for _ in range(5)]), range(40))
        assert {answer.status for answer in answers} == {202}
        assert len({answer.json["job_id"] for answer in answers}) == len(answers)
        assert served.log_end() == 5 * len(answers) - 1
        assert served.call("GET", answers[0].json["status_url"].removeprefix("/api/v1")).status == 200
        key, records = "k-1", [order()]
        ids = {served.send(records, idempotency_key=key).json["job_id"] for _ in range(10)}
        assert len(ids) == 1
        assert served.stop() == 0


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        root = make_project(tmp_path / "project")
        code = f"from frazil.api import serve\nfrom frazil.project import Project\nserve(Project.at(), port={other.getsockname()[1]})"
        run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode != 0
    assert "config.port_in_use" in run.stderr
