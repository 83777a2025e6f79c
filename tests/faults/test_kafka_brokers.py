"""Brokers killed and leaders moved under traffic: API -> three brokers -> Iceberg, every acknowledged event there once."""

from __future__ import annotations

import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import ListOffsetsResultInfo
from testbed.quorum import Quorum

from frazil.log.kafka import KafkaConnection
from frazil.log.kafka.connection import Admin
from tests.faults.kafka_ground import KafkaGround, Roles, sending
from tests.faults.killing import zygote


@pytest.mark.prop(2)
@pytest.mark.parametrize("kills", [1, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_brokers_that_are_killed_and_come_back_lose_and_double_nothing(quorum: Quorum, tmp_path: Path, kills: int) -> None:
    ground = KafkaGround.on(tmp_path / "p", quorum)
    with zygote(tmp_path) as made:
        roles = Roles(ground, made)
        children = [roles.serve(), roles.process(), roles.process()]
        with sending(ground, roles.port):
            time.sleep(1)
            for _ in range(kills):
                victim = quorum.leaders(ground.topic)[0]
                quorum.node(victim).kill()
                time.sleep(1.5)
                quorum.node(victim).start()
                quorum.wait()
                quorum.whole(ground.topic)
        for child in children:
            assert child.ended() is None, roles.said()
            child.kill()
        roles.drain()
    ground.judged()


class Electing(Admin):
    """What a client says while a leader is new: an offset that is none, and no error; then where the log ends."""

    def __init__(self, *said: int) -> None:
        super().__init__({})
        self.left = list(said)

    @property
    def client(self) -> Any:
        return self

    def poll(self, _: float) -> int:
        return 0

    def list_offsets(self, asked: dict[TopicPartition, Any], **_: object) -> dict[TopicPartition, Future[ListOffsetsResultInfo]]:
        answers: dict[TopicPartition, Future[ListOffsetsResultInfo]] = {at: Future() for at in asked}
        for answer in answers.values():
            answer.set_result(ListOffsetsResultInfo(self.left.pop(0), -1, -1))
        return answers


def test_a_leader_that_does_not_know_its_end_yet_is_asked_again_and_never_believed() -> None:
    """Believed, it would be a log that was cut off: exit 78 for nothing. Brokers killed one after the other bring it about."""
    connection = KafkaConnection("127.0.0.1:1")
    assert connection.offsets(Electing(-1001, -1, 7), "t", (0,)) == {0: 7}
