"""Who may call, where the server may listen, and what a refusal says."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from structlog.testing import capture_logs

from frazil.api import bodies, media, problems
from frazil.api.app import bind
from frazil.api.bodies import Budget
from frazil.api.guard import Guard, check_binding, is_loopback
from frazil.api.problems import Refused
from frazil.api.receipts import RequestIds
from frazil.errors import CommitConflict, ConfigError, ContractError, Corrupt, FrazilError, Throttled, Unavailable
from frazil.settings import ApiSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST.", "app.localhost"])
def test_names_of_this_machine(host: str) -> None:
    assert is_loopback(host)
    check_binding(host, "none")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "", "127.0.0.1.nip.io", "0"])
def test_names_of_others_are_no_place_to_listen_without_credentials(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError) as refused:
        check_binding(host, "none")
    assert refused.value.code == "config.open_door"


@pytest.mark.parametrize("auth", ["keys", "jwt"])
def test_a_check_that_does_not_exist_is_not_passed_over(auth: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_binding("127.0.0.1", auth)
    assert refused.value.code == "config.unknown_auth"


def test_a_port_in_use_is_an_error_with_a_hint() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError) as refused:
            bind("127.0.0.1", other.getsockname()[1])
    assert refused.value.code == "config.port_in_use"
    assert "FRAZIL_API__PORT" in refused.value.hint


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Refused("x", code="body.cut"), 400, None),
        (ContractError("x", code="contract.unknown"), 404, None),
        (Throttled("x", retry_after=7), 503, "7"),
        (Throttled("x", retry_after=0, code="log.disk_full"), 503, "1"),
        (Unavailable("x"), 503, "1"),
        (CommitConflict("x"), 503, "1"),
        (Corrupt("x"), 503, "1"),
        (FrazilError("x"), 500, None),
    ],
    ids=repr,
)
def test_an_error_has_its_status(error: FrazilError, status: int, retry_after: str | None) -> None:
    answer = problems.response_of(error, request=5)
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)
    assert answer.headers["content-type"] == "application/problem+json"
    body = json.loads(answer.body)
    assert (body["status"], body["code"], body["request"]) == (status, error.code, "5")


def test_a_server_fault_keeps_its_facts_for_the_log() -> None:
    assert "/secret/place" not in problems.response_of(Unavailable("x", file="/secret/place")).body.decode()
    assert "/my/field" in problems.response_of(Refused("x", code="body.cut", field="/my/field")).body.decode()


def run(app: Any, **headers: str) -> list[dict[str, Any]]:
    """Answers of an ASGI app to one GET."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    listed = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": listed}
    asyncio.run(app(scope, receive, send))
    return sent


@pytest.mark.prop(38)
@pytest.mark.parametrize("fault", [ValueError("the secret"), type("PanicException", (BaseException,), {})("the secret")], ids=repr)
def test_an_unexpected_fault_is_a_problem_without_a_trace_and_logged_with_one(fault: BaseException, tmp_path_factory: Any) -> None:
    async def broken(*_: object) -> None:
        raise fault

    ids = RequestIds(tmp_path_factory.mktemp("ids"))
    with capture_logs() as lines:
        start, body = run(Guard(broken, ids=ids, loopback_only=False))
    ids.close()
    assert start["status"] == 500
    assert json.loads(body["body"])["code"] == "server.failed"
    assert b"secret" not in body["body"]
    failed = next(line for line in lines if line["event"] == "request_failed")
    assert "the secret" in failed["error"]
    assert failed["exc_info"]


def test_an_answer_under_way_is_not_answered_again(tmp_path_factory: Any) -> None:
    async def half(scope: object, receive: object, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    ids = RequestIds(tmp_path_factory.mktemp("ids"))
    with capture_logs():
        sent = run(Guard(half, ids=ids, loopback_only=False))
    ids.close()
    assert [message["type"] for message in sent] == ["http.response.start"]


@given(st.lists(st.integers(0, 100), max_size=20))
def test_a_budget_is_given_back_whatever_happens(sizes: list[int]) -> None:
    budget = Budget(300)
    held = 0
    try:
        with budget.lease() as lease:
            for size in sizes:
                lease.add(size)
                held += size
                assert budget.held == held <= 300
    except Throttled:
        assert held + size > 300
    assert budget.held == 0


def read(messages: list[dict[str, Any]], limits: ApiSettings, **headers: str) -> bytes:
    """What `bodies.read` makes of a stream of messages that ends in silence."""
    pending = iter(messages)

    async def receive() -> dict[str, Any]:
        for message in pending:
            return message
        await asyncio.sleep(60)
        raise AssertionError

    with Budget(10**9).lease() as lease:
        return b"".join(asyncio.run(bodies.read(Headers(headers), receive, limits, lease)))


LIMITS = ApiSettings(max_body_bytes=1024, body_timeout="PT0.05S")


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=10))
def test_a_body_is_its_pieces(pieces: list[bytes]) -> None:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces[:-1]]
    messages.append({"type": "http.request", "body": pieces[-1]})
    whole = b"".join(pieces)
    assert read(messages, LIMITS, **{"content-length": str(len(whole))}) == read(messages, LIMITS) == whole
    with pytest.raises(Refused) as refused:
        read(messages, LIMITS, **{"content-length": str(len(whole) + 1)})
    assert refused.value.code == "body.cut"


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"type": "http.request", "body": b"x" * 1000, "more_body": True}] * 2, "body.too_large"),
        ([{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}], "body.cut"),
        ([{"type": "http.request", "body": b"x", "more_body": True}], "body.too_slow"),
    ],
)
def test_a_body_that_cannot_be_is_refused(messages: list[dict[str, Any]], code: str) -> None:
    with pytest.raises(Refused) as refused:
        read(messages, LIMITS)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("body", "format"),
    [
        (b"[1]", "json"),
        (b' \n[{"a": 1}]', "json"),
        (b'{"a": 1}', "ndjson"),
        (b'{"a": 1}\r\n{"b": 2}\n', "ndjson"),
        (b'{\n"a": 1}', "json"),
        (b"text", "ndjson"),
        (b"", "ndjson"),
    ],
)
def test_bytes_tell_the_format(body: bytes, format: str) -> None:
    assert media.sniffed(body) == format


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_any_media_type_is_known_or_refused(named: str) -> None:
    with suppress(Refused):
        assert media.format_of(Headers({"content-type": named})) in media.KNOWN.values()
