"""Logs: one entry per event, on stderr, readable on a terminal, and never with the values of local variables."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from frazil import telemetry
telemetry.configure(sys.argv[1])
def fails(secret):
    raise RuntimeError("it broke")
try:
    fails("hunter" + "2")
except RuntimeError as error:
    telemetry.logger("part").error("unexpected", exc_info=error)
"""


@pytest.mark.parametrize("style", ["console", "json"])
def test_an_unexpected_exception_is_a_plain_traceback_without_locals(style: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, style], capture_output=True, text=True, check=True)
    assert done.stdout == "", "stdout is for data"
    assert "RuntimeError: it broke" in done.stderr
    assert done.stderr.count("unexpected") == 1
    assert "hunter2" not in done.stderr
    assert len(done.stderr.splitlines()) < 12
    if style == "json":
        assert json.loads(done.stderr)["component"] == "part"
