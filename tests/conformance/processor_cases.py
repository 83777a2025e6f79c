"""The tables of tests/conformance/test_processor.py: records, what is wrong with them, and the values of good ones."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from frazil.contract import Contract, Field


def contract_of(*fields: Field, **settings: Any) -> Contract:
    return Contract(name="case", version="1.0.0", fields=fields, **settings)


def one(kind: str, name: str = "a", **rules: Any) -> Field:
    return Field(name=name, path=f"/{name}", kind=kind, **rules)  # type: ignore[arg-type]


RECORD_CASES = [
    (None, "record.null", "the record has no value", "send the event as a JSON object"),
    (b'{"a": "' + b"x" * 100 + b'"}', "record.too_large", "109 bytes, at most 100", "split the event or raise maxBytes in the contract"),
    (b'{"a": "\xc3\xa4\xff"}', "encoding.invalid_utf8", "not UTF-8 at byte 9", "encode the record as UTF-8"),
    (b'{"a": "\xed\xa0\x80"}', "encoding.invalid_utf8", "not UTF-8 at byte 7", "encode the record as UTF-8"),
    (b'{"a": [[[[]]]]}', "json.too_deep", "nested deeper than 4", "flatten the event"),
    (b"[" * 90, "json.too_deep", "nested deeper than 4", "flatten the event"),
    (b'{"a": [1,2,3,4,5,6,7]}', "json.too_many_members", "more than 7 members", "split the event"),
    *(
        (text, "json.not_object", f"expected an object, found {found}", "send one JSON object per record")
        for text, found in [(b"[]", "an array"), (b' "a"', "a string"), (b"1", "a number"), (b"null", "null"), (b"true", "a boolean")]
    ),
    *(
        (text, "json.invalid", f"not JSON at byte {at}", "send one JSON object per record, RFC 8259")
        for text, at in [
            (b"", 0),
            (b"  ", 2),
            (b"\xef\xbb\xbf{}", 0),
            (b'{"a": tru}', 6),
            (b'{"a": 01}', 7),
            (b'{"a": 1.}', 6),
            (b'{"a": -}', 6),
            (b'{"a": NaN}', 6),
            (b'{"a": "\\ud800"}', 7),
            (b'{"a": "\\udc00\\ud800"}', 7),
            (b'{"a": "\\x"}', 7),
            (b'{"a": "\n"}', 7),
            (b'{"a": "\x00"}', 7),
            (b'{"a": "x', 8),
            (b'{"a": "x\\', 8),
            (b'{"a" 1}', 5),
            (b"{1:2}", 1),
            (b'{"a":1,}', 7),
            (b"[1,]", 3),
            (b"{} x", 3),
            (b"{}\x00", 2),
            ('{"ä": x}'.encode(), 7),
            (b"{'a':1}", 1),
            (b'{"a": 1', 7),
            (b"[[[[1}", 5),
            (b'{"a":1e}', 5),
            (b"12.", 0),
            (b"12.34e", 0),
            (b"0.1.2", 3),
            (b"1e55e", 4),
            (b"+1", 0),
            (b"/**/{}", 0),
        ]
    ),
]


FIELD_CASES: list[tuple[Field, str, str, str, str]] = [
    (one("uuid"), "7", "type.mismatch", "expected a UUID, found a number", "send a UUID"),
    (one("string"), "7", "type.mismatch", "expected a string, found a number", "send a string"),
    (one("integer"), '"7"', "type.mismatch", "expected an integer, found a string", "send an integer"),
    (one("integer"), "7.5", "type.mismatch", "expected an integer, found a number", "send an integer"),
    (one("number"), "true", "type.mismatch", "expected a number, found a boolean", "send a number"),
    (one("decimal", precision=5, scale=2), "[]", "type.mismatch", "expected a number, found an array", "send a number"),
    (one("boolean"), "{}", "type.mismatch", "expected a boolean, found an object", "send a boolean"),
    (one("timestamp"), "7", "type.mismatch", "expected an RFC 3339 time, found a number", "send an RFC 3339 time"),
    (
        one("timestamp", unit="s"),
        "true",
        "type.mismatch",
        "expected an RFC 3339 time or an epoch number, found a boolean",
        "send an RFC 3339 time or an epoch number",
    ),
    (one("date"), "7", "type.mismatch", "expected a date, found a number", "send a date"),
    (
        one("object", fields=(one("string", "b", required=True),)),
        "[]",
        "type.mismatch",
        "expected an object, found an array",
        "send an object",
    ),
    (one("array", items=one("string", "element")), "{}", "type.mismatch", "expected an array, found an object", "send an array"),
    (one("integer"), "9223372036854775808", "type.out_of_range", "9223372036854775808 does not fit integer", "send a smaller number"),
    (one("number"), "-1e400", "type.out_of_range", "-1e400 does not fit number", "send a smaller number"),
    (one("decimal", precision=5, scale=2), "1000", "type.out_of_range", "1000 does not fit decimal(5,2)", "send a smaller number"),
    (one("decimal", precision=5, scale=2), "1.005", "type.too_many_digits", "more than 2 digits after the point", "round to 2 digits"),
    (one("uuid"), '"0192f3a1"', "format.invalid_uuid", "not a valid uuid", "send a uuid"),
    (one("string", format="email"), '"a@b"', "format.invalid_email", "not a valid email", "send a email"),
    (one("string", format="ipv4"), '"1.2.3.04"', "format.invalid_ipv4", "not a valid ipv4", "send a ipv4"),
    (one("string", format="ipv6"), '"1::2::3"', "format.invalid_ipv6", "not a valid ipv6", "send a ipv6"),
    (one("string", format="uri"), '"a b:c"', "format.invalid_uri", "not a valid uri", "send a uri"),
    (one("timestamp"), '"yesterday"', "time.invalid", "not an RFC 3339 time", "write it like 2026-11-20T12:34:56Z"),
    (one("timestamp", unit="s"), "1e12", "time.invalid", "not an RFC 3339 time", "write it like 2026-11-20T12:34:56Z"),
    (
        one("timestamp", zone="Europe/Berlin"),
        '"2026-03-29T02:30:00"',
        "time.invalid",
        "not an RFC 3339 time",
        "write it like 2026-11-20T12:34:56Z",
    ),
    (one("date"), '"2026-02-29"', "time.invalid", "not a date", "write it like 2026-11-20"),
    (
        one("timestamp"),
        '"2026-11-20T12:00:00"',
        "time.no_zone",
        "the time has no zone",
        "add Z or an offset, or name the zone in the contract",
    ),
    (
        one("timestamp", "at"),
        '"2026-11-21T12:00:00.000001Z"',
        "time.out_of_range",
        "outside 2000-01-01T00:00:00Z to 2026-11-21T12:00:00Z",
        "check the clock and the unit",
    ),
    (one("string", enum=("x", "y")), '"z"', "enum.unknown_value", "not one of 2 allowed values", "use one of: x, y"),
    (one("integer", enum=tuple("123456")), "7", "enum.unknown_value", "not one of 6 allowed values", "use one of: 1, 2, 3, 4, 5, …"),
    (one("string", min_length=3), '"äö"', "length.too_short", "2 characters, at least 3", "send at least 3 characters"),
    (one("string", max_length=1), '"\\ud83e\\uddcax"', "length.too_long", "2 characters, at most 1", "send at most 1 characters"),
    (one("string", pattern="^[A-Z]{2}$"), '"DE\\n"', "pattern.no_match", "does not match ^[A-Z]{2}$", "send text that matches ^[A-Z]{2}$"),
    (
        one("number", minimum="0.1"),
        "0.09999999999999999999999",
        "range.below_minimum",
        "below the minimum 0.1",
        "send a value of at least 0.1",
    ),
    (one("integer", minimum="1", exclusive_minimum=True), "1", "range.below_minimum", "not above 1", "send a value above 1"),
    (
        one("decimal", precision=38, scale=4, maximum="5"),
        "5.0001",
        "range.above_maximum",
        "above the maximum 5",
        "send a value of at most 5",
    ),
    (one("number", maximum="5", exclusive_maximum=True), "5.0", "range.above_maximum", "not below 5", "send a value below 5"),
    (one("array", items=one("integer", "element"), min_items=2), "[1]", "items.too_few", "1 items, at least 2", "send at least 2 items"),
    (one("array", items=one("integer", "element"), max_items=1), "[1,2]", "items.too_many", "2 items, at most 1", "send at most 1 items"),
]


ID = UUID("0192f3a1-7c00-7000-8000-00000000abcd")
VALUE_CASES: list[tuple[Field, str, object]] = [
    (one("uuid"), f'"{str(ID).upper()}"', ID.bytes),
    (one("string"), '"\\u00e4\\/\\ud83e\\uddca\\u0000"', "ä/\U0001f9ca\0"),
    (one("integer"), "-0", 0),
    (one("integer"), "12.50e1", 125),
    (one("integer"), "-9223372036854775808", -(2**63)),
    (one("number"), "0.1", 0.1),
    (one("number"), "1e-400", 0.0),
    (one("number"), "1.7976931348623157e308", 1.7976931348623157e308),
    (one("decimal", precision=18, scale=4), "0.1", Decimal("0.1000")),
    (one("decimal", precision=38, scale=0), "9" * 38 + ".00", Decimal("9" * 38)),
    (one("decimal", precision=38, scale=38), "-1e-38", Decimal("-1e-38")),
    (one("boolean"), "true", True),
    (one("json"), ' {"b": [1.0, "\\u0061"]} ', '{"b": [1.0, "\\u0061"]}'),
    (one("json"), "1.50", "1.50"),
    (one("date"), '"2026-11-20"', date(2026, 11, 20)),
    (one("date"), '"0001-01-01"', date(1, 1, 1)),
    (one("array", items=one("integer", "element")), "[1,null,2]", [1, None, 2]),
    (one("array", items=one("integer", "element")), "[ ]", []),
    (one("object", fields=(Field("b", "/a/b", "integer"),)), "{}", {"b": None}),
]
TIME_CASES: list[tuple[Field, str, str]] = [
    (one("timestamp"), '"2026-11-20T12:34:56.1234569Z"', "2026-11-20T12:34:56.123456"),
    (one("timestamp"), '"2026-11-20t12:34:56z"', "2026-11-20T12:34:56"),
    (one("timestamp"), '"2026-11-20 12:34:56-05:30"', "2026-11-20T18:04:56"),
    (one("timestamp"), '"1969-12-31T23:59:59.999999+00:00"', "1969-12-31T23:59:59.999999"),
    (one("timestamp"), '"2016-12-31T23:59:60.5Z"', "2017-01-01T00:00:00.5"),
    (one("timestamp"), '"2017-01-01T05:29:60+05:30"', "2017-01-01T00:00:00"),
    (one("timestamp", zone="Europe/Berlin"), '"2026-07-01T12:00:00"', "2026-07-01T10:00:00"),
    (one("timestamp", zone="Europe/Berlin"), '"2026-10-25T02:30:00"', "2026-10-25T00:30:00"),
    (one("timestamp", zone="Europe/Berlin"), '"2026-07-01T12:00:00Z"', "2026-07-01T12:00:00"),
    (one("timestamp", zone="+05:30"), '"2026-07-01T12:00:00"', "2026-07-01T06:30:00"),
    (one("timestamp", unit="s"), "1699999999.25", "2023-11-14T22:13:19.25"),
    (one("timestamp", unit="s"), "-0.0000001", "1969-12-31T23:59:59.999999"),
    (one("timestamp", unit="ms"), "1.7e12", "2023-11-14T22:13:20"),
    (one("timestamp", unit="us"), "1700000000000000.9", "2023-11-14T22:13:20"),
    (one("timestamp", unit="ms"), '"2026-11-20T12:34:56Z"', "2026-11-20T12:34:56"),
]
