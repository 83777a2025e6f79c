"""What runs beside the workers on Kafka: dead letters in their topic, and letters tried again whose cause may pass."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And

from frazil import flow
from frazil.batch import LETTERS, OPEN_STAGES, Place
from frazil.contract import Contract
from frazil.engine.metrics import PUBLISHED, RETRIED
from frazil.engine.patience import PatientProcessor
from frazil.errors import FrazilError
from frazil.project import Project
from frazil.settings import Settings
from frazil.sink import Sink, repair
from frazil.sink.mend import unchanged
from frazil.table import files
from frazil.telemetry import logger

if TYPE_CHECKING:
    from frazil.log.kafka.letters import DeadLetterTopic, Retry, RetryTopic

_log = logger("letters")
_EVERY_S = 1.0
_LONGEST_WAIT_S = 30.0


@contextmanager
def letters_beside(settings: Settings, contracts: Sequence[str]) -> Iterator[None]:
    """Threads that see to the dead letters of these contracts while workers run; afterwards each looks once more.

    Only where the log is Kafka and `kafka.dead_letter_topics` is on.
    """
    if not settings.log.url.startswith("kafka://") or not settings.kafka.dead_letter_topics:
        yield
        return
    stop = threading.Event()
    threads = [threading.Thread(target=LettersBeside(settings, name).run, args=(stop,), name=f"letters-{name}") for name in contracts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class LettersBeside:
    """Publishes and retries the dead letters of one contract, round by round, until told to stop; then once more.

    It never decides a record: it reads what was committed, and replays as a person would.
    """

    def __init__(self, settings: Settings, contract: str) -> None:
        self._project = Project(settings)
        self._contract: Contract = self._project.contract(contract)
        self._topics: tuple[DeadLetterTopic, RetryTopic] | None = None

    def run(self, stop: threading.Event) -> None:
        """Never raises: what fails is told and tried again."""
        failures = 0
        while not stop.wait(min(_EVERY_S * 2**failures, _LONGEST_WAIT_S)):
            failures = 0 if self._round() else min(failures + 1, 10)
        self._round()
        for topic in self._topics or ():
            topic.close()

    def _round(self) -> bool:
        try:
            if self._topics is None:
                self._topics = self._project.letters_topics(self._contract)
            publisher, retries = self._topics
            published = publisher.publish(self._newer)
            PUBLISHED.labels(self._contract.name).inc(published)
            self._retry(retries)
        except FrazilError as error:
            _log.warning("dead letters follow later", contract=self._contract.name, code=error.code, error=error.message)
            return False
        except Exception as error:
            _log.error("dead letters follow later", contract=self._contract.name, error=str(error), exc_info=error)
            return False
        return True

    def _newer(self, commit: int) -> pa.Table:
        """Letters set aside after a commit, in the order they were; closed ones and duplicates are no news to anyone."""
        newer = And(files.equal("contract", self._contract.name), files.above("_commit", commit))
        found = files.found(self._project.lake.dead_letters(), [*LETTERS.names, "_commit"], newer)
        found = found.filter(pc.is_in(found["stage"], value_set=pa.array(OPEN_STAGES)))
        return found.sort_by([("_commit", "ascending"), ("_partition", "ascending"), ("_offset", "ascending")])

    def _retry(self, retries: RetryTopic) -> None:
        now = datetime.now(UTC)
        due = retries.due(now)
        if not due:
            return
        asked = frozenset(one.place for one in due)
        project, contract = self._project, self._contract
        sink = project.sink(contract)
        parts = (PatientProcessor(project.processor(contract)), project.keys(contract), project.dead_letters, sink)
        page = cast("repair.Replay", flow.replay)
        done = repair.replay(page, asked, unchanged, *parts, id=f"retry-{now:%Y%m%dT%H%M%S}-{_digest(due)}")
        project.dead_letters.adopt(sink)
        still = _open(project, asked, sink)
        given_up = retries.done(due, still, now)
        outcomes = {"landed": done.landed, "duplicate": done.duplicates, "still_bad": len(still) - given_up, "given_up": given_up}
        for outcome, count in outcomes.items():
            RETRIED.labels(contract.name, outcome).inc(count)
        _log.info("letters tried again", contract=contract.name, id=done.id, **outcomes)


def _open(project: Project, asked: frozenset[Place], sink: Sink) -> frozenset[Place]:
    found = project.dead_letters.open(asked, at=sink.head()).rows
    columns = (found[name].to_pylist() for name in ("log", "partition", "offset"))
    return frozenset(Place(*place) for place in zip(*columns, strict=True))


def _digest(due: Sequence[Retry]) -> str:
    """The same letters in the same second are the same replay."""
    return hashlib.sha256(" ".join(str(one.place) for one in due).encode()).hexdigest()[:8]
