"""What the fault tests on Kafka share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from testbed.jars import Absent
from testbed.quorum import Quorum


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quorum]:
    """Three brokers behind doors for all tests of a process; skips, loudly, where the machine has no Maven, and fails for that in CI."""
    try:
        started = Quorum(tmp_path_factory.mktemp("quorum") / "cluster")
    except Absent as absent:
        if os.environ.get("CI"):
            pytest.fail(f"Kafka was NOT tested: {absent}")
        pytest.skip(f"Kafka was NOT tested: {absent}")
    with started:
        yield started


@pytest.fixture
def quorum(brokers: Quorum) -> Iterator[Quorum]:
    """The three brokers, all up and in reach before and after a test."""
    yield brokers
    for door in brokers.doors.values():
        door.mend()
    for node in brokers.nodes:
        if node.process is None or node.process.poll() is not None:
            node.start()
    brokers.wait()
