"""Suites over a real lake: what fails is found, kept, told once."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.schema import Schema
from pyiceberg.table.update import AddSchemaUpdate, AssertTableUUID, SetCurrentSchemaUpdate

from frazil import settings as configuration
from frazil.engine.upkeep import Keeper
from frazil.errors import ConfigError
from frazil.project import Project
from frazil.quality import CheckResult, QualityReport
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
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
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
            chosen = configuration.load(shop.root)
            first = check(chosen, now=LATER)
            again = check(chosen, now=LATER)  # a retry of the step, say
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
    page = (shop.root / ".frazil" / "quality" / "docs" / "own.raw_events.html").read_text()
    assert "unexpected values found" in page
    assert "100% of 20 total rows" in page
    assert "check failed" in (said := "".join(capfd.readouterr()))
    assert "Traceback" not in said
    assert first.run_id in said


@pytest.mark.prop(31)
@pytest.mark.parametrize("refusal", [0, 500, 302, 404])
def test_an_endpoint_that_is_down_loses_and_doubles_no_alert_and_maintenance_delivers_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    """0: nobody listens. 302: a redirect would turn a POST into a GET, which tells nobody."""
    monkeypatch.setenv("FRAZIL_ALERTS__RETRY", "100")
    with receiving([refusal]) as (url, got):
        monkeypatch.setenv("FRAZIL_ALERTS__WEBHOOK", url if refusal else f"http://127.0.0.1:{free_port()}/hook")
        monkeypatch.setenv("FRAZIL_ALERTS__EMAIL", '["on-call@shop.example"]')
        monkeypatch.setenv("FRAZIL_ALERTS__SMTP_PORT", str(free_port()))
        assert Outbox(configuration.load(shop.root)).decide(failing(Day("r1", bad=1))) == 2
        assert Outbox(configuration.load(shop.root)).deliver() == 2
    assert not got
    waiting = Outbox(configuration.load(shop.root)).letters()
    assert [one.delivered for one in waiting] == [None, None]
    assert all(one.error for one in waiting)
    box = Mailbox()
    mail = Controller(box, hostname="127.0.0.1", port=free_port())
    mail.start()
    try:
        with receiving([]) as (url, got):
            monkeypatch.setenv("FRAZIL_ALERTS__WEBHOOK", url)
            monkeypatch.setenv("FRAZIL_ALERTS__SMTP_PORT", str(mail.port))
            project = Project(configuration.load(shop.root))
            assert alerts_of(Keeper(project)) == {"delivered": 0, "waiting": 2}, "not due yet"
            with Outbox(project.settings)._transaction() as database:
                database.execute("UPDATE letters SET next = 0")  # the wait is over
            assert alerts_of(Keeper(project, dry_run=True)) == {"delivered": 0, "waiting": 2}
            assert alerts_of(Keeper(project)) == {"delivered": 2, "waiting": 0}
            assert alerts_of(Keeper(project)) == {"delivered": 0, "waiting": 0}
    finally:
        mail.stop()
    assert [one["key"] for one in got] == ["r1-webhook"]
    assert len(box.letters) == 1
    assert b"<r1-email@frazil>" in box.letters[0]


def alerts_of(keeper: Keeper) -> dict[str, Any]:
    """What a round of maintenance says of alerts."""
    (told,) = [one for one in keeper.report()[1] if one["job"] == "alerts"]
    return {name: told[name] for name in ("delivered", "waiting")}


@dataclass(frozen=True)
class Day:
    """A run of three checks that look alike; the first `bad` fail. `missing`: the last is no longer in the suite."""

    run: str
    bad: int
    missing: bool = False


def failing(day: Day) -> QualityReport:
    one = CheckResult("own", "raw_events", "user_id", "references", "critical", True, 0, 0.0, [], "raw_events.user_id: references")
    checks = [replace(one, passed=number >= day.bad) for number in range(2 if day.missing else 3)]
    return QualityReport(day.run, NOON, 0.0, checks)


@pytest.mark.prop(31)
@given(st.lists(st.builds(Day, st.just(""), st.integers(0, 3), st.booleans()), max_size=8))
@settings(max_examples=25)
def test_a_failure_is_told_when_it_begins_and_again_only_after_it_ended(days: list[Day]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "frazil.toml").write_text('name = "till"\n[alerts]\nemail = ["on-call@shop.example"]\n')
        outbox = Outbox(configuration.load(root))
        before: set[int] = set()
        for number, day in enumerate(days):
            bad = set(range(min(day.bad, 2 if day.missing else 3)))
            told = outbox.decide(failing(replace(day, run=f"r{number}")))
            assert told == (1 if bad - before else 0)
            before = bad


def test_a_column_that_disappeared_is_critical_by_the_contract_and_told_where_a_check_names_it(shop: Shop) -> None:
    lake = shop.project.lake
    table = lake.find("raw_events")
    assert table is not None
    gone = table.schema().find_field("session_id").field_id
    left = Schema(*(one for one in table.schema().fields if one.field_id != gone), schema_id=99)
    updates = (AddSchemaUpdate(schema=left), SetCurrentSchemaUpdate(schema_id=-1))
    lake.catalog.commit_table(table, (AssertTableUUID(uuid=table.metadata.table_uuid),), updates)
    report = check(shop.settings, tables=["raw_events"], now=LATER)
    assert {one.column for one in report.critical} == {"session_id"}
    assert any("raw_events.session_id is absent, the contract says string" in one.message for one in report.critical)
    (shop.root / "quality" / "own.yaml").write_text("suite: own\nchecks:\n  - {table: raw_events, unique: session_id}\n")
    with pytest.raises(ConfigError) as stopped:
        check(shop.settings, suites=["own"], now=LATER)
    assert stopped.value.code == "quality.unknown_column"
    assert "own.yaml:3" in str(stopped.value)


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
