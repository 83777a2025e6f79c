"""Processors that join, leave and are killed: rebalances under traffic, leaders moved, and no partition waits for long."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from testbed.quorum import Quorum

from tests.faults.kafka_ground import OFTEN, KafkaGround, Roles, Stalls, quantile, sending
from tests.faults.killing import CONTRACT, Child, until, zygote


@pytest.mark.prop(15)
@pytest.mark.parametrize(
    ("rebalances", "pause", "kills", "longest"),
    [
        (5, 1.5, True, 30.0),
        pytest.param(100, 5.0, False, 10.0, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_processors_that_join_and_leave_lose_and_double_nothing(
    quorum: Quorum, tmp_path: Path, rebalances: int, pause: float, kills: bool, longest: float
) -> None:
    """Who is killed is missed by the group only when its session ends, 6 s later: its partitions may wait longer than `longest`."""
    ground, chance = KafkaGround.on(tmp_path / "p", quorum, partitions=12), random.Random(6)
    with zygote(tmp_path) as made:
        roles = Roles(ground, made)
        api, running = roles.serve(), [roles.process()]
        with sending(ground, roles.port), Stalls(ground) as stalls:
            moments = [time.monotonic()]
            for step in range(rebalances):
                time.sleep(pause)
                if len(running) == 3 or (len(running) == 2 and chance.random() < 0.5):
                    leave(running.pop(0), killed=kills and step % 2 == 0)
                else:
                    running.append(roles.process())
                moments.append(time.monotonic())
        for child in (api, *running):
            assert child.ended() is None, roles.said()
            child.kill()
        roles.drain()
    ground.judged()
    waits = stalls.worst_between(moments)
    told = {f"p{share}": quantile(waits, share) for share in (50, 95, 100)}
    print({"rebalances": rebalances, "longest_wait_of_a_partition_s": told})
    assert quantile(waits, 95) < longest, (told, waits)


def leave(child: Child, *, killed: bool) -> None:
    if killed:
        child.kill()
    else:
        child.stop()


def test_who_is_killed_is_succeeded_long_before_its_session_ends(quorum: Quorum, tmp_path: Path) -> None:
    """Two processors share the partitions. One is killed; who starts in its stead on this machine lands its part at once."""
    ground = KafkaGround.on(tmp_path / "p", quorum, partitions=4)
    patient = {**OFTEN, "FRAZIL_KAFKA__OPTIONS": '{"session.timeout.ms": "45000"}'}
    with zygote(tmp_path) as made:
        roles = Roles(ground, made, env=patient)
        children = [roles.process(), roles.process()]
        until(lambda: ground.append(5, 0, 0) or members(ground) == {2: 2})
        until(lambda: ground.lag() == 0)
        for child in children:
            child.kill()
            for _ in range(8):  # some for every partition
                ground.append(5, 0, 0)
            killed, successor = time.monotonic(), roles.process()
            until(lambda: ground.lag() == 0)
            assert time.monotonic() - killed < 25, roles.said()
        successor.kill()
        roles.drain()
    ground.judged()


def members(ground: KafkaGround) -> dict[int, int]:
    """How many members of the group have how many partitions, once that is settled."""
    group = f"frazil-{ground.project.settings.name}-{CONTRACT}"
    admin = ground.connection.admin().client
    found = admin.describe_consumer_groups([group])[group].result(20)
    counts = [len(member.assignment.topic_partitions) for member in found.members if member.assignment is not None]
    return {count: counts.count(count) for count in counts}


@pytest.mark.parametrize("moves", [1, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_leaders_that_are_moved_are_followed(quorum: Quorum, tmp_path: Path, moves: int) -> None:
    ground = KafkaGround.on(tmp_path / "p", quorum)
    with zygote(tmp_path) as made:
        roles = Roles(ground, made)
        children = [roles.serve(), roles.process()]
        with sending(ground, roles.port) as clients:
            for _ in range(moves):
                first = quorum.leaders(ground.topic)[0] % 3 + 1
                quorum.lead(ground.topic, (first, first % 3 + 1, (first + 1) % 3 + 1))
                time.sleep(0.5)
        assert max(client.longest for client in clients) < 20, "seconds without a 202"
        for child in children:
            assert child.ended() is None, roles.said()
            child.kill()
        roles.drain()
    ground.judged()
