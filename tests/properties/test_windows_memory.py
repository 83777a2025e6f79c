"""Open windows take bounded memory; what does not fit lies in their file, and no result, revision or late row tells the difference."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.landing import scratch
from tests.properties.test_windows import Running, Sale, cuts, sales, specs
from tests.serving import SECONDS


@pytest.mark.prop(15)
@settings(max_examples=25)
@given(sales, cuts, st.sampled_from([0, 2_000]), st.integers(0, 60), st.sampled_from(["update", "final"]))
@example([Sale(n, n % 3, f"u{n % 5}") for n in range(1, 20)], [(19, "before"), (19, "after")], 0, 5, "update")
@example([Sale(1, 0, "a"), Sale(2, 16, "a"), Sale(3, 8, "a"), Sale(4, 1, "b")], [(4, None)], 0, 60, "update")
def test_a_bound_and_crashes_change_no_result_no_revision_and_no_late_row(
    given_sales: list[Sale], steps: list[tuple[int, str | None]], bound: int, lateness: int, emit: str
) -> None:
    """The same batches, once in memory and undisturbed, once under a bound with a crash before and after every commit."""
    with scratch() as one, scratch() as two:
        free, tight = Running(one, specs(lateness, emit)), Running(two, specs(lateness, emit), memory=bound)
        for running in (free, tight):
            running.log.append(*(sale.record for sale in given_sales))
        free.drain([(limit, None) for limit, _ in steps])
        spilled = 0
        for batch in free.batches:
            tight.pump(len(batch), "before")
            tight.pump(len(batch), "after")
            assert tight.sink.store.memory() == (0, 0, 0), "a crash leaves nothing but the file"
        told = [[outcome[:8] for outcome in running.reader.changes(0)] for running in (free, tight)]
        assert told[0] == told[1]
        for spec in free.windows:
            assert free.reader.late(spec.name, 10_000) == tight.reader.late(spec.name, 10_000)
        assert free.reader.progress() == tight.reader.progress()
        for running in (free, tight):
            running.log.append(Sale(2 * 10**6, 100, "last").record, Sale(2 * 10**6 + 1, 101, "last").record)
            running.pump(2)
            held, peak, spilled = running.sink.store.memory()
            assert held <= peak
        assert held <= bound
        assert spilled > 0 or bound > 0
        assert [outcome[:8] for outcome in free.reader.changes(0)] == [outcome[:8] for outcome in tight.reader.changes(0)]


MEASURED = """
import json, re, sys
from pathlib import Path
import pyarrow as pa
import data_processor_rs as kernel
most = int(sys.argv[2])

def largest():  # MiB
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

plan = [{"name": "w", "hash": "h", "shape": {"kind": "hopping", "size_us": 10**6, "hop_us": 10**6}, "lateness_us": 0, "emit": "final",
         "keys": 1, "aggregates": [{"name": "longest", "kind": "max", "values": "text"}]}]
store = kernel.WindowStore(sys.argv[1], json.dumps(plan), key=["id"], content=["id"], most_bytes=most)
times = pa.array([5] * 1_000, pa.timestamp("us", tz="UTC"))
base = largest()
for batch in range(40):
    names = [str(batch * 1_000 + row) for row in range(1_000)]
    events = {"time": times, "received": times, "log": pa.array(["l"] * 1_000), "partition": pa.array(["0"] * 1_000),
              "offset": pa.array(range(batch * 1_000, batch * 1_000 + 1_000)), "0.where": pa.array([True] * 1_000),
              "0.k0": pa.array(names), "0.a0": pa.array([name.ljust(4_000, "x") for name in names])}
    rows = pa.record_batch({"id": pa.array(names)})
    store.append(rows, pa.record_batch(events), head=store.head()[0], position="{}", totals="{}", replay=None, now_us=0)
print(json.dumps([largest() - base, *store.memory()]))
"""


@pytest.mark.prop(15)
def test_the_process_stays_small_whatever_the_number_of_keys(tmp_path: Path) -> None:
    """40,000 open windows of 4 KB each, with 8 MiB for them: what the operating system says, not the kernel's own reckoning."""

    def measured(most: int) -> list[int]:
        command = [sys.executable, "-c", MEASURED, str(tmp_path / f"{most}.db"), str(most)]
        found: list[int] = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout)
        return found

    grown, held, peak, spilled = measured(8 << 20)
    unbounded, everything, _, none = measured(1 << 40)
    assert everything > 150 << 20
    assert none == 0
    assert unbounded > 150
    assert grown < 70
    assert held <= 8 << 20
    assert peak < (8 << 20) + 8_000, "the bound and one event's windows"
    assert spilled > 30_000
