"""What a commit costs does not grow with the commits before it: metadata is trimmed, snapshots expire, manifests are merged."""

from __future__ import annotations

import os
import statistics
import time

import pytest

from frazil.flow import pump
from frazil.sink.dead_letters import IcebergDeadLetters
from frazil.table.maintenance import expire
from tests.landing import ORDERS, Judge, ListLog, event, scratch, sink_and_keys

MOST_MS = 60


def cost_of_the_last(commits: int) -> float:
    """Median CPU time in ms of the last 20 of this many commits, with the maintenance that `frazil up` runs beside them."""
    with scratch() as root:
        sink, keys = sink_and_keys(root)
        log, letters, spent = ListLog(), IcebergDeadLetters(sink.lake), []
        for n in range(commits):
            log.append(event(2 * n), event(2 * n + 1, day=-1))
            start = time.process_time()
            assert pump(log, Judge(), keys, sink) is not None
            spent.append(1_000 * (time.process_time() - start))
            if n % 20 == 19:
                letters.adopt(sink)
                expire(sink.lake, sink.lake.raw_name(ORDERS))
        table = sink.lake.raw(ORDERS)
        assert table.scan().count() == 2 * commits
        assert len(table.metadata.metadata_log) <= 5
        return statistics.median(spent[-20:])


def test_the_hundredth_commit_is_as_cheap_as_asked() -> None:
    assert cost_of_the_last(100) <= MOST_MS


@pytest.mark.slow
def test_the_thousandth_commit_is_as_cheap_as_asked() -> None:
    assert cost_of_the_last(int(os.environ.get("COMMITS", "1000"))) <= MOST_MS
