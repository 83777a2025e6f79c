"""CSV, Avro and Parquet through the door: what the log holds, what the answer says, what is refused whole."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from frazil.flow import pump
from tests.integration.running import frazil
from tests.serving import Served, order

MEDIA = {"csv": "text/csv", "avro": "application/avro", "parquet": "application/vnd.apache.parquet"}
SCHEMA = {
    "type": "record",
    "name": "order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": "string"},
        {"name": "value", "type": ["null", "double"]},
        {"name": "note", "type": ["null", "string"]},
    ],
}


def as_csv(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["id", "at", "value", "note"], quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_avro(records: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(SCHEMA), records, codec="deflate", sync_interval=2_000)
    return out.getvalue()


def as_parquet(records: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), out)
    return out.getvalue()


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {"csv": as_csv, "avro": as_avro, "parquet": as_parquet}
FORMATS = pytest.mark.parametrize("format", WRITERS)


@FORMATS
def test_records_of_a_file_are_canonical_json_in_the_log(served: Served, format: str) -> None:
    given = [order(note=f'Ann "{n}"\n', value=n + 0.5) for n in range(3)]
    end = served.log_end()
    answer = served.call("POST", "/ingest", WRITERS[format](given), content_type=MEDIA[format])
    assert (answer.status, answer.json["received"], answer.json["accepted"]) == (202, 3, 3), answer
    assert [json.loads(value) for value in served.log_values(end)] == given


@FORMATS
def test_a_bad_record_of_a_file_is_one_bad_record(served: Served, format: str) -> None:
    given = [order(note="x"), order(note="x", value=-1.0), order(note="y", value=2.0)]
    body = WRITERS[format](given)
    answer = served.call("POST", "/ingest", gzip.compress(body), content_type=MEDIA[format], content_encoding="gzip")
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (202, 2, 1)
    (error,) = answer.json["errors"]
    assert (error["index"], error["path"], error["code"]) == (1, "/value", "range.below_minimum")
    assert (error.get("line"), error.get("column")) == ((3, "value") if format == "csv" else (None, None))
    end = served.log_end()
    refused = served.call("POST", "/ingest?on_invalid=reject", body, content_type=MEDIA[format])
    assert (refused.status, refused.code, served.log_end()) == (422, "records.rejected", end)


BAD = {
    "csv": [(b'id,at\n"open,1\n', "body.invalid_csv"), (b"id,id\n1,2\n", "body.invalid_csv"), (b"\xff,at\n1,2\n", "body.invalid_encoding")],
    "avro": [
        (b"Obj\x01", "body.invalid_avro"),
        (b"{}", "body.invalid_avro"),
        (as_avro([order(note="x")])[:-3], "body.invalid_avro"),
        (as_avro([order(note="x")]).replace(b"deflate", b"deflatt"), "avro.unknown_codec"),
        (as_avro([order(note="x")]).replace(b'"record"', b'"recorx"'), "avro.bad_schema"),
    ],
    "parquet": [(body, "body.invalid_parquet") for body in (b"PAR1", b"{}", as_parquet([order(note="x")])[:-9])],
}


@FORMATS
def test_a_body_that_is_not_what_it_says_is_refused_whole(served: Served, format: str) -> None:
    end = served.log_end()
    for body, code in BAD[format]:
        answer = served.call("POST", "/ingest", body, content_type=MEDIA[format])
        assert (answer.status, answer.code) == (400, code), (body, answer)
    empty = served.call("POST", "/ingest", b"" if format == "csv" else WRITERS[format]([])[:0], content_type=MEDIA[format])
    assert empty.status == 400
    assert served.log_end() == end


def test_a_damaged_parquet_file_is_refused_soon_and_the_server_stays(served: Served, shared: Path) -> None:
    files = sorted((shared / "corpora" / "parquet-testing" / "bad_data").glob("*.parquet"))
    assert len(files) >= 8
    for file in files:
        answer = served.call("POST", "/ingest", file.read_bytes(), content_type=MEDIA["parquet"])
        assert answer.status in (202, 400), (file.name, answer)


def test_bytes_tell_a_file_that_does_not_say(served: Served) -> None:
    for body in (as_avro([order(note="x")]), as_parquet([order(note="x")])):
        answer = served.call("POST", "/ingest", body, content_type="application/octet-stream")
        assert (answer.status, answer.json["accepted"]) == (202, 1)


def test_a_dialect_is_named_by_parameters(served: Served) -> None:
    end = served.log_end()
    rows = f"{uuid4()};2026-11-20T12:34:56Z;NULL;'a;b'\n".encode()
    said = "/ingest?delimiter=%3B&quote=%27&columns=id,at,value,note&null=NULL"
    answers = [
        served.call("POST", said, rows, content_type="text/csv; header=absent", idempotency_key="one"),
        served.call("POST", said + "&header=absent", rows, content_type="text/csv", idempotency_key="one"),
    ]
    assert [(answer.status, answer.json["accepted"]) for answer in answers] == [(202, 1), (202, 1)]
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true"]
    (record,) = [json.loads(value) for value in served.log_values(end)]
    assert (record["note"], record.get("value", "absent")) == ("a;b", "absent")
    reused = served.call("POST", said + "&null=x&header=absent", rows, content_type="text/csv", idempotency_key="one")
    assert reused.code == "idempotency.key_reused"
    for query, code in [("delimiter=ab", "csv.bad_dialect"), ("header=no", "request.invalid_parameter"), ("quote=,", "csv.bad_dialect")]:
        assert served.call("POST", f"/ingest?{query}", rows, content_type="text/csv").code == code


def test_records_that_grow_out_of_a_small_body_are_bounded(served: Served) -> None:
    served.forget_peak()
    before = served.peak_bytes()
    long_name = b"n" * 60_000 + b"\n" + b"1\n" * 100_000  # 6 GB of JSON
    out = io.BytesIO()
    pq.write_table(pa.table({"other": _repeated(), "note": _repeated()}), out, compression="zstd")
    for body, media in [(long_name, "text/csv"), (out.getvalue(), MEDIA["parquet"])]:
        assert len(body) < 2_000_000
        answer = served.call("POST", "/ingest", body, content_type=media)
        assert (answer.status, answer.code) == (413, "body.too_large"), answer
    assert served.peak_bytes() - before < 900 * 1024 * 1024


def _repeated() -> pa.Array:
    """A column that names one long text 60,000 times: 3.6 GB when it is spelled out."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * 60_000, pa.int32()), pa.array(["x" * 60_000]))


@pytest.mark.prop(4)
def test_naughty_strings_are_rows_byte_for_byte_from_every_format(served: Served, shared: Path) -> None:
    strings = [one[:200] for one in json.loads((shared / "corpora/blns/blns.json").read_text())]
    sent: dict[str, str] = {}
    for kind, written in WRITERS.items():
        records = [order(note=one) for one in strings]
        sent |= {str(record["id"]): str(record["note"]) for record in records}
        answer = served.call("POST", "/events/bills", written(records), content_type=MEDIA[kind])
        assert (answer.status, answer.json["accepted"]) == (202, len(strings)), (kind, answer)
    records = [order(note=one) for one in strings]
    sent |= {str(record["id"]): str(record["note"]) for record in records}
    assert served.send(records, "/events/bills").json["accepted"] == len(strings)
    bills = served.project.contract("bills")
    sink = served.project.sink(bills)
    parts = served.project.log_reader(bills), served.project.processor(bills), served.project.keys(bills), sink
    while pump(*parts, limit=100_000) is not None:
        pass
    rows = sink.lake.raw(bills).scan(selected_fields=("id", "note")).to_arrow().to_pylist()
    landed = {str(row["id"]): row["note"] for row in rows}
    assert landed == sent


@FORMATS
def test_send_cuts_files_and_names_places(served: Served, format: str, tmp_path: Path) -> None:
    given = [order(note=f"{n},\n" + "x" * 80, value=float(n)) for n in range(60)]
    given[41]["value"] = -1.0
    file = tmp_path / f"orders.{format}"
    file.write_bytes(WRITERS[format](given))
    end = served.log_end()
    url = f"http://127.0.0.1:{served.port}"
    done = frazil("send", str(file), "-c", "orders", "--url", url, "--batch", "25", "--json", cwd=tmp_path)
    told = done.json
    assert (done.code, told["received"], told["accepted"], told["rejected"]) == (1, 60, 59, 1), done.err
    assert told["requests"] > 1
    line = 2 + 2 * 41  # each row has a line feed inside a cell
    place = f"{file}:{line}" if format == "csv" else f"{file}[41]"
    assert told["refused"][0]["examples"] == [f"{place} /value"]
    assert [json.loads(value) for value in served.log_values(end)] == given
