"""The way between Frazil and its brokers: cut, slow, silent, and answers that are lost though the broker did what was asked."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from testbed.proxy import END_TRANSACTION, PRODUCE
from testbed.quorum import Quorum

from frazil.batch import Position
from frazil.errors import Unavailable
from frazil.log import IdempotencyKey, Record
from frazil.log.kafka import KafkaConnection, KafkaReader, KafkaWriter
from tests.faults.kafka_ground import KafkaGround, Roles, sending
from tests.faults.killing import until, zygote

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def made(connection: KafkaConnection) -> str:
    topic = f"t-{uuid4()}"
    connection.ensure_topic(connection.admin(), topic, partitions=1, config={})
    return topic


def held(connection: KafkaConnection, topic: str) -> list[bytes]:
    """Everything that readers may see, in order."""
    reader, position, found = KafkaReader(connection, topic), Position.empty(), list[bytes]()
    while (batch := reader.read(after=position, limit=10_000)) is not None:
        found += batch.rows.column("value").to_pylist()
        position = position.after(batch.spans)
    reader.close()
    return found


@pytest.mark.parametrize("losses", [4, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_records_whose_answers_are_lost_are_stored_once_and_acknowledged(quorum: Quorum, losses: int) -> None:
    connection = KafkaConnection(quorum.address)
    topic = made(connection)
    writer = KafkaWriter(connection, topic)
    sent = []
    for request in range(losses):
        for door in quorum.doors.values():
            door.lose(PRODUCE, 1)
        values = [json.dumps([request, number]).encode() for number in range(50)]
        appended = writer.append([Record(value) for value in values], request=request, received_at=NOW)
        assert [span.last - span.first + 1 for span in appended.spans] == [50]
        sent += values
    writer.close()
    assert sum(door.lost for door in quorum.doors.values()) >= losses, "the fault itself"
    assert held(connection, topic) == sent


def test_a_producer_that_is_not_idempotent_doubles_under_the_same_fault(quorum: Quorum) -> None:
    """That the fault is one: what we are safe from happens to others."""
    topic = made(KafkaConnection(quorum.address))
    careless = KafkaConnection(quorum.address, {"enable.idempotence": "false"})
    writer = KafkaWriter(careless, topic)
    for door in quorum.doors.values():
        door.lose(PRODUCE, 1)
    writer.append([Record(b"once")], request=1, received_at=NOW)
    writer.close()
    assert held(careless, topic) == [b"once", b"once"]


def test_a_keyed_request_whose_answers_are_lost_is_stored_once(quorum: Quorum) -> None:
    connection = KafkaConnection(quorum.address)
    topic = made(connection)
    writer = KafkaWriter(connection, topic)
    writer.append([Record(b"0")], request=0, received_at=NOW, idempotency=IdempotencyKey("k0", b"body", b""))
    for request in range(1, 4):
        for door in quorum.doors.values():
            door.lose(PRODUCE, 1)
            door.lose(END_TRANSACTION, 1)
        key, deadline = IdempotencyKey(f"k{request}", b"body", b"receipt"), time.monotonic() + 60
        while True:
            try:
                writer.append([Record(b"%d" % request)], request=request, received_at=NOW, idempotency=key)
                break
            except Unavailable:
                assert time.monotonic() < deadline
    writer.close()
    assert held(connection, topic) == [b"0", b"1", b"2", b"3"]


@pytest.mark.prop(2)
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_network_that_is_cut_slow_or_silent_is_waited_for(quorum: Quorum, tmp_path: Path, rounds: int) -> None:
    ground = KafkaGround.on(tmp_path / "p", quorum, delivery_timeout="5s")
    with zygote(tmp_path) as made:
        roles = Roles(ground, made)
        children = [roles.serve(), roles.process()]
        with sending(ground, roles.port):
            for fault in ("slow", "cut", "silent") * rounds:
                time.sleep(0.5)
                for door in quorum.doors.values():
                    {"slow": lambda door=door: door.slow(delay=0.1, rate=200_000), "cut": door.cut, "silent": door.hush}[fault]()
                time.sleep(2.5)
                for door in quorum.doors.values():
                    door.mend()
                before = ground.commits()
                until(lambda before=before: ground.commits() > before)
        assert [child.ended() for child in children] == [None, None], roles.said()
        for child in children:
            child.kill()
        roles.drain()
    ground.judged()
