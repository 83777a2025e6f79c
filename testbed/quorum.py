"""Three brokers on loopback that replicate to each other directly; clients reach each of them through a door."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from testbed import jars
from testbed.kafka import READY_S, Cluster, Lines, Node, free_ports
from testbed.proxy import Door


class Quorum(Cluster):
    """Every record three times, two of them before it is acknowledged: one broker may always be lost.

    `doors` by number of node; what a door does to its broker's clients the other brokers do not notice.
    """

    def __init__(self, directory: Path) -> None:
        self.doors: dict[int, Door] = {}
        super().__init__(directory, nodes=3, amend=self._behind_a_door)

    @property
    def address(self) -> str:
        """The doors: `host:port,host:port,host:port`."""
        return ",".join(f"127.0.0.1:{door.port}" for door in self.doors.values())

    def node(self, number: int) -> Node:
        return next(node for node in self.nodes if node.number == number)

    def leaders(self, topic: str) -> dict[int, int]:
        """Number of the node that leads, per partition (-1: nobody does now)."""
        from confluent_kafka.admin import AdminClient

        found = AdminClient({"bootstrap.servers": self.address, "log_level": 0}).list_topics(topic, timeout=20).topics[topic]
        return {number: partition.leader for number, partition in found.partitions.items()}

    def whole(self, topic: str, seconds: float = READY_S) -> None:
        """Wait until all three replicas of every partition are in sync."""
        from confluent_kafka.admin import AdminClient

        deadline = time.monotonic() + seconds
        while True:
            admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
            partitions = admin.list_topics(topic, timeout=20).topics[topic].partitions.values()
            if all(len(one.isrs) == 3 for one in partitions):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"replicas of {topic} are not in sync after {seconds:g} s")
            time.sleep(0.2)

    def lead(self, topic: str, order: Sequence[int]) -> None:
        """Let the first of `order` lead every partition of a topic: its replicas are put into this order, then the first is elected."""
        partitions = list(self.leaders(topic))
        asked = [{"topic": topic, "partition": at, "replicas": list(order), "log_dirs": ["any"] * len(order)} for at in partitions]
        plan = self.nodes[0].directory / "reassignment.json"
        plan.write_text(json.dumps({"version": 1, "partitions": asked}))
        self._tool("reassign.ReassignPartitionsCommand", "--reassignment-json-file", str(plan), "--execute")
        plan.write_text(json.dumps({"partitions": [{"topic": topic, "partition": at} for at in partitions]}))
        self._tool("LeaderElectionCommand", "--election-type", "PREFERRED", "--path-to-json-file", str(plan))
        deadline = time.monotonic() + READY_S
        while set(self.leaders(topic).values()) != {order[0]}:
            if time.monotonic() > deadline:
                raise RuntimeError(f"node {order[0]} did not become leader of {topic}")
            time.sleep(0.1)

    def close(self) -> None:
        super().close()
        for door in self.doors.values():
            door.close()

    def _behind_a_door(self, node: Node, lines: Lines) -> None:
        (inner,) = free_ports(1)
        self.doors[node.number] = door = Door(node.port)
        lines["listeners"] = f"{lines['listeners']},INTERNAL://127.0.0.1:{inner}"
        lines["advertised.listeners"] = f"CLIENT://127.0.0.1:{door.port},INTERNAL://127.0.0.1:{inner}"
        lines["listener.security.protocol.map"] = f"{lines['listener.security.protocol.map']},INTERNAL:PLAINTEXT"
        lines["inter.broker.listener.name"] = "INTERNAL"

    def _tool(self, name: str, *words: str) -> None:
        """Run one of Kafka's own commands."""
        library = jars.folder(jars.HERE / "pom.xml")
        logging = self.nodes[0].directory / "log4j2.yaml"
        java = [str(jars.java()), "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={logging}", "-cp", f"{library}/*"]
        command = [*java, f"org.apache.kafka.tools.{name}", "--bootstrap-server", self.address, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed: {done.stdout[-1000:]} {done.stderr[-1000:]}")
