"""Logs: one entry per event, on stderr, readable on a terminal, and never with the values of local variables."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys

import pytest
import structlog
from structlog.testing import capture_logs

from frazil import telemetry

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


def test_lines_name_what_their_task_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    async def one(request: str) -> None:
        facts = {"request": request}
        telemetry.concerning(facts)
        await asyncio.sleep(0)
        facts["contract"] = "orders"
        await asyncio.to_thread(telemetry.logger("api").info, "in a thread")
        telemetry.logger("api").info("own", contract="named here")

    async def both() -> None:
        await asyncio.gather(one("1"), one("2"))
        telemetry.logger("api").info("nobody's")

    try:
        telemetry.configure("json")
        asyncio.run(both())
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    seen = sorted((line["event"], line.get("request", ""), line.get("contract", "")) for line in lines)
    assert seen == [
        ("in a thread", "1", "orders"),
        ("in a thread", "2", "orders"),
        ("nobody's", "", ""),
        ("own", "1", "named here"),
        ("own", "2", "named here"),
    ]


def test_a_line_told_directly_is_the_line_the_logger_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    facts: dict[str, str | int | float] = {"path": '/a"\\ü\n\x7f', "status": 202, "ms": 0.25, "request": "7"}
    try:
        telemetry.configure("json")
        telemetry.told("api", "request", facts)
        telemetry.logger("api").info("request", **facts)
        with capture_logs() as captured:
            telemetry.told("api", "request", facts)
        telemetry.configure("json", level="warning")
        telemetry.told("api", "request", facts)
    finally:
        structlog.reset_defaults()
    direct, logged = (json.loads(line) for line in stream.getvalue().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", direct["time"])
    assert {**direct, "time": ""} == {**logged, "time": ""}
    assert captured == [{"component": "api", "log_level": "info", "event": "request", **facts}]
