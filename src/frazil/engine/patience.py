"""A batch whose processing raises is tried again, then split until the records at fault are found and set aside.

A bad record is a row and never raises; this is for code that fails: a defect, a panic, memory for a monstrous record.
The law of processors, `process(a + b) == process(a) + process(b)`, makes the split safe.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow as pa

from frazil.batch import LETTERS, Batch, Processed
from frazil.contract import Contract
from frazil.engine.cadence import Backoff
from frazil.engine.metrics import RETRIES
from frazil.errors import FrazilError
from frazil.process import Processor
from frazil.telemetry import logger

_log = logger("process")
BETWEEN = Backoff(0.1, 5.0)
_WORDS = 500  # characters of an exception kept in a dead letter


class PatientProcessor:
    """Any processor, made to survive its own failures.

    Args:
        attempts: How often the whole batch is tried before it is split; each record found alone is tried as often.
        backoff: Waits between the attempts of the whole batch.
        sleep: Waits so many seconds; returns early to give up waiting.
    """

    def __init__(
        self, inner: Processor, *, attempts: int = 3, backoff: Backoff = BETWEEN, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._inner = inner
        self._attempts = attempts
        self._backoff = backoff
        self._sleep = sleep

    @property
    def contract(self) -> Contract:
        return self._inner.contract

    def __call__(self, raw: Batch) -> Processed:
        """Judge a batch; records that make the code fail become dead letters of stage `process`.

        Raises:
            FrazilError: A system failed, not a record: nothing is set aside for that.
        """
        for attempt in range(self._attempts):
            try:
                return self._inner(raw)
            except BaseException as error:
                self._refuse_system(error)
                self._note(error, raw, attempt)
            if attempt + 1 < self._attempts:
                self._sleep(self._backoff.wait(attempt))
        parts = self._split(raw, 0, len(raw))
        good, dead = _joined([part.good.rows for part in parts]), _joined([part.dead.rows for part in parts])
        return Processed(Batch(good, raw.spans), Batch(dead, raw.spans), raw)

    def _split(self, raw: Batch, start: int, stop: int) -> list[Processed]:
        """Verdicts of the rows [start, stop), which are known to fail together, by halves."""
        if stop - start <= 1:
            return [self._alone(raw, start)]
        middle = (start + stop) // 2
        parts: list[Processed] = []
        for low, high in ((start, middle), (middle, stop)):
            try:
                parts.append(self._inner(_slice(raw, low, high)))
            except BaseException as error:
                self._refuse_system(error)
                parts.extend(self._split(raw, low, high))
        return parts

    def _alone(self, raw: Batch, index: int) -> Processed:
        one = _slice(raw, index, index + 1)
        failure: BaseException | None = None
        for _ in range(self._attempts):
            try:
                return self._inner(one)
            except BaseException as error:
                self._refuse_system(error)
                failure = error
        assert failure is not None
        letter = _letter(one, self.contract, failure)
        _log.error("record set aside", contract=self.contract.name, stage="process", **_place(one), error=_words(failure))
        return Processed(Batch(_no_rows(self._inner, one), one.spans), Batch(letter, one.spans))

    def _note(self, error: BaseException, raw: Batch, attempt: int) -> None:
        RETRIES.labels(self.contract.name, "processing").inc()
        facts = {"contract": self.contract.name, "attempt": attempt + 1, "attempts": self._attempts, "records": len(raw)}
        _log.error("processing failed", **facts, **_place(raw), error=_words(error), exc_info=error)

    @staticmethod
    def _refuse_system(error: BaseException) -> None:
        """Raise what no record can be blamed for: an error of a system or of an operator, a signal, the interpreter's end."""
        panic = type(error).__name__ == "PanicException"  # a panic of the kernel: not an Exception in Python's eyes
        of_system = isinstance(error, FrazilError) and type(error) is not FrazilError  # the plain one: this batch cannot be judged
        if of_system or (not isinstance(error, Exception) and not panic):
            raise error


def _slice(raw: Batch, start: int, stop: int) -> Batch:
    return Batch(raw.rows.slice(start, stop - start), raw.spans)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches as one; text is plain where the pieces disagree on its encoding."""
    filled = [batch for batch in batches if batch.num_rows]
    if len(filled) < 2:
        return filled[0] if filled else batches[0]
    if any(not batch.schema.equals(filled[0].schema) for batch in filled):
        filled = [batch.cast(_plain(batch.schema)) for batch in filled]
    return pa.Table.from_batches(filled).unify_dictionaries().combine_chunks().to_batches()[0]


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([one.with_type(one.type.value_type) if pa.types.is_dictionary(one.type) else one for one in schema])


def _no_rows(inner: Processor, one: Batch) -> pa.RecordBatch:
    """Zero good rows in the processor's layout, asked of the processor; where even that fails, of the contract."""
    try:
        return inner(_slice(one, 0, 0)).good.rows
    except Exception:
        from frazil.contract.derive import arrow_schema

        return pa.RecordBatch.from_pylist([], schema=arrow_schema(inner.contract))


def _letter(one: Batch, contract: Contract, error: BaseException) -> pa.RecordBatch:
    row = one.rows.to_pylist()[0]
    violation = {
        "index": None,
        "path": "",
        "code": "process.failed",
        "message": _words(error),
        "hint": "replay it with `frazil dead replay` once the defect is fixed",
        "value": None,
    }
    letter = {
        "contract": contract.name,
        "contract_version": contract.version,
        "_log": row["log"],
        "_partition": row["partition"],
        "_offset": row["offset"],
        "_request": row["request"],
        "_received_at": row["received_at"],
        "stage": "process",
        "violations": [violation],
        "value": row["value"],
        "key": row["key"],
        "headers": row["headers"],
        "source": row["source"],
        "first": None,
        "_replay": None,
    }
    return pa.RecordBatch.from_pylist([letter], schema=LETTERS)


def _words(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text if len(text) <= _WORDS else text[:_WORDS] + "…"


def _place(raw: Batch) -> dict[str, object]:
    if not len(raw):
        return {}
    offsets = raw.rows.column("offset")
    return {"first_offset": offsets[0].as_py(), "last_offset": offsets[len(raw) - 1].as_py()}
