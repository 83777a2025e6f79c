"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from testbed.jars import Absent
from testbed.kafka import Cluster

from tests.shared import SHARED

settings.register_profile(
    "frazil",
    max_examples=int(os.environ.get("EXAMPLES", "60")),
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("frazil")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data and corpora that the project does not ship; skips, and says so, where they are absent."""
    if SHARED is None:
        pytest.skip("shared data is absent: set FRAZIL_SHARED or put it at ../shared")
    return SHARED


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One broker for all tests of a process; skips, loudly, where the machine has no Maven, and fails for that in CI."""
    try:
        cluster = Cluster(tmp_path_factory.mktemp("kafka") / "cluster")
    except Absent as absent:
        if os.environ.get("CI"):
            pytest.fail(f"Kafka was NOT tested: {absent}")
        pytest.skip(f"Kafka was NOT tested: {absent}")
    with cluster:
        yield cluster
