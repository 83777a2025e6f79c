"""The door: judges bodies with the kernel, appends them to the log and gives receipts. Knows nothing of HTTP.

The verdict here only answers the client; the log keeps every record as it came and processing decides.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from data_processor_rs import Admission, KernelError, Plan

from frazil.api import metrics
from frazil.api.bodies import Budget
from frazil.api.cloudevents import Filling
from frazil.api.media import SPELLED
from frazil.api.problems import Refused
from frazil.api.receipts import Receipt, RequestIds, Signer, signing_key
from frazil.batch import Span
from frazil.contract import Contract
from frazil.errors import ContractError, Corrupt, FrazilError
from frazil.log import IdempotencyKey, IdempotencyMismatch, LogWriter
from frazil.telemetry import logger

if TYPE_CHECKING:
    from frazil.project import Project

INLINE_BYTES: Final = 16 * 1024
"""Bodies up to this size are judged on the event loop: that is shorter than handing them to a thread."""

_STOPPED: Final = ("log.write_failed", "log.closed")
"""Codes of a writer that will not write again before a restart."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = logger("api")
T = TypeVar("T")


@dataclass(slots=True)
class Judged:
    """A body split into records with the door's verdicts. `errors` are the listed violations of `errors_total`."""

    admission: Admission
    format: str
    received_at_us: int
    body_bytes: int
    digest: bytes = b""  # of the request, when it has an idempotency key

    @property
    def received(self) -> int:
        return len(self.admission)

    @property
    def held_bytes(self) -> int:
        """What the body holds in memory: itself, and its records where they are not the body."""
        return self.body_bytes if self.format not in SPELLED else self.body_bytes + self.admission.size_bytes


@dataclass(slots=True)
class Stored:
    """A body on disk, or the facts of the first request when an idempotency key came again."""

    receipt: Receipt
    version: str
    errors: list[dict[str, Any]]
    errors_total: int
    repeated: bool


@dataclass
class Gate:
    """One contract's way in. `fault` is why its log does not take records, None while it does."""

    contract: Contract
    plan: Plan
    filling: Filling
    writer: LogWriter | None = None
    fault: FrazilError | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


class Door:
    """Everything a process holds to take events in: one gate per contract, request ids, the receipts' signer, the byte budget."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.limits = project.settings.api
        self.ids = RequestIds(project.settings.state_dir)
        self.signer = Signer(signing_key(project.settings.state_dir))
        self.budget = Budget(self.limits.max_inflight_bytes)
        metrics.HELD_BYTES.set_function(lambda: self.budget.held)
        self.pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="door")
        self.gates = {name: self._gate(contract) for name, contract in project.contracts.items()}
        self._running: dict[tuple[str, str], bytes] = {}

    def gate(self, name: str | None) -> Gate:
        """A contract's gate; None is the project's default. Raises ContractError (`contract.unknown`) and names the known ones."""
        if name is not None and name not in self.gates:
            known = ", ".join(sorted(self.gates)) or "none"
            raise ContractError(f"no contract {name[:80]!r}", code="contract.unknown", hint=f"known contracts: {known}", contract=name[:80])
        return self.gates[self.project.contract(name).name]

    async def open(self) -> None:
        """Open all logs. One that cannot be opened is a fault of its gate; the others work."""
        for gate in self.gates.values():
            try:
                await self._writer(gate)
            except FrazilError as error:
                _log.error("log_not_opened", contract=gate.contract.name, **error.as_dict())

    async def close(self) -> None:
        """Finish what was queued and release the logs."""
        for gate in self.gates.values():
            if gate.writer is not None:
                await asyncio.to_thread(gate.writer.close)
                gate.writer = None
        self.pool.shutdown(wait=True)
        self.ids.close()

    async def in_thread(self, task: Callable[[], T]) -> T:
        """Run a task beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, task)

    async def store(self, gate: Gate, request: int, judged: Judged, key: str | None) -> Stored:
        """Append a judged body and return when it is durable.

        Raises:
            Refused: `idempotency.in_progress` (the key's first request still runs), `idempotency.key_reused` (another body).
            Throttled, Unavailable: The log does not take it now. Nothing was stored unless the writer failed midway.
        """
        writer = gate.writer or await self._writer(gate)
        if key is None:
            return await self._append(gate, writer, request, judged, None)
        name = gate.contract.name, key
        first = self._running.get(name)
        if first is not None:
            raise in_progress(key) if first == judged.digest else key_reused(key)
        self._running[name] = judged.digest
        try:
            return await self._append(gate, writer, request, judged, IdempotencyKey(key, judged.digest, _packed(gate, judged)))
        finally:
            del self._running[name]

    async def _append(self, gate: Gate, writer: LogWriter, request: int, judged: Judged, key: IdempotencyKey | None) -> Stored:
        started = time.perf_counter()
        received_at = _EPOCH + timedelta(microseconds=judged.received_at_us)
        try:
            appended = await writer.append_soon(
                judged.admission, request=request, received_at=received_at, format=judged.format, idempotency=key
            )
        except IdempotencyMismatch as error:
            raise key_reused(key.key if key else "") from error
        except FrazilError as error:
            if error.code in _STOPPED or isinstance(error, Corrupt):
                gate.fault = error
            raise
        metrics.count_append(gate.contract.name, time.perf_counter() - started)
        if appended.repeated:
            return _first_answer(gate, appended.request, appended.spans, appended.receipt)
        admission = judged.admission
        name = gate.contract.name
        metrics.count_admission(name, judged.format, judged.body_bytes, admission.accepted, admission.rejected)
        errors = admission.errors if admission.rejected else []
        if errors:
            metrics.count_violations(name, errors, admission.errors_total)
        receipt = Receipt(appended.request, name, len(admission), admission.accepted, appended.spans)
        return Stored(receipt, gate.contract.version, errors, admission.errors_total, repeated=False)

    async def _writer(self, gate: Gate) -> LogWriter:
        if gate.writer is not None:
            return gate.writer
        async with gate.opening:
            if gate.writer is None:
                try:
                    gate.writer = await asyncio.to_thread(self.project.log_writer, gate.contract)
                except FrazilError as error:
                    gate.fault = error
                    raise
                gate.fault = None
            return gate.writer

    def _gate(self, contract: Contract) -> Gate:
        plan = contract.plan
        if self.limits.max_record_bytes < contract.max_bytes:
            plan = json.dumps({**json.loads(plan), "max_bytes": self.limits.max_record_bytes})
        try:
            return Gate(contract, Plan(plan), Filling.of(contract))
        except KernelError as error:
            raise ContractError(str(error), code=error.code, hint=error.hint, contract=contract.name, **error.context) from error


def digest(*facts: bytes) -> bytes:
    """SHA-256 that tells requests apart under one idempotency key."""
    state = hashlib.sha256()
    for fact in facts:
        state.update(len(fact).to_bytes(8, "big"))
        state.update(fact)
    return state.digest()


def in_progress(key: str) -> Refused:
    return Refused(
        "the first request with this Idempotency-Key still runs",
        code="idempotency.in_progress",
        hint="send the same request again after Retry-After seconds",
        headers={"Retry-After": "1"},
        key=key,
    )


def key_reused(key: str) -> Refused:
    return Refused(
        "this Idempotency-Key was used with another request",
        code="idempotency.key_reused",
        hint="use a new key for every new request, the same key only to send the same bytes again",
        key=key,
    )


def _packed(gate: Gate, judged: Judged) -> bytes:
    """What the answer needs beside the append's own facts, kept with the idempotency key."""
    admission = judged.admission
    facts = [gate.contract.version, len(admission), admission.accepted, admission.errors_total, admission.errors]
    return zlib.compress(json.dumps(facts, separators=(",", ":")).encode(), 1)


def _first_answer(gate: Gate, request: int, spans: tuple[Span, ...], receipt: bytes) -> Stored:
    version, received, accepted, total, errors = json.loads(zlib.decompress(receipt))
    return Stored(Receipt(request, gate.contract.name, received, accepted, spans), version, errors, total, repeated=True)
