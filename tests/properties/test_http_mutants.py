"""Rules of the HTTP door broken on purpose, in a server that runs in this process; each must be noticed by its law (`tests/mutants.md`)."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from frazil import telemetry
from frazil.api import app, guard, ingest, problems, receipts
from frazil.api.app import bind, server
from frazil.errors import FrazilError
from frazil.log import Record, embedded
from frazil.project import Project
from frazil.sink import verdicts
from tests.integration import test_api_status as status_laws
from tests.properties import test_http as laws
from tests.serving import Served, _await_answer, make_project, order
from tests.shared import ROOT

Patch = Callable[[pytest.MonkeyPatch, Served], None]
Law = Callable[[Served, int], None]
NOTICED = (AssertionError, KeyError)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real server in a thread of this process, where its rules can be broken one at a time."""
    root = make_project(tmp_path_factory.mktemp("mutants") / "project")
    said = root / "server.log"
    with pytest.MonkeyPatch.context() as patch, said.open("a", buffering=1) as stream:
        patch.setattr(sys, "stderr", stream)
        telemetry.configure("json")
        patch.setattr(app, "_configure_logs", lambda: None)
        running = server(Project.at(root))
        taken = bind("127.0.0.1", 0)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        alive: Any = SimpleNamespace(poll=lambda: None if thread.is_alive() else 1)
        served = Served(root, alive, taken.getsockname()[1], said)
        _await_answer(served)
        yield served
        running.should_exit = True
        thread.join(20)
        structlog.reset_defaults()


def plain(law: Callable[[Served], None]) -> Law:
    """A law that draws nothing."""
    return lambda served, examples: law(served)


def drawing(law: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> Law:
    """A law's own body over so many drawn examples, without shrinking."""
    body = law.hypothesis.inner_test  # type: ignore[attr-defined]

    def run(served: Served, examples: int) -> None:
        quick = settings(
            phases=(Phase.generate,), max_examples=examples, derandomize=True, database=None, deadline=None, report_multiple_bugs=False
        )
        quick(given(st.tuples(*strategies))(lambda drawn: body(served, *drawn)))()

    return run


ids = plain(laws.test_every_valid_ingest_has_a_job_id_of_its_own)
foreign_ids = drawing(laws.test_a_job_id_we_did_not_give_is_unknown, st.just("abc") | st.text("abc019", min_size=1, max_size=120))
altered_ids = drawing(laws.test_a_job_id_with_a_letter_changed_is_unknown, st.integers(0, 199), st.integers(1, 31))
bytes_kept = drawing(laws.test_what_was_ingested_is_in_the_log_byte_for_byte_in_order, laws.records)
elements_kept = drawing(laws.test_an_array_is_its_elements, laws.records, st.just(" "))
keyed_once = plain(laws.test_keyed_retries_never_store_twice)
moves = plain(status_laws.test_a_request_goes_from_queued_to_completed)
forward = plain(status_laws.test_a_status_only_moves_forward)
malformed = drawing(
    laws.test_a_malformed_body_is_rejected_with_the_reason_and_stored_nowhere,
    st.lists(st.builds(order), min_size=1, max_size=3),
    st.data(),
)
any_bytes = drawing(laws.test_no_bytes_are_a_server_error, st.binary(max_size=300), st.just("application/json"))
any_header = drawing(laws.test_no_header_is_a_server_error, st.just("text/csv"), st.text("abcdefghijz,", min_size=1, max_size=20))
told = drawing(laws.test_an_error_says_which_field_which_rule_and_which_value, st.integers(1001, 10**6), st.integers(0, 4))


def logged(path: str, code: str) -> Law:
    return drawing(laws.test_every_error_is_logged_with_its_facts, st.just((path, b"{}", {}, code)))


def ids_without_a_counter(patch: pytest.MonkeyPatch, served: Served) -> None:
    patch.setattr(receipts.RequestIds, "next", lambda self: (self._now_ms() - receipts.EPOCH_MS) << 22 | self._slot << 12)


def the_first_job_id_for_all(patch: pytest.MonkeyPatch, served: Served) -> None:
    given_before: list[str] = []
    sign = receipts.Signer.job_id

    def job_id(self: receipts.Signer, receipt: receipts.Receipt) -> str:
        given_before.append(sign(self, receipt))
        return given_before[0]

    patch.setattr(receipts.Signer, "job_id", job_id)


def signatures_are_not_compared(patch: pytest.MonkeyPatch, served: Served) -> None:
    patch.setattr(receipts, "hmac", SimpleNamespace(digest=receipts.hmac.digest, compare_digest=lambda one, other: True))


def an_unknown_job_raises(patch: pytest.MonkeyPatch, served: Served) -> None:
    receipt = receipts.Signer.receipt

    def raising(self: receipts.Signer, job_id: str) -> receipts.Receipt:
        try:
            return receipt(self, job_id)
        except receipts.UnknownJob as error:
            raise ValueError("no such job") from error

    patch.setattr(receipts.Signer, "receipt", raising)


def _stored(patch: pytest.MonkeyPatch, change: Callable[[list[bytes]], list[bytes]]) -> None:
    def rows(admission: Any) -> list[tuple[bytes, None, int]]:
        return [(value, None, line + 1) for line, value in enumerate(change(admission.records()))]

    patch.setattr(embedded, "_kernel_records", rows)


def records_are_written_anew(patch: pytest.MonkeyPatch, served: Served) -> None:
    _stored(patch, lambda values: [json.dumps(json.loads(value), separators=(",", ":")).encode() for value in values])


def records_come_in_reverse(patch: pytest.MonkeyPatch, served: Served) -> None:
    _stored(patch, lambda values: values[::-1])


def elements_lose_their_white_space(patch: pytest.MonkeyPatch, served: Served) -> None:
    _stored(patch, lambda values: [value.replace(b"\n ", b"\n") for value in values])


def idempotency_keys_are_not_kept(patch: pytest.MonkeyPatch, served: Served) -> None:
    patch.setattr(embedded, "_kernel_key", lambda key: None)


def a_status_counts_the_newest_commit_only(patch: pytest.MonkeyPatch, served: Served) -> None:
    found = verdicts.files.found

    def newest(*asked: Any) -> Any:
        rows = found(*asked)
        last = verdicts.pc.max(rows.column(verdicts.COMMIT))
        return rows.filter(verdicts.pc.equal(rows.column(verdicts.COMMIT), last))

    patch.setattr(verdicts, "files", SimpleNamespace(found=newest, equal=verdicts.files.equal))


def completed_goes_back_to_processing(patch: pytest.MonkeyPatch, served: Served) -> None:
    state = verdicts._state

    def next_one_counts(lake: Any, head: Any, spans: Any, pending: int, decided: int, failed: bool) -> str:
        said = state(lake, head, spans, pending, decided, failed)
        last = max(span.last for span in spans)
        behind = any(int(at[0]) > last + 1 for parts in head.position.logs.values() for at in parts.values())
        return "processing" if said == "completed" and behind else said

    patch.setattr(verdicts, "_state", next_one_counts)


def nothing_is_ever_processing(patch: pytest.MonkeyPatch, served: Served) -> None:
    patch.setattr(verdicts, "_state", lambda lake, head, spans, pending, decided, failed: "queued" if pending else "completed")


def a_status_has_no_errors(patch: pytest.MonkeyPatch, served: Served) -> None:
    patch.setattr(verdicts, "_errors", lambda dead, spans: [])


def a_refused_body_is_stored_all_the_same(patch: pytest.MonkeyPatch, served: Served) -> None:
    project = Project.at(served.root)
    contract = project.contract("orders")
    translated = ingest.translated

    def keeping(error: Any) -> Any:
        writer = project.log_writer(contract)
        try:
            writer.append([Record(b"{")], request=1, received_at=datetime.now(UTC))
        finally:
            writer.close()
        return translated(error)

    patch.setattr(ingest, "translated", keeping)


def what_is_malformed_is_an_empty_event(patch: pytest.MonkeyPatch, served: Served) -> None:
    admit = ingest.admit

    def forgiving(plan: Any, body: bytes, **asked: Any) -> Any:
        try:
            return admit(plan, body, **asked)
        except ingest.KernelError:
            return admit(plan, b"{}", **asked)

    patch.setattr(ingest, "admit", forgiving)


def what_a_client_sent_wrong_is_our_failure(patch: pytest.MonkeyPatch, served: Served) -> None:
    patch.setattr(problems, "STATUS", {code: status for code, status in problems.STATUS.items() if not code.startswith("body.")})


def an_unknown_encoding_raises(patch: pytest.MonkeyPatch, served: Served) -> None:
    bodies = ingest.bodies
    patch.setattr(bodies, "encoding_of", lambda headers: bodies.ENCODINGS[headers.get("content-encoding", "")])


def _violations(patch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    answer, rejected = ingest.answer, ingest._rejected

    def altered(facts: Any, *others: Any) -> Any:
        return answer({**facts, "errors": [change(one) for one in facts["errors"]]}, *others)

    def altered_refusal(gate: Any, judged: Any) -> Any:
        refused = rejected(gate, judged)
        refused.errors = [change(dict(one)) for one in refused.errors or ()]
        return refused

    patch.setattr(ingest, "answer", altered)
    patch.setattr(ingest, "_rejected", altered_refusal)


def violations_lose_their_path(patch: pytest.MonkeyPatch, served: Served) -> None:
    _violations(patch, lambda one: {**one, "path": ""})


def violations_lose_their_value(patch: pytest.MonkeyPatch, served: Served) -> None:
    _violations(patch, lambda one: {**one, "value": None})


def violations_lose_their_hint(patch: pytest.MonkeyPatch, served: Served) -> None:
    _violations(patch, lambda one: {**one, "hint": ""})


def records_are_counted_from_one(patch: pytest.MonkeyPatch, served: Served) -> None:
    _violations(patch, lambda one: {**one, "index": one["index"] + 1})


def refusals_are_logged_without_facts(patch: pytest.MonkeyPatch, served: Served) -> None:
    patch.setattr(FrazilError, "as_dict", lambda self: {"message": self.message})


def refusals_are_not_logged(patch: pytest.MonkeyPatch, served: Served) -> None:
    patch.setattr(guard, "_log", SimpleNamespace(warning=lambda *words, **facts: None, info=lambda *words, **facts: None))


def log_lines_name_no_request(patch: pytest.MonkeyPatch, served: Served) -> None:
    patch.setattr(guard, "concerning", lambda facts: None)


def refused_records_are_logged_without_violations(patch: pytest.MonkeyPatch, served: Served) -> None:
    patch.setattr(guard, "Refused", type("Other", (), {}))


MUTANTS: list[tuple[int, Patch, Law]] = [
    (1, ids_without_a_counter, ids),
    (1, the_first_job_id_for_all, ids),
    (1, signatures_are_not_compared, altered_ids),
    (1, an_unknown_job_raises, foreign_ids),
    (2, records_are_written_anew, bytes_kept),
    (2, records_come_in_reverse, bytes_kept),
    (2, elements_lose_their_white_space, elements_kept),
    (2, idempotency_keys_are_not_kept, keyed_once),
    (3, a_status_counts_the_newest_commit_only, forward),
    (3, completed_goes_back_to_processing, forward),
    (3, nothing_is_ever_processing, forward),
    (3, a_status_has_no_errors, moves),
    (4, a_refused_body_is_stored_all_the_same, malformed),
    (4, what_is_malformed_is_an_empty_event, malformed),
    (4, what_a_client_sent_wrong_is_our_failure, any_bytes),
    (4, an_unknown_encoding_raises, any_header),
    (8, violations_lose_their_path, told),
    (8, violations_lose_their_value, told),
    (8, violations_lose_their_hint, told),
    (8, records_are_counted_from_one, told),
    (38, refusals_are_logged_without_facts, logged("/nope", "http.not_found")),
    (38, refusals_are_not_logged, logged("/nope", "http.not_found")),
    (38, log_lines_name_no_request, logged("/nope", "http.not_found")),
    (38, refused_records_are_logged_without_violations, logged("/ingest?on_invalid=reject", "records.rejected")),
]
LAWS = list(dict.fromkeys(law for _, _, law in MUTANTS))


def test_the_laws_hold_where_nothing_is_broken(here: Served) -> None:
    for law in LAWS:
        law(here, 5)


@pytest.mark.parametrize(("mutant", "law"), [one[1:] for one in MUTANTS], ids=[f"{number}-{one.__name__}" for number, one, _ in MUTANTS])
def test_a_broken_door_is_noticed(here: Served, mutant: Patch, law: Law, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch, here)
    with pytest.raises(NOTICED):
        law(here, 200)


def test_every_mutant_is_listed() -> None:
    listed = (ROOT / "tests" / "mutants.md").read_text()
    assert [name for number, mutant, _ in MUTANTS if (name := f"{number}: {mutant.__name__.replace('_', ' ')}") not in listed] == []


def test_the_server_survived_its_mutants(here: Served) -> None:
    """What they left in the log is decided, too."""
    job = here.send([order()]).json["job_id"]
    status_laws.land(here)
    assert status_laws.status(here, job)["state"] == "completed"
