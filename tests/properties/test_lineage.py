"""Laws of landing's lineage: however commits are gathered to runs, nothing is told twice or left out, and every run ends once."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.table.snapshots import Operation, Snapshot, Summary

from frazil.lineage.landing import Committed, Landing
from frazil.lineage.sending import Make, Sender
from frazil.project import Project
from frazil.settings import Settings
from tests.serving import make_project


@dataclass
class Gathering:
    """In the place of a sender: keeps what it is told, and is the clock that asks its sources."""

    settings: Settings
    makers: list[Make] = field(default_factory=list)
    sources: list[Callable[[], None]] = field(default_factory=list)

    def tell(self, make: Make) -> None:
        self.makers.append(make)

    def listen(self, source: Callable[[], None]) -> None:
        self.sources.append(source)


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with tempfile.TemporaryDirectory() as directory:
        yield Project.at(make_project(Path(directory) / "project"))


def committed(table: Any, number: int, rows: int) -> Committed:
    summary = Summary(Operation.APPEND, **{"added-files-size": str(rows * 7), "added-data-files": "1"})
    snapshot = Snapshot.model_validate(
        {"snapshot-id": number, "sequence-number": number, "timestamp-ms": number, "manifest-list": "file:///x", "summary": summary}
    )
    return Committed(table, snapshot, rows, 0, 0.5, datetime.fromtimestamp(1_700_000_000 + number, UTC))


steps = st.lists(st.one_of(st.integers(0, 100_000), st.sampled_from(["tick", "fail"])), max_size=20)


@given(steps=steps, every=st.sampled_from([0.0, 3600.0]))
def test_every_commit_is_told_once_and_every_run_ends_once(project: Project, steps: list[int | str], every: float) -> None:
    gathered = project.settings.lineage.model_copy(update={"every": timedelta(seconds=every)})
    heard = Gathering(project.settings.model_copy(update={"lineage": gathered}))
    table = project.lake.raw(project.contract("orders"))
    landing = Landing(cast(Sender, heard), "orders", None)
    commits = []
    for number, step in enumerate(steps, start=1):
        if isinstance(step, int):
            commits.append(committed(table, number, step))
            landing.committed(commits[-1])
        elif step == "tick":
            heard.sources[0]()
        else:
            landing.ended({"code": "log.offset_expired", "message": "gone"})
    landing.ended(None)

    events = [event for make in heard.makers for event in make()]
    states: dict[str, list[str]] = {}
    for event in events:
        assert event.eventType is not None
        states.setdefault(event.run.runId, []).append(event.eventType.value)
    assert set(map(tuple, states.values())) <= {("START", "COMPLETE"), ("START", "FAIL")}
    outputs: list[Any] = [one for event in events for one in event.outputs or []]
    raws = [one for one in outputs if one.facets]
    told = [one.outputFacets["outputStatistics"] for one in raws]
    assert sum(one.rowCount for one in told) == sum(one.landed for one in commits)
    assert sum(one.size for one in told) == 7 * sum(one.landed for one in commits)
    assert sum(one.fileCount for one in told) == len(commits)
    ends = Counter(state for of in states.values() for state in of)
    assert ends["FAIL"] == steps.count("fail")
    versions = [int(one.facets["version"].datasetVersion) for one in raws]
    assert versions == sorted(set(versions))
    assert versions[-1:] == [one.snapshot.snapshot_id for one in commits][-1:]
    if every and "fail" not in steps:
        assert ends["START"] <= 1, "what comes within the time is one run"
