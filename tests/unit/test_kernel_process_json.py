"""RFC 8259 to the letter: JSONTestSuite as a record, as an element of an array and as a line."""

from __future__ import annotations

from pathlib import Path

import data_processor_rs as kernel
import pytest

from frazil.contract import Contract
from frazil.process.rust import RustProcessor
from tests.unit.test_kernel_process import RECEIVED_US, raw

# One field of any JSON value; a record wraps each case as its value.
CONTRACT = Contract("wrapped", "1", (), unknown="keep", max_depth=1000, max_bytes=10_000_000, max_members=1_000_000)
PROCESS = RustProcessor(CONTRACT)

# What the suite leaves open, and what we do: numbers are syntax whatever their size (the field's type decides then), a text
# is UTF-8 and its escapes stand for characters.
OPEN = {
    "i_number_": "accepted",
    "i_structure_500_nested_arrays": "accepted",  # the contract's max_depth decides
    "i_object_key_lone_2nd_surrogate": "json.invalid",
    "i_string_1st_surrogate_but_2nd_missing": "json.invalid",
    "i_string_1st_valid_surrogate_2nd_invalid": "json.invalid",
    "i_string_incomplete_surrogate": "json.invalid",
    "i_string_invalid_lonely_surrogate": "json.invalid",
    "i_string_invalid_surrogate": "json.invalid",
    "i_string_inverted_surrogates": "json.invalid",
    "i_string_lone_second_surrogate": "json.invalid",
    "i_structure_UTF-8_BOM": "json.invalid",
    "i_string_": "encoding.invalid_utf8",
}


def expected(name: str) -> str:
    if not name.startswith("i_"):
        return "accepted" if name.startswith("y_") else "refused"
    return next(outcome for start, outcome in OPEN.items() if name.startswith(start))


def verdict(record: bytes) -> str:
    dead = PROCESS(raw([record])).dead.rows.to_pylist()
    return dead[0]["violations"][0]["code"] if dead else "accepted"


def cases(shared: Path) -> list[tuple[str, bytes]]:
    found = sorted((shared / "corpora/JSONTestSuite/test_parsing").glob("*.json"))
    assert len(found) == 318
    return [(one.name, one.read_bytes()) for one in found]


def matches(name: str, outcome: str) -> bool:
    wanted = expected(name)
    if wanted == "refused":
        return outcome in ("json.invalid", "encoding.invalid_utf8", "json.too_deep")
    # Syntax is accepted where a later rule speaks.
    accepted = ("accepted", "json.not_object", "json.duplicate_key")
    return outcome in accepted if wanted == "accepted" else outcome == wanted


@pytest.mark.prop(4)
def test_each_case_as_a_record(shared: Path) -> None:
    wrong = [(name, found) for name, text in cases(shared) if not matches(name, found := verdict(text))]
    assert wrong == []


def test_each_case_as_the_value_of_a_member(shared: Path) -> None:
    outcomes = [(name, verdict(b'{"v":' + text + b"}")) for name, text in cases(shared) if not name.startswith("i_structure_UTF-8")]
    # The only texts whose verdict changes are those that close our bracket themselves or stand for nothing but white space.
    assert [(name, found) for name, found in outcomes if not matches(name, found)] == []


def admitted(body: bytes) -> list[bytes] | None:
    try:
        return kernel.admit(PROCESS.plan, body, format="json", received_at_us=RECEIVED_US).records()
    except kernel.BodyError:
        return None


def test_each_case_as_an_element_and_as_a_line(shared: Path) -> None:
    for name, text in cases(shared):
        body = b'[{"first":1},' + text + b',{"last":1}]'
        elements = admitted(body)
        if expected(name) == "accepted":
            assert elements == [b'{"first":1}', text.strip(b" \t\r\n"), b'{"last":1}'], name
        else:
            # A text like `1,2` is no JSON but two good elements.
            assert elements is None or b"," in text, name
        if text.strip(b" \t\r\n") and not any(byte in text for byte in b"\r\n"):
            lines = kernel.admit(PROCESS.plan, b'{"first":1}\r\n\n' + text + b'\n{"last":1}', format="ndjson", received_at_us=RECEIVED_US)
            assert lines.records() == [b'{"first":1}', text, b'{"last":1}']
            assert [lines.line(n) for n in range(3)] == [1, 3, 4]
            middle = next((error["code"] for error in lines.errors if error["index"] == 1), "accepted")
            assert matches(name, middle), (name, middle)
