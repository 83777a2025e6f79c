"""Servers that tests share; a test that stops or starves its server makes its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving import Served, make_project, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the default limits."""
    root = make_project(tmp_path_factory.mktemp("served") / "project")
    with serving(root) as running:
        yield running
        assert running.process.poll() is None, "the server did not survive its tests"
