"""What a member of a group held that was killed on this machine: its successor reads it at once, without waiting for its session to end."""

from __future__ import annotations

import time
from pathlib import Path

from confluent_kafka import KafkaException

from frazil.log.kafka.connection import Admin
from frazil.log.kafka.seat import Seat

_ASK_S = 0.5
_ANSWER_S = 3.0


class Estate:
    """Partitions that the group still gives to a member whose process is dead. Nobody else reads them until its session ends.

    Args:
        directory: Where this machine's seats are; None: nothing is known of the dead.
        group: Name of the group.
        topic: Its topic.
    """

    def __init__(self, admin: Admin, directory: Path | None, group: str, topic: str) -> None:
        self._admin, self._group, self._topic = admin, group, topic
        self._seat = Seat.taken(directory, f"member-{group}-{topic}")
        self._dead = self._seat.left if self._seat is not None else None
        self._asked = 0.0
        self._held: frozenset[int] = frozenset()

    def joined(self, member: str) -> None:
        """This process is a member itself now, under this name."""
        self._dead = None
        if self._seat is not None:
            self._seat.note(member)

    def held(self) -> frozenset[int] | None:
        """What is to be read in the dead member's stead; None once the group has got over it, or does not answer."""
        if self._dead is not None and time.monotonic() - self._asked > _ASK_S:
            self._asked = time.monotonic()
            try:
                found = self._admin.client.describe_consumer_groups([self._group], request_timeout=_ANSWER_S)[self._group].result(_ANSWER_S)
            except (KafkaException, TimeoutError):
                self._dead = None
                return None
            dead = next((member for member in found.members if member.member_id == self._dead), None)
            if dead is None:
                self._dead = None
            else:  # while the group negotiates it tells nobody's partitions
                given = dead.assignment.topic_partitions if dead.assignment is not None else []
                self._held = frozenset(at.partition for at in given if at.topic == self._topic)
        return None if self._dead is None else self._held

    def leave(self) -> None:
        """The process left the group in order."""
        if self._seat is not None:
            self._seat.leave()
