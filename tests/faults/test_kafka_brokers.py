"""Brokers killed and leaders moved under traffic: API -> three brokers -> Iceberg, every acknowledged event there once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from testbed.quorum import Quorum

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
