"""The processor killed at every step of a commit: nothing is lost, nothing doubled, the books balance after each kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.killing import CONTRACT, Ground, zygote

READ = "frazil.log.embedded:EmbeddedReader.read"
JUDGE = "frazil.process.rust:RustProcessor.__call__"
DECIDE = "frazil.sink.keys:TableKeys.decide"
PARQUET = "frazil.sink.iceberg:write_files"
FILE = "frazil.table.durable_io:DurableStream.close"
STAGED = "frazil.table.commit:_staged"
SWAP = "frazil.table.catalog:DurableSqlCatalog.commit_table"
ADVANCE = "frazil.sink.keys:TableKeys.advance"
ADOPT = "frazil.sink.dead_letters:IcebergDeadLetters.adopt"
EXPIRE = "frazil.table.maintenance:expire"
RECORD = "frazil.table.maintenance:record"

# The crash points P1 to P8 of docs/exactly-once.md: function, moments, which calls. The first round creates the tables.
POINTS = [
    *((FILE, when, nth) for when in ("before", "after") for nth in (1, 2)),
    *((READ, "after", nth) for nth in (1, 2)),
    (JUDGE, "after", 1),
    (DECIDE, "after", 2),
    *((PARQUET, when, nth) for when in ("before", "during", "after") for nth in (1, 2)),
    (STAGED, "after", 1),
    *((FILE, when, nth) for when in ("before", "during", "after") for nth in (1, 2, 3, 5)),
    *((SWAP, when, nth) for when in ("before", "during", "after") for nth in (1, 2, 3)),
    *((ADVANCE, when, 1) for when in ("before", "after")),
    *((ADOPT, when, nth) for when in ("before", "after") for nth in (1, 2)),
    *((EXPIRE, when, 1) for when in ("before", "after")),
    (RECORD, "after", 1),
]
ROUNDS = 25 if os.environ.get("FRAZIL_CHAOS") else 1
SMALL = {"FRAZIL_PROCESS__BATCH_RECORDS": "25", "FRAZIL_LAKE__KEEP_SNAPSHOTS": "3"}


@pytest.mark.prop(13)
@pytest.mark.prop(15)
def test_a_kill_at_every_step_of_a_commit_neither_loses_nor_repeats(tmp_path: Path) -> None:
    ground = Ground.made(tmp_path / "p")
    command = ("-C", str(ground.root), "process", "--until-idle", "--contract", CONTRACT)
    killed = 0
    with zygote(tmp_path) as made:
        for where, when, nth in POINTS * ROUNDS:
            ground.append()
            code = made.start(*command, point={"where": where, "when": when, "nth": nth}, **SMALL).wait()
            assert code == -signal.SIGKILL, f"{where} was not reached {nth} times: exit {code}\n{made.log.read_text()[-2_000:]}"
            killed += 1
            ground.books()
        assert made.start(*command, **SMALL).wait() == 0, made.log.read_text()[-2_000:]
    assert killed >= 20
    ground.judge()


@pytest.mark.prop(15)
def test_a_contract_made_stricter_between_a_kill_and_the_restart_changes_no_verdict_that_was_given(tmp_path: Path) -> None:
    ground = Ground.made(tmp_path / "p")
    file = ground.root / "contracts" / "events.odcs.yaml"
    loose = file.read_text()
    strict = loose.replace("logicalTypeOptions: {minimum: 0}", "logicalTypeOptions: {minimum: 5}")
    assert strict != loose
    command = ("-C", str(ground.root), "process", "--until-idle", "--contract", CONTRACT)
    with zygote(tmp_path) as made:
        for text, moment in ((strict, "before"), (strict, "after"), (loose, "before"), (loose, "after")):
            ground.append(good=20, bad=2, repeated=0)
            assert made.start(*command, point={"where": SWAP, "when": moment, "nth": 1}, **SMALL).wait() == -signal.SIGKILL
            was = ground.books()
            file.write_text(text)
            now = ground.books()
            assert (was.landed, was.dead, was.duplicates) == (now.landed, now.dead, now.duplicates)
        assert made.start(*command, **SMALL).wait() == 0
    books = ground.books()
    assert books.pending == 0
    assert books.landed + books.dead == ground.records
    rows = ground.ids()
    assert max(rows.values()) == 1
    assert set(rows) <= set(ground.acked)
