"""The star schema under its suite, built by the real dbt; one event followed to its mart row, on the command line and over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import structlog

from frazil.cli.app import run as frazil
from frazil.errors import EXIT_FAILED, EXIT_NO, EXIT_YES
from frazil.quality.alert import Outbox
from frazil.quality.report import history
from frazil.quality.run import check
from frazil.trace import trace
from tests.serving import serving
from tests.shared import ROOT
from tests.shop import NOON, Dbt, Shop, event, product, user

LATER = NOON + timedelta(days=1, hours=1)
SENT = [
    *(event(number, f"u{number % 3}", number, value=number / 4) for number in range(40)),
    *(event(number, f"u{number % 3}", number, value=number / 4) for number in range(7)),  # sent again
    event(50, "nobody", 5, properties={"product_id": "nothing"}),
    event(51, value=-1),
    {"event_id": "no id", "event_type": "purchase"},
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, dbt: Dbt) -> Shop:
    """A shop with its marts. Tests read it, or add runs of checks."""
    shop = Shop(tmp_path_factory.mktemp("built") / "shop")
    shop.land("users", user("u0", -10), user("u1", -10), user("u1", 10), user("u2", -10))
    shop.land("products", product("p1", -10))
    for start in range(0, len(SENT), 11):
        shop.land("events", *SENT[start : start + 11])
    contract = shop.project.contract("events")
    shop.project.dead_letters.adopt(shop.project.sink(contract))
    dbt.run(shop, "run")
    return shop


def told(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and standard output of a command line."""
    structlog.reset_defaults()  # whatever another test left
    capfd.readouterr()
    code = frazil(list(words))
    return code, capfd.readouterr().out


@pytest.mark.prop(43)
def test_what_was_sent_is_what_the_marts_show_and_the_suites_agree(built: Shop) -> None:
    good = {one["event_id"]: one for one in SENT if one.get("value", -1) >= 0}
    facts = {row["event_id"]: row for row in built.ask("SELECT * FROM fact_events")}
    assert facts.keys() == good.keys()
    for name, one in good.items():
        assert facts[name]["user_id"] == one["user_id"]
        assert facts[name]["event_type"] == one["event_type"]
        assert Decimal(str(facts[name]["event_value"])) == Decimal(str(one["value"]))
        assert facts[name]["event_timestamp"].isoformat() == one["timestamp"]
        assert facts[name]["product_id"] == one["properties"]["product_id"]
    dead = built.ask("SELECT stage FROM dead_letters")
    assert Counter(row["stage"] for row in dead) == {"dedupe": 7, "validate": 2}
    assert len(facts) + len(dead) == len(SENT)
    report = check(built.settings, suites=["marts_suite"], now=LATER)
    assert {one.table for one in report.checks} == {"fact_events", "dim_users", "dim_products"}
    assert [one.message for one in report.checks if not one.passed] == []


@pytest.mark.prop(43)
def test_every_event_can_be_followed_from_its_request_to_its_mart_row(built: Shop) -> None:
    check(built.settings, suites=["marts_suite"], now=LATER)
    for number in (0, 7, 39, 50):
        found = trace(built.project, str(UUID(int=number)))
        assert [one["verdict"] for one in found["records"]] == ["landed", "duplicate"][: 2 if number < 7 else 1]
        (row,) = [one["row"] for one in found["marts"] if one["table"] == "fact_events"]
        assert row["event_id"] == str(UUID(int=number))
        checked = {one["table"]: one for one in found["checks"]}
        assert checked["fact_events"]["passed"] == checked["fact_events"]["checks"] > 5


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("DELETE FROM dim_users WHERE user_id = 'u2'", "fact_events.user_sk: references"),
        (
            "UPDATE fact_events SET event_value = -1 WHERE event_id = '00000000-0000-0000-0000-000000000003'",
            "event_value: column values to be between",
        ),
        ("INSERT INTO dim_products SELECT * FROM dim_products", "dim_products.product_sk: column values to be unique"),
        ("UPDATE dim_users SET is_current = true WHERE user_id = 'u1'", "one current version of a user at most"),
    ],
)
def test_a_star_schema_that_someone_spoiled_is_noticed_with_its_rows(built: Shop, spoil: str, said: str) -> None:
    from frazil.quality.expectations import Expectations
    from frazil.quality.lake import Tables
    from frazil.quality.run import judged, suites_of

    there = Tables(built.project.lake, LATER)
    try:
        table = spoil.split()[{"DELETE": 2, "UPDATE": 1, "INSERT": 2}[spoil.split()[0]]]
        there._connection.execute(f"CREATE TABLE spoiled AS SELECT * FROM {table}")
        there._connection.execute(f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM spoiled")
        there._connection.execute(spoil.replace(f" {table} ", " spoiled ", 1))
        checks = [one for one in suites_of(built.settings) if one.suite == "marts_suite" and one.sql is not None]
        failed = [one for _, one in judged(built.settings, checks, there, Expectations()) if not one.passed]
    finally:
        there.close()
    assert any(said in one.message for one in failed), [one.message for one in failed]
    assert all(one.failing and all(row.values() for row in one.failing) for one in failed)


def test_the_command_runs_lists_and_shows(built: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    where = ("--project", str(built.root))
    code, out = told(capfd, "quality", "run", "marts_suite", "--json", *where)
    done = json.loads(out)
    assert (code, done["critical"], done["suites"]) == (EXIT_YES, 0, ["marts_suite"])
    assert done["checks_run"] == len(done["checks"]) == done["passed"]
    code, out = told(capfd, "quality", "list", "marts_suite", "--json", *where)
    assert [(one["table"], one["expectation"]) for one in json.loads(out)]
    assert len(json.loads(out)) == done["checks_run"]
    assert json.loads(told(capfd, "quality", "show", done["run_id"], "--json", *where)[1]) == done
    past = json.loads(told(capfd, "quality", "history", "--json", *where)[1])
    assert {name: value for name, value in done.items() if name != "checks"} in past
    assert [one["started_at"] for one in past] == sorted((one["started_at"] for one in past), reverse=True)
    assert json.loads(told(capfd, "quality", "show", "--json", *where)[1])["run_id"] == past[0]["run_id"]
    assert json.loads(told(capfd, "quality", "history", "--last", "1", "--json", *where)[1]) == past[:1]
    assert told(capfd, "quality", "show", done["run_id"], *where)[0] == EXIT_YES
    assert told(capfd, "quality", "show", "r404", *where)[0] == EXIT_FAILED
    assert told(capfd, "quality", "run", "mart_suite", *where)[0] == EXIT_FAILED
    assert told(capfd, "quality", "run", "--table", "fact_event", *where)[0] == EXIT_FAILED
    page = built.root / ".frazil" / "quality" / "docs" / "index.html"
    assert "marts_suite.fact_events.html" in page.read_text()
    assert (page.parent / "marts_suite.fact_events.html").stat().st_size > 10_000


def test_a_critical_failure_ends_the_command_with_no_and_names_the_rows(built: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    own = built.root / "quality" / "own.yaml"
    own.write_text(
        "suite: own\nchecks:\n  - {table: fact_events, key: [event_id], severity: critical, rows: 'SELECT * FROM {table} LIMIT 3'}\n"
    )
    try:
        code, out = told(capfd, "quality", "run", "own", "--project", str(built.root))
    finally:
        own.unlink()
    assert code == EXIT_NO
    assert out.count("event_id=00000000-0000-0000-0000-") == 3
    assert not Outbox(built.settings).letters(), "no channel is set"


@pytest.fixture(scope="module")
def door(built: Shop) -> Iterator[Any]:
    with serving(built.root) as served:
        yield served


def test_a_trace_over_http_is_the_commands(built: Shop, door: Any, capfd: pytest.CaptureFixture[str]) -> None:
    name = str(UUID(int=3))
    answer = door.call("GET", f"/events/{name}/trace")
    assert answer.status == 200
    code, out = told(capfd, "trace", name, "--json", "--project", str(built.root))
    assert (code, json.loads(out)) == (EXIT_YES, answer.json)
    (checks,) = answer.json["checks"]
    newest = [row for row in history(built.project.lake) if row["table"] == checks["table"]][-1]["run_id"]
    held = [row for row in history(built.project.lake, run=newest) if row["table"] == checks["table"]]
    assert (checks["run_id"], checks["checks"]) == (newest, len(held)), "of one run, though several began in the same instant"
    place = answer.json["records"][0]["place"]
    assert door.call("GET", f"/events/{place}/trace").json["records"][0]["place"] == place
    dead = door.call("GET", f"/events/{UUID(int=51)}/trace").json["records"][0]
    assert (dead["verdict"], dead["violations"][0]["value"]) == ("dead", -1)
    unknown = door.call("GET", f"/events/{UUID(int=99)}/trace")
    assert (unknown.status, unknown.code) == (404, "trace.unknown_event")
    assert (door.call("GET", f"/events/{name}/trace?contract=nope").code) == "contract.unknown"


def test_great_expectations_is_loaded_only_by_checks(built: Shop) -> None:
    commands = [["status"], ["quality", "list"], ["quality", "history"], ["trace", str(UUID(int=1))], ["maintain", "--once", "--dry-run"]]
    script = (
        "import json, sys\nfrom frazil.cli.app import run\n"
        "for words in json.loads(sys.argv[1]):\n    run(words)\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] == 'great_expectations'), file=sys.stderr)"
    )
    words = [[*one, "--project", str(built.root)] for one in commands]
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(words)], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == "[]", done.stderr[-2000:]
