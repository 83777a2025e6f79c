"""CloudEvents become records: data byte for byte, the envelope only where data lacks something."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from frazil.api.cloudevents import Filling, binary, joined, structured
from frazil.api.problems import Refused
from frazil.contract import Contract, Field

CONTRACT = Contract(
    "orders",
    "1.0.0",
    (Field("id", "/id", "uuid", required=True), Field("at", "/at", "timestamp"), Field("event_type", "/event_type", "string")),
    key=("/id",),
    event_time="/at",
)
FILLING = Filling.of(CONTRACT)
ENVELOPE = {"specversion": "1.0", "id": "i-1", "source": "/shop", "type": "order", "time": "2026-11-20T12:00:00Z"}

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
layouts = st.sampled_from([{"separators": (",", ":")}, {"indent": 2}, {"separators": (" ,\t", "\r\n: "), "ensure_ascii": False}])


def event(content: bytes, **more: object) -> bytes:
    head = json.dumps({**ENVELOPE, **more}).encode()
    return head[:-1] + b', "data": ' + content + b"}"


@given(st.dictionaries(st.text(), documents, max_size=5), layouts)
def test_data_that_lacks_nothing_is_the_record_byte_for_byte(fields: dict[str, object], layout: dict[str, object]) -> None:
    content = json.dumps({**fields, "id": 1, "at": 2, "event_type": 3}, **layout).encode("utf-8", "surrogatepass")
    assert structured(event(content), FILLING, batch=False) == [content]


@given(st.lists(st.dictionaries(st.text(), documents, max_size=3), min_size=1, max_size=4), layouts)
def test_a_batch_gives_one_record_per_event_in_order(several: list[dict[str, object]], layout: dict[str, object]) -> None:
    contents = [json.dumps(one, **layout).encode("utf-8", "surrogatepass") for one in several]
    records = structured(b" [" + b" ,\n".join(map(event, contents)) + b"] ", Filling(()), batch=True)
    assert records == contents


@given(st.dictionaries(st.text(), documents, max_size=5), st.sets(st.sampled_from(["id", "at", "event_type"])))
def test_the_envelope_fills_only_what_is_absent(fields: dict[str, object], present: set[str]) -> None:
    fields = {name: value for name, value in fields.items() if name not in ("id", "at", "event_type")}
    fields |= dict.fromkeys(present)
    content = json.dumps(fields).encode()
    (record,) = structured(event(content), FILLING, batch=False)
    filled = {"id": "i-1", "at": ENVELOPE["time"], "event_type": "order"}
    assert record.startswith(content[:-1])
    assert json.loads(record) == {**filled, **fields}


def test_an_event_without_data_is_what_the_envelope_fills() -> None:
    (record,) = structured(json.dumps(ENVELOPE).encode(), FILLING, batch=False)
    assert json.loads(record) == {"id": "i-1", "at": ENVELOPE["time"], "event_type": "order"}


def test_base64_data_is_its_bytes() -> None:
    content = b'{"id":"x","at":1,"event_type":"t","b":"\xff"}'
    body = json.dumps({**ENVELOPE, "data_base64": base64.b64encode(content).decode()}).encode()
    assert structured(body, FILLING, batch=False) == [content]


def test_binary_mode_takes_attributes_from_headers() -> None:
    headers = Headers({"ce-specversion": "1.0", "ce-id": "a%20b", "ce-source": "/s", "ce-type": "order"})
    (record,) = binary(b'{"at":"now"}', headers, FILLING)
    assert json.loads(record) == {"at": "now", "id": "a b", "event_type": "order"}


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
def test_a_required_attribute_is_asked_for(missing: str) -> None:
    body = json.dumps({name: value for name, value in ENVELOPE.items() if name != missing}).encode()
    with pytest.raises(Refused, match=f"attribute {missing} is missing"):
        structured(body, FILLING, batch=False)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "body.empty"),
        (b"[]", "body.empty"),
        (b"[", "body.invalid_json"),
        (b"[" + event(b'{"a": "')[:-1], "body.invalid_json"),
        (b"[" + event(b"{}"), "body.invalid_json"),
        (b"[" + event(b"{}") + b"] x", "body.invalid_json"),
        (b'{"specversion":"1.0"}', "cloudevents.invalid"),
        (b"[1]", "cloudevents.invalid"),
        (b"[" + event(b"{}", specversion="0.3") + b"]", "cloudevents.invalid"),
        (b"[" + event(b"{}", datacontenttype="text/csv") + b"]", "cloudevents.invalid"),
        (b"[" * 100_000, "body.invalid_json"),
        (b"[" + b'{"a":' * 100_000, "body.invalid_json"),
        (b'["' + b"\\\\" * 1_000_000, "body.invalid_json"),
    ],
)
def test_what_is_no_cloud_event_is_refused_with_a_code(body: bytes, code: str) -> None:
    with pytest.raises(Refused) as refused:
        structured(body, FILLING, batch=True)
    assert refused.value.code == code


def test_depth_inside_data_is_left_to_the_kernel() -> None:
    deep = b'{"id":1,"at":1,"event_type":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert structured(event(deep), FILLING, batch=False) == [deep]


def test_records_join_to_one_array() -> None:
    assert joined([b"{}", b'{"a": 1}']) == b'[{},{"a": 1}]'
