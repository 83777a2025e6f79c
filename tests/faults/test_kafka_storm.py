"""The whole of it at full size: a million events, a hundred rebalances, twenty broker kills; nothing lost, nothing doubled.

Sizes: FRAZIL_STORM_EVENTS, FRAZIL_STORM_REBALANCES, FRAZIL_STORM_KILLS. With `-s` it tells its figures.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from testbed.jars import Absent
from testbed.kafka import Cluster, Node

from tests.faults.kafka_ground import Client, KafkaGround, Roles, Stalls, quantile, sending
from tests.faults.killing import Child, zygote

EVENTS = int(os.environ.get("FRAZIL_STORM_EVENTS", "1000000"))
REBALANCES = int(os.environ.get("FRAZIL_STORM_REBALANCES", "100"))
KILLS = int(os.environ.get("FRAZIL_STORM_KILLS", "20"))
PACE = {"FRAZIL_PROCESS__BATCH_RECORDS": "20000", "FRAZIL_PROCESS__MAX_DELAY": "PT1S"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    try:
        started = Cluster(tmp_path / "cluster", nodes=3)
    except Absent as absent:
        pytest.skip(f"Kafka was NOT tested: {absent}")
    with started:
        yield started


@dataclass
class Storm:
    """Processors come and go, by turns in order and by kill -9; a broker is killed now and then and comes back."""

    roles: Roles
    cluster: Cluster
    chance: random.Random = field(default_factory=lambda: random.Random(20261121))
    running: list[Child] = field(default_factory=list)
    down: Node | None = None
    came: int = 0
    left: int = 0
    killed: int = 0
    brokers_killed: int = 0

    def rebalance(self) -> None:
        """One processor more, or one less: one to three of them run."""
        if len(self.running) < 2 or (len(self.running) < 3 and self.chance.random() < 0.5):
            self.running.append(self.roles.process())
            self.came += 1
            return
        child = self.running.pop(self.chance.randrange(len(self.running)))
        assert child.ended() is None, self.roles.said()
        if self.chance.random() < 0.5:
            child.kill()
            self.killed += 1
        else:
            child.stop()
            self.left += 1

    def kill_broker(self) -> None:
        self.down = self.chance.choice(self.cluster.nodes)
        self.down.kill()
        self.brokers_killed += 1

    def bring_back(self) -> None:
        if self.down is not None:
            self.down.start()
            self.cluster.wait()
            self.down = None


def settle(clients: list[Client], ground: KafkaGround, upto: int, seconds: float = 180.0) -> None:
    """Let clients go on up to so many events, and wait until they have."""
    ground.allowed = upto
    deadline = time.monotonic() + seconds
    while len(ground.acked) < upto:
        assert all(client.is_alive() for client in clients), [client.failure for client in clients]
        assert time.monotonic() < deadline, f"{len(ground.acked):,} of {upto:,} events are sent"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.prop(2)
@pytest.mark.prop(15)
def test_a_million_events_a_hundred_rebalances_twenty_broker_kills(cluster: Cluster, tmp_path: Path) -> None:
    ground, began = KafkaGround.on(tmp_path / "p", cluster, partitions=12), time.monotonic()
    kills = {round((number + 0.5) * REBALANCES / KILLS) for number in range(KILLS)}
    with zygote(tmp_path) as made:
        roles = Roles(ground, made, env=PACE)
        api, storm = roles.serve(), Storm(roles, cluster)
        ground.allowed = 0
        with sending(ground, roles.port, size=1_000, pause=0.0) as clients, Stalls(ground) as stalls:
            moments = [time.monotonic()]
            for step in range(REBALANCES):
                if step in kills:
                    storm.kill_broker()
                storm.rebalance()
                settle(clients, ground, EVENTS * (step + 1) // REBALANCES)
                time.sleep(storm.chance.uniform(1.0, 3.0))
                storm.bring_back()
                moments.append(time.monotonic())
        for child in (api, *storm.running):
            assert child.ended() is None, roles.said()
            child.kill()
        roles.drain(600)
    books, waits = ground.judged(), stalls.worst_between(moments)
    calm = [seconds for step, seconds in enumerate(waits) if step not in kills]
    cut = [seconds for step, seconds in enumerate(waits) if step in kills]  # until the cluster itself answers again, and then we
    told = {
        "events": len(ground.acked), "records": books.records, "landed": books.landed, "dead": books.dead, "duplicates": books.duplicates,
        "sent_again_without_key": ground.unsure, "lost": 0, "doubled": 0, "rebalances": REBALANCES, "processors_started": storm.came,
        "processors_stopped": storm.left, "processors_killed": storm.killed, "brokers_killed": storm.brokers_killed,
        "commits": ground.commits(), "seconds": round(time.monotonic() - began),
        "longest_wait_of_a_partition_s": {
            "of_each_rebalance": {f"p{share}": quantile(calm, share) for share in (50, 95, 100)},
            "of_each_broker_kill": {f"p{share}": quantile(cut, share) for share in (50, 95, 100)},
        },
        "longest_without_202_s": {("keyed" if client.keyed else "plain"): round(client.longest, 1) for client in clients},
    }  # fmt: skip
    print(json.dumps(told))
    assert quantile(waits, 50) < 10, told  # the tail is for the eye: a broker that was killed is felt some rebalances later, too
