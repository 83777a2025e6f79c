"""Alerts for critical failures: decided once, kept on disk until delivered.

A failing critical check opens an incident; while it stays open, runs (and retries of a run) say nothing more; when the check
passes, it closes. Incidents and the letters to send are written in one transaction, so a kill neither loses nor doubles an
alert. Delivery: a letter is marked when its endpoint has answered; one whose answer was lost is sent again under the same
`Idempotency-Key` (e-mail: the same Message-ID), which is as far as a protocol without transactions goes.
"""

from __future__ import annotations

import http.client
import json
import smtplib
import sqlite3
import ssl
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from frazil.quality import CheckResult, QualityReport
from frazil.settings import AlertSettings, Settings
from frazil.telemetry import logger

_log = logger("alert")
_CLAIM_SECONDS = 60.0
"""How long a letter is another's, beyond 20 times the timeout: the steps of a talk with a mail server."""
_KEEP_SECONDS = 30 * 86_400.0
"""How long a delivered letter is kept to be looked at."""
_TABLES = """
CREATE TABLE IF NOT EXISTS incidents (name TEXT PRIMARY KEY, run TEXT NOT NULL, opened REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS letters (
    id TEXT PRIMARY KEY, channel TEXT NOT NULL, body TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next REAL NOT NULL,
    claimed REAL NOT NULL DEFAULT 0, delivered REAL, error TEXT
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Letter:
    """One alert for one channel. `error` is the last refusal; `delivered` and `next` are seconds since 1970."""

    id: str
    channel: str
    body: Mapping[str, Any]
    attempts: int
    next: float
    delivered: float | None
    error: str | None


class Outbox:
    """Incidents and letters of a project, in `.frazil/alerts.db`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = settings.state_dir / "alerts.db"

    @property
    def exists(self) -> bool:
        return self._file.is_file()

    def decide(self, report: QualityReport) -> int:
        """Open and close incidents by a run's results and write the letters for the new ones; returns how many letters.

        Of a table and suite that were looked at, only what failed stays open: a check that passed or is no more closes.
        """
        named = _named(report.checks)
        failed = {name: one for name, one in named.items() if not one.passed and one.severity == "critical"}
        looked = {(one.suite, one.table) for one in report.checks}
        with self._transaction() as database:
            known = {row[0] for row in database.execute("SELECT name FROM incidents")}
            closed = [(name,) for name in known - failed.keys() if tuple(json.loads(name)[:2]) in looked]
            database.executemany("DELETE FROM incidents WHERE name = ?", closed)
            new, now = [one for name, one in failed.items() if name not in known], time.time()
            rows = [(name, report.run_id, now) for name in failed if name not in known]
            database.executemany("INSERT INTO incidents VALUES (?, ?, ?)", rows)
            database.execute("DELETE FROM letters WHERE delivered < ?", (now - _KEEP_SECONDS,))
            channels = _channels(self._settings.alerts) if new else {}
            body = json.dumps(_body(self._settings, report, new))
            letters = [(f"{report.run_id}-{channel}", channel, body, now) for channel in channels]
            database.executemany("INSERT OR IGNORE INTO letters (id, channel, body, next) VALUES (?, ?, ?, ?)", letters)
        for one in new:
            _log.error(
                "critical check failed", suite=one.suite, table=one.table, column=one.column, check=one.expectation, said=one.message
            )
        return len(letters)

    def deliver(self, *, seconds: float = 0.0) -> int:
        """Send what is due, for at most `seconds` of waiting for retries; returns how many letters are still to be sent."""
        deadline = time.monotonic() + seconds
        while True:
            due = time.time()
            while (letter := self._claimed(due)) is not None:
                self._send(letter)
            waiting = self._undelivered()
            soonest = min((one.next for one in waiting), default=0.0) - time.time()
            if not waiting or time.monotonic() + max(0.0, soonest) > deadline:
                return len(waiting)
            time.sleep(max(0.05, soonest))

    def letters(self) -> list[Letter]:
        """All letters, oldest first."""
        with self._transaction() as database:
            rows = database.execute("SELECT id, channel, body, attempts, next, delivered, error FROM letters ORDER BY id").fetchall()
        return [Letter(name, channel, json.loads(body), *rest) for name, channel, body, *rest in rows]

    def waiting(self) -> int:
        """How many letters are still to be sent."""
        return len(self._undelivered())

    def _undelivered(self) -> list[Letter]:
        return [one for one in self.letters() if one.delivered is None]

    def _claimed(self, due: float) -> Letter | None:
        """A letter that is due and that no other process sends at the moment; it is ours for as long as sending can take."""
        now = time.time()
        stale = now - _CLAIM_SECONDS - 20 * self._settings.alerts.timeout.total_seconds()
        with self._transaction() as database:
            rows = database.execute(
                "UPDATE letters SET claimed = ? WHERE id = (SELECT id FROM letters WHERE delivered IS NULL AND next <= ? AND claimed < ?"
                " ORDER BY id LIMIT 1) RETURNING id, channel, body, attempts, next, delivered, error",
                (now, due, stale),
            ).fetchall()
        return next((Letter(name, channel, json.loads(body), *rest) for name, channel, body, *rest in rows), None)

    def _send(self, letter: Letter) -> None:
        channels = _channels(self._settings.alerts)
        try:
            if letter.channel not in channels:
                raise OSError(f"[alerts] has no {letter.channel} any more")
            channels[letter.channel](letter)
        except (OSError, smtplib.SMTPException, http.client.HTTPException, ValueError) as error:
            wait = min(3600.0, self._settings.alerts.retry.total_seconds() * 2.0**letter.attempts)
            _log.warning("alert not delivered", alert=letter.id, attempts=letter.attempts + 1, wait_seconds=wait, error=str(error)[:300])
            change = "UPDATE letters SET attempts = attempts + 1, claimed = 0, next = ?, error = ? WHERE id = ?"
            values: tuple[Any, ...] = (time.time() + wait, f"{type(error).__name__}: {error}"[:500], letter.id)
        else:
            _log.info("alert delivered", alert=letter.id, attempts=letter.attempts + 1)
            change = "UPDATE letters SET attempts = attempts + 1, claimed = 0, delivered = ?, error = NULL WHERE id = ?"
            values = (time.time(), letter.id)
        with self._transaction() as database:
            database.execute(change, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._file, timeout=10.0, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            for statement in _TABLES.split(";"):
                database.execute(statement)
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                database.execute("ROLLBACK")
                raise
        finally:
            database.close()


def _channels(alerts: AlertSettings) -> dict[str, Callable[[Letter], None]]:
    """How to send, by channel, for those that are set."""
    timeout = alerts.timeout.total_seconds()
    found: dict[str, Callable[[Letter], None]] = {}
    if alerts.slack is not None:
        slack = alerts.slack.get_secret_value()
        found["slack"] = lambda letter: _post(slack, {"text": letter.body["text"]}, letter, timeout)
    if alerts.webhook is not None:
        webhook = alerts.webhook.get_secret_value()
        found["webhook"] = lambda letter: _post(webhook, {"id": letter.id, **letter.body}, letter, timeout)
    if alerts.email:
        found["email"] = lambda letter: _mail(alerts, letter, timeout)
    return found


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would go on as a GET without its body, and be answered with 200: an alert told to nobody."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, body: Mapping[str, Any], letter: Letter, timeout: float) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": letter.id, "User-Agent": "frazil"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    if request.type not in ("http", "https"):
        raise ValueError("an endpoint is an http:// or https:// URL")
    with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout) as answer:
        answer.read(1024)


def _mail(alerts: AlertSettings, letter: Letter, timeout: float) -> None:
    message = EmailMessage()
    message["From"], message["To"] = alerts.sender, ", ".join(alerts.email)
    message["Subject"] = letter.body["title"]
    message["Message-ID"] = f"<{letter.id}@frazil>"
    message.set_content(letter.body["text"])
    with _server(alerts, timeout) as server:
        if alerts.smtp_user is not None:
            server.login(alerts.smtp_user, "" if alerts.smtp_password is None else alerts.smtp_password.get_secret_value())
        refused = server.send_message(message)
    if refused:
        _log.warning("alert refused by some receivers", alert=letter.id, refused=sorted(refused))


def _server(alerts: AlertSettings, timeout: float) -> smtplib.SMTP:
    """A connection; certificates are checked, which smtplib alone does not."""
    if alerts.smtp_tls == "tls":
        return smtplib.SMTP_SSL(alerts.smtp_host, alerts.smtp_port, timeout=timeout, context=ssl.create_default_context())
    server = smtplib.SMTP(alerts.smtp_host, alerts.smtp_port, timeout=timeout)
    if alerts.smtp_tls == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _named(checks: Sequence[CheckResult]) -> dict[str, CheckResult]:
    """Checks by a name that stays from run to run; of several that look alike, the first is 0."""
    seen: Counter[tuple[str, str, str | None, str]] = Counter()
    named = {}
    for one in checks:
        place = (one.suite, one.table, one.column, one.expectation)
        named[json.dumps([*place, seen[place]])] = one
        seen[place] += 1
    return named


def _body(settings: Settings, report: QualityReport, new: Sequence[CheckResult]) -> dict[str, Any]:
    title = f"{settings.name}: {len(new)} critical check{'s' if len(new) != 1 else ''} failed"
    lines = [title, *(f"• {one.message}" for one in new[:20]), f"report: .frazil/reports/{report.run_id}"]
    checks = [
        {"suite": one.suite, "table": one.table, "column": one.column, "expectation": one.expectation, "message": one.message}
        for one in new
    ]
    return {"title": title, "text": "\n".join(lines), "project": settings.name, "run_id": report.run_id, "checks": checks}
