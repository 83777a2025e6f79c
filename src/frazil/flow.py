"""The whole system on one page: the only module that knows every stage."""

from __future__ import annotations

from collections.abc import Callable

from frazil.batch import Batch, Place
from frazil.errors import CommitConflict, Corrupt, OffsetExpired
from frazil.log import LogReader
from frazil.process import Processor
from frazil.sink import Commit, DeadLetters, Head, KeyIndex, Sink

Mend = Callable[[Batch], Batch]
"""Repairs the bytes of dead letters; places stay as they are."""


def pump(log: LogReader, process: Processor, keys: KeyIndex, sink: Sink, *, limit: int = 100_000) -> Commit | None:
    """Land the next records; None when the log has nothing after the sink's position.

    Raises:
        CommitConflict: Someone else committed first; nothing is half done, pump again.
        Unavailable: A system did not answer; nothing was consumed, pump again later.
        OffsetExpired, Corrupt: An operator has to look.
    """
    head = sink.head()  # one version of the table: position and keys belong to it
    raw = _read(log, head, sink, limit)
    if raw is None:
        return None
    decision = keys.decide(process(raw), head)  # law: rows + dead + duplicates == raw
    commit = sink.append(decision, head)  # the one swap; a conflict means: pump again
    keys.advance(head, commit)  # only while the cache still reflects `head`
    return commit


def replay(
    ids: frozenset[Place] | None, mend: Mend, process: Processor, keys: KeyIndex, letters: DeadLetters, sink: Sink, *, id: str
) -> Commit:
    """Land mended dead letters at their original positions; the sink's position does not move."""
    head = sink.head()
    found = letters.open(ids, at=head)  # open at this head, unadopted files included
    commit = sink.append(keys.decide(process(mend(found)), head).replayed(id), head)
    keys.advance(head, commit)
    return commit


def _read(log: LogReader, head: Head, sink: Sink, limit: int) -> Batch | None:
    """The next records. Before stopping, look again: others may have moved on, and the log was unlinked behind them."""
    try:
        return log.read(after=head.position, limit=limit)
    except (OffsetExpired, Corrupt) as stop:
        if sink.head().version == head.version:
            raise
        raise CommitConflict("the table moved on while the log was read", hint="read the head again") from stop
