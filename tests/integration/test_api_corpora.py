"""Corpora of hostile input, sent over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.serving import Served, order


def suite(shared: Path, start: str) -> dict[str, bytes]:
    return {one.stem: one.read_bytes() for one in sorted((shared / "corpora/JSONTestSuite/test_parsing").glob(f"{start}*.json"))}


@pytest.mark.prop(4)
def test_json_test_suite(served: Served, shared: Path) -> None:
    """Valid JSON is taken or is named empty; what is no JSON is refused as a body and is a bad record as a line."""
    cases = suite(shared, "")
    assert len(cases) == 318
    wrong = []
    for name, body in cases.items():
        end = served.log_end()
        whole = served.call("POST", "/ingest", body, content_type="application/json")
        stored = whole.json["received"] if whole.status == 202 else 0
        if served.log_end() != end + stored:
            wrong.append((name, "stored", whole))
        if whole.status not in (202, 400):
            wrong.append((name, "status", whole))
        if name.startswith("n_") and whole.status == 202:
            wrong.append((name, "taken", whole))
        kind = body.strip(b" \t\r\n")[:1]
        if name.startswith("y_") and kind in (b"{", b"[") and whole.status != 202 and whole.code != "body.empty":
            wrong.append((name, "refused", whole))
    assert not wrong


def wrapped(text: bytes) -> bytes:
    """A text as the value of a member that the contract does not know."""
    return json.dumps(order()).encode()[:-1] + b',"suite":' + text + b"}"


@pytest.mark.prop(45)
def test_every_good_text_of_the_suite_is_accepted_and_every_bad_one_refused(served: Served, shared: Path) -> None:
    """95 texts are, as lines and as elements of an array; 188 are not: each spoils an array, and its own line alone."""
    good, bad = list(suite(shared, "y_").values()), suite(shared, "n_")
    assert (len(good), len(bad)) == (95, 188)
    # A line feed is white space in every good text: a blank says the same on one line.
    lines = [wrapped(text.replace(b"\n", b" ")) for text in good]
    for body, media in [(b"\n".join(lines), "application/x-ndjson"), (b"[" + b",".join(map(wrapped, good)) + b"]", "application/json")]:
        answer = served.call("POST", "/ingest", body, content_type=media)
        assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (202, 95, 0), answer
    one_line = {name: text for name, text in bad.items() if b"\n" not in text}
    between = b"\n".join(wrapped(text) + b"\n" + wrapped(b"1") for text in one_line.values())
    answer = served.call("POST", "/ingest", between, content_type="application/x-ndjson")
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (202, len(one_line), len(one_line)), answer
    taken = []
    for name, text in bad.items():
        body = b"[" + wrapped(b"1") + b"," + wrapped(text) + b"]"
        answer = served.call("POST", "/ingest", body, content_type="application/json")
        if (answer.status, answer.code) not in [(400, "body.invalid_json"), (400, "body.invalid_encoding")]:
            taken.append((name, answer))
    assert not taken


def test_naughty_strings_arrive_as_they_were(served: Served, shared: Path) -> None:
    strings = json.loads((shared / "corpora/blns/blns.json").read_text())
    end = served.log_end()
    records = [json.dumps(order(note=one[:200]), ensure_ascii=False).encode() for one in strings]
    answer = served.call("POST", "/ingest", b"[" + b",".join(records) + b"]", content_type="application/json")
    assert (answer.status, answer.json["accepted"]) == (202, len(strings))
    assert served.log_values(end) == records


def test_zstd_frames_that_must_fail_are_refused(served: Served, shared: Path) -> None:
    frames = sorted((shared / "corpora/zstd-golden").rglob("*.zst"))
    assert frames
    for frame in frames:
        answer = served.call("POST", "/ingest", frame.read_bytes(), content_type="application/json", content_encoding="zstd")
        assert answer.status in (202, 400, 413), frame
        if "errors" in str(frame):
            assert (answer.status, answer.code) == (400, "body.bad_compression"), frame
