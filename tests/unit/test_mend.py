"""The patch language changes what it names and nothing else."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.batch import RAW, Batch, Place
from frazil.errors import ConfigError
from frazil.sink.mend import Patch, Replacement, chained, unchanged


def mended(patch: str, record: str) -> str:
    value = Patch.parse(patch).apply(record.encode())
    assert value is not None
    return value.decode()


@pytest.mark.parametrize(
    ("patch", "before", "after"),
    [
        ("value = number(value)", '{"value": "12.50", "a":1}', '{"value": 12.50, "a":1}'),
        ("value = number(value)", '{"value": " -1e3 "}', '{"value": -1e3}'),
        ("/properties/price = 0", '{"properties":{"price":-1}}', '{"properties":{"price":0}}'),
        ("/properties/price = 0", '{"a":1}', '{"a":1,"properties":{"price":0}}'),
        ("properties.price = 1.0", '{ "properties": { } }', '{ "properties": {"price":1.0 } }'),
        ("currency = upper(trim(currency))", '{"currency":" eur "}', '{"currency":"EUR"}'),
        ("timestamp = parse_time(timestamp, '%d.%m.%Y %H:%M')", '{"timestamp":"20.11.2026 23:59"}', '{"timestamp":"2026-11-20T23:59:00"}'),
        ("t = parse_time(t, '%d.%m.%Y', 'Europe/Berlin')", '{"t":"20.07.2026"}', '{"t":"2026-07-20T00:00:00+02:00"}'),
        ("delete(b)", '{"a":1, "b":2, "c":3}', '{"a":1, "c":3}'),
        ("delete(c)", '{"a":1, "c":3}', '{"a":1}'),
        ("delete(a)", '{"a":1}', "{}"),
        ("delete(a)", '{"a":1,"b":2,"a":3}', '{"b":2}'),
        ("delete(/x/0)", '{"x":[1,2,3]}', '{"x":[2,3]}'),
        ("rename(a, /b/c)", '{"a": 1.50}', '{"b":{"c":1.50}}'),
        ("default(currency, 'EUR')", '{"currency":null}', '{"currency":"EUR"}'),
        ("default(currency, 'EUR')", '{"currency":"USD"}', '{"currency":"USD"}'),
        ("currency = default(currency, fallback)", '{"fallback":"CHF"}', '{"fallback":"CHF","currency":"CHF"}'),
        ("a = integer(a); b = text(b)", '{"a":"12.0","b":7.10}', '{"a":12,"b":"7.10"}'),
        ("a = replace(a, ',', '.'); a = number(a)", '{"a":"1,5"}', '{"a":1.5}'),
        ("/items/*/price = number(/items/*/price)", '{"items":[{"price":"1"},{"price":"2"}]}', '{"items":[{"price":1},{"price":2}]}'),
        ("`odd name` = true; `/a~1b` = 'it\\'s'", '{"odd name":0,"a/b":0}', '{"odd name":true,"a/b":"it\'s"}'),
        ("a = b", '{"b":{"deep": [1,  2]}}', '{"b":{"deep": [1,  2]},"a":{"deep": [1,  2]}}'),
        ("a = upper(missing)", '{"b":1}', '{"b":1}'),
        ("a = 'ä'; b = \"\\ud83d\\ude00\"", "{}", '{"a":"ä","b":"😀"}'),
        ('a = {"k": [1]};', "{}", '{"a":{"k": [1]}}'),
    ],
)
def test_a_patch_edits_in_place(patch: str, before: str, after: str) -> None:
    assert mended(patch, before) == after


@pytest.mark.parametrize(
    ("patch", "record"),
    [
        ("value = number(value)", '{"value":"ten"}'),
        ("value = number(value)", '{"value":"1,50"}'),
        ("value = integer(value)", '{"value":1.5}'),
        ("a = upper(a)", '{"a":1}'),
        ("a.b = 1", '{"a":"text"}'),
        ("a = 1", "[1]"),
        ("a = 1", "not json"),
        ("a = 1", '{"a":NaN}'),
        ("a = 1", '{"a":1} x'),
        ("a = 1", '{"a":' + "[" * 100_000 + "}"),
        ("t = parse_time(t, '%Y')", '{"t":"x"}'),
        ("a = 1; b = number(b)", '{"a":2,"b":"x"}'),
        ("/x/7 = 1", '{"x":[1]}'),
    ],
)
def test_what_does_not_apply_leaves_the_whole_record_as_it_was(patch: str, record: str) -> None:
    assert mended(patch, record) == record


def test_a_record_without_value_or_encoding_stays() -> None:
    patch = Patch.parse("a = 1")
    assert patch.apply(None) is None
    assert patch.apply(b'\xff{"a":2}') == b'\xff{"a":2}'


@pytest.mark.parametrize(
    ("patch", "position"),
    [
        ("", 1),
        ("value", 6),
        ("value = ", 9),
        ("value = number(value", 21),
        ("value = eval(value)", 9),
        ("value = number(value, 1)", 9),
        ("value = 'open", 9),
        ("delete(value", 13),
        ("rename(a)", 9),
        ("a = 1 b = 2", 7),
        ("__import__('os')", 11),
        ("a = 1; ; b = 2", 8),
        ("a = NaN", 8),
        ("/ = 1", 1),
    ],
)
def test_bad_syntax_names_the_position(patch: str, position: int) -> None:
    if patch == "a = NaN":  # a bare word is a field
        assert mended(patch, '{"NaN": 3}') == '{"NaN": 3,"a":3}'
        return
    with pytest.raises(ConfigError) as caught:
        Patch.parse(patch)
    assert caught.value.code == "mend.syntax"
    assert caught.value.context["position"] == position
    assert "expected" in caught.value.message


names = st.text(st.characters(blacklist_categories=("Cs",)), max_size=6)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(names, documents, max_size=5)


@given(objects, documents, st.sampled_from([None, 1]), st.booleans())
def test_an_assignment_changes_its_field_and_no_other(record: dict[str, object], value: object, indent: int | None, ascii: bool) -> None:
    text = json.dumps(record, indent=indent, ensure_ascii=ascii)
    patch = Patch.parse(f"/target = {json.dumps(value)}")
    assert json.loads(patch.apply(text.encode()) or b"") == {**record, "target": value}
    assert patch.apply(patch.apply(text.encode())) == patch.apply(text.encode()), "twice is once"
    gone = Patch.parse("delete(/target)").apply(patch.apply(text.encode()))
    assert json.loads(gone or b"") == {name: kept for name, kept in record.items() if name != "target"}


@given(st.text(max_size=30))
def test_no_text_does_anything_but_parse_or_name_its_fault(text: str) -> None:
    with contextlib.suppress(ConfigError):
        Patch.parse(text).apply(b'{"a":1}')


def raw(*values: bytes | None) -> Batch:
    rows = [
        {"value": v, "key": None, "log": "L", "partition": "0", "offset": i, "received_at": 0, "request": 0, "source": None}
        for i, v in enumerate(values)
    ]
    return Batch(pa.RecordBatch.from_pylist(rows, schema=RAW))


def values(batch: Batch) -> list[bytes | None]:
    return list(batch.rows.column("value").to_pylist())


def test_a_batch_keeps_its_places() -> None:
    batch = raw(b'{"a":"1"}', None, b"junk")
    after = chained(unchanged, Patch.parse("a = number(a)"))(batch)
    assert values(after) == [b'{"a":1}', None, b"junk"]
    assert after.rows.drop_columns(["value"]).equals(batch.rows.drop_columns(["value"]))


def test_a_value_file_replaces_whole_records(tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_bytes(b'{"a":\t1}\n')
    assert values(Replacement.read(file)(raw(b"junk"))) == [b'{"a":\t1}']
    with pytest.raises(ConfigError, match="one value cannot replace 2 records"):
        Replacement.read(file)(raw(b"junk", b"junk"))
    file.write_bytes(f'{Place("L", "0", 1)}\t{{"b":2}}\n'.encode())
    assert values(Replacement.read(file)(raw(b"junk", b"junk"))) == [b"junk", b'{"b":2}']
    with pytest.raises(ConfigError):
        Replacement.read(tmp_path / "absent")
