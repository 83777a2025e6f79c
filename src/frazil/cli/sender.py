"""Sends pieces to the door until it has them: retries are free (Idempotency-Key), Retry-After is obeyed."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2

from frazil.cli.pieces import Piece
from frazil.errors import ConfigError, ContractError, FrazilError, Unavailable

_EXAMPLES = 3
_AGAIN = (409, 425, 429, 500, 502, 503, 504)


@dataclass
class Refusal:
    """What one code refused: how often (as far as listed), and the first places."""

    code: str
    message: str
    hint: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Tally:
    """What became of what was sent. `rejected` records of a 202 are on disk, too: they become dead letters."""

    received: int = 0
    accepted: int = 0
    rejected: int = 0
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    violations: int = 0
    refused: dict[str, Refusal] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)

    def note(self, code: str, message: str, hint: str, place: str, count: int = 1) -> None:
        refusal = self.refused.setdefault(code, Refusal(code, message, hint))
        refusal.count += count
        if len(refusal.examples) < _EXAMPLES:
            refusal.examples.append(place)


class Sender:
    """One contract's way to one server.

    Args:
        patience: Seconds without an answer after which sending ends as not finished.
        waiting: Told why and for how many seconds a retry waits.
        dialect: Of CSV, as the door's parameters.
        made: The events lie in no file, so none can be sent again from a line on.
    """

    def __init__(
        self,
        url: str,
        contract: str,
        *,
        reject: bool = False,
        patience: float = 60.0,
        waiting: Callable[[str, float], None] = lambda why, seconds: None,
        dialect: Mapping[str, list[str]] | None = None,
        made: bool = False,
    ) -> None:
        host = urlsplit(url).hostname or ""
        loopback = host in ("localhost", "::1") or host.startswith("127.")
        self._client = httpx2.Client(base_url=url, timeout=httpx2.Timeout(60.0, connect=5.0), trust_env=not loopback)
        self._query = {"contract": contract, "on_invalid": "reject" if reject else "dead_letter"}
        self._dialect = dialect or {}
        self._made = made
        self._url = url
        self._patience = patience
        self._waiting = waiting
        self.tally = Tally()

    def send(self, piece: Piece) -> None:
        """Bring one piece to disk on the other side, however often it takes.

        Raises:
            Unavailable: `send.not_finished`: no answer for longer than `patience`. What was answered before is safe.
            ContractError, ConfigError: The server does not know the contract, or does not let us in.
        """
        answer = self._answered(piece)
        if answer.status_code in (200, 202):
            self._accepted(piece, answer.json())
        elif answer.status_code == 413 and piece.can_be_cut:
            for half in piece.halves():
                self.send(half)
        else:
            self._refused(piece, answer)

    def landed(self, deadline: float) -> dict[str, int]:
        """Processing's verdict on everything sent, as soon as nothing is pending or the clock passes `deadline` (monotonic).

        Raises:
            Unavailable: The server did not say it; what it accepted is on its disk all the same.
        """
        total = {"landed": 0, "duplicates": 0, "dead": 0, "pending": 0}
        for job in self.tally.jobs:
            while True:
                status = self._status(job, deadline)
                if status["pending"] == 0 or time.monotonic() > deadline:
                    break
                time.sleep(0.2)
            for name in total:
                total[name] += status[name]
        return total

    def _status(self, job: str, deadline: float) -> dict[str, Any]:
        """What the server says of a job; a server that is away for a moment is asked again until `deadline`."""
        while True:
            try:
                answer = self._client.get(f"/api/v1/status/{job}")
                if answer.status_code == 200:
                    return cast("dict[str, Any]", answer.json())
                why = f"{answer.status_code} {_problem(answer)['code']}"
                deadline = deadline if answer.status_code in _AGAIN else 0.0
            except httpx2.TransportError as error:
                why = f"{type(error).__name__}: {error}"
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{self._url} does not say what has landed: {why}",
                    code="system.unavailable",
                    hint="what was accepted is on its disk; `frazil status` shows what has landed",
                    url=self._url,
                    accepted=self.tally.accepted,
                )
            time.sleep(0.5)

    def close(self) -> None:
        self._client.close()

    def _answered(self, piece: Piece) -> httpx2.Response:
        """The server's answer that is not `come again`."""
        headers = {"Content-Type": piece.content_type, "Idempotency-Key": str(uuid.uuid4())}
        query = {**self._query, **self._dialect} if piece.format == "csv" else self._query
        body = piece.body
        self.tally.bytes += len(body)
        silent_since, attempt = time.monotonic(), 0
        while True:
            try:
                self.tally.requests += 1
                answer = self._client.post("/api/v1/ingest", params=query, content=body, headers=headers)
                if answer.status_code not in _AGAIN:
                    return answer
                why, wait = f"{answer.status_code} {_problem(answer)['code']}", _retry_after(answer)
            except httpx2.TransportError as error:
                why, wait = f"{type(error).__name__}: {error}", None
            wait = wait if wait is not None else min(5.0, 0.1 * 2**attempt)
            if time.monotonic() + wait - silent_since > self._patience:
                raise self._not_finished(piece, why)
            self._waiting(why, wait)
            self.tally.retries += 1
            attempt += 1
            time.sleep(wait)

    def _not_finished(self, piece: Piece, why: str) -> Unavailable:
        line = piece.places[0].rpartition(":")[2]
        if self._made:
            again = "generate the rest"
        elif piece.format in ("ndjson", "csv") and line.isdigit():
            again = f"send the rest with --from-line {line}"
        else:
            again = "send again: what is there already is a duplicate"
        return Unavailable(
            f"{self._url} did not take the events: {why}",
            code="send.not_finished",
            hint=f"is `frazil up` running? Then {again}",
            url=self._url,
            first_unsent=piece.places[0],
            accepted=self.tally.accepted,
        )

    def _accepted(self, piece: Piece, job: dict[str, Any]) -> None:
        tally = self.tally
        tally.received += job["received"]
        tally.accepted += job["accepted"]
        tally.rejected += job["rejected"]
        tally.violations += job["errors_total"]
        tally.jobs.append(job["job_id"])
        self._violations(piece, job["errors"])

    def _refused(self, piece: Piece, answer: httpx2.Response) -> None:
        problem = _problem(answer)
        if answer.status_code in (401, 403):
            raise ConfigError(problem["detail"], code=problem["code"], hint=problem["hint"], url=self._url)
        if answer.status_code == 404:
            raise ContractError(problem["detail"], code=problem["code"], hint=problem["hint"], contract=self._query["contract"])
        if answer.status_code not in (400, 413, 415, 422):
            raise FrazilError(problem["detail"], code=problem["code"], hint=problem["hint"], status=answer.status_code)
        self.tally.received += len(piece.places)
        self.tally.rejected += len(piece.places)
        self._violations(piece, problem.get("errors") or [])
        if not problem.get("errors"):
            self.tally.note(problem["code"], problem["detail"], problem["hint"], piece.places[0], len(piece.places))

    def _violations(self, piece: Piece, errors: list[dict[str, Any]]) -> None:
        for one in errors:
            index = one["index"] or 0
            place = piece.places[index] if index < len(piece.places) else piece.places[-1]
            self.tally.note(one["code"], one["message"], one["hint"], f"{place} {one['path']}".strip())


def _retry_after(answer: httpx2.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None


def _problem(answer: httpx2.Response) -> dict[str, Any]:
    """The server's words, or ours where something else answered."""
    try:
        body = answer.json()
    except ValueError:
        body = {}
    facts = body if isinstance(body, dict) else {}
    detail = f"HTTP {answer.status_code}: {answer.text[:200]}"
    return {**facts, "code": facts.get("code", "http.refused"), "detail": facts.get("detail", detail), "hint": facts.get("hint", "")}
