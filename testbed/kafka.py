"""A Kafka cluster (KRaft) of one or several nodes that dies with its owner."""

from __future__ import annotations

import atexit
import base64
import ctypes
import os
import random
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed import jars

READY_S = 60.0
_PR_SET_PDEATHSIG = 1
_LOGGING = """Configuration:
  Appenders:
    Console: {name: out, PatternLayout: {pattern: "%d %p %c %m%n"}}
  Loggers:
    Root: {level: warn, AppenderRef: {ref: out}}
"""


def free_ports(count: int) -> list[int]:
    """Loopback ports nobody listens on now, below those that outgoing connections are given: a server that starts slowly keeps its own."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.add(port)
    return list(found)


Lines = dict[str, object]


@dataclass
class Node:
    """One broker, also a controller. Its data stay in `directory` over kills and restarts."""

    number: int
    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when it takes long."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def start(self) -> None:
        """Start the broker; `Cluster.wait` waits for it."""
        with (self.directory / "out.log").open("ab") as out:
            self.process = subprocess.Popen(
                [*_jvm(self.directory), "kafka.Kafka", str(self.directory / "server.properties")],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        atexit.register(self.kill)


class Cluster:
    """`nodes` brokers on loopback, formatted in `directory` and started. A context manager.

    Replication factor is the smaller of 3 and `nodes`, min.insync.replicas one less (at least 1).

    Args:
        amend: Given each node and the lines of its `server.properties`, changes them before they are written.

    Raises:
        jars.Absent: No JDK, no Maven, or no jars.
    """

    def __init__(self, directory: Path, *, nodes: int = 1, amend: Callable[[Node, Lines], None] = lambda node, lines: None) -> None:
        ports = free_ports(2 * nodes)
        voters = ",".join(f"{number + 1}@127.0.0.1:{ports[nodes + number]}" for number in range(nodes))
        self.nodes = [Node(number + 1, directory / f"node{number + 1}", ports[number]) for number in range(nodes)]
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        for node in self.nodes:
            lines = _lines(node, voters, ports[nodes + node.number - 1], nodes)
            amend(node, lines)
            (node.directory / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        formats = [_format(node, cluster_id) for node in self.nodes]
        for node, formatted in zip(self.nodes, formats, strict=True):
            if formatted.wait(60) != 0:
                raise RuntimeError(f"the storage of node {node.number} could not be formatted: {_tail(node)}")
        for node in self.nodes:
            node.start()
        self.wait()

    @property
    def address(self) -> str:
        """`host:port[,host:port…]`."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def wait(self) -> None:
        """Until every started node is a broker of the cluster."""
        from confluent_kafka.admin import AdminClient

        up = [node for node in self.nodes if node.process is not None and node.process.poll() is None]
        deadline = time.monotonic() + READY_S
        while True:
            for node in up:
                if node.process is not None and node.process.poll() is not None:
                    raise RuntimeError(f"node {node.number} ended: {_tail(node)}")
            if all(_listens(node.port) for node in up):
                try:
                    admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
                    if len(admin.list_topics(timeout=5).brokers) >= len(up):
                        return
                except Exception as error:
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"the cluster is not ready: {error}; {_tail(self.nodes[0])}") from error
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster is not ready: {_tail(self.nodes[0])}")
            time.sleep(0.1)

    def close(self) -> None:
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _jvm(directory: Path) -> Sequence[str]:
    library = jars.folder(jars.HERE / "pom.xml")
    logging = directory / "log4j2.yaml"
    logging.write_text(_LOGGING)
    memory = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    return [str(jars.java()), *memory, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{library}/*"]


def _lines(node: Node, voters: str, controller_port: int, nodes: int) -> Lines:
    node.directory.mkdir(parents=True)
    replicas, in_sync = min(3, nodes), min(2, nodes)
    lines: Lines = {
        "process.roles": "broker,controller",
        "node.id": node.number,
        "controller.quorum.voters": voters,
        "listeners": f"CLIENT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{node.port}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": node.directory / "logs",
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "group.initial.rebalance.delay.ms": 0,
        "broker.session.timeout.ms": 2000,  # so that a killed node comes back in seconds
        "broker.heartbeat.interval.ms": 500,
        "log.cleaner.dedupe.buffer.size": 2097154,
        "num.network.threads": 2,
        "num.io.threads": 2,
    }
    for prefix in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        lines[f"{prefix}.replication.factor"] = replicas
        lines[f"{prefix}.num.partitions"] = 3
    for prefix in ("transaction.state.log", "share.coordinator.state.topic"):
        lines[f"{prefix}.min.isr"] = in_sync
    return lines


def _format(node: Node, cluster_id: str) -> subprocess.Popen[bytes]:
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(node.directory / "server.properties")]
    with (node.directory / "out.log").open("ab") as out:
        return subprocess.Popen([*_jvm(node.directory), *tool], stdout=out, stderr=subprocess.STDOUT, env=os.environ)


def die_with_parent() -> None:
    """A test run that is killed leaves no server behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _tail(node: Node) -> str:
    log = node.directory / "out.log"
    return log.read_text(errors="replace")[-1500:] if log.exists() else "it wrote nothing"
