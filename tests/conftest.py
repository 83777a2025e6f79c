"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from testbed.jars import Absent
from testbed.kafka import Cluster
from testbed.registry import Registry

from tests.shared import SHARED

if TYPE_CHECKING:
    from tests.shop import Dbt, Kept

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


S = TypeVar("S")


def started_or_skipped(start: Callable[[], S], name: str) -> S:
    """A server of the test bed; skips, loudly, where the machine has no Maven, and fails for that in CI."""
    try:
        return start()
    except Absent as absent:
        if os.environ.get("CI"):
            pytest.fail(f"{name} was NOT tested: {absent}")
        pytest.skip(f"{name} was NOT tested: {absent}")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One broker for all tests of a process."""
    with started_or_skipped(lambda: Cluster(tmp_path_factory.mktemp("kafka") / "cluster"), "Kafka") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One schema registry for all tests of a process."""
    with started_or_skipped(lambda: Registry(tmp_path_factory.mktemp("registry")), "The schema registry") as started:
        yield started


@pytest.fixture(scope="session")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dbt]:
    """dbt, started once for all tests of a process."""
    from tests.shop import Dbt  # seconds that most tests need not pay

    server = Dbt(tmp_path_factory.mktemp("dbt"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, dbt: Dbt) -> Kept:
    """A shop whose marts are built, once for all tests of a process."""
    from tests.shop import Kept

    return Kept(tmp_path_factory.mktemp("kept"), dbt)
