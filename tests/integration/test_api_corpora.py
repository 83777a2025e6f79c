"""Corpora of hostile input, sent over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.serving import Served, order


@pytest.mark.prop(4)
def test_json_test_suite(served: Served, shared: Path) -> None:
    """Valid JSON is taken or is named empty; what is no JSON is refused as a body and is a bad record as a line."""
    cases = sorted((shared / "corpora/JSONTestSuite/test_parsing").glob("*.json"))
    assert len(cases) > 300
    wrong = []
    for case in cases:
        body = case.read_bytes()
        end = served.log_end()
        whole = served.call("POST", "/ingest", body, content_type="application/json")
        stored = whole.json["received"] if whole.status == 202 else 0
        if served.log_end() != end + stored:
            wrong.append((case.name, "stored", whole))
        if whole.status not in (202, 400):
            wrong.append((case.name, "status", whole))
        if case.name.startswith("n_") and whole.status == 202:
            wrong.append((case.name, "taken", whole))
        kind = body.strip(b" \t\r\n")[:1]
        if case.name.startswith("y_") and kind in (b"{", b"[") and whole.status != 202 and whole.code != "body.empty":
            wrong.append((case.name, "refused", whole))
        if b"\n" not in body.strip() and b"\r" not in body.strip() and body.strip(b" \t"):
            line = served.call("POST", "/ingest", body, content_type="application/x-ndjson")
            if line.status != 202 or (line.json["received"], line.json["accepted"]) != (1, 0):
                wrong.append((case.name, "line", line))
            elif case.name.startswith("n_") and line.json["errors"][0]["code"] == "json.not_object":
                wrong.append((case.name, "verdict", line))
    assert not wrong


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
