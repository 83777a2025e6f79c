"""Runs: order, retries, what a failure blocks, kills, two triggers at once."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from frazil import settings as configuration
from frazil import telemetry
from frazil.errors import ConfigError, Throttled, Unavailable
from frazil.log import Record
from frazil.pipeline import PIPELINES, find
from frazil.pipeline.execution import Execution, lease_name, leases, settle, store_of, trigger
from frazil.pipeline.journal import Journal, lines
from frazil.pipeline.runner import Context, Refuted, Runner, Skip, Tries, failure
from frazil.pipeline.store import RunStore
from frazil.project import Project
from frazil.settings import Settings
from frazil.table.lease import Lease
from tests.integration.running import FRAZIL, frazil
from tests.serving import land_orders, make_project

STEPS = [step.name for step in PIPELINES["pipeline"].steps]
NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


def runner(store: RunStore, acts: Mapping[str, Callable[[Context], Any]] | None = None, attempts: int = 3) -> Runner:
    """A runner of `pipeline` whose steps do nothing unless `acts` says what."""
    given = {name: (acts or {}).get(name, lambda context: {}) for name in STEPS}
    return Runner(store, find("pipeline"), given, tries=Tries(attempts, sleep=lambda seconds: None))


def started(store: RunStore) -> str:
    made = store.create(find("pipeline"), {"kind": "manual"})
    assert store.begin(made.id, os.getpid())
    return made.id


def raising(*errors: Exception | None) -> Callable[[Context], dict[str, int]]:
    """An action that fails with these errors, one per attempt, and succeeds afterwards."""
    left = list(errors)

    def act(context: Context) -> dict[str, int]:
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return {"left": len(left)}

    return act


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return configuration.load(make_project(tmp_path / "project"))


# ---------------------------------------------------------------- one run


@pytest.mark.prop(18)
@pytest.mark.prop(19)
@given(st.dictionaries(st.sampled_from(STEPS), st.integers(0, 4)), st.integers(1, 4))
def test_a_step_is_tried_as_often_as_said_and_a_failed_one_blocks_the_rest(
    tmp_path_factory: pytest.TempPathFactory, failures: dict[str, int], attempts: int
) -> None:
    store = RunStore(tmp_path_factory.mktemp("store"))
    run_id = started(store)
    acts = {name: raising(*[Unavailable("away")] * count) for name, count in failures.items()}
    run = runner(store, acts, attempts).run(run_id)
    broken = next((name for name in STEPS if failures.get(name, 0) >= attempts), None)
    assert run == store.get(run_id)
    assert run.state == ("succeeded" if broken is None else "failed")
    for place, name in enumerate(STEPS):
        step, failed = run.step(name), failures.get(name, 0)
        if broken is not None and place > STEPS.index(broken):
            assert (step.state, step.attempts) == ("blocked", 0)
        else:
            assert (step.state, step.attempts) == ("failed" if name == broken else "succeeded", min(failed + 1, attempts))


@pytest.mark.prop(40)
@pytest.mark.prop(20)
def test_every_failure_of_a_step_is_in_the_runs_log_with_its_facts(settings: Settings) -> None:
    telemetry.configure()
    store = store_of(settings)
    made = store.create(find("pipeline"), {"kind": "manual"})
    acts = {"process": raising(Unavailable("the log is away", code="log.away", hint="wait", broker="b1"), ValueError("odd"))}
    done = Execution(settings, runner(store, acts)).run(made.id)
    assert (done.state, done.step("process").attempts) == ("succeeded", 3)
    said = lines(store.log_of(made.id), step="process")
    told = [(line["event"], line.get("code"), line.get("attempt")) for line in said]
    assert told[:2] == [("step failed; trying again", "log.away", 1), ("step failed; trying again", "pipeline.unexpected", 2)]
    assert (said[0]["facts"], said[0]["hint"]) == ({"broker": "b1"}, "wait")
    assert "Traceback" in said[1]["exception"]
    structlog.reset_defaults()
    assert lines(store.log_of(made.id))[0]["event"] == "run begins"


@pytest.mark.parametrize(
    ("error", "exit_code"), [(ConfigError("wrong"), 3), (Refuted("no"), 1)], ids=["a wrong setting", "an answer that is no"]
)
def test_what_waiting_cannot_change_is_not_tried_again(tmp_path: Path, error: Exception, exit_code: int) -> None:
    store = RunStore(tmp_path)
    run = runner(store, {"transform": raising(error)}).run(started(store))
    assert (run.state, run.step("transform").attempts, run.step("quality").state) == ("failed", 1, "blocked")
    told = failure(run)
    assert told is not None
    assert (told.code, told.exit_code, told.context["step"]) == ("pipeline.step_failed", exit_code, "transform")


def test_a_skipped_step_lets_the_rest_go_on_and_says_why(tmp_path: Path) -> None:
    store = RunStore(tmp_path)

    def skip(context: Context) -> dict[str, Any]:
        raise Skip("nothing here")

    run = runner(store, {"transform": skip}).run(started(store))
    assert (run.state, run.step("transform").state, run.step("transform").message) == ("succeeded", "skipped", "nothing here")


@given(st.integers(1, 40), st.floats(0, 0.999), st.integers(1, 300))
def test_waits_grow_up_to_the_longest_and_a_system_that_says_when_is_obeyed(failures: int, chance: float, asked: int) -> None:
    tries = Tries(first=1.0, longest=60.0, chance=lambda: chance)
    whole = min(60.0, 2.0 ** (failures - 1))
    assert whole / 2 <= tries.wait(failures, ValueError()) <= whole
    assert tries.wait(failures, Throttled("slow", retry_after=asked)) >= asked


def test_a_run_taken_up_again_does_no_step_twice_that_succeeded(tmp_path: Path) -> None:
    store, seen = RunStore(tmp_path), []
    acts = {name: (lambda context, name=name: seen.append(name) or {}) for name in STEPS}
    run_id = started(store)
    store.step(run_id, "ingest", "succeeded", attempts=1)
    store.step(run_id, "process", "running", attempts=1)
    assert [run.id for run in settle(store, "pipeline")] == [run_id]
    assert (store.get(run_id).state, store.get(run_id).step("process").state) == ("interrupted", "interrupted")
    assert store.begin(run_id, 1)
    run = runner(store, acts).run(run_id)
    assert seen == STEPS[1:]
    assert (run.state, run.resumed, run.step("process").attempts) == ("succeeded", 1, 2)


# ---------------------------------------------------------------- triggers


@pytest.mark.prop(21)
def test_two_triggers_at_once_are_one_run_until_it_begins(settings: Settings) -> None:
    store, lease = store_of(settings), Lease(leases(settings), "schedule")
    assert lease.take()  # a scheduler is there, so that triggers start no process
    got: list[tuple[str, bool]] = []

    def pull() -> None:
        run, new = trigger(settings, "pipeline", {"kind": "manual"}, [])
        got.append((run.id, new))

    threads = [threading.Thread(target=pull) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lease.release()
    assert len({name for name, _ in got}) == 1
    assert sum(new for _, new in got) == 1
    assert store.begin(got[0][0], 1)
    again, new = store.join(find("pipeline"), {"kind": "manual"})
    assert new
    assert again.id != got[0][0]


def test_a_second_run_waits_for_the_first(settings: Settings) -> None:
    store, order = store_of(settings), []
    lease = Lease(leases(settings), lease_name("pipeline"))
    assert lease.take()
    made = store.create(find("pipeline"), {"kind": "manual"})
    running = threading.Thread(target=lambda: order.append(Execution(settings, runner(store)).run(made.id).state))
    running.start()
    time.sleep(0.6)
    assert (order, store.get(made.id).state) == ([], "queued")
    lease.release()
    running.join(20)
    assert order == ["succeeded"]


def test_a_run_in_the_queue_can_be_cancelled_and_never_begins(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    made = store.create(find("quality"), {"kind": "manual"})
    assert store.cancel(made.id).state == "cancelled"
    assert not store.begin(made.id, 1)


@pytest.mark.parametrize("name", ["../x", "", "a/b", "x" * 300])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no name"):
        RunStore(tmp_path).create(find("quality"), {}, id=name)


# ---------------------------------------------------------------- as a person


def test_run_and_runs_as_commands(settings: Settings) -> None:
    root = settings.root
    unknown = frazil("run", "pipelin", cwd=root)
    assert unknown.code == 3
    assert "known pipelines: pipeline, transform, quality, maintain" in unknown.err
    assert "its steps: ingest, process" in frazil("run", "pipeline", "--step", "nope", cwd=root).err
    land_orders(Project(settings), 1, 2)
    done = frazil("run", "pipeline", "--json", cwd=root)
    assert done.code == 0, done.err
    states = {step["name"]: (step["state"], step["message"]) for step in done.json["steps"]}
    assert states["transform"] == ("skipped", "this project has no warehouse/")
    assert states["quality"] == ("skipped", "this project has no quality/")
    assert states["catalog"][0] == "succeeded"
    assert done.json["covered"]["raw_orders"]["sequence"] == 1
    assert [run["run_id"] for run in frazil("runs", "--json", cwd=root).json] == [done.json["run_id"]]
    assert frazil("runs", done.json["run_id"], "--json", cwd=root).json["log"][-1]["event"] == "run ended"
    assert "[run.unknown]" in frazil("runs", "nope", cwd=root).err


def test_steps_one_by_one_under_one_name_are_one_run(settings: Settings) -> None:
    for name in STEPS:
        done = frazil("run", "pipeline", "--id", "mine", "--step", name, "--attempts", "1", "--json", cwd=settings.root)
        assert done.code == 0, done.err
    (run,) = frazil("runs", "--json", cwd=settings.root).json
    assert (run["run_id"], run["state"], run["cause"]) == ("mine", "succeeded", {"kind": "outside"})
    again = frazil("run", "pipeline", "--id", "mine", "--step", "process", "--json", cwd=settings.root)
    assert next(step for step in again.json["steps"] if step["name"] == "process")["attempts"] == 2


def test_a_run_killed_in_the_middle_is_taken_up_by_the_next_scheduler(settings: Settings) -> None:
    root, store = settings.root, store_of(settings)
    pumping = Lease(leases(settings), "pump-orders")
    project = Project(settings)
    contract = project.contract("orders")
    writer = project.log_writer(contract)
    writer.append([Record(b'{"id": "0189d5a0-0000-7000-8000-000000000001", "at": "2026-11-20T12:00:00Z"}')], request=1, received_at=NOON)
    writer.close()
    assert pumping.take()  # another process pumps, and does not: the step `process` waits for it
    running = subprocess.Popen([*FRAZIL, "run", "pipeline"], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_true(lambda: any(run.step("process").state == "running" for run in store.runs()))
    running.kill()
    running.wait()
    (run,) = store.runs()
    assert run.state == "running"
    scheduling = subprocess.Popen([*FRAZIL, "schedule"], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_true(lambda: store.get(run.id).resumed == 1 and store.get(run.id).step("process").state == "running")
        pumping.release()
        await_true(lambda: store.get(run.id).ended)
        done = store.get(run.id)
        assert (done.state, done.step("ingest").attempts, done.step("process").attempts) == ("succeeded", 1, 2)
        assert done.step("process").result["landed"] == 1
    finally:
        scheduling.send_signal(signal.SIGTERM)
        assert scheduling.wait(60) == 0


def test_a_run_can_be_cancelled_in_the_middle_of_a_step(settings: Settings) -> None:
    store, pumping = store_of(settings), Lease(leases(settings), "pump-orders")
    project = Project(settings)
    writer = project.log_writer(project.contract("orders"))
    writer.append([Record(b"{}")], request=1, received_at=NOON)
    writer.close()
    assert pumping.take()
    running = subprocess.Popen([*FRAZIL, "run", "pipeline"], cwd=settings.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_true(lambda: any(run.step("process").state == "running" for run in store.runs()))
        (run,) = store.runs()
        store.cancel(run.id)
        assert running.wait(60) == 130
    finally:
        running.kill()
        pumping.release()
    assert (store.get(run.id).state, store.get(run.id).step("process").state) == ("cancelled", "cancelled")


def await_true(true: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_journal_hears_what_is_said_while_it_listens(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.log")
    with journal.listening():
        journal.step = "one"
        structlog.get_logger().warning("said", fact=1)
    structlog.get_logger().warning("unheard")
    assert [(line["event"], line["step"], line["fact"]) for line in lines(tmp_path / "x.log")] == [("said", "one", 1)]
