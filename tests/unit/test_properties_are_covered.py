"""Every numbered property that is due has a property test that carries its number."""

from __future__ import annotations

import re

from tests.shared import ROOT

DUE = {*range(1, 7), *range(8, 32), *range(36, 45)}
MARK = re.compile(r"^\s*@pytest\.mark\.prop\((\d+)\)", re.MULTILINE)
RUST_MARK = re.compile(r"^\s*// prop\((\d+)\)", re.MULTILINE)


def test_every_due_property_has_a_test() -> None:
    python = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    rust = [path.read_text() for path in (ROOT / "crates").rglob("*.rs")]
    found = {int(number) for text in python for number in MARK.findall(text)}
    found |= {int(number) for text in rust for number in RUST_MARK.findall(text)}
    assert sorted(DUE - found) == [], "properties without a test"
