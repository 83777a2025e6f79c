"""Laws of the HTTP door, on a real server and a real log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.serving import Served, lines, make_project, order, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(make_project(tmp_path_factory.mktemp("http") / "project")) as running:
        yield running
        assert not running.log_lines(status=500)


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "id": st.uuids().map(str) | documents,
        "at": st.just("2026-11-20T12:00:00Z") | documents,
        "value": documents,
        "note": documents,
    },
)
records = st.lists(fields | st.builds(order) | documents, min_size=1, max_size=12)


@pytest.mark.prop(1)
def test_every_valid_ingest_has_a_job_id_of_its_own(served: Served) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: served.send([order()]), range(300)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.json["job_id"] for answer in answers}) == len({answer.headers["x-request-id"] for answer in answers}) == 300


@pytest.mark.prop(2)
@given(records)
def test_what_was_ingested_is_in_the_log_byte_for_byte_in_order(served: Served, several: list[object]) -> None:
    end = served.log_end()
    sent = [json.dumps(one, ensure_ascii=False).encode() for one in several]
    answer = served.call("POST", "/ingest", b"\n".join(sent), content_type="application/x-ndjson")
    assert answer.status == 202
    assert answer.json["received"] == answer.json["accepted"] + answer.json["rejected"] == len(several)
    assert served.log_values(end) == sent


@pytest.mark.prop(2)
@given(records, st.sampled_from(["", " ", "\n", "\t \r\n"]))
def test_an_array_is_its_elements(served: Served, several: list[object], space: str) -> None:
    end = served.log_end()
    sent = [json.dumps(one, indent=1).encode() for one in several]
    gap = space.encode()
    body = gap + b"[" + gap + (gap + b"," + gap).join(sent) + gap + b"]" + gap
    assert served.call("POST", "/ingest", body, content_type="application/json").status == 202
    assert served.log_values(end) == sent


@pytest.mark.prop(4)
@given(st.lists(st.builds(order), min_size=1, max_size=3), st.data())
def test_a_malformed_body_is_rejected_with_the_reason_and_stored_nowhere(
    served: Served, several: list[object], data: st.DataObject
) -> None:
    whole = json.dumps(several).encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    body = data.draw(st.sampled_from([whole[:at], whole[:at] + b"}" + whole[at:], whole[:at] + b"\xff" + whole[at:], whole + b"," + whole]))
    try:
        json.loads(body)
    except ValueError:
        pass
    else:
        assume(False)
    end = served.log_end()
    answer = served.call("POST", "/ingest", body, content_type="application/json")
    assert answer.status == 400, body
    assert answer.code in ("body.invalid_json", "body.invalid_encoding", "body.empty")
    assert served.log_end() == end


@pytest.mark.prop(4)
@given(st.binary(max_size=300), st.sampled_from(["application/json", "application/x-ndjson", "text/plain", "application/cloudevents+json"]))
def test_no_bytes_are_a_server_error(served: Served, body: bytes, media: str) -> None:
    end = served.log_end()
    answer = served.call("POST", "/ingest", body, content_type=media)
    assert answer.status in (202, 400)
    stored = answer.json["received"] if answer.status == 202 else 0
    assert served.log_end() == end + stored


@pytest.mark.prop(4)
@given(st.text("abcdefghijklmnopqrstuvwxyz/+.-0123456789", min_size=1, max_size=30), st.text("abcdefghijz,", min_size=1, max_size=20))
@settings(max_examples=30)
def test_no_header_is_a_server_error(served: Served, media: str, encoding: str) -> None:
    assert served.call("POST", "/ingest", b"{}", content_type=media).status in (202, 400, 415)
    assert served.call("POST", "/ingest", b"{}", content_encoding=encoding).status == 415


@pytest.mark.prop(8)
@given(st.integers(-(10**6), -1) | st.integers(1001, 10**6) | st.text(max_size=10) | st.booleans(), st.integers(0, 4))
def test_an_error_says_which_field_which_rule_and_which_value(served: Served, value: object, at: int) -> None:
    several = [order() for _ in range(5)]
    several[at] = order(value=value)
    for path in ("/ingest", "/ingest?on_invalid=reject"):
        answer = served.send(several, path)
        (error,) = answer.json["errors"]
        assert sorted(error) == ["code", "hint", "index", "message", "path", "value"]
        assert (error["index"], error["path"], error["value"]) == (at, "/value", value)
        assert error["code"] in ("type.mismatch", "range.below_minimum", "range.above_maximum")
        assert error["message"]
        assert error["hint"]


@pytest.mark.prop(38)
@given(
    st.sampled_from(
        [
            ("/ingest", b"{", {"content_type": "application/json"}, "body.invalid_json"),
            ("/ingest", b"", {}, "body.empty"),
            ("/ingest?contract=none", b"{}", {}, "contract.unknown"),
            ("/ingest", b"{}", {"content_type": "text/html"}, "format.unknown"),
            ("/ingest", b"{}", {"content_encoding": "br"}, "encoding.unknown"),
            ("/ingest?on_invalid=reject", b"{}", {}, "records.rejected"),
            ("/nope", b"{}", {}, "http.not_found"),
            ("/status/abc", None, {}, "job.unknown"),
        ]
    )
)
@settings(max_examples=25)
def test_every_error_is_logged_with_its_facts(served: Served, case: tuple[str, bytes | None, dict[str, str], str]) -> None:
    path, body, headers, code = case
    answer = served.call("GET" if body is None else "POST", path, body, **headers)
    assert answer.code == code
    logged = served.logged(request=answer.headers["x-request-id"], event="request_refused")
    assert len(logged) == 1, "once, under the request's id"
    line = logged[0]
    assert (line["code"], line["status"], line["component"]) == (code, answer.status, "api")
    assert line["message"] == answer.json["detail"]
    assert {"time", "level", "hint", "retry", "context"} <= set(line)
    if code == "records.rejected":
        assert line["violations"]
        assert line["contract"] == "orders"


@pytest.mark.prop(1)
@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=120))
@settings(max_examples=30)
def test_a_job_id_we_did_not_give_is_unknown(served: Served, job_id: str) -> None:
    answer = served.call("GET", f"/status/{job_id}")
    assert (answer.status, answer.code) == (404, "job.unknown")


@pytest.mark.prop(1)
@given(st.integers(0, 199), st.integers(1, 31))
@settings(max_examples=30)
def test_a_job_id_with_a_letter_changed_is_unknown(served: Served, at: int, further: int) -> None:
    job_id = served.send([order()]).json["job_id"]
    alphabet, at = "abcdefghijklmnopqrstuvwxyz234567", at % len(job_id)
    other = alphabet[(alphabet.index(job_id[at]) + further) % 32]
    answer = served.call("GET", f"/status/{job_id[:at]}{other}{job_id[at + 1 :]}")
    assert (answer.status, answer.code) == (404, "job.unknown")


def test_keyed_retries_never_store_twice(served: Served) -> None:
    keys = [str(uuid4()) for _ in range(20)]
    bodies = {key: lines([order(), order()]) for key in keys}
    end = served.log_end()

    def send(key: str) -> str:
        return str(served.call("POST", "/ingest", bodies[key], content_type="application/x-ndjson", idempotency_key=key).json.get("job_id"))

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(send, keys * 4)) - {"None"}
    assert len(ids) == 20
    assert served.log_end() == end + 40
