"""Every code that the product can give is in `docs/errors.md`, and every refusal has its status."""

from __future__ import annotations

import re
from pathlib import Path

from frazil.api.problems import STATUS

ROOT = Path(__file__).resolve().parents[2]
IN_PYTHON = re.compile(r"""(?:code=|code = |code, [a-z_, ]+ = |code: ClassVar\[str\] = )"([a-z]+\.[a-z0-9_]+)\"""")
IN_RUST = re.compile(r'"((?:[a-z]+)\.[a-z][a-z0-9_]+)"')
NO_CODES = {"generic.json", "log.json", "avro.codec", "avro.schema"}  # files, and keys of an Avro file's head


def documented() -> set[str]:
    text = (ROOT / "docs/errors.md").read_text() + (ROOT / "docs/reference/verdicts.md").read_text()
    return set(re.findall(r"`([a-z]+\.[a-z0-9_]+)`", text))


def test_every_code_in_the_source_is_documented() -> None:
    python = {code for file in (ROOT / "src").rglob("*.py") for code in IN_PYTHON.findall(file.read_text())}
    rust = {
        code
        for file in (ROOT / "crates").glob("*/src/**/*.rs")
        for code in IN_RUST.findall(re.split(r"#\[cfg\(test\)\]", file.read_text())[0])
        if file.name != "tests.rs"
    }
    assert len(python) > 50
    missing = (python | rust) - documented() - NO_CODES
    assert not missing, f"add to docs/errors.md: {sorted(missing)}"


def test_every_status_is_of_a_documented_code() -> None:
    assert set(STATUS) <= documented()
