"""Laws of the local engine: a failing batch is retried, then split; a system is waited for; nothing is lost or invented."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from frazil.engine.cadence import Backoff, Cadence
from frazil.engine.heartbeat import Pulse
from frazil.engine.local import Line, Pace, Worker, gravest
from frazil.engine.patience import PatientProcessor
from frazil.errors import CommitConflict, Corrupt, FrazilError, Throttled, Unavailable
from tests.doubles import Follower, Judge, ListLog, ListSink, NoKeys, raw


@pytest.fixture(autouse=True)
def _unprinted() -> Iterator[None]:
    with capture_logs():
        yield


payloads = st.lists(st.one_of(st.just(b"ok"), st.just(b"bad one"), st.just(b"poison"), st.just(None)), max_size=40)
QUICK = Backoff(0.0001, 0.001)


class PanicException(BaseException):
    """What a panic of the kernel looks like to Python: not an `Exception`."""


def poisoned(error: Callable[[], BaseException]) -> Callable[[list[bytes | None]], None]:
    def fault(values: list[bytes | None]) -> None:
        if b"poison" in values:
            raise error()

    return fault


def patient(judge: Judge, *, attempts: int = 3) -> PatientProcessor:
    return PatientProcessor(judge, attempts=attempts, backoff=QUICK, sleep=lambda seconds: None)


@pytest.mark.prop(16)
@given(
    payloads,
    st.sampled_from([lambda: ValueError("boom"), lambda: PanicException("boom"), lambda: MemoryError("boom"), lambda: FrazilError("boom")]),
)
def test_only_the_records_at_fault_are_set_aside(values: list[bytes | None], error: Callable[[], BaseException]) -> None:
    out = patient(Judge(poisoned(error)))(raw(values))
    expected_good = [i for i, v in enumerate(values) if v == b"ok"]
    assert out.good.rows.column("_offset").to_pylist() == expected_good
    letters = out.dead.rows.to_pylist()
    assert [letter["_offset"] for letter in letters] == [i for i, v in enumerate(values) if v != b"ok"]
    for letter in letters:
        at_fault = values[letter["_offset"]] == b"poison"
        assert (letter["stage"] == "process") == at_fault
        assert letter["value"] == values[letter["_offset"]]
        if at_fault:
            assert letter["violations"][0]["code"] == "process.failed"
            assert "boom" in letter["violations"][0]["message"]


@pytest.mark.prop(16)
@given(st.integers(1, 5), st.integers(0, 7), st.integers(1, 30))
def test_a_failing_batch_is_tried_as_often_as_specified_with_growing_waits(attempts: int, failures: int, size: int) -> None:
    left, waits = [failures], []

    def fault(values: list[bytes | None]) -> None:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("not yet")

    judge = Judge(fault)
    processor = PatientProcessor(judge, attempts=attempts, backoff=Backoff(1.0, 60.0), sleep=waits.append)
    out = processor(raw([b"ok"] * size))
    whole = [calls for calls in judge.calls if calls == size]
    if failures < attempts:
        assert len(judge.calls) == failures + 1
        assert len(waits) == failures
        assert out.good.rows.num_rows == size
    elif size > 1:
        assert len(whole) == attempts
        assert len(waits) == attempts - 1
    assert all(2**n * 0.5 <= wait <= 2**n for n, wait in enumerate(waits))
    assert out.good.rows.num_rows + out.dead.rows.num_rows == size


@pytest.mark.parametrize("error", [Unavailable("down"), Corrupt("odd"), CommitConflict("again"), KeyboardInterrupt()])
def test_a_failing_system_never_sets_a_record_aside(error: BaseException) -> None:
    judge = Judge(poisoned(lambda: error))
    with pytest.raises(type(error)):
        patient(judge)(raw([b"ok", b"poison"]))
    assert judge.calls == [2]


@pytest.mark.prop(38)
@given(st.lists(st.just(b"poison"), min_size=1, max_size=5))
def test_every_record_set_aside_is_logged_with_its_facts(values: list[bytes | None]) -> None:
    with capture_logs() as lines:
        patient(Judge(poisoned(lambda: ValueError("boom 7"))))(raw(values))
    aside = [line for line in lines if line["event"] == "record set aside"]
    assert [line["first_offset"] for line in aside] == list(range(len(values)))
    assert all(line["log_level"] == "error" and line["contract"] == "notes" and "boom 7" in line["error"] for line in aside)
    tries = [line for line in lines if line["event"] == "processing failed"]
    assert [line["attempt"] for line in tries] == [1, 2, 3]


def worker(log: ListLog, sink: ListSink, judge: Judge | None = None, **pace: object) -> tuple[Worker, Pulse, threading.Event]:
    pulse, stop = Pulse("notes"), threading.Event()
    line = Line("notes", log, judge or Judge(), NoKeys(), sink, Follower())
    options = {"until_idle": True, "backoff": QUICK, "between": QUICK, **pace}
    return Worker(line, Pace(**options), pulse, stop=stop), pulse, stop  # type: ignore[arg-type]


troubles = st.lists(
    st.sampled_from([None, None, Unavailable("down"), CommitConflict("again"), OSError("odd"), Throttled("busy", retry_after=0)]),
    max_size=8,
)


@pytest.mark.prop(15)
@given(payloads, troubles, st.integers(1, 7))
def test_whatever_the_sink_answers_each_record_is_decided_once(
    values: list[bytes | None], answers: list[Exception | None], limit: int
) -> None:
    queue = list(answers)

    def trouble() -> None:
        answer = queue.pop(0) if queue else None
        if answer is not None:
            raise answer

    sink = ListSink(trouble=trouble)
    run, pulse, _ = worker(ListLog(list(values)), sink, Judge(poisoned(lambda: ValueError("boom"))), batch_records=limit)
    assert run.run() == 0
    places = sorted(sink.offsets() + [int(str(letter["_offset"])) for letter in sink.letters()])
    assert places == list(range(len(values)))
    assert pulse.landed + pulse.dead == len(values)


@pytest.mark.prop(38)
@given(st.sampled_from([Corrupt("log ends early", hint="look", offset=7), Unavailable("no answer", hint="wait", url="x")]))
def test_every_error_of_a_worker_is_logged_with_code_hint_and_facts(error: FrazilError) -> None:
    answers = [error]

    def trouble() -> None:
        if answers:
            raise answers.pop()

    with capture_logs() as lines:
        worker(ListLog([b"ok"]), ListSink(trouble=trouble))[0].run()
    said = [line for line in lines if line.get("code") == error.code]
    assert said, lines
    assert said[0]["hint"] == error.hint
    assert said[0]["facts"] == error.as_dict()["context"]
    assert said[0]["error"] == error.message


def test_what_an_operator_must_see_stops_that_worker_with_78_and_loses_nothing() -> None:
    def trouble() -> None:
        raise Corrupt("the log was made anew", code="log.recreated")

    run, pulse, _ = worker(ListLog([b"ok"]), ListSink(trouble=trouble))
    assert run.run() == 78
    assert pulse.state == "stopped"
    assert pulse.error is not None
    assert pulse.error["code"] == "log.recreated"


def test_a_stop_lands_what_waits() -> None:
    log, sink = ListLog([b"ok"] * 10), ListSink()
    run, _, stop = worker(log, sink, until_idle=False, max_delay=60.0, batch_records=3)
    stop.set()
    assert run.run() == 0
    assert sink.offsets() == list(range(10))


moments = st.floats(0, 1e6, allow_nan=False)


@given(st.integers(1, 10**6), st.floats(0.001, 60), st.integers(0, 10**6), moments, st.one_of(st.none(), moments))
def test_no_record_waits_longer_than_allowed_and_full_batches_not_at_all(
    full: int, delay: float, waiting: int, seen: float, last: float | None
) -> None:
    due = Cadence(full, delay).due(waiting, seen, last)
    assert seen <= due <= seen + delay
    if waiting >= full:
        assert due == seen
    elif last is not None and last <= seen:
        assert due >= min(last + delay, seen + delay)


@given(st.integers(0, 10_000), st.floats(0, 0.999))
def test_backoff_grows_and_is_bounded(attempt: int, chance: float) -> None:
    backoff = Backoff(0.2, 30.0)
    assert 0.1 <= backoff.wait(attempt, chance=chance) <= 30.0
    assert backoff.wait(attempt + 1, chance=chance) >= backoff.wait(attempt, chance=chance)


@pytest.mark.parametrize(("codes", "gravest_one"), [([0, 75, 78, 3], 78), ([0, 3, 75], 3), ([0, 75], 75), ([0], 0), ([], 0)])
def test_the_gravest_exit_code_wins(codes: list[int], gravest_one: int) -> None:
    assert gravest(codes) == gravest_one
