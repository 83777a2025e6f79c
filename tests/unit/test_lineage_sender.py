"""Events leave by a thread of their own; what a receiver does not take is kept and sent later, or dropped and counted."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from frazil import lineage
from frazil.lineage import sending
from frazil.lineage.events import run_event
from frazil.lineage.sending import EVENTS, Sender
from frazil.settings import Settings
from tests import openlineage

SOON = 20.0


@pytest.fixture(autouse=True)
def no_environment_and_short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_FIRST_WAIT", 0.05)
    monkeypatch.setattr(sending, "_TICK_SECONDS", 0.02)
    for name in ("URL", "ENDPOINT", "API_KEY", "DISABLED", "NAMESPACE", "PARENT_ID", "ROOT_PARENT_ID"):
        monkeypatch.delenv(f"OPENLINEAGE_{name}", raising=False)


@pytest.fixture
def said() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def settings(root: Path, **of_lineage: Any) -> Settings:
    return Settings(root=root, name="shop", lineage=of_lineage)


def sender(root: Path, **of_lineage: Any) -> Sender:
    chosen = settings(root, **of_lineage)
    to = lineage.receiver(chosen)
    assert to is not None
    return Sender(chosen, to)


def tell(to: Sender, *numbers: int) -> None:
    for number in numbers:
        run = lineage.ref(to.settings, f"job {number}", lineage.stable_id(to.settings, number))
        to.tell(lambda run=run: [run_event("COMPLETE", run, "LANDING")])


def jobs(events: list[Any]) -> list[str]:
    return [event["job"]["name"] for event in events]


def counted(outcome: str) -> float:
    return float(EVENTS.labels(outcome)._value.get())


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kept(root: Path) -> list[str]:
    return jobs([json.loads(file.read_text()) for file in sorted((root / ".frazil/lineage").glob("*.json"))])


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_file_grows_by_a_valid_event_a_line(tmp_path: Path) -> None:
    out = sender(tmp_path, url="file://.frazil/events.ndjson")
    tell(out, 1, 2, 3)
    out.close()
    events = openlineage.read(tmp_path / ".frazil/events.ndjson")
    assert jobs(events) == ["job 1", "job 2", "job 3"]
    assert {event["job"]["namespace"] for event in events} == {"shop"}


def test_events_are_posted_with_the_key(tmp_path: Path) -> None:
    with openlineage.receiving() as there:
        out = sender(tmp_path, url=there.url, api_key="s3cret")
        tell(out, 1, 2)
        out.close()
        assert [(path, key, event["job"]["name"]) for path, key, event in there.seen] == [
            ("/api/v1/lineage", "Bearer s3cret", "job 1"),
            ("/api/v1/lineage", "Bearer s3cret", "job 2"),
        ]
        openlineage.check(there.taken[0])


def test_the_client_s_own_variables_name_a_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lineage.receiver(settings(tmp_path)) is None
    monkeypatch.setenv("OPENLINEAGE_URL", "http://there:5000/")
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "key")
    found = lineage.receiver(settings(tmp_path))
    assert found == lineage.Receiver(url="http://there:5000/api/v1/lineage", api_key="key")
    monkeypatch.setenv("OPENLINEAGE_ENDPOINT", "/v2")
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "prod")
    assert lineage.receiver(settings(tmp_path)) == lineage.Receiver(url="http://there:5000/v2", api_key="key")
    assert lineage.namespace(settings(tmp_path)) == "prod"
    own = settings(tmp_path, url="https://mine/events", namespace="till")
    assert lineage.receiver(own) == lineage.Receiver(url="https://mine/events", api_key="key")
    assert lineage.namespace(own) == "till"
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert lineage.receiver(own) is None


def test_an_outage_loses_nothing_and_keeps_the_order(tmp_path: Path, said: list[Any]) -> None:
    port, before = closed_port(), counted("kept")
    out = sender(tmp_path, url=f"http://127.0.0.1:{port}")
    tell(out, 1, 2, 3)
    until(lambda: len(kept(tmp_path)) == 3)
    assert kept(tmp_path) == ["job 1", "job 2", "job 3"]
    assert counted("kept") - before == 3
    with openlineage.receiving(port) as there:
        until(lambda: len(there.taken) == 3)
        tell(out, 4)
        out.close()
        assert jobs(there.taken) == ["job 1", "job 2", "job 3", "job 4"]
    assert kept(tmp_path) == []
    told = [line for line in said if line["log_level"] == "warning"]
    assert [line["code"] for line in told] == ["lineage.unavailable"], "said once"
    assert "answers again" in " ".join(line["event"] for line in said)


def test_what_a_process_leaves_another_one_sends_first(tmp_path: Path) -> None:
    out = sender(tmp_path, url=f"http://127.0.0.1:{closed_port()}")
    tell(out, 1, 2)
    out.close()
    with openlineage.receiving() as there:
        next_one = sender(tmp_path, url=there.url)
        tell(next_one, 3)
        next_one.close()
        assert jobs(there.taken) == ["job 1", "job 2", "job 3"]


@pytest.mark.parametrize("status", [500, 503, 429, 401, 404])
def test_what_may_come_right_is_sent_again(tmp_path: Path, status: int) -> None:
    with openlineage.receiving() as there:
        there.answers = [status]
        out = sender(tmp_path, url=there.url)
        tell(out, 1)
        until(lambda: len(there.taken) == 1)
        out.close()
        assert jobs([event for _, _, event in there.seen]) == ["job 1", "job 1"]


def test_a_refused_event_is_dropped_counted_and_said(tmp_path: Path, said: list[Any]) -> None:
    before = counted("dropped")
    with openlineage.receiving() as there:
        there.answers = [422]
        out = sender(tmp_path, url=there.url)
        tell(out, 1, 2)
        out.close()
        assert jobs(there.taken) == ["job 2"]
    assert counted("dropped") - before == 1
    assert kept(tmp_path) == []
    assert [line["code"] for line in said if line["log_level"] == "warning"] == ["lineage.dropped"]


def test_a_receiver_that_hangs_delays_nobody(tmp_path: Path, said: list[Any]) -> None:
    with openlineage.receiving() as there:
        there.hold = threading.Event()
        before = counted("dropped")
        out = sender(tmp_path, url=there.url, queue=5, keep=3, timeout=0.2)
        began = time.monotonic()
        tell(out, *range(50))
        assert time.monotonic() - began < 0.15, "telling takes no time"
        out.close()
        assert time.monotonic() - began < 5
        there.hold.set()
    assert len(kept(tmp_path)) == 3
    assert counted("dropped") - before >= 40
    assert "lineage.dropped" in {line.get("code") for line in said}


def test_an_event_that_cannot_be_built_stops_nothing(tmp_path: Path, said: list[Any]) -> None:
    out = sender(tmp_path, url="file://events.ndjson")
    out.tell(lambda: [1 / 0])  # type: ignore[list-item]
    tell(out, 1)
    out.close()
    assert jobs(openlineage.read(tmp_path / "events.ndjson")) == ["job 1"]
    assert "ZeroDivisionError" in said[0]["error"]


def test_a_line_that_does_not_fit_the_disk_leaves_no_half(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    program = f"""
import resource, signal
from pathlib import Path
from frazil.errors import Unavailable
from frazil.lineage import Receiver
from frazil.lineage.transport import transport
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
send = transport(Receiver(file=Path({str(file)!r})), 1)
send("x" * 600)
try:
    send("y" * 600)
except Unavailable as error:
    print(error.code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "lineage.unavailable"
    assert file.read_text() == "x" * 600 + "\n"


def test_while_it_is_off_nothing_is_imported(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
import frazil.engine.lines, frazil.pipeline.runner, frazil.warehouse.run
from frazil import lineage
from frazil.settings import Settings
assert lineage.sender(Settings(root=Path({str(tmp_path)!r}))) is None
print(sorted(name for name in sys.modules if name.startswith(("openlineage", "frazil.lineage."))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_parent_of_another_orchestrator_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lineage.parent() is None
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", "air/flow/dag.task/0190a0b0-0000-7000-8000-000000000001")
    found = lineage.parent()
    assert found is not None
    assert (found.namespace, found.job) == ("air/flow", "dag.task")
    inner = lineage.RunRef("0190a0b0-0000-7000-8000-000000000002", "shop", "pipeline")
    with lineage.within(inner):
        assert lineage.parent() is inner
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", "nonsense")
    assert lineage.parent() is None
