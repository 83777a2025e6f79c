"""Suites over a real lake: what fails is found, kept, told once."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from frazil import settings as configuration
from frazil.errors import ConfigError
from frazil.quality.alert import Outbox
from frazil.quality.report import history
from frazil.quality.run import check
from tests.shop import NOON, Shop, event, product, user

LATER = NOON + timedelta(days=1, hours=1)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.land("users", user())
    made.land("products", product())
    made.land("events", *(event(number) for number in range(20)))
    return made


def broken(shop: Shop) -> None:
    """Rows that no kernel would land, in a suite of one's own: every third event is called at fault."""
    (shop.root / "quality" / "own.yaml").write_text(
        "suite: own\nchecks:\n"
        "  - {table: raw_events, column: user_id, severity: critical, key: [event_id],\n"
        "     expect: column_values_to_be_in_set, with: {value_set: [nobody]}}\n"
        "  - {table: raw_events, about: large, severity: warning, key: [event_id], rows: 'SELECT * FROM {table} WHERE value > 5'}\n"
    )


@contextmanager
def receiving(answers: list[int]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A real HTTP server that answers with these statuses in order, then 200."""
    got: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = answers.pop(0) if answers else 200
            if status == 200:
                got.append({"key": self.headers["Idempotency-Key"], "body": body})
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Mailbox:
    def __init__(self) -> None:
        self.letters: list[bytes] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802
        self.letters.append(envelope.content)
        return "250 kept"


@pytest.mark.prop(30)
@pytest.mark.prop(31)
@pytest.mark.prop(41)
def test_a_critical_failure_is_reported_kept_and_told_once_on_every_channel(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken(shop)
    box = Mailbox()
    mail = Controller(box, hostname="127.0.0.1", port=free_port())
    mail.start()
    try:
        with receiving([503, 500]) as (slack, slacked), receiving([]) as (hook, hooked):
            monkeypatch.setenv("FRAZIL_ALERTS__SLACK", slack)
            monkeypatch.setenv("FRAZIL_ALERTS__WEBHOOK", hook)
            monkeypatch.setenv("FRAZIL_ALERTS__EMAIL", '["on-call@shop.example"]')
            monkeypatch.setenv("FRAZIL_ALERTS__SMTP_PORT", str(mail.port))
            monkeypatch.setenv("FRAZIL_ALERTS__RETRY", "0.05")
            settings = configuration.load(shop.root)
            first = check(settings, now=LATER)
            again = check(settings, now=LATER)  # a retry of the step, say
    finally:
        mail.stop()
    assert [one.suite for one in first.critical] == ["own"]
    assert first.critical[0].share == 1.0
    assert len(first.critical[0].failing) == 20
    assert all({"event_id", "user_id"} <= row.keys() for row in first.critical[0].failing)
    assert len(slacked) == len(hooked) == len(box.letters) == 1
    assert "user_id" in slacked[0]["body"]["text"]
    assert hooked[0]["body"]["run_id"] == first.run_id
    assert first.run_id.encode() in box.letters[0]
    reports = sorted((shop.root / ".frazil" / "reports" / first.run_id).glob("*.json"))
    assert len(reports) == sum(not one.passed for one in first.checks) == 2
    assert json.loads(reports[0].read_text())["failing"]
    kept = history(shop.project.lake)
    assert {row["run_id"] for row in kept} == {first.run_id, again.run_id}
    assert len(kept) == len(first.checks) + len(again.checks)
    assert (shop.root / ".frazil" / "quality" / "docs" / "own.raw_events.html").stat().st_size > 10_000
    assert "check failed" in (said := "".join(capfd.readouterr()))
    assert first.run_id in said


@pytest.mark.prop(31)
def test_an_endpoint_that_is_down_loses_and_doubles_no_alert(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(shop)
    with receiving([]) as (url, _):
        pass  # it is gone: nobody listens
    monkeypatch.setenv("FRAZIL_ALERTS__WEBHOOK", url)
    monkeypatch.setenv("FRAZIL_ALERTS__RETRY", "100")
    report = check(configuration.load(shop.root), now=LATER)
    (waiting,) = Outbox(configuration.load(shop.root)).letters()
    assert waiting.delivered is None
    assert waiting.error is not None
    with receiving([]) as (url, got):
        monkeypatch.setenv("FRAZIL_ALERTS__WEBHOOK", url)
        outbox = Outbox(configuration.load(shop.root))
        with outbox._transaction() as database:
            database.execute("UPDATE letters SET next = 0")  # the wait is over
        assert outbox.deliver() == 0
        assert outbox.deliver() == 0
    assert [one["key"] for one in got] == [f"{report.run_id}-webhook"]


def test_a_good_lake_passes_and_an_empty_day_is_named(shop: Shop) -> None:
    report = check(shop.settings, now=LATER)
    assert [one.message for one in report.checks if not one.passed] == []
    assert report.score == 1.0
    stale = check(shop.settings, now=LATER + timedelta(days=9))
    assert [one.expectation for one in stale.checks if not one.passed] == ["fresh"]
    assert stale.critical == ()


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("{table: raw_events, column: user_id, expect: column_values_to_not_be_nul}", "quality.suite_invalid", "to_not_be_null"),
        ("{table: raw_evnts, column: user_id, expect: column_values_to_not_be_null}", "quality.unknown_table", "raw_events"),
        ("{table: raw_events, column: user, expect: column_values_to_not_be_null}", "quality.unknown_column", "user_id"),
        ("{table: raw_events, rows: SELEC 1}", "quality.query_invalid", "typo.yaml:3"),
        ("{table: raw_events, column: user_id, severety: critical, unique: user_id}", "quality.suite_invalid", "severity"),
    ],
)
def test_a_typo_in_a_suite_is_told_with_its_line_and_the_known_names(shop: Shop, line: str, code: str, words: str) -> None:
    (shop.root / "quality" / "typo.yaml").write_text(f"suite: typo\nchecks:\n  - {line}\n")
    with pytest.raises(ConfigError) as stopped:
        check(shop.settings, suites=["typo"], now=LATER)
    assert stopped.value.code == code
    assert words in str(stopped.value)
    assert "typo.yaml:3" in str(stopped.value)
