"""The hostile corpora, counted: what is in them is taken or refused as their authors say, soon and in little memory."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import data_processor_rs as kernel
import pytest

from frazil.contract import Contract
from frazil.process.rust import RustProcessor
from tests.strategies import RECEIVED_US

ROOT = Path(__file__).resolve().parents[2]
# A record wraps each text as the value of a member that the contract does not know: any JSON is good there.
CONTRACT = Contract("wrapped", "1", (), unknown="keep")
PLAN = RustProcessor(CONTRACT).plan


def texts(shared: Path) -> dict[str, bytes]:
    return {one.stem: one.read_bytes() for one in sorted((shared / "corpora/JSONTestSuite/test_parsing").glob("*.json"))}


def as_element(text: bytes) -> str:
    """The verdict on a text as part of an array; an array that is not JSON is refused whole."""
    try:
        door = kernel.admit(PLAN, b'[{"v":' + text + b"}]", format="json", received_at_us=RECEIVED_US)
    except kernel.BodyError:
        return "refused"
    return "refused" if door.rejected else "accepted"


def as_line(text: bytes) -> str:
    """The verdict on a text as part of a line; of one that holds line breaks, the verdict on the pieces they make."""
    door = kernel.admit(PLAN, b'{"v":' + text + b"}\n", format="ndjson", received_at_us=RECEIVED_US)
    return str(door.errors[0]["code"]) if door.rejected else "accepted"


@pytest.mark.prop(45)
def test_the_json_suite_is_taken_and_refused_to_the_last_text(shared: Path) -> None:
    cases = texts(shared)
    assert Counter(name[:2] for name in cases) == {"y_": 95, "n_": 188, "i_": 35}
    elements = Counter((name[:2], as_element(text)) for name, text in cases.items() if name[:2] != "i_")
    assert elements == {("y_", "accepted"): 95, ("n_", "refused"): 188}
    # Where a line feed is white space it may as well be a blank; where it is not, the text is wrong and stays as it is.
    lines = {name: as_line(text.replace(b"\n", b" ") if name[:2] == "y_" else text) for name, text in cases.items() if name[:2] != "i_"}
    assert Counter((name[:2], found == "accepted") for name, found in lines.items()) == {("y_", True): 95, ("n_", False): 188}
    assert set(lines.values()) <= {"accepted", "json.invalid", "json.too_deep", "encoding.invalid_utf8"}


def documented() -> list[tuple[list[str], str]]:
    """Names (with `*`) and the outcome of each row of the table in docs/formats.md."""
    rows = re.findall(r"^\| (`i_.*?) \|.*\| `?([a-z_0-9.]+)`?[^|]*\|$", (ROOT / "docs/formats.md").read_text(), re.MULTILINE)
    return [(re.findall(r"`(i_[^`]+)`", names), outcome) for names, outcome in rows]


@pytest.mark.prop(45)
def test_what_the_json_suite_leaves_open_is_documented_text_by_text(shared: Path) -> None:
    cases, table = {name: text for name, text in texts(shared).items() if name.startswith("i_")}, documented()
    for name, text in cases.items():
        told = [outcome for names, outcome in table if any(fnmatch.fnmatchcase(name, one) for one in names)]
        assert told == [as_line(text)], name
        assert as_element(text) == ("accepted" if told == ["accepted"] else "refused"), name
    assert len(cases) == 35


CHILD = """
import json, resource, sys, time
from pathlib import Path
import data_processor_rs as kernel
plan, peak = kernel.Plan(sys.argv[1]), lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
def decoded(body):
    decoder = kernel.BodyDecoder("zstd", max_bytes=64 << 20, max_ratio=10**6)
    decoder.feed(body)
    return decoder.finish()
ways = {
    ".parquet": [
        lambda body: kernel.canonical(plan, body, format="parquet"),
        lambda body: [batch.rows for batch in kernel.FileReader(plan, body, format="parquet", received_at_us=0)],
        lambda body: kernel.validate_schema(kernel.parse_parquet(body, plan)),
    ],
    ".zst": [decoded],
}
before = peak()
for name in sys.argv[2:]:
    body = Path(name).read_bytes()
    for way in ways[Path(name).suffix]:
        started = time.monotonic()
        try:
            told = len(way(body))
        except kernel.KernelError as error:
            told = error.code
        print(json.dumps([name, told, time.monotonic() - started, peak() - before]))
"""


@pytest.mark.prop(45)
def test_damaged_files_end_soon_in_clear_errors_and_little_memory(shared: Path) -> None:
    bad = sorted((shared / "corpora/parquet-testing/bad_data").glob("*.parquet"))
    golden = sorted((shared / "corpora/zstd-golden/tests").rglob("*.zst"))
    assert (len(bad), len(golden)) == (8, 7)
    ran = subprocess.run([sys.executable, "-c", CHILD, CONTRACT.plan, *map(str, bad + golden)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(told) == 3 * len(bad) + len(golden)
    for name, outcome, seconds, grown_mib in told:
        assert seconds < 1, (name, seconds)
        assert grown_mib < 256, (name, grown_mib)
        clear = {"body.invalid_parquet", "body.bad_compression"}
        assert outcome in clear or (isinstance(outcome, int) and "errors" not in name), (name, outcome)
