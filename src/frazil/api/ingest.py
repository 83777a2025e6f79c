"""`POST /ingest` and `POST /events/{topic}`: a body in, a receipt out when every record of it is on disk."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from data_processor_rs import KernelError, admit
from starlette.datastructures import QueryParams
from starlette.requests import Request

from frazil.api import bodies, cloudevents, dialects, media, metrics, status
from frazil.api.answers import Answer, answer, taken
from frazil.api.door import INLINE_BYTES, Door, Gate, Judged, Stored, digest
from frazil.api.guard import named
from frazil.api.media import Format
from frazil.api.problems import Refused, translated
from frazil.errors import FrazilError

LISTED: Final = 100
"""Violations in a 202."""
LISTED_REFUSED: Final = 100_000
"""Violations in a 422: all of any body that a person can mend."""
MAX_WAIT_SECONDS: Final = 60.0
_GROWTH: Final = 4
"""What a body counts as, times its size, while its records are spelled as JSON; afterwards what they hold counts."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(slots=True)
class Ask:
    """What a request asks for, beside its body."""

    gate: Gate
    format: Format
    encoding: str
    reject: bool
    wait: float | None  # seconds to wait for its events to land
    key: str | None
    dialect: dialects.Dialect | None = None  # of CSV


async def ingest(request: Request) -> Answer:
    """Take a body of events in under the contract named in the query, or the project's default."""
    return await _take(request, _query(request.scope["query_string"]).get("contract"))


async def ingest_topic(request: Request) -> Answer:
    """Take a body of events in under the contract that the address names."""
    return await _take(request, request.path_params["topic"])


async def _take(request: Request, contract: str | None) -> Answer:
    door: Door = request.scope["app"].door
    state = request.scope["state"]
    ask = _asked(door, request, contract)
    named(request, contract=ask.gate.contract.name)
    with door.budget.lease() as lease:
        pieces = await bodies.read(state["headers"], request.receive, door.limits, lease, *_taking(state))
        held = sum(map(len, pieces))
        counted = held * _GROWTH if ask.format in media.SPELLED else held
        lease.add(counted - held)
        size = held if counted == held and ask.encoding == "identity" else max(counted, bodies.COMPRESSED_BYTES)
        try:
            judge = functools.partial(_judged, door, ask, request, pieces)
            judged = judge() if size <= INLINE_BYTES else await door.in_thread(judge)
        except KernelError as error:
            raise translated(error) from error
        lease.add(max(0, judged.held_bytes - counted))
        if ask.reject and judged.admission.rejected:
            raise _rejected(ask.gate, judged)
        stored = await door.store(ask.gate, state["request"], judged, ask.key)
    return await _answer(door, ask, stored)


def _asked(door: Door, request: Request, contract: str | None) -> Ask:
    gate = door.gate(contract)
    headers: Mapping[str, str] = request.scope["state"]["headers"]
    query = request.scope["query_string"]
    reject, wait = _wishes(query)
    ask = Ask(gate, media.format_of(headers), bodies.encoding_of(headers), reject, wait, _key(headers.get("idempotency-key")))
    if ask.format == "csv":
        ask.dialect = dialects.dialect_of(headers, query)
    return ask


def _judged(door: Door, ask: Ask, request: Request, pieces: list[bytes]) -> Judged:
    """Decompress, split and judge. Runs beside the event loop when the body is large."""
    body = bodies.decoded(pieces, ask.encoding, door.limits)
    content, named = _records(body, ask, request)
    received_at_us = time.time_ns() // 1000
    max_errors = LISTED_REFUSED if ask.reject else LISTED
    kind = "json" if named == "cloudevents" else named
    dialect = ask.dialect and ask.dialect.kernel
    admission = admit(ask.gate.plan, content, format=kind, received_at_us=received_at_us, max_errors=max_errors, dialect=dialect)
    if not len(admission):
        raise Refused("the body holds no records", code="body.empty", hint="send at least one event")
    spelling = named if ask.dialect is None else repr((named, *ask.dialect))
    told = b"" if ask.key is None else digest(spelling.encode(), b"reject" if ask.reject else b"", content)
    return Judged(admission, named, received_at_us, len(body), told)


def _records(body: bytes, ask: Ask, request: Request) -> tuple[bytes, str]:
    """What the kernel splits into records, and the name of its format in the log."""
    if ask.format == "unsaid":
        return body, media.sniffed(body)
    if ask.format in ("json", "ndjson", *media.SPELLED):
        return body, ask.format
    filling = ask.gate.filling
    if ask.format == "binary-cloudevent":
        records = cloudevents.binary(body, request.scope["state"]["headers"], filling)
    else:
        records = cloudevents.structured(body, filling, batch=ask.format == "cloudevents")
    return cloudevents.joined(records), "cloudevents"


def _rejected(gate: Gate, judged: Judged) -> Refused:
    admission = judged.admission
    errors = admission.errors
    metrics.count_violations(gate.contract.name, errors, admission.errors_total)
    return Refused(
        f"{admission.rejected} of {len(admission)} records violate contract {gate.contract.name} {gate.contract.version}",
        code="records.rejected",
        hint="correct the records named in errors and send all again; nothing was stored",
        errors=errors,
        contract=gate.contract.name,
        contract_version=gate.contract.version,
        received=len(admission),
        accepted=admission.accepted,
        rejected=admission.rejected,
        errors_total=admission.errors_total,
    )


async def _answer(door: Door, ask: Ask, stored: Stored) -> Answer:
    receipt = stored.receipt
    job_id = door.signer.job_id(receipt)
    status_url = f"/api/v1/status/{job_id}"
    if ask.wait is None and not stored.errors_total and not stored.repeated:
        return taken(job_id, receipt, stored.version, status_url)
    facts: dict[str, Any] = {
        "job_id": job_id,
        "contract": receipt.contract,
        "contract_version": stored.version,
        "received": receipt.received,
        "accepted": receipt.accepted,
        "rejected": receipt.rejected,
        "errors": stored.errors,
        "errors_total": stored.errors_total,
        "status_url": status_url,
    }
    code = 202
    if ask.wait is not None:
        facts["status"] = landed = await status.landed(door, job_id, receipt, ask.wait)
        code = 200 if landed["pending"] == 0 else 202
    headers = {"Location": status_url}
    if stored.repeated:
        headers["Idempotency-Replayed"] = "true"
    return answer(facts, code, headers)


@functools.lru_cache(maxsize=64)
def _query(text: bytes) -> Mapping[str, str]:
    return QueryParams(text)


@functools.lru_cache(maxsize=64)
def _wishes(text: bytes) -> tuple[bool, float | None]:
    """Whether bad records refuse the body, and how long to wait for its events to land."""
    query = _query(text)
    return _choice(query, "on_invalid", ("dead_letter", "reject")) == "reject", _wait(query)


def _taking(state: Mapping[str, Any]) -> tuple[Callable[[], list[bytes] | None], ...]:
    """How to take what of the body is here, where the server can tell."""
    cycle = state.get("cycle")
    return () if cycle is None else (cycle.take,)


def _choice(query: Mapping[str, str], name: str, known: tuple[str, ...]) -> str | None:
    value = query.get(name)
    if value is None or value in known:
        return value
    raise _bad_parameter(name, value, f"known values: {', '.join(known)}")


def _wait(query: Mapping[str, str]) -> float | None:
    if "timeout" in query:
        try:
            seconds = float(query["timeout"])
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= MAX_WAIT_SECONDS:
            raise _bad_parameter("timeout", query["timeout"], f"give seconds, 0 to {MAX_WAIT_SECONDS:g}")
    else:
        seconds = 10.0
    return None if _choice(query, "wait", ("landed",)) is None else seconds


def _key(named: str | None) -> str | None:
    """The key without the quotes that the draft's structured header has around it."""
    if named is None:
        return None
    key = named.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not _KEY.fullmatch(key):
        raise Refused(
            "the Idempotency-Key is not usable",
            code="idempotency.invalid_key",
            hint="send 1 to 255 visible ASCII characters, such as a UUID",
        )
    return key


def _bad_parameter(name: str, value: str, hint: str) -> FrazilError:
    return Refused(f"{name}={value[:80]!r} is not known", code="request.invalid_parameter", hint=hint, parameter=name)
