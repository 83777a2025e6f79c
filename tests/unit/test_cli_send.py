"""Sending: every event once whatever the server does, refusals by code and place, exit codes."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frazil.cli import app
from frazil.cli.pieces import Piece
from frazil.cli.sender import Sender
from frazil.errors import ContractError, Unavailable

Answer = tuple[int, dict[str, Any], dict[str, str]]


@dataclass
class Server:
    """A door double: stores records by idempotency key; `script` may answer first, `None` cuts the connection after storing."""

    script: list[Answer | None] = field(default_factory=list)
    judge: Callable[[list[Any]], list[dict[str, Any]]] = lambda records: []
    stored: dict[str, list[Any]] = field(default_factory=dict)
    queries: list[dict[str, list[str]]] = field(default_factory=list)
    url: str = ""

    def take(self, body: bytes, key: str, query: str) -> Answer | None:
        self.queries.append(parse_qs(query))
        records = [json.loads(line) for line in body.splitlines()] if not body.startswith(b"[") else json.loads(body)
        if self.script:
            answer = self.script.pop(0)
            if answer is None or answer[0] == 503:  # the worst case: stored, and the answer lost
                self.stored.setdefault(key, records)
            return answer
        errors = self.judge(records)
        self.stored.setdefault(key, records)
        bad = len({error["index"] for error in errors})
        job = {"job_id": key, "received": len(records), "accepted": len(records) - bad, "rejected": bad}
        return 202, {**job, "errors": errors[:100], "errors_total": len(errors)}, {}

    @property
    def records(self) -> list[Any]:
        return [record for records in self.stored.values() for record in records]


@contextmanager
def served(server: Server) -> Iterator[Server]:
    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = server.take(body, self.headers["Idempotency-Key"], urlsplit(self.path).query)
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            status, facts, headers = answer
            content = json.dumps(facts).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        yield server
        http.shutdown()
        thread.join()


def piece(values: list[int]) -> Piece:
    return Piece([json.dumps(v).encode() for v in values], [f"f:{v}" for v in values], "ndjson")


def problem(status: int, code: str = "busy", **headers: str) -> Answer:
    return status, {"code": code, "detail": "not now", "hint": "wait"}, {name.replace("_", "-"): value for name, value in headers.items()}


come_again = [None, *(problem(status, Retry_After="0") for status in (409, 429, 503))]
trouble = st.lists(st.sampled_from(come_again), max_size=4)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), trouble)
def test_every_record_is_stored_once_whatever_the_server_does(sizes: list[int], script: list[Answer | None]) -> None:
    numbers = iter(range(100))
    pieces = [piece([next(numbers) for _ in range(size + 1)]) for size in sizes]
    with served(Server(list(script))) as server:
        sender = Sender(server.url, "notes", patience=30)
        for one in pieces:
            sender.send(one)
        sender.close()
    assert server.records == [json.loads(record) for one in pieces for record in one.records]
    assert sender.tally.accepted == len(server.records)
    assert sender.tally.retries == len(script)


def test_retry_after_is_obeyed() -> None:
    waits: list[float] = []
    with served(Server([problem(503, Retry_After="1")])) as server:
        sender = Sender(server.url, "notes", patience=30, waiting=lambda why, seconds: waits.append(seconds))
        sender.send(piece([1]))
        sender.close()
    assert waits == [1.0]


def test_no_answer_is_not_finished_and_says_where_to_go_on() -> None:
    sender = Sender("http://127.0.0.1:9", "notes", patience=0.0)
    with pytest.raises(Unavailable) as error:
        sender.send(Piece([b"{}"], ["events.ndjson:17"], "ndjson"))
    sender.close()
    assert error.value.code == "send.not_finished"
    assert "--from-line 17" in error.value.hint


def test_events_that_lie_in_no_file_are_not_sent_again_from_a_line() -> None:
    sender = Sender("http://127.0.0.1:9", "notes", patience=0.0, made=True)
    with pytest.raises(Unavailable) as error:
        sender.send(Piece([b"{}"], ["generated:17"], "ndjson"))
    sender.close()
    assert "--from-line" not in error.value.hint


def test_a_server_that_goes_away_while_we_wait_for_landing_is_said(tmp_path: Path) -> None:
    with served(Server()) as server:
        sender = Sender(server.url, "notes")
        sender.send(piece([2]))
    with pytest.raises(Unavailable) as error:
        sender.landed(time.monotonic())
    sender.close()
    assert error.value.context["accepted"] == 1


def test_a_body_that_is_too_large_is_halved_until_it_fits() -> None:
    with served(Server([problem(413, "body.too_large")] * 2)) as server:
        sender = Sender(server.url, "notes")
        sender.send(piece([1, 2, 3, 4]))
        sender.close()
    assert server.records == [1, 2, 3, 4]


def test_a_contract_the_server_does_not_know_is_said_in_its_words() -> None:
    with served(Server([(404, {"code": "contract.unknown", "detail": "no contract", "hint": "known: a"}, {})])) as server:
        sender = Sender(server.url, "b")
        with pytest.raises(ContractError) as error:
            sender.send(piece([1]))
        sender.close()
    assert (error.value.code, error.value.hint) == ("contract.unknown", "known: a")


def refusing_odd(records: list[Any]) -> list[dict[str, Any]]:
    words = {"path": "/n", "code": "odd", "message": "is odd", "hint": "add one"}
    return [{"index": index, **words} for index, record in enumerate(records) if record["n"] % 2]


@pytest.mark.prop(8)
def test_what_was_refused_is_shown_by_code_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.ndjson"
    file.write_text("".join(json.dumps({"n": n}) + "\n\n" for n in range(5)))
    with served(Server(judge=refusing_odd)) as server:
        code = app.run(["send", str(file), "--contract", "notes", "--url", server.url, "--batch", "2"])
    out = capsys.readouterr().out
    assert code == 1
    assert "accepted 3  rejected 2" in out
    assert re.search(rf"2 +odd +is odd +{re.escape(str(file))}:3 /n +add one", out)
    assert len(server.stored) == 3


def test_the_summary_is_json_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.ndjson"
    file.write_text('{"n": 2}\n')
    with served(Server()) as server:
        code = app.run(["send", str(file), "-c", "notes", "--url", server.url, "--json", "--on-invalid", "reject"])
    facts = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (facts["received"], facts["accepted"], facts["rejected"], facts["refused"]) == (1, 1, 0, [])
    assert server.queries == [{"contract": ["notes"], "on_invalid": ["reject"]}]


def test_an_unreachable_server_exits_75(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.ndjson"
    file.write_text('{"n": 2}\n')
    assert app.run(["send", str(file), "-c", "notes", "--url", "http://127.0.0.1:9", "--patience", "0"]) == 75
    assert "[send.not_finished]" in capsys.readouterr().err
