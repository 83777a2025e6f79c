"""Contracts, and records under them: mostly right, often at an edge, sometimes hostile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
from hypothesis import strategies as st

from frazil.batch import RAW, SOURCE, TIMESTAMP, Batch, Span, headers_text
from frazil.contract import Contract, Field

RECEIVED = datetime(2026, 11, 20, 12, tzinfo=UTC)
RECEIVED_US = int(RECEIVED.timestamp()) * 1_000_000
LOG = "00000000-0000-0000-0000-000000000001"

NAMES = ["a", "b", "c", "id", "at", "Zz", "name_1"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "+05:30", "-00:30"]
PATTERNS = ["^[A-Z]{2}$", "a", "^$", "^(?:x|yz)+$", "[^0-9]", "^.{2}$", "[à-ü]", r"^\$\.\[$"]


def raw_batch(values: Sequence[bytes | None], *, received_us: int = RECEIVED_US, first: int = 0) -> Batch:
    """Records at consecutive offsets of one partition, all received at one time."""
    count = len(values)
    columns = [
        pa.array(values, pa.binary()),
        pa.array([None if at % 3 else b"k%d" % at for at in range(first, first + count)], pa.binary()),
        pa.array([LOG] * count, pa.string()).dictionary_encode(),
        pa.array(["0"] * count, pa.string()).dictionary_encode(),
        pa.array(range(first, first + count), pa.int64()),
        pa.array([received_us] * count, pa.int64()).cast(TIMESTAMP),
        pa.array([7 * index for index in range(count)], pa.int64()),
        pa.array([None if index % 2 else {"format": "ndjson", "line": index + 1} for index in range(count)], SOURCE),
        pa.array([None if at % 5 else headers_text([("n", b"%d" % at)]) for at in range(first, first + count)], pa.string()),
    ]
    spans = (Span(LOG, "0", first, first + count - 1),) if count else ()
    return Batch(pa.RecordBatch.from_arrays(columns, schema=RAW), spans)


def plain(rows: pa.RecordBatch) -> pa.Table:
    """Rows with text plain instead of dictionary encoded: how text is kept is the implementation's business."""
    return pa.Table.from_batches([rows]).cast(pa.schema([one.with_type(_plain_type(one.type)) for one in rows.schema]))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(_plain_type(one.type)) for one in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    return kind


# ---------------------------------------------------------------- contracts


@st.composite
def _fields(draw: st.DrawFn, path: str, depth: int) -> tuple[Field, ...]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4 if depth else 2, unique_by=str.lower))
    return tuple(draw(_field(name, f"{path}/{name}", depth)) for name in names)


@st.composite
def _field(draw: st.DrawFn, name: str, path: str, depth: int) -> Field:
    nested = ["object", "array"] if depth else []
    kind = draw(
        st.sampled_from(["uuid", "string", "string", "integer", "number", "decimal", "boolean", "timestamp", "date", "json", *nested])
    )
    rules = dict(draw(_RULES[kind])) if kind in _RULES else {}
    if kind == "object":
        rules["fields"] = draw(_fields(path, depth - 1))
    if kind == "array":
        rules["items"] = draw(_field("element", f"{path}/*", depth - 1))
        rules |= draw(st.fixed_dictionaries({}, optional={"min_items": st.integers(0, 2), "max_items": st.integers(2, 3)}))
    return Field(name=name, path=path, kind=kind, required=draw(st.integers(0, 3)) == 0, **rules)  # type: ignore[arg-type]


_decimal_text = st.decimals(-1000, 1000, places=3).map(lambda number: format(number.normalize(), "f"))


@st.composite
def _string_rules(draw: st.DrawFn) -> dict[str, object]:
    rules: dict[str, st.SearchStrategy[object]] = {
        "enum": st.lists(st.sampled_from(["x", "yz", "é", "", "DE"]), min_size=1, max_size=5, unique=True).map(tuple),
        "pattern": st.sampled_from(PATTERNS),
        "format": st.sampled_from(["email", "ipv4", "ipv6", "uri"]),
        "min_length": st.integers(0, 3),
        "max_length": st.integers(1, 6),
    }
    chosen = draw(
        st.one_of(st.just([]), st.lists(st.sampled_from(list(rules)), max_size=1), st.lists(st.sampled_from(list(rules)), unique=True))
    )
    return {name: draw(rules[name]) for name in chosen}


@st.composite
def _number_rules(draw: st.DrawFn) -> dict[str, object]:
    rules: dict[str, object] = {}
    low, high = sorted((draw(_decimal_text), draw(_decimal_text)), key=Decimal)
    for bound, value in (("minimum", low), ("maximum", high)):
        if draw(st.integers(0, 2)) == 0:
            rules |= {bound: value, f"exclusive_{bound}": draw(st.booleans())}
    if draw(st.integers(0, 5)) == 0:
        rules["enum"] = tuple(draw(st.lists(_decimal_text, min_size=1, max_size=7, unique=True)))
    return rules


@st.composite
def _decimal_rules(draw: st.DrawFn) -> dict[str, object]:
    precision = draw(st.sampled_from([38, 18, 9, 3, 1]))
    return {**draw(_number_rules()), "precision": precision, "scale": min(precision, draw(st.sampled_from([0, 2, 4, 30])))}


_RULES: dict[str, st.SearchStrategy[dict[str, object]]] = {
    "string": _string_rules(),
    "integer": _number_rules(),
    "number": _number_rules(),
    "decimal": _decimal_rules(),
    "timestamp": st.fixed_dictionaries({}, optional={"unit": st.sampled_from(["s", "ms", "us"]), "zone": st.sampled_from(ZONES)}),
    "date": st.fixed_dictionaries({}, optional={"zone": st.sampled_from(ZONES)}),
}


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    """A contract of any shape the loader lets through."""
    fields = draw(_fields("", 2))
    times = [None, *(path for one in fields for path in _time_paths(one))]
    return Contract(
        name="random",
        version=draw(st.sampled_from(["1.0.0", "2"])),
        fields=fields,
        event_time=draw(st.sampled_from(times[::-1])),
        unknown=draw(st.sampled_from(["keep", "drop", "refuse"])),
        ahead_us=draw(st.sampled_from([0, 86_400_000_000])),
        max_depth=draw(st.sampled_from([64] * 9 + [3, 1])),
        max_members=draw(st.sampled_from([10_000] * 9 + [6])),
        max_bytes=draw(st.sampled_from([1_048_576] * 9 + [100])),
    )


def _time_paths(one: Field) -> list[str]:
    if one.kind == "object":
        return [path for child in one.fields for path in _time_paths(child)]
    return [one.path] if one.kind in ("timestamp", "date") else []


# ---------------------------------------------------------------- JSON, as text

_space = st.sampled_from(["", "", "", " ", "\n\t", "\r "])
_texts = st.one_of(
    st.sampled_from(
        ["x", "yz", "é", "", "DE", "$.[", "\x00", "\U0001f9ca", "a" * 201, 'quo"te', "back\\slash", "new\nline", "\x7f", "\u2028"]
    ),
    st.text(max_size=6),
)
_numbers = st.one_of(
    st.integers(-1100, 1100).map(str),
    st.sampled_from(["-0", "0.0", "1.0", "1e2", "12E-1", "-0.0e9", "9223372036854775807", "9223372036854775808", "-9223372036854775808"]),
    st.sampled_from(["1e400", "-1e400", "1e-400", "0e9999999999999999999", "1e99999999999999999999", "0.1", "1" * 300, "0." + "3" * 250]),
    st.sampled_from(["1763640000", "1763640000000.5", "1763640000000000", "253402300800", "-62135596800", "-62135596800.0000001", "1.7e9"]),
    st.decimals(-1100, 1100, allow_nan=False).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr).map(lambda text: text.replace("+", "")),
    st.tuples(st.integers(-(10**20), 10**20), st.integers(-30, 30)).map(lambda pair: f"{pair[0]}e{pair[1]}"),
)
_times = st.one_of(
    st.datetimes(datetime(1999, 1, 1), datetime(2026, 11, 21)).map(lambda at: at.isoformat() + "Z"),
    st.datetimes(datetime(2001, 1, 1), datetime(2026, 11, 20)).map(lambda at: at.isoformat(" ", "minutes") + ":00"),
    st.sampled_from(
        [
            *(
                "2026-11-20T12:34:56.123456789Z",
                "2026-11-20t12:34:56z",
                "2026-11-20 12:34:56+05:30",
                "2016-12-31T23:59:60Z",
                "2016-12-31T23:59:60",
            ),
            *("2017-01-01T05:29:60.5+05:30", "2026-11-20T12:34:60Z", "2026-03-29T02:30:00", "2026-10-25T02:30:00", "2026-10-04T02:10:00"),
            *(
                "0000-01-01T00:00:00Z",
                "0001-01-01T00:00:00+00:01",
                "9999-12-31T23:59:59.9-00:01",
                "2026-02-29T00:00:00Z",
                "2026-11-20T24:00:00Z",
            ),
            *("2026-11-20T12:34:56+24:00", "2026-11-20T12:34:56 Z", "2026-11-20T12:34Z", "2026-11-20T12:34:56.Z", "2026-11-21T12:00:00Z"),
            *("2026-11-21T12:00:00.000001Z", "2000-01-01T00:00:00Z", "1999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00"),
        ]
    ),
)
_dates = st.one_of(
    st.dates().map(str), st.sampled_from(["2026-11-20", "2026-11-22", "0000-01-01", "2026-2-03", "2026-02-30", "2026-11-20T00:00:00Z", ""])
)
_formatted = st.sampled_from(
    [
        *("a@b.c", "ä+x@bücher.example", "a@b", "@b.c", "a@b..c", "a b@c.d", "a@@b.c", "a@b.c.", "x@y_z.de", "a@\u0301.c", "a@b.\u00a0c"),
        *("1.2.3.4", "0.0.0.0", "255.255.255.255", "256.1.1.1", "01.2.3.4", "1.2.3", "1.2.3.4.5", "1.2.3.4 ", "\u0661.2.3.4"),
        *(
            "::",
            "::1",
            "2001:db8::",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7",
            "::ffff:1.2.3.4",
            "1:2:3:4:5:6:1.2.3.4",
        ),
        *(
            "fe80::1%eth0",
            "1::2::3",
            ":1",
            "1:",
            ":::",
            "12345::",
            "::1.2.3",
            "::1.2.3.4:5",
            "1.2.3.4::",
            "g::",
            "1:2:3:4:5:6:7:8::",
            "::1:2:3:4:5:6:7:8",
        ),
        *("https://a.b/c?d=ä", "urn:x", "x:", "1a:b", "a b:c", "a:b c", "a:<b>", ":x", "a+-.1:~", "ä:b", "a:b\u0085"),
    ]
)
_uuids = st.one_of(
    st.uuids().map(str), st.uuids().map(lambda one: str(one).upper()), st.sampled_from(["", "0192f3a1-7c00-7000-8000-00000000000g"])
)


@st.composite
def _string_json(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    text = draw(texts)
    spelled = json.dumps(text, ensure_ascii=draw(st.booleans()))
    if text and text[0].isalnum() and ord(text[0]) < 0x10000 and draw(st.integers(0, 9)) == 0:
        spelled = f'"\\u{ord(text[0]):04X}' + json.dumps(text[1:])[1:]
    return spelled


any_json: st.SearchStrategy[str] = st.recursive(
    st.one_of(_numbers, _string_json(_texts), st.sampled_from(["null", "true", "false"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: "[" + ",".join(items) + "]"),
        st.lists(st.tuples(_string_json(_texts), inner), max_size=4).map(
            lambda items: "{" + ", ".join(f"{k} :{v}" for k, v in items) + "}"
        ),
    ),
    max_leaves=8,
)

_ATOMS: dict[str, st.SearchStrategy[str]] = {
    "uuid": _string_json(_uuids),
    "integer": st.one_of(st.integers(-1000, 1000).map(str), _numbers),
    "number": _numbers,
    "decimal": st.one_of(st.integers(-9, 9).map(str), _numbers),
    "boolean": st.sampled_from(["true", "false"]),
    "timestamp": _string_json(_times),
    "date": _string_json(_dates),
    "json": any_json,
}


@st.composite
def _value(draw: st.DrawFn, one: Field) -> str:
    """A value of the field's own kind; one in twelve times anything at all."""
    if draw(st.integers(0, 19)) == 0:
        return draw(any_json)
    if one.kind == "object":
        return draw(_object(one.fields))
    if one.kind == "array" and one.items is not None:
        return "[" + ",".join(draw(st.lists(_value(one.items), max_size=4))) + "]"
    if one.kind == "string":
        return draw(_string_json(_formatted if one.format else st.sampled_from(one.enum) if one.enum else _texts))
    if one.kind == "timestamp" and one.unit and draw(st.booleans()):
        return draw(_numbers)
    if one.kind in ("integer", "number", "decimal") and draw(st.integers(0, 3)):
        return draw(st.sampled_from(one.enum or [text for text in (one.minimum, one.maximum, "1", "0") if text is not None]))
    return draw(_ATOMS[one.kind])


@st.composite
def _object(draw: st.DrawFn, fields: Sequence[Field]) -> str:
    members = [(json.dumps(one.name), draw(_value(one))) for one in fields if draw(st.integers(0, 9))]
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2]))):  # unknown, repeated, oddly spelled names
        name = draw(st.one_of(_texts, st.sampled_from([*NAMES, "a/b", "~", "A"])))
        members.insert(draw(st.integers(0, len(members))), (json.dumps(name), draw(any_json)))
    if draw(st.booleans()):
        members = draw(st.permutations(members))
    space = draw(_space)
    return "{" + space + f"{space},{space}".join(f"{name}{space}:{space}{value}" for name, value in members) + space + "}"


@st.composite
def records(draw: st.DrawFn, contract: Contract) -> bytes | None:
    """A record under a contract: mostly whole, sometimes with a few bytes changed, sometimes any bytes at all."""
    way = draw(st.integers(0, 19))
    if way == 0:
        return draw(
            st.one_of(
                st.none(), st.binary(max_size=20), any_json.map(str.encode), st.sampled_from([b"", b" ", b"\xef\xbb\xbf{}", b"null", b"[]"])
            )
        )
    text = bytearray((draw(_space) + draw(_object(contract.fields)) + draw(_space)).encode("utf-8", "surrogatepass"))
    if way < 4:
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(text)))
            change = draw(
                st.one_of(
                    st.sampled_from([b"", b'"', b"\\", b"{", b"]", b",", b"0", b"\\ud800", b"\xc3", b"\x00", b"\n"]), st.binary(max_size=2)
                )
            )
            text[at : at + draw(st.integers(0, 2))] = change
    return bytes(text)


def batches(contract: Contract, max_size: int = 8) -> st.SearchStrategy[list[bytes | None]]:
    return st.lists(records(contract), max_size=max_size)
