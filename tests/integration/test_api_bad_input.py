"""Every bad input gets the status and code it should, is stored nowhere, and never brings the server down."""

from __future__ import annotations

import functools
import gzip
import http.client
import json
import time
import zlib
from collections.abc import Iterator

import pytest
import zstandard

from tests.serving import SECONDS, TOML, Answer, Served, lines, make_project, order, serving

# Fixed, since they are part of the names of tests.
ONE, OTHER = "019a9f2e-0000-7000-8000-000000000001", "019a9f2e-0000-7000-8000-000000000002"

MiB = 1024 * 1024


def refused(served: Served, body: bytes, status: int, code: str, *, path: str = "/ingest", **headers: str) -> Answer:
    """Send a body that must be refused; nothing of it may be stored."""
    end = served.log_end()
    answer = served.call("POST", path, body, **{"content_type": "application/json", **headers})
    assert (answer.status, answer.code) == (status, code), answer
    assert served.log_end() == end
    return answer


def one_bad(served: Served, line: bytes, code: str) -> None:
    """Send a bad line between two good ones: it is one bad record, kept byte for byte."""
    end = served.log_end()
    body = lines([order()]) + line + b"\n" + lines([order()])
    answer = served.call("POST", "/ingest", body, content_type="application/x-ndjson")
    assert (answer.status, answer.json["received"], answer.json["accepted"], answer.json["rejected"]) == (202, 3, 2, 1), answer
    first = answer.json["errors"][0]
    assert (first["index"], first["code"]) == (1, code)
    assert served.log_values(end)[1] == line


@pytest.mark.prop(4)
@pytest.mark.parametrize(
    "body",
    [
        json.dumps([order(id=ONE), order(id=OTHER)]).encode()[:-9],
        b"[" + json.dumps(order(id=ONE)).encode(),
        b'{"id": "x"',
        b"[1, 2",
        b"{} {}",
        b"[{}]]",
        b"[{},]",
        b"[,]",
        b"nul",
        b"\x00",
        b"[{}\x00]",
        b"\xef\xbb\xbf{}",
        json.dumps([order(id=ONE)]).encode("utf-16"),
        json.dumps([order(id=ONE)]).encode("utf-16-le"),
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_no_json_is_refused(served: Served, body: bytes) -> None:
    end = served.log_end()
    answer = served.call("POST", "/ingest", body, content_type="application/json")
    assert answer.status == 400, answer
    assert answer.code in ("body.invalid_json", "body.invalid_encoding")
    assert served.log_end() == end


@pytest.mark.prop(4)
@pytest.mark.parametrize("body", [b"", b" \n\r\n ", b"[]", b" [ ] "])
@pytest.mark.parametrize("media", ["application/json", "application/x-ndjson", "text/plain", "application/cloudevents-batch+json"])
def test_an_empty_body_is_refused(served: Served, body: bytes, media: str) -> None:
    end = served.log_end()
    answer = served.call("POST", "/ingest", body, content_type=media)
    if b"[" in body and media == "application/x-ndjson":  # a line is a record, whatever it holds
        assert (answer.status, answer.json["rejected"]) == (202, 1)
    else:
        assert (answer.status, answer.code) == (400, "body.empty"), answer
        assert served.log_end() == end


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"id": "cut', "json.invalid"),
        (b'\xef\xbb\xbf{"id": 1}', "json.invalid"),
        (b'{"note": "\xff\xfe"}', "encoding.invalid_utf8"),
        (b'{"note": "a\x00b"}', "json.invalid"),
        (b"\x00", "json.invalid"),
        (b'{"note": "\\ud800"}', "json.invalid"),
        (b"[" * 100_000 + b"]" * 100_000, "json.too_deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "json.too_deep"),
        (b"[1]", "json.not_object"),
        (b"NaN", "json.invalid"),
        (b'{"note": "' + b"x" * MiB + b'"}', "record.too_large"),
        (b"{" + b",".join(b'"k%d":1' % n for n in range(20_000)) + b"}", "json.too_many_members"),
    ],
    ids=lambda value: repr(value[:14]) if isinstance(value, bytes) else value,
)
def test_a_bad_line_is_one_bad_record(served: Served, line: bytes, code: str) -> None:
    one_bad(served, line, code)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (b'"value": 1e999', "type.out_of_range"),
        (b'"value": -1e308', "range.below_minimum"),
        (b'"value": 99999999999999999999999', "range.above_maximum"),
        (b'"value": 1, "value": 2', "json.duplicate_key"),
        (b'"value": "1"', "type.mismatch"),
    ],
    ids=str,
)
def test_a_bad_field_is_named(served: Served, fields: bytes, code: str) -> None:
    one_bad(served, json.dumps(order(value=None)).encode().replace(b'"value": null', fields), code)


def test_an_unknown_contract_names_the_known(served: Served) -> None:
    for path in ("/ingest?contract=nope", "/events/nope", "/events/Orders", "/ingest?contract=..%2f..%2fetc"):
        assert "bills, orders" in refused(served, b"{}", 404, "contract.unknown", path=path).json["hint"]
    refused(served, b"{}", 404, "http.not_found", path="/events/..%2f..%2fetc")


@pytest.mark.parametrize("media", ["text/html", "application/orc", "application/x-www-form-urlencoded", "image/png", "json", ";"])
def test_an_unknown_format_names_the_known(served: Served, media: str) -> None:
    if media == ";":
        assert served.call("POST", "/ingest", b"{}", content_type=media).status == 202  # says nothing: told by its bytes
        return
    answer = refused(served, b"{}", 415, "format.unknown", content_type=media)
    assert "application/x-ndjson" in answer.json["hint"]
    assert media in answer.json["detail"]


def test_unknown_encodings_are_refused(served: Served) -> None:
    answer = refused(served, b"{}", 415, "encoding.unknown", content_encoding="br")
    assert answer.headers["accept-encoding"] == "gzip, zstd"
    refused(served, b"{}", 415, "encoding.unknown", content_encoding="gzip, gzip")
    refused(served, b"{}", 415, "format.unknown_charset", content_type="application/json; charset=utf-16")


@pytest.mark.parametrize(
    "query", ["on_invalid=maybe", "wait=forever", "timeout=-1", "timeout=x", "timeout=nan", "timeout=1e9", "on_invalid="]
)
def test_unknown_parameters_are_refused(served: Served, query: str) -> None:
    refused(served, b"{}", 400, "request.invalid_parameter", path=f"/ingest?{query}")


# ---------------------------------------------------------------- compression


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_broken_compression_is_refused(served: Served, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    whole = pack(lines([order() for _ in range(50)]))
    for body in (whole[:-5], whole[: len(whole) // 2], b"plain text", whole + b"rest", whole[:20] + b"\xff" * 8 + whole[28:], b""):
        refused(served, body, 400, "body.bad_compression", content_encoding=encoding)


@functools.cache
def bomb(encoding: str) -> bytes:
    """10 GiB of zero bytes, compressed: 40 members or frames of 256 MiB."""
    piece, times = b"\0" * (16 * MiB), 16
    if encoding == "gzip":
        deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
        return 40 * (b"".join(deflate.compress(piece) for _ in range(times)) + deflate.flush())
    zstd = zstandard.ZstdCompressor(level=3).compressobj()
    return 40 * (b"".join(zstd.compress(piece) for _ in range(times)) + zstd.flush())


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused_quickly_and_costs_no_memory(served: Served, encoding: str) -> None:
    body = bomb(encoding)
    assert len(body) < 64 * MiB
    served.send([order()])
    before = served.rss_bytes()
    served.forget_peak()
    started = time.monotonic()
    end = served.log_end()
    answer = served.call("POST", "/ingest", body, content_type="application/json", content_encoding=encoding)
    assert answer.status == 413
    assert answer.code in ("body.too_large", "body.ratio_exceeded")
    assert time.monotonic() - started < 5
    assert served.peak_bytes() - before < 64 * MiB
    assert served.log_end() == end


def test_a_zstd_frame_with_a_huge_window_is_refused(served: Served) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = packer.compress(b" " * 64) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) + packer.compress(lines([order()])) + packer.flush()
    answer = served.call("POST", "/ingest", body, content_type="application/x-ndjson", content_encoding="zstd")
    assert answer.status in (400, 413)
    assert answer.code in ("body.bad_compression", "body.too_large")


# ---------------------------------------------------------------- sizes and lengths


def test_a_body_over_the_limit_is_refused_before_it_is_read(served: Served) -> None:
    before = served.rss_bytes()
    end = served.log_end()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=SECONDS)
    connection.putrequest("POST", "/api/v1/ingest")
    connection.putheader("Content-Type", "application/x-ndjson")
    connection.putheader("Content-Length", str(65 * MiB))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "body.too_large")
    connection.close()
    assert served.rss_bytes() - before < 8 * MiB
    assert served.log_end() == end


def test_a_body_over_the_limit_without_a_length_is_refused_as_it_streams(served: Served) -> None:
    before = served.rss_bytes()
    served.forget_peak()
    end = served.log_end()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=SECONDS)
    piece = b'{"note": "%s"}\n' % (b"x" * 1000) * 1024
    headers = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}
    connection.request("POST", "/api/v1/ingest", (piece for _ in range(65 * MiB // len(piece) + 1)), headers, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "body.too_large")
    connection.close()
    assert served.peak_bytes() - before < 2 * 64 * MiB
    assert served.log_end() == end


def test_a_body_just_under_the_limit_stays_within_bounds(served: Served) -> None:
    line = json.dumps(order(note="n" * 150)).encode() + b"\n"
    body = line * (63 * MiB // len(line))
    served.send([order()])
    before = served.rss_bytes()
    served.forget_peak()
    answer = served.call("POST", "/ingest", body, content_type="application/x-ndjson")
    assert answer.status == 202
    assert answer.json["accepted"] == body.count(b"\n")
    assert served.peak_bytes() - before < 5 * 64 * MiB


def request_of(length: str, body: bytes) -> bytes:
    head = f"POST /api/v1/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


def test_a_body_shorter_than_it_said_is_refused(served: Served) -> None:
    end = served.log_end()
    answer = served.raw(request_of("1000", lines([order()])), half_close=True)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"body.cut"' in answer
    assert served.log_end() == end


def test_a_client_that_goes_away_stores_nothing(served: Served) -> None:
    end = served.log_end()
    served.raw(request_of("1000", lines([order()])), wait=0.3)
    assert served.call("GET", "/health/live").status == 200
    assert served.log_end() == end


@pytest.mark.parametrize("length", ["x", "-1", "1, 2", "99999999999999999999999999", ""])
def test_a_length_that_is_none_is_refused(served: Served, length: str) -> None:
    end = served.log_end()
    answer = served.raw(request_of(length, b"{}"), half_close=True)
    assert answer.split()[1] in (b"400", b"413"), answer
    assert b'"code"' in answer
    assert served.log_end() == end


def test_what_follows_a_body_is_no_part_of_it(served: Served) -> None:
    end = served.log_end()
    record = json.dumps(order()).encode()
    answer = served.raw(request_of(str(len(record)), record + b'{"id": 2}'), half_close=True)
    assert answer.startswith(b"HTTP/1.1 ")
    assert b'"http.malformed"' in answer
    assert served.send([order()]).status == 202  # behind it: whether the body before the rubbish was stored is decided now
    assert served.log_end() in (end + 1, end + 2)


@pytest.mark.parametrize("request_bytes", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"POST /api/v1/ingest HTTP/1.1\r\nA B\r\n\r\n"])
def test_what_is_no_http_is_answered_as_a_problem(served: Served, request_bytes: bytes) -> None:
    answer = served.raw(request_bytes, half_close=True)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"http.malformed"' in answer


def test_headers_without_end_are_refused(served: Served) -> None:
    head = b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"v" * 1000) for n in range(100))
    answer = served.raw(head)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"http.headers_too_large"' in answer


def test_routes_and_methods_that_are_not_there(served: Served) -> None:
    answer = served.call("GET", "/nope")
    assert (answer.status, answer.code) == (404, "http.not_found")
    answer = served.call("DELETE", "/ingest")
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "http.method_not_allowed", "POST")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "localhost.evil.example"},
        {"Host": "10.0.0.1:80"},
    ],
    ids=str,
)
def test_a_web_page_cannot_write_through_the_users_browser(served: Served, headers: dict[str, str]) -> None:
    refused(served, b"{}", 403, "host.not_allowed", **headers)


def test_a_page_of_this_machine_may_call(served: Served) -> None:
    assert served.send([order()], Host="localhost:1234", Origin="http://127.0.0.1:3000").status == 202


# ---------------------------------------------------------------- other limits than the default ones


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with limits that are easily passed."""
    limits = f'body_timeout = "PT1S"\nmax_inflight_bytes = {MiB}\nmax_body_bytes = {2 * MiB}\nmax_record_bytes = 500\n'
    with serving(make_project(tmp_path_factory.mktemp("strict") / "project", toml=f"{TOML}[api]\n{limits}")) as running:
        yield running


def test_a_slow_body_is_given_up(strict: Served) -> None:
    end = strict.log_end()
    started = time.monotonic()
    answer = strict.raw(request_of("1000", b'{"id"'))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"body.too_slow"' in answer
    assert 0.9 < time.monotonic() - started < 5
    assert strict.raw(b"GET /api/v1/hea") == b""  # headers that never end: closed without a word
    assert time.monotonic() - started < 15
    assert strict.log_end() == end


def test_bodies_beyond_what_all_may_hold_are_asked_to_wait(strict: Served) -> None:
    end = strict.log_end()
    body = lines([order(note="n" * 150) for _ in range(6000)])
    assert MiB < len(body) < 2 * MiB
    answer = strict.call("POST", "/ingest", body, content_type="application/x-ndjson")
    assert (answer.status, answer.code) == (503, "server.busy")
    assert int(answer.headers["retry-after"]) >= 1
    assert strict.log_end() == end
    assert strict.send([order()]).status == 202


def test_limits_come_from_the_settings(strict: Served) -> None:
    answer = strict.call("POST", "/ingest", lines([order(note="n" * 190) for _ in range(12_000)]))
    assert (answer.status, answer.code) == (413, "body.too_large")
    answer = strict.send([order(), {**order(), "more": "m" * 500}])
    assert (answer.status, answer.json["errors"][0]["code"]) == (202, "record.too_large")
