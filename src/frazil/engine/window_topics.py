"""Results of live windows as records of a topic: each at least once, told apart by window, start, key and revision."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import data_processor_rs as kernel

from frazil.batch import Position
from frazil.contract.windows import WindowSpec
from frazil.log import LogReader, LogWriter, Record
from frazil.project import Project
from frazil.sink.window_frames import frame
from frazil.sink.windows import kernel_errors

_AT_ONCE = 5_000
_TAIL = 2_000


class WindowTopics:
    """Appends what changed to the topics that windows name.

    How far it came is read from the topic itself, at the start: what is appended and not known to be is appended again.
    """

    def __init__(self, project: Project, contract: str, specs: Sequence[WindowSpec]) -> None:
        self._project = project
        self._file = project.window_file(project.contract(contract))
        self._specs = [spec for spec in specs if spec.topic is not None]
        self._writers: dict[str, LogWriter] = {}
        self._reached: dict[str, int] = {}
        self._one_at_a_time = threading.Lock()

    def adopt(self) -> int:
        """Append results that came since; returns how many.

        Raises:
            Unavailable: The log or the windows' file does not answer; call again later.
        """
        with self._one_at_a_time:
            return sum(self._publish(spec, str(spec.topic)) for spec in self._specs)

    def _publish(self, spec: WindowSpec, topic: str) -> int:
        if spec.name not in self._reached:
            self._reached[spec.name] = self._told(spec, topic)
        count = 0
        while True:
            with kernel_errors():
                reader = kernel.WindowReader(str(self._file))
                last = reader.last()
                start = self._reached[spec.name]
                found = reader.changes(start if start <= last else 0, window=spec.name, limit=_AT_ONCE)
            if not found:
                return count
            records = [Record(frame(spec, outcome).encode(), outcome[4].encode()) for outcome in found]
            self._writer(topic).append(records, request=0, received_at=datetime.now(UTC))
            self._reached[spec.name] = int(found[-1][0])
            count += len(found)

    def _writer(self, topic: str) -> LogWriter:
        if topic not in self._writers:
            self._writers[topic] = self._project.topic_writer(topic)
        return self._writers[topic]

    def _told(self, spec: WindowSpec, topic: str) -> int:
        """The last result of a window among the newest records of its topic; 0 where there is none."""
        self._writer(topic)  # makes the topic
        reader = self._project.topic_reader(topic)
        try:
            return max(_cursors(reader, spec.name), default=0)
        finally:
            reader.close()


def _cursors(reader: LogReader, window: str) -> list[int]:
    oldest = reader.oldest()
    ends = {partition: end for partition, end in reader.ends().items() if end >= 0}
    starts = {partition: max(end - _TAIL, oldest.get(partition, 0) - 1) for partition, end in ends.items()}
    position = Position({reader.log_id: {partition: (str(at), None) for partition, at in starts.items() if at >= 0}})
    found = []
    while (batch := reader.read(after=position, limit=_AT_ONCE)) is not None:
        position = position.after(batch.spans)
        told = [json.loads(value) for value in batch.rows.column("value").to_pylist() if value]
        found += [int(one["cursor"]) for one in told if one.get("window") == window]
    return found
