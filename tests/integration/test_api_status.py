"""What a receipt is good for: a request followed from the log into the tables."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from frazil.errors import CommitConflict
from frazil.flow import pump
from tests.serving import Served, make_project, order, serving


def land(served: Served, contract: str = "orders", *, limit: int = 100_000, once: bool = False) -> None:
    """Process what is in the log, in the test's own process."""
    project = served.project
    one = project.contract(contract)
    parts = project.log_reader(one), project.processor(one), project.keys(one), project.sink(one)
    while pump(*parts, limit=limit) is not None and not once:
        pass


def status(served: Served, job_id: str) -> Any:
    answer = served.call("GET", f"/status/{job_id}")
    assert answer.status == 200, answer
    assert answer.json["received"] == sum(answer.json[name] for name in ("landed", "duplicates", "dead", "pending"))
    return answer.json


@pytest.mark.prop(3)
def test_a_request_goes_from_queued_to_completed(served: Served) -> None:
    land(served)
    twice = order()
    records = [order(), order(value=-5), twice, twice, order(at="never")]
    job = served.send(records).json
    first = status(served, job["job_id"])
    assert (first["state"], first["received"], first["pending"], first["snapshots"], first["errors"]) == ("queued", 5, 5, [], [])
    land(served)
    last = status(served, job["job_id"])
    assert (last["state"], last["landed"], last["dead"], last["duplicates"], last["pending"]) == ("completed", 2, 2, 1, 0)
    assert [(error["index"], error["path"], error["code"], error["value"]) for error in last["errors"]] == [
        (1, "/value", "range.below_minimum", -5),
        (4, "/at", "time.invalid", "never"),
    ]
    (snapshot,) = last["snapshots"]
    assert snapshot["table"] == "raw_orders"
    assert snapshot["snapshot_id"] == served.project.sink(served.project.contract("orders")).head().version
    assert snapshot["committed_at"].endswith("+00:00")


@pytest.mark.prop(3)
def test_a_status_only_moves_forward(served: Served) -> None:
    land(served)
    jobs = [served.send([order(value=value) for value in (1, -1, 2)]).json["job_id"] for _ in range(3)]
    ranks = {"queued": 0, "processing": 1, "completed": 2}
    before = {job: status(served, job) for job in jobs}
    seen = {job: [before[job]["state"]] for job in jobs}
    for _ in range(12):
        land(served, limit=1, once=True)
        for job in jobs:
            now = status(served, job)
            assert ranks[now["state"]] >= ranks[before[job]["state"]]
            assert now["pending"] <= before[job]["pending"]
            assert all(now[name] >= before[job][name] for name in ("landed", "dead", "duplicates"))
            before[job] = now
            seen[job].append(now["state"])
    assert {tuple(dict.fromkeys(states)) for states in seen.values()} == {("queued", "processing", "completed")}
    assert all(states == sorted(states, key=ranks.__getitem__) for states in seen.values())


def test_the_answer_can_wait_until_the_records_landed(served: Served) -> None:
    land(served)
    short = served.send([order()], "/ingest?wait=landed&timeout=0.2")
    assert (short.status, short.json["status"]["state"], short.json["status"]["pending"]) == (202, "queued", 1)
    done = threading.Event()

    def keep_landing() -> None:
        while not done.wait(0.05):
            try:
                land(served)
            except CommitConflict:
                continue

    with ThreadPoolExecutor(1) as pool:
        pool.submit(keep_landing)
        answer = served.send([order(), order(value=-1)], "/ingest?wait=landed&timeout=20")
        done.set()
    assert answer.status == 200
    assert (answer.json["status"]["landed"], answer.json["status"]["dead"], answer.json["status"]["pending"]) == (1, 1, 0)
    assert answer.json["status"] == status(served, answer.json["job_id"])


def test_a_receipt_outlives_the_server(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project")
    with serving(root) as served:
        job = served.send([order()]).json["job_id"]
        land(served)
    with serving(root) as served:
        assert status(served, job)["state"] == "completed"


def test_a_forged_or_foreign_receipt_is_unknown(served: Served, tmp_path: Path) -> None:
    job = served.send([order()]).json["job_id"]
    forged = job[:-1] + ("a" if job[-1] != "a" else "b")
    for wrong in (forged, job[:-8], job.upper(), "x", "%00"):
        answer = served.call("GET", f"/status/{wrong}")
        assert (answer.status, answer.code) == (404, "job.unknown")
    with serving(make_project(tmp_path / "other")) as other:
        assert other.call("GET", f"/status/{job}").status == 404


def test_dead_letters_are_grouped_mended_and_replayed(served: Served) -> None:
    contract = "bills"
    ids = [str(uuid4()) for _ in range(3)]
    served.send([order(id=one, value="7") for one in ids] + [order(value=-1), order()], f"/events/{contract}")
    land(served, contract)
    listed = served.call("GET", f"/dead-letters?contract={contract}&limit=2")
    assert listed.status == 200
    assert listed.json["open"] == 4
    assert [(cause["code"], cause["count"]) for cause in listed.json["causes"]] == [("type.mismatch", 3), ("range.below_minimum", 1)]
    assert len(listed.json["letters"]) == 2
    assert listed.json["letters"][0]["violations"][0]["value"] == "7"

    def ask(**asked: object) -> Any:
        import json

        return served.call("POST", "/dead-letters/replay", json.dumps({"contract": contract, **asked}).encode())

    dry = ask(code="type.mismatch", patch="value = number(value)", dry_run=True)
    assert (dry.status, dry.json["selected"], dry.json["lands"], dry.json["still_bad"]) == (200, 3, 3, 0)
    done = ask(code="type.mismatch", patch="value = number(value)", id="fix-1")
    assert (done.status, done.json["id"], done.json["landed"]) == (200, "fix-1", 3)
    again = ask(code="type.mismatch", patch="value = number(value)", id="fix-1")
    assert (again.status, again.json["landed"]) == (200, 0)
    assert served.call("GET", f"/dead-letters?contract={contract}").json["open"] == 1
    for wrong in ({"patch": "value = "}, {"ids": ["x"]}, {"dry_run": 1}, {"what": 1}):
        assert ask(**wrong).status == 400
