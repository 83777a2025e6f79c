"""Live windows over WebSocket and on the command line: a real server, a real worker, real clients."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from frazil.batch import Position
from frazil.engine import windows
from frazil.project import Project
from frazil.table import files
from tests.serving import SECONDS, Served, make_project, order, serving

WINDOWS = """\
windows:
  minutes:
    from: orders
    where: value >= 0
    key: [note]
    tumbling: 1m
    allowed_lateness: 30s
    values: {orders: count, worth: sum(value), most: max(value)}
  visits:
    from: orders
    key: note
    session: {gap: 10s}
    emit: final
    topic: visit-results
    values: {orders: count}
"""


def project(root: Path) -> Path:
    made = make_project(root)
    (made / "windows.yaml").write_text(WINDOWS)
    return made


@contextmanager
def counting(root: Path) -> Iterator[None]:
    """The worker of `frazil live`, in a thread."""
    engine = windows.engine(Project.at(root).settings)
    assert engine is not None
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        yield
    finally:
        engine.stop()
        thread.join(SECONDS)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(project(tmp_path_factory.mktemp("windows") / "project")) as running:
        yield running


def watch(served: Served, name: str = "minutes", asked: str = "") -> ClientConnection:
    return connect(f"ws://127.0.0.1:{served.port}/api/v1/live/windows/{name}?{asked}", proxy=None, open_timeout=SECONDS)


def until(connection: ClientConnection, holds: Any) -> list[dict[str, Any]]:
    """Frames up to the first that fulfils a condition."""
    frames = []
    while True:
        frames.append(json.loads(connection.recv(timeout=SECONDS)))
        if holds(frames[-1]):
            return frames


def test_results_come_as_they_change_and_when_they_are_final(served: Served) -> None:
    with watch(served) as connection, counting(served.root):
        served.send([order(at="2026-11-20T10:00:05Z", value=2.5, note="a"), order(at="2026-11-20T10:00:59Z", value=1, note="a")])
        first = until(connection, lambda frame: frame["values"]["orders"] == 2)[-1]
        assert (first["start"], first["end"]) == ("2026-11-20T10:00:00Z", "2026-11-20T10:01:00Z")
        assert (first["window"], first["key"], first["state"]) == ("minutes", {"note": "a"}, "provisional")
        assert first["values"] == {"orders": 2, "worth": 3.5, "most": 2.5}
        served.send([order(at="2026-11-20T10:01:31Z", note="b")])
        closed = until(connection, lambda frame: frame["state"] == "final")[-1]
        assert (closed["key"], closed["values"]["orders"]) == ({"note": "a"}, 2)
        assert closed["revision"] > first["revision"]
        served.send([order(at="2026-11-20T10:00:10Z", note="a")])  # later than allowed
        served.send([order(at="2026-11-20T10:20:00Z", note="end")])
        until(connection, lambda frame: frame["key"] == {"note": "end"})
    told = run(served.root, "windows", "list", "--json")
    assert {one["window"]: one["late"] for one in told} == {"minutes": 1, "visits": 1}
    late = run(served.root, "windows", "late", "minutes", "--json")
    assert [one["time"] for one in late] == ["2026-11-20T10:00:10Z"]
    shown = run(served.root, "windows", "show", "minutes", "--final", "--json")
    assert [(one["note"], one["orders"]) for one in shown] == [("a", 2), ("b", 1)]
    assert all(isinstance(one["worth"], int | float) for one in shown)


def test_status_doctor_health_and_metrics_tell_how_far_windows_are(tmp_path: Path) -> None:
    root = project(tmp_path / "watched")
    with serving(root) as served, counting(root):
        deadline = time.monotonic() + SECONDS
        while "windows" not in (part := served.call("GET", "/health").json["components"]["windows"]):  # the file is being made
            assert time.monotonic() < deadline, part
            time.sleep(0.05)
        nobody = part["windows"]
        assert (nobody["minutes"]["watermark"], nobody["minutes"]["open"]) == (None, 0)
        with watch(served) as connection:
            for at in ("10:00:05", "10:05:00", "10:00:10", "10:05:01"):  # the third is late for both windows
                served.send([order(at=f"2026-11-20T{at}Z", note="a", value=1)])
                if at == "10:05:00":
                    until(connection, lambda frame: frame["state"] == "final")
            until(connection, lambda frame: frame["values"].get("orders") == 2)
        wanted = {"minutes": ("2026-11-20T10:04:31Z", 1, 1), "visits": ("2026-11-20T10:05:01Z", 1, 1)}
        status = {one["window"]: one for row in run(root, "status", "--json") for one in row["windows"]}
        health = served.call("GET", "/health").json["components"]["windows"]["windows"]
        for told in (status, health):
            assert {name: (one["watermark"], one["open"], one["late"]) for name, one in told.items()} == wanted
            assert told["visits"]["behind_seconds"] == pytest.approx(time.time() - 1795169101, abs=60)
        assert {one["lag"] for one in status.values()} == {0}
        metrics = served.call("GET", "/metrics").body.decode()
        for line in (
            'frazil_window_late_total{contract="orders",window="minutes"} 1.0',
            'frazil_window_open{contract="orders",window="visits"} 1.0',
            'frazil_window_watermark_timestamp_seconds{contract="orders",window="visits"} 1.795169101e+09',
        ):
            assert line in metrics
        assert 'frazil_window_watermark_lag_seconds{contract="orders",window="minutes"}' in metrics
    command = [sys.executable, "-m", "frazil.cli", "--project", str(root), "doctor", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False).stdout)
    advice = {one["part"]: (one["state"], one["says"]) for one in found}
    assert advice["window minutes"] == ("advice", "final up to 2026-11-20 10:04:31 UTC, 1 open, 1 late")
    assert advice["orders: live windows"][0] == "good"
    state = root / ".frazil" / "windows" / "orders.db"
    for beside in state.parent.glob("orders.db-*"):  # the journal alone can be all of a small database
        beside.unlink()
    state.write_bytes(b"no database" * 1_000)
    broken = served_health(root)
    assert (broken["state"], broken["code"]) == ("down", "window.corrupt")


def served_health(root: Path) -> dict[str, Any]:
    with serving(root) as served:
        return dict(served.call("GET", "/health").json["components"]["windows"])


def test_a_client_goes_on_after_its_cursor(served: Served) -> None:
    with counting(served.root):
        served.send([order(at="2026-11-21T10:00:05Z", note="x")])
        with watch(served, asked="after=0") as connection:
            frames = until(connection, lambda frame: frame["key"] == {"note": "x"})
        served.send([order(at="2026-11-21T10:00:06Z", note="y")])
        with watch(served, asked=f"after={frames[-1]['cursor']}") as connection:
            again = until(connection, lambda frame: frame["key"] == {"note": "y"})
    assert not {frame["cursor"] for frame in frames} & {frame["cursor"] for frame in again}


@pytest.mark.parametrize(("name", "asked", "code"), [("nothing", "", 4004), ("minutes", "after=x", 4000)])
def test_a_bad_request_is_closed_with_a_code(served: Served, name: str, asked: str, code: int) -> None:
    with watch(served, name, asked) as connection:
        assert json.loads(connection.recv(timeout=SECONDS))["error"]["hint"]
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=SECONDS)
        assert connection.close_code == code


def test_a_window_can_be_tailed(served: Served) -> None:
    command = [
        sys.executable,
        "-m",
        "frazil.cli",
        "tail",
        "windows/minutes",
        "-n",
        "1",
        "--after",
        "0",
        "--url",
        f"http://127.0.0.1:{served.port}",
    ]
    with counting(served.root):
        served.send([order(at="2026-11-22T10:00:05Z", note="tail")])
        said = subprocess.run(command, cwd=served.root, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert json.loads(said.stdout)["window"] == "minutes"


@pytest.mark.prop(15)
def test_killed_workers_lose_and_double_nothing(tmp_path: Path) -> None:
    """SIGKILL at moments nobody chose; the file says what one undisturbed run says."""
    root = project(tmp_path / "killed")
    with serving(root) as served:
        for batch in range(60):
            at = [f"2026-11-20T10:{number // 60:02d}:{number % 60:02d}Z" for number in range(batch * 30, batch * 30 + 30)]
            served.send([order(at=one, note=f"k{number % 3}") for number, one in enumerate(at)])
        served.send([order(at="2026-11-20T12:00:00Z", note="closing")])
    wanted = finals(counted(project(tmp_path / "calm"), root, kills=0))
    assert len(wanted) == 90, "thirty minutes of three keys"
    assert finals(counted(root, root, kills=8)) == wanted
    table = Project.at(root).lake.find("live_windows")
    assert table is not None
    landed = [row for row in files.found(table).to_pylist() if row["window"] == "minutes"]
    assert sorted((row["window_start"], row["key"]) for row in landed) == sorted({(row["window_start"], row["key"]) for row in landed})
    assert sorted(json.loads(row["values"])["orders"] for row in landed) == sorted(one[2] for one in wanted)


@pytest.mark.prop(15)
def test_results_are_in_their_topic_at_least_once_under_their_own_names(tmp_path: Path) -> None:
    root = project(tmp_path / "topic")
    with serving(root) as served:
        served.send([order(at=f"2026-11-20T10:{minute:02d}:00Z", note="a") for minute in range(30)])
        counted(root, root, kills=2)
        served.send([order(at="2026-11-20T11:00:00Z", note="b")])
        counted(root, root, kills=1)
    reader = Project.at(root).topic_reader("visit-results")
    batch = reader.read(after=Position.empty(), limit=1_000)
    assert batch is not None
    records = [json.loads(value) for value in batch.rows.column("value").to_pylist()]
    told: dict[Any, int] = {}
    for one in records:
        named = one["start"], one["key"]["note"], one["revision"]
        assert told.setdefault(named, one["values"]["orders"]) == one["values"]["orders"], "the same name is the same result"
    assert told == {(f"2026-11-20T10:{minute:02d}:00Z", "a", 1): 1 for minute in range(30)}


def counted(root: Path, events: Path, *, kills: int) -> Path:
    """Count the events of a project's log, with some kills on the way."""
    if root != events:
        (root / ".frazil").mkdir(exist_ok=True)
        (root / ".frazil" / "log").symlink_to(events / ".frazil" / "log")
    for kill in range(kills + 1):
        pid = os.fork()
        if pid == 0:
            windows._BATCH = 20  # many commits
            engine = windows.engine(Project.at(root).settings, until_idle=True)
            os._exit(70 if engine is None else engine.run())
        if kill < kills:
            time.sleep(0.1 + 0.12 * kill)
            os.kill(pid, signal.SIGKILL)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert ended in (0, -signal.SIGKILL)
    assert ended == 0
    return root


def finals(root: Path) -> list[tuple[Any, ...]]:
    rows = run(root, "windows", "show", "minutes", "--final", "--json", "-n", "100000")
    return sorted((row["start"], row["note"], row["orders"], row["worth"]) for row in rows)


def run(root: Path, *words: str) -> Any:
    command = [sys.executable, "-m", "frazil.cli", "--project", str(root), *words]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout)
