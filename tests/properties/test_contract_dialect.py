"""A contract means the same wherever it is read: patterns in both engines, files after writing them again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from frazil.contract import Contract, Field
from frazil.contract.load import check_file, load_file
from frazil.contract.pattern import PatternError, canonical, compiled
from frazil.contract.source import Source
from frazil.process.python import PythonProcessor
from frazil.process.rust import RustProcessor
from tests.strategies import contracts, raw_batch

FRAGMENTS = [
    *("a", "b", "é", "A", "1", " ", ".", "^", "$", "|", "(", "(?:", ")", "*", "+", "?", "*?", "{2}", "{1,3}", "{0,}", "{,2}", "{", "}"),
    *(
        "[",
        "]",
        "[a-c]",
        "[^a-c]",
        "[]",
        "[^]]",
        "[a-]",
        "[-a]",
        "[c-a]",
        "[\\d.]",
        "[\\w\\s]",
        "[\\D]",
        "[a&&b]",
        "[a--b]",
        "[[a]]",
        "[^\\n]",
        "[é-ü]",
    ),
    *(
        "\\d",
        "\\D",
        "\\w",
        "\\W",
        "\\s",
        "\\S",
        "\\b",
        "\\B",
        "\\.",
        "\\n",
        "\\t",
        "\\/",
        "\\-",
        "\\<",
        "\\a",
        "\\0",
        "\\1",
        "\\x41",
        "\\u00e9",
        "\\ud800",
    ),
    *("\\p{L}", "(?i)", "(?=a)", "(?<n>a)", "(?P<n>a)", "a++", "&", "~", "#", "-", "\\", "\n", "\\Z", "\\z", "\\A"),
]
patterns = st.one_of(st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join), st.text(max_size=8))
subjects = st.text(alphabet="abcAé1_ .-&~#\n\t\u00e4\u0661\u2028]", max_size=6)


@given(patterns, st.lists(subjects, min_size=1, max_size=12))
@settings(max_examples=400)
@pytest.mark.prop(10)
def test_a_pattern_is_refused_or_means_the_same_in_kernel_and_reference(pattern: str, texts: list[str]) -> None:
    try:
        one = canonical(pattern)
    except PatternError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert re.search(r"at character \d+$", refused)
        return
    assert canonical(one) == one
    contract = Contract("c", "1", (Field("a", "/a", "string", pattern=one),))
    raw = raw_batch([json.dumps({"a": text}).encode() for text in texts])
    found = [implementation(contract)(raw).good.rows["a"].to_pylist() for implementation in (PythonProcessor, RustProcessor)]
    assert found[0] == found[1]


@given(
    st.lists(
        st.sampled_from(["a", "é", "1", "\\d", "\\w", "\\s", "[a-c]", "[^a-c]", ".", "(?:a|b)", "\\.", "a{2}", "b?", "1*"]), max_size=6
    ),
    subjects,
)
def test_the_canonical_spelling_means_what_was_written(parts: list[str], text: str) -> None:
    """Against Python's own reading of the ASCII classes."""
    pattern = "".join(parts)
    assert (compiled(canonical(pattern)).search(text) is None) == (re.search(pattern, text, re.ASCII) is None)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)",
        "(?<!a)",
        r"(a)\1",
        "(?P<n>a)",
        "(?i)a",
        r"\bword",
        r"\p{L}",
        "a++",
        "[a&&b]",
        "[[:alpha:]]",
        "a{,3}",
        "a**",
        "^*",
        "(",
        "[",
        "a{3,1}",
        r"\ud800",
        "a{9999}",
        r"\Z",
    ],
)
def test_what_only_some_engines_know_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        canonical(pattern)


@pytest.mark.parametrize(
    ("pattern", "one"),
    [
        (r"^\d{4}$", "^[0-9]{4}$"),
        (r"[\w.-]+@\w+", r"[0-9A-Za-z_\.\-]+@[0-9A-Za-z_]+"),
        (r"\S", r"[^\x09\x0a\x0b\x0c\x0d ]"),
        ("(ab)+?c", "(?:ab)+c"),
        (r"a\/b#~", r"a\/b\#\~"),
        (r"\u00e9\x41\t", r"éA\x09"),
        (r"[^\]\\]", r"[^\]\\]"),
    ],
)
def test_patterns_are_rewritten_once(pattern: str, one: str) -> None:
    assert canonical(pattern) == one


def test_a_dollar_is_the_very_end() -> None:
    assert compiled(canonical("^a$")).search("a\n") is None
    assert compiled(canonical(r"^a\$$")).search("a$") is not None
    assert compiled(canonical(r"^[$]$")).search("$") is not None


# ---------------------------------------------------------------- files


@given(contracts())
def test_a_contract_written_as_a_file_is_read_as_the_same(tmp_path: Path, contract: Contract) -> None:
    if contract.event_time is None:  # then a file has no bound for it
        contract = replace(contract, ahead_us=Contract("", "", ()).ahead_us)
    file = tmp_path / f"{contract.name}.odcs.yaml"
    file.write_text(yaml.safe_dump(_document(contract), allow_unicode=True, sort_keys=False))
    problems = [
        problem for problem in check_file(file) if problem.message.startswith(("minLength is above", "minItems is above", "minimum "))
    ]
    if problems:  # rules that let nothing through are refused
        return
    assert check_file(file) == []
    assert load_file(file).plan == contract.plan


def _document(contract: Contract) -> dict[str, Any]:
    custom = {
        "unknownFields": contract.unknown,
        "maxBytes": contract.max_bytes,
        "maxDepth": contract.max_depth,
        "maxMembers": contract.max_members,
    }
    if contract.event_time is not None:
        custom |= {"eventTime": contract.event_time, "ahead": f"{contract.ahead_us // 1_000_000}s"}
    schema = {"name": contract.name, "customProperties": _custom(custom), "properties": [_property(one) for one in contract.fields]}
    return {"apiVersion": "v3.1.0", "kind": "DataContract", "id": "r", "version": contract.version, "schema": [schema]}


def _custom(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"property": name, "value": value} for name, value in values.items()]


def _property(one: Field, *, named: bool = True) -> dict[str, Any]:
    logical = {"uuid": "string", "decimal": "number", "json": "object"}.get(one.kind, one.kind)
    options: dict[str, Any] = {
        "format": "uuid" if one.kind == "uuid" else one.format,
        "minLength": one.min_length,
        "maxLength": one.max_length,
        "pattern": one.pattern,
        "exclusiveMinimum" if one.exclusive_minimum else "minimum": _number(one.minimum),
        "exclusiveMaximum" if one.exclusive_maximum else "maximum": _number(one.maximum),
        "minItems": one.min_items,
        "maxItems": one.max_items,
    }
    found: dict[str, Any] = {"name": one.name} if named else {}
    found |= {"logicalType": logical, "required": one.required, "logicalTypeOptions": {k: v for k, v in options.items() if v is not None}}
    if one.kind == "decimal":
        found["physicalType"] = f"decimal({one.precision},{one.scale})"
    if one.enum is not None:
        found["enum"] = [{"value": value} for value in (one.enum if one.kind == "string" else map(_number, one.enum))]
    if one.fields:
        found["properties"] = [_property(child) for child in one.fields]
    if one.items is not None:
        found["items"] = _property(one.items, named=False)
    found["customProperties"] = _custom(
        {name: value for name, value in (("epochUnit", one.unit), ("timeZone", one.zone)) if value is not None}
    )
    return {name: value for name, value in found.items() if value not in ({}, [])}


def _number(text: str | None) -> int | float | None:
    return None if text is None else float(text) if "." in text else int(text)


@given(st.text(max_size=200))
def test_any_text_is_a_contract_or_a_list_of_problems(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.odcs.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    for problem in check_file(file):
        assert problem.line >= 1
        assert problem.message


@given(
    st.dictionaries(
        st.sampled_from(["a", "b"]), st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text()), st.lists, max_leaves=9)
    )
)
def test_yaml_reads_what_yaml_wrote(value: dict[str, Any]) -> None:
    source = Source("text")
    source.parse(json.dumps(value))  # JSON is YAML
    assert source.data == value
    assert source.problems == []
