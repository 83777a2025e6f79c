"""Commands that look: `status` again and again, one dead letter in full, and a worker's metrics."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from frazil.cli.turns import turns
from frazil.log import Record
from frazil.project import Project
from tests.integration.running import FRAZIL, frazil
from tests.serving import make_project

BAD = b'{"id": "0189d5a0-0000-7000-8000-000000000001", "at": "2026-11-20T12:00:00Z", "value": -5}'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one landed order and one dead letter."""
    made = make_project(tmp_path_factory.mktemp("watch") / "project")
    project = Project.at(made)
    writer = project.log_writer(project.contract("orders"))
    writer.append([Record(BAD.replace(b"-5", b"5")), Record(BAD)], request=7, received_at=datetime(2026, 11, 20, 12, tzinfo=UTC))
    writer.close()
    done = frazil("process", "--until-idle", cwd=made)
    assert done.code == 0, done.err
    return made


def test_a_dead_letter_is_shown_with_its_violations_and_its_own_bytes(root: Path) -> None:
    [cause] = frazil("dead", "list", "--json", cwd=root).json
    assert (cause["code"], cause["path"], cause["count"]) == ("range.below_minimum", "/value", 1)
    letter = frazil("dead", "show", "1", "--json", cwd=root).json
    assert frazil("dead", "show", letter["id"], "--json", cwd=root).json == letter
    assert (letter["open"], letter["stage"], letter["_offset"], letter["_request"]) == (True, "validate", 1, 7)
    assert letter["value"] == BAD.decode()
    assert [(one["code"], one["value"]) for one in letter["violations"]] == [("range.below_minimum", -5)]
    said = frazil("dead", "show", "1", cwd=root).out
    for word in ("range.below_minimum", "/value", "-5", "validate", "1.0.0"):
        assert word in said
    for wrong in ("0", "99", "nonsense", "a/b/c"):
        refused = frazil("dead", "show", wrong, cwd=root)
        assert refused.code == 3, refused
        assert "hint:" in refused.err
        assert "unexpected" not in refused.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_status_watch_shows_again_until_it_is_told_to_end(number: int, root: Path) -> None:
    command = [*FRAZIL, "status", "--watch", "0.5", "--json"]
    heeding = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job of the background hands on that it is ignored
    watching = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heeding)
    assert watching.stdout is not None
    try:
        for _ in range(2):
            orders = next(row for row in json.loads(watching.stdout.readline()) if row["contract"] == "orders")
            assert (orders["lag"], orders["landed"], orders["dead"]) == (0, 1, 1)
        watching.send_signal(number)
        _, said = watching.communicate(timeout=30)
    finally:
        watching.kill()
        watching.wait()
    assert b"Traceback" not in said
    assert watching.returncode in (130, -signal.SIGTERM)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_a_destructor_swallowed_ends_the_next_turn() -> None:
    class Kept:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored here, as in a job of the background
    again = turns(60)
    next(again)
    kept = Kept()
    del kept
    with pytest.raises(KeyboardInterrupt):
        next(again)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_a_worker_serves_its_metrics_on_the_port_it_was_given(root: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "NO_PROXY": "*"}
    worker = subprocess.Popen([*FRAZIL, "process", "--metrics-port", str(port)], cwd=root, env=environment, stderr=subprocess.DEVNULL)
    try:
        text, deadline = "", time.monotonic() + 60
        while 'frazil_lag_records{contract="orders"}' not in text:
            assert worker.poll() is None
            assert time.monotonic() < deadline, text
            try:
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
                    text = answer.read().decode()
            except OSError:
                time.sleep(0.1)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0


def test_a_metrics_port_in_use_is_named(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = frazil("process", "--until-idle", "--metrics-port", port, cwd=root)
    assert done.code == 3
    assert "[config.port_in_use]" in done.err
    assert port in done.err
    assert "--metrics-port" in done.err
