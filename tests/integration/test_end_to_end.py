"""As a person would: init, up, send, look, repair, verify, Ctrl-C."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from frazil.log import Record
from frazil.project import Project
from tests.integration.running import Up, frazil, up


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop") / "shop"
    done = frazil("init", str(root), cwd=root.parent)
    assert done.code == 0, done.err
    return root


@pytest.fixture(scope="module")
def running(shop: Path) -> Iterator[Up]:
    with up(shop) as one:
        yield one


def a_visit(**fields: object) -> dict[str, object]:
    """An event of the shop; `fields` override."""
    return {"event_id": str(uuid.uuid4()), "event_type": "click", "user_id": "u", "timestamp": "2026-11-20T12:00:00Z", **fields}


def books_of(shop: Path) -> dict[str, int]:
    """The books of `events`."""
    books: dict[str, int] = frazil("verify", "--json", "-c", "events", cwd=shop).json[0]
    return books


@pytest.fixture(scope="module")
def traffic(shop: Path, running: Up) -> None:
    """Some of everything: generated events, a replay, its undo, a discard."""
    done = frazil("generate", "events", "-n", "1000", "--invalid", "0.02", "--send", "--wait", "--url", running.url, cwd=shop)
    assert done.code == 0, done.err
    repair_and_take_back(shop, running, name="traffic")


@pytest.mark.prop(1)
@pytest.mark.prop(13)
def test_generated_events_land_with_exactly_the_shares_asked_for(shop: Path, running: Up) -> None:
    shares = ("--invalid", "0.02", "--late", "0.02", "--duplicate", "0.03")
    before = books_of(shop)
    done = frazil("generate", "events", "-n", "2000", *shares, "--send", "--wait", "--url", running.url, "--json", cwd=shop)
    assert done.code == 0, done.err
    assert done.json["verdict"] == {"landed": 1_900, "duplicates": 60, "dead": 40, "pending": 0}
    assert done.json["rejected"] == 40
    after = books_of(shop)
    assert after["balanced"]
    assert [after[name] - before[name] for name in ("landed", "dead", "duplicates")] == [1_900, 40, 60]


def test_an_event_is_visible_in_less_than_ten_seconds_at_a_low_rate(shop: Path, running: Up) -> None:
    event = a_visit(event_type="login")
    began = time.monotonic()
    sent = frazil("send", "-", "--contract", "events", "--url", running.url, "--wait", cwd=shop, stdin=json.dumps(event).encode())
    assert sent.code == 0, sent.err
    rows = frazil("query", f"SELECT count(*) AS n FROM raw_events WHERE event_id = '{event['event_id']}'", "--json", cwd=shop).json
    assert rows == [{"n": 1}]
    assert time.monotonic() - began < 30  # two commands start in it, too; the worker's own delay is at most 5 s
    assert "landed 1" in sent.out


def test_a_dead_letter_is_found_repaired_and_taken_back(shop: Path, running: Up) -> None:
    repair_and_take_back(shop, running, name="fix")


def repair_and_take_back(shop: Path, running: Up, *, name: str) -> None:
    file = shop / "bad.ndjson"
    file.write_text("".join(json.dumps(a_visit(value="12.50")) + "\n" for _ in range(3)))
    sent = frazil("send", str(file), "-c", "events", "--url", running.url, "--wait", cwd=shop)
    assert sent.code == 1
    assert "type.mismatch" in sent.out
    chosen = ("-c", "events", "--code", "type.mismatch", "--path", "/value")
    listed = frazil("dead", "list", "-c", "events", "--json", cwd=shop).json
    before = next(cause["count"] for cause in listed if (cause["code"], cause["path"]) == ("type.mismatch", "/value"))
    assert before >= 3
    wrong = frazil("dead", "replay", *chosen, "--dry-run", cwd=shop)
    assert wrong.code == 1
    mended = ("dead", "replay", *chosen, "--patch", "value = number(value)", "--name", name)
    dry = frazil(*mended, "--dry-run", "--json", cwd=shop)
    assert dry.json["lands"] >= 3
    done = frazil(*mended, "--json", cwd=shop)
    assert done.json["landed"] == dry.json["lands"], done.err
    again = frazil(*mended, "--json", cwd=shop)
    assert again.json["landed"] == 0
    assert frazil("verify", cwd=shop).code == 0
    undone = frazil("dead", "undo", name, "-c", "events", "--json", cwd=shop)
    assert undone.json["rows"] == done.json["landed"]
    again = frazil("dead", "undo", name, "-c", "events", cwd=shop)
    assert (again.code, f"nothing of a replay {name}" in again.err) == (1, True)
    gone = frazil("dead", "discard", *chosen, "--reason", "test rows", "--json", cwd=shop)
    assert gone.json["letters"] >= 3
    assert frazil("verify", cwd=shop).code == 0


def test_the_state_is_told(shop: Path, running: Up, traffic: None) -> None:
    rows = {row["contract"]: row for row in frazil("status", "--json", cwd=shop).json}
    assert rows["events"]["worker"] == "running"
    assert rows["events"]["lag"] == 0
    tables = {row["table"]: row for row in frazil("tables", "list", "--json", cwd=shop).json}
    assert tables["raw_events"]["rows"] >= 980
    history = [json.loads(line) for line in frazil("tables", "history", "events", "--json", cwd=shop).out.splitlines()]
    assert {row["kind"] for row in history} >= {"pump", "replay", "undo", "discard"}
    log = frazil("log", "show", "events", "--json", cwd=shop).json
    assert log[0]["position"] == log[0]["last"]
    sick = frazil("doctor", "--json", cwd=shop, FRAZIL_API__PORT=running.url.rpartition(":")[2])
    assert [one for one in sick.json if one["state"] == "bad"] == []


def test_a_table_goes_back_and_lands_again(shop: Path, traffic: None) -> None:
    history = [json.loads(line) for line in frazil("tables", "history", "events", "--json", cwd=shop).out.splitlines()]
    target = str(history[0]["snapshot_id"])
    dry = frazil("tables", "rewind", "events", "--to", target, "--dry-run", "--json", cwd=shop)
    assert dry.json["records_again"] > 0
    before = frazil("verify", "--json", "-c", "events", cwd=shop).json[0]
    assert frazil("tables", "rewind", "events", "--to", target, "--yes", cwd=shop).code == 0
    deadline = time.monotonic() + 60
    while True:
        after = frazil("verify", "--json", "-c", "events", cwd=shop).json[0]
        assert after["balanced"]
        if not after["pending"]:
            break
        assert time.monotonic() < deadline
    assert after["records"] == before["records"]
    assert after["landed"] + after["dead"] + after["duplicates"] == after["records"]


def test_a_changed_contract_is_planned_against_recorded_traffic(shop: Path, traffic: None) -> None:
    text = (shop / "contracts" / "events.odcs.yaml").read_text()
    strict = shop / "next" / "events.odcs.yaml"
    strict.parent.mkdir()
    strict.write_text(text.replace("          - {value: click}\n", ""))
    plan = frazil("contracts", "plan", str(strict), "--json", cwd=shop)
    assert plan.code == 1
    assert plan.json["newly_bad"] > 50
    assert plan.json["causes"][0]["code"] == "enum.unknown_value"
    assert plan.json["newly_good"] == 0
    for words in ((), ("events",)):
        same = frazil("contracts", "plan", *words, "--json", cwd=shop)
        assert (same.code, same.json["newly_bad"], same.json["newly_good"]) == (0, 0, 0), same.out


def test_a_contract_that_was_changed_in_place_is_held_against_the_verdicts_that_were_given(tmp_path: Path) -> None:
    root = tmp_path / "p"
    frazil("init", str(root), "--example", "blank", cwd=tmp_path)
    project = Project.at(root)
    writer = project.log_writer(project.contract("events"))
    record = Record(b'{"id": "0189d5a0-0000-7000-8000-000000000001", "at": "2026-11-20T12:00:00Z", "kind": "a", "amount": 1}')
    writer.append([record], request=1, received_at=datetime(2026, 11, 20, 12, tzinfo=UTC))
    writer.close()
    assert frazil("process", "--until-idle", cwd=root).code == 0
    file = root / "contracts" / "events.odcs.yaml"
    text = file.read_text()
    file.write_text(text.replace("{minimum: 0}", "{minimum: 2}"))
    for words in ("contracts/events.odcs.yaml", "events"):
        plan = frazil("contracts", "plan", words, "--json", cwd=root)
        assert (plan.code, plan.json["newly_bad"]) == (1, 1), words
    file.write_text(text.replace("logicalType: number\n        logicalTypeOptions: {minimum: 0}", "logicalType: string"))
    [said] = [one for one in frazil("doctor", "--json", cwd=root).json if one["state"] == "bad"]
    assert (said["part"], "amount" in said["says"]) == ("events: contract", True)


def test_a_warehouse_that_does_not_know_a_new_field_is_a_problem_that_compile_mends(tmp_path: Path) -> None:
    root = tmp_path / "p"
    frazil("init", str(root), cwd=tmp_path)
    file = root / "contracts" / "events.odcs.yaml"
    file.write_text(
        file.read_text().replace(
            "      - name: session_id\n", "      - name: channel\n        logicalType: string\n      - name: session_id\n"
        )
    )
    checked = frazil("contracts", "check", cwd=root)
    assert checked.code == 1
    assert "sources.yml:1: warehouse/models/sources.yml is not what the contracts say: +    - name: channel" in checked.out
    assert "frazil contracts compile" in checked.out
    assert frazil("contracts", "compile", cwd=root).code == 0
    assert frazil("contracts", "check", cwd=root).code == 0
    gone = frazil("contracts", "check", "none.odcs.yaml", cwd=root)
    assert (gone.code, gone.out) == (
        1,
        "none.odcs.yaml:1: the file cannot be read: No such file or directory (name a file that is there and may be read)\n",
    )


def test_a_port_in_use_is_named_with_the_option_to_choose_another(shop: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for command in ("up", "serve"):
            done = frazil(command, "--port", port, cwd=shop)
            assert done.code == 3
            assert f"port {port} is in use" in done.err
            assert "--port" in done.err


def test_a_broken_contract_stops_before_anything_starts(tmp_path: Path) -> None:
    root = tmp_path / "p"
    frazil("init", str(root), "--example", "blank", cwd=tmp_path)
    file = root / "contracts" / "events.odcs.yaml"
    file.write_text(file.read_text().replace("logicalType: number", "logicalType: nummer"))
    checked = frazil("contracts", "check", cwd=root)
    assert checked.code == 1
    assert "events.odcs.yaml:" in checked.out
    assert "nummer" in checked.out
    started = frazil("up", "--port", "0", cwd=root)
    assert started.code == 3
    assert "nummer" in started.err
    assert not (root / ".frazil" / "log").exists()


def test_nothing_to_do_is_done_at_once_and_stopping_drains(tmp_path: Path) -> None:
    root = tmp_path / "p"
    frazil("init", str(root), "--example", "blank", cwd=tmp_path)
    assert frazil("process", "--until-idle", cwd=root).code == 0
    event = {"id": str(uuid.uuid4()), "at": "2026-11-20T12:00:00Z", "kind": "k"}
    with up(root) as one:
        sent = frazil("send", "-", "-c", "events", "--url", one.url, cwd=root, stdin=json.dumps(event).encode())
        assert sent.code == 0, sent.err
        assert one.stop(signal.SIGTERM) == 0
    row = frazil("verify", "--json", cwd=root).json[0]
    assert (row["records"], row["landed"], row["pending"]) == (1, 1, 0)


def test_a_log_made_anew_stops_its_contract_for_an_operator(tmp_path: Path) -> None:
    root = tmp_path / "p"
    frazil("init", str(root), "--example", "blank", cwd=tmp_path)
    event = {"id": str(uuid.uuid4()), "at": "2026-11-20T12:00:00Z", "kind": "k"}
    with up(root) as one:
        frazil("send", "-", "-c", "events", "--url", one.url, "--wait", cwd=root, stdin=json.dumps(event).encode())
    shutil.rmtree(root / ".frazil" / "log")
    done = frazil("process", "--until-idle", cwd=root)
    assert done.code == 78
    assert "log.recreated" in done.err
    sick = frazil("doctor", cwd=root)
    assert sick.code == 1
    assert "log.recreated" in sick.out
