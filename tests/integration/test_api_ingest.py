"""Bodies in, receipts out, over a real connection and onto a real log."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import zstandard

from tests.serving import Served, lines, order

FIELDS = ["job_id", "contract", "contract_version", "received", "accepted", "rejected", "errors", "errors_total", "status_url"]


@pytest.mark.prop(1)
@pytest.mark.prop(2)
def test_ndjson_is_accepted_and_on_disk(served: Served) -> None:
    end = served.log_end()
    records = [order() for _ in range(3)]
    answer = served.send(records)
    assert answer.status == 202
    assert list(answer.json) == FIELDS
    facts = answer.json
    assert (facts["contract"], facts["contract_version"]) == ("orders", "1.0.0")
    assert (facts["received"], facts["accepted"], facts["rejected"], facts["errors"], facts["errors_total"]) == (3, 3, 0, [], 0)
    assert facts["status_url"] == f"/api/v1/status/{facts['job_id']}" == answer.headers["location"]
    assert answer.headers["x-request-id"].isdigit()
    assert served.log_values(end) == [json.dumps(record).encode() for record in records]


def test_bad_records_are_named_and_stored_with_the_good(served: Served) -> None:
    end = served.log_end()
    records = [order(), order(value=-5, note="n" * 201), order(), order(at="yesterday")]
    answer = served.send(records)
    assert answer.status == 202
    assert (answer.json["received"], answer.json["accepted"], answer.json["rejected"]) == (4, 2, 2)
    assert answer.json["errors_total"] == 3
    found = {(error["index"], error["path"], error["code"]) for error in answer.json["errors"]}
    assert found == {(1, "/value", "range.below_minimum"), (1, "/note", "length.too_long"), (3, "/at", "time.invalid")}
    first = next(error for error in answer.json["errors"] if error["path"] == "/value")
    assert first["value"] == -5
    assert first["message"]
    assert first["hint"]
    assert served.log_end() == end + 4


def test_at_most_100_violations_are_listed_and_all_are_counted(served: Served) -> None:
    answer = served.send([order(value=-1) for _ in range(150)])
    assert (len(answer.json["errors"]), answer.json["errors_total"], answer.json["rejected"]) == (100, 150, 150)


def test_reject_stores_nothing_and_lists_every_violation(served: Served) -> None:
    end = served.log_end()
    answer = served.send([order(), *(order(value=-1) for _ in range(150))], "/ingest?on_invalid=reject")
    assert (answer.status, answer.code) == (422, "records.rejected")
    assert len(answer.json["errors"]) == answer.json["errors_total"] == 150
    assert [error["index"] for error in answer.json["errors"]] == list(range(1, 151))
    assert served.log_end() == end
    assert served.send([order()], "/ingest?on_invalid=reject").status == 202
    assert served.log_end() == end + 1


@pytest.mark.parametrize("media", ["application/json", "application/json; charset=utf-8", "", "text/plain"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"0192f3a1-7c00-7000-8000-000000000001","at":"2026-11-20T12:34:56Z"}',
        b'[{"id": "0192f3a1-7c00-7000-8000-000000000001",\n "at": "2026-11-20T12:34:56Z"}]',
        b'{\n  "id": "0192f3a1-7c00-7000-8000-000000000001",\n  "at": "2026-11-20T12:34:56Z"\n}',
    ],
)
def test_json_is_told_by_its_type_or_by_its_bytes(served: Served, media: str, body: bytes) -> None:
    end = served.log_end()
    answer = served.call("POST", "/ingest", body, content_type=media)
    assert (answer.status, answer.json["accepted"]) == (202, 1), answer
    assert served.log_values(end) == [body.strip(b"[]")]


def test_lines_without_a_type_are_told_by_their_bytes(served: Served) -> None:
    answer = served.call("POST", "/ingest", lines([order(), order()]))
    assert (answer.status, answer.json["accepted"]) == (202, 2)


@pytest.mark.parametrize("media", ["application/x-ndjson", "application/jsonl"])
def test_a_bad_line_is_one_bad_record(served: Served, media: str) -> None:
    end = served.log_end()
    body = lines([order()]) + b'{"id": "cut\n' + lines([order()])
    answer = served.call("POST", "/ingest", body, content_type=media)
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (202, 2, 1)
    assert (answer.json["errors"][0]["index"], answer.json["errors"][0]["code"]) == (1, "json.invalid")
    assert served.log_values(end) == body.splitlines()


def test_the_contract_comes_from_the_query_the_address_or_the_project(served: Served) -> None:
    for path, contract in (
        ("/ingest", "orders"),
        ("/ingest?contract=bills", "bills"),
        ("/events/bills", "bills"),
        ("/events/orders", "orders"),
    ):
        end = served.log_end(contract)
        assert served.send([order()], path).json["contract"] == contract
        assert served.log_end(contract) == end + 1


@pytest.mark.parametrize("pack", [("gzip", gzip.compress), ("zstd", zstandard.compress), ("identity", bytes)])
def test_compressed_bodies_are_what_they_hold(served: Served, pack: tuple[str, object]) -> None:
    encoding, compress = pack
    end = served.log_end()
    records = [order(note=str(n)) for n in range(500)]
    answer = served.call(
        "POST",
        "/ingest",
        compress(lines(records)),
        content_type="application/x-ndjson",
        content_encoding=encoding,  # type: ignore[operator]
    )
    assert (answer.status, answer.json["accepted"]) == (202, 500)
    assert served.log_values(end) == lines(records).splitlines()


def test_several_gzip_members_and_zstd_frames_are_one_body(served: Served) -> None:
    for encoding, compress in (("gzip", gzip.compress), ("zstd", zstandard.compress)):
        body = compress(lines([order()])) + compress(lines([order()]))
        answer = served.call("POST", "/ingest", body, content_type="application/x-ndjson", content_encoding=encoding)
        assert answer.json["accepted"] == 2, answer


def test_a_large_body_is_judged_whole(served: Served) -> None:
    end = served.log_end()
    records = [order(note=str(n)) for n in range(50_000)]
    records[31_415]["value"] = "much"
    answer = served.send(records)
    assert (answer.json["received"], answer.json["rejected"]) == (50_000, 1)
    assert answer.json["errors"][0]["index"] == 31_415
    assert served.log_end() == end + 50_000


def test_cloud_events_are_accepted_in_all_three_modes(served: Served) -> None:
    end = served.log_end()
    envelope = {"specversion": "1.0", "id": str(uuid4()), "source": "/till", "type": "order", "time": "2026-11-20T12:00:00Z"}
    structured = {**envelope, "data": {"value": 3}}
    assert (
        served.call("POST", "/ingest", json.dumps(structured).encode(), content_type="application/cloudevents+json").json["accepted"] == 1
    )
    batch = json.dumps([structured, {**structured, "id": str(uuid4())}]).encode()
    assert served.call("POST", "/ingest", batch, content_type="application/cloudevents-batch+json").json["accepted"] == 2
    headers = {f"ce_{name}": value for name, value in envelope.items()}
    assert served.call("POST", "/ingest", b'{"value": 4}', content_type="application/json", **headers).json["accepted"] == 1
    values = [json.loads(value) for value in served.log_values(end)]
    assert values[0] == {"value": 3, "id": envelope["id"], "at": envelope["time"]}
    assert values[3] == {"value": 4, "id": envelope["id"], "at": envelope["time"]}


# ---------------------------------------------------------------- idempotency


def test_the_same_key_and_body_get_the_same_answer_and_are_stored_once(served: Served) -> None:
    end, key = served.log_end(), str(uuid4())
    records = [order(), order(value=-1)]
    first = served.send(records, idempotency_key=key)
    again = served.send(records, idempotency_key=f'"{key}"')  # as the draft writes it
    assert again.status == first.status == 202
    assert again.json == first.json
    assert again.headers["idempotency-replayed"] == "true"
    assert served.log_end() == end + 2


def test_the_same_key_with_another_body_is_refused(served: Served) -> None:
    key = str(uuid4())
    assert served.send([order()], idempotency_key=key).status == 202
    end = served.log_end()
    other = served.send([order()], idempotency_key=key)
    assert (other.status, other.code) == (422, "idempotency.key_reused")
    assert served.log_end() == end


def test_keys_of_different_contracts_are_different(served: Served) -> None:
    key, records = str(uuid4()), [order()]
    one = served.send(records, "/events/orders", idempotency_key=key)
    other = served.send(records, "/events/bills", idempotency_key=key)
    assert (one.status, other.status) == (202, 202)
    assert one.json["job_id"] != other.json["job_id"]


def test_racing_requests_with_one_key_are_stored_once(served: Served) -> None:
    for _ in range(10):
        end, key, records = served.log_end(), str(uuid4()), [order() for _ in range(200)]
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _, key=key, records=records: served.send(records, idempotency_key=key), range(6)))
        taken = [answer for answer in answers if answer.status == 202]
        assert taken
        assert {answer.json["job_id"] for answer in taken} == {taken[0].json["job_id"]}
        for answer in answers:
            if answer.status != 202:
                assert (answer.status, answer.code) == (409, "idempotency.in_progress")
                assert int(answer.headers["retry-after"]) >= 1
        assert served.log_end() == end + 200
        assert served.send(records, idempotency_key=key).json == taken[0].json


@pytest.mark.parametrize("key", ["", " ", "a b", '""', "k" * 256])
def test_an_unusable_key_is_refused(served: Served, key: str) -> None:
    answer = served.send([order()], idempotency_key=key)
    assert (answer.status, answer.code) == (400, "idempotency.invalid_key")
