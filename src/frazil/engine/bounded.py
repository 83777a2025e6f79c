"""A log read up to a fixed end: a run that has an end must have one under a stream that has none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from frazil.batch import Batch, Position
from frazil.log import LogReader


class UpTo:
    """A reader that has nothing more once a position covers the end. It may hand out records after it: they land, too."""

    def __init__(self, reader: LogReader, ends: Mapping[str, int]) -> None:
        self._reader = reader
        self._ends = ends

    @property
    def log_id(self) -> str:
        return self._reader.log_id

    def read(self, *, after: Position, limit: int, wait: timedelta = timedelta()) -> Batch | None:
        return None if covers(after, self.log_id, self._ends) else self._reader.read(after=after, limit=limit, wait=wait)

    def lag(self, position: Position) -> int:
        return 0 if covers(position, self.log_id, self._ends) else self._reader.lag(position)

    def oldest(self) -> dict[str, int]:
        return self._reader.oldest()

    def ends(self) -> dict[str, int]:
        return self._reader.ends()

    def close(self) -> None:
        self._reader.close()


def covers(position: Position, log_id: str, ends: Mapping[str, int]) -> bool:
    """Whether every record up to these offsets is decided; an end of -1 asks for nothing."""
    reached = {partition: position.last(log_id, partition) for partition in ends}
    return all(end < 0 or (at is not None and at >= end) for (partition, end) in ends.items() for at in (reached[partition],))
