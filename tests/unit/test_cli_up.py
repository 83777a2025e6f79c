"""`frazil up` says what keeps it from starting: at once what no waiting helps, and after a while what it waits for."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from frazil.cli import app
from frazil.cli.readiness import Readiness


@contextmanager
def answering(status: int, body: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives every GET this answer; yields its address and the paths that were asked."""
    asked: list[str] = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_keeps_the_api_from_being_ready_is_said_once_and_asked_seldom(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    body = {
        "state": "down",
        "components": {"log.events": {"state": "ok", "detail": "good"}, "disk": {"state": "down", "detail": "no [room]"}},
    }
    with answering(503, body) as (url, asked):
        ready = Readiness(url, clock=lambda: now)
        for turn in range(300):  # thirty seconds of turns
            now = turn / 10
            assert not ready()
    assert asked[0] == "/api/v1/health/ready"
    assert 60 <= len(asked) <= 90  # fifty in the first five seconds, then one a second
    said = capsys.readouterr().err
    assert said.count("not ready yet") == 1
    assert "disk: no [room]" in said
    assert "log.events" not in said


def test_an_api_that_answers_200_is_ready_whatever_its_parts_are(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, {"state": "degraded", "components": {"log.events": {"state": "unknown", "detail": "not opened yet"}}}) as (url, _):
        assert Readiness(url)()
    assert not Readiness(url)()  # nobody answers any more
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("line", "words", "code"),
    [
        ('[api]\nauth = "keys"', [], "config.unknown_auth"),
        ("", ["--host", "0.0.0.0"], "config.open_door"),
        ('default_contract = "nope"', [], "contract.unknown"),
    ],
)
def test_what_can_never_work_stops_before_anything_starts(
    line: str, words: list[str], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "p"
    app.run(["init", str(root), "--example", "blank"])
    (root / "frazil.toml").write_text(f'name = "p"\n{line}\n')
    capsys.readouterr()
    assert app.run(["-C", str(root), "up", "--port", "0", *words]) == 3
    said = capsys.readouterr().err
    assert f"[{code}]" in said
    assert "role stopped" not in said
    assert not (root / ".frazil").exists()


def test_a_closed_stdout_is_no_defect(tmp_path: Path) -> None:
    app.run(["init", str(tmp_path / "p"), "--example", "blank"])
    closing = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'frazil.cli', *sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", closing, "-C", str(tmp_path / "p"), "contracts", "list"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
