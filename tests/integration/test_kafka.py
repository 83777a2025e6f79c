"""The same project on Kafka: a real broker, the real server, several processors, and the accidents of a topic."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from testbed.kafka import Cluster

from frazil.batch import Batch, Position
from frazil.engine import lines as engines
from frazil.engine.local import Engine
from frazil.errors import Corrupt, OffsetExpired, Unavailable
from frazil.flow import pump
from frazil.log import IdempotencyKey, Record
from frazil.log.kafka import KafkaConnection, KafkaReader, KafkaWriter
from frazil.project import Project
from frazil.sink.books import verify
from tests.serving import TOML, lines, make_project, order, serving

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def connection(kafka: Cluster) -> KafkaConnection:
    return KafkaConnection(kafka.address, delivery_timeout=10)


@pytest.fixture
def topic(connection: KafkaConnection) -> str:
    return made(connection, partitions=1)


def made(connection: KafkaConnection, *, partitions: int) -> str:
    name = f"orders-{uuid4()}"
    connection.ensure_topic(connection.admin(), name, partitions=partitions, config={})
    return name


@pytest.fixture
def root(kafka: Cluster, tmp_path: Path) -> Path:
    """A project whose log is the broker."""
    log = f'[log]\nurl = "kafka://{kafka.address}"\n[kafka]\ntopic_prefix = "{uuid4()}."\npartitions = 3\n'
    return make_project(tmp_path / "project", toml=TOML.replace("[log]\nmin_free_bytes = 0\n", log))


def drain(reader: KafkaReader, position: Position | None = None, limit: int = 1_000) -> tuple[list[bytes | None], Position]:
    position, values = position or Position.empty(), []
    while (batch := reader.read(after=position, limit=limit)) is not None:
        values += batch.rows.column("value").to_pylist()
        position = position.after(batch.spans)
    return values, position


def send(connection: KafkaConnection, topic: str, *values: bytes | None, **more: object) -> None:
    """What any producer does: no headers of ours."""
    producer = Producer(connection.client())
    for value in values:
        producer.produce(topic, value, **more)  # type: ignore[arg-type]
    assert producer.flush(20) == 0


def test_events_come_in_over_http_and_land_from_kafka_once(root: Path) -> None:
    with serving(root) as served:
        job = served.send([order() for _ in range(50)] + [order(value=-1)]).json
        again = [served.send([order()], idempotency_key="k-1").json["job_id"] for _ in range(1)]
        project, contract = served.project, served.project.contract("orders")
        parts = project.log_reader(contract), project.processor(contract), project.keys(contract), project.sink(contract)
        while pump(*parts) is not None:
            pass
        status = served.call("GET", f"/status/{job['job_id']}").json
        assert (status["state"], status["landed"], status["dead"], status["pending"]) == ("completed", 50, 1, 0)
        assert served.call("GET", f"/status/{again[0]}").json["state"] == "completed"
        health = served.call("GET", "/health/ready")
        assert (health.status, health.json["state"]) == (200, "ok")
        assert "disk" not in health.json["components"], "the log lies elsewhere"
        assert verify(contract, parts[0], parts[3], project.dead_letters).balanced


def test_a_request_with_a_key_is_stored_once_in_whatever_process(root: Path) -> None:
    record = order()
    with serving(root) as first:
        one = first.call("POST", "/ingest", lines([record]), content_type="application/x-ndjson", idempotency_key="same")
    with serving(root) as second:
        two = second.call("POST", "/ingest", lines([record]), content_type="application/x-ndjson", idempotency_key="same")
        assert (one.status, two.status, one.json["job_id"]) == (202, 202, two.json["job_id"])
        values, _ = drain(second.project.log_reader(second.project.contract("orders")))  # type: ignore[arg-type]
    assert [json.loads(value or b"")["id"] for value in values] == [record["id"]]


def test_records_of_other_producers_are_taken_as_they_are(connection: KafkaConnection, topic: str) -> None:
    send(connection, topic, b'{"id": 1}', None, b"", key=b"k", headers={"trace": b"t", "frazil": b"forged"})
    reader = KafkaReader(connection, topic)
    batch = reader.read(after=Position.empty(), limit=10)
    assert batch is not None
    rows = batch.rows.to_pylist()
    assert [(row["value"], row["key"], row["request"], row["source"]) for row in rows] == [
        (b'{"id": 1}', b"k", 0, None),
        (None, b"k", 0, None),
        (b"", b"k", 0, None),
    ]
    assert all(abs(row["received_at"] - datetime.now(UTC)) < timedelta(minutes=1) for row in rows)
    reader.close()


def test_the_markers_of_transactions_are_gaps_inside_a_span(connection: KafkaConnection, topic: str) -> None:
    writer, reader = KafkaWriter(connection, topic), KafkaReader(connection, topic)
    for number in range(3):
        key = IdempotencyKey(f"k{number}", b"body", b"")
        writer.append([Record(b"%d" % number)], request=number, received_at=NOW, idempotency=key)
    values, position = drain(reader, limit=1)
    assert values == [b"0", b"1", b"2"]
    assert position.last(reader.log_id, "0") == reader.ends()["0"] == 5
    assert reader.lag(position) == 0
    aborted = Producer(connection.client(transactional_id=str(uuid4())))
    aborted.init_transactions(20)
    aborted.begin_transaction()
    aborted.produce(topic, b"never")
    aborted.flush(20)
    assert reader.read(after=position, limit=10) is None, "an open transaction is not there yet"
    aborted.abort_transaction(20)
    empty = reader.read(after=position, limit=10, wait=timedelta(seconds=10))
    assert empty is not None
    assert len(empty) == 0
    assert reader.read(after=position.after(empty.spans), limit=10) is None
    writer.close()
    reader.close()


def test_a_topic_made_anew_stops_the_reader(connection: KafkaConnection, topic: str) -> None:
    send(connection, topic, b"a", b"b")
    reader = KafkaReader(connection, topic)
    _, position = drain(reader)
    admin = connection.admin().client
    admin.delete_topics([topic])[topic].result(20)
    deadline = time.monotonic() + 20
    while topic in admin.list_topics(timeout=5).topics and time.monotonic() < deadline:
        time.sleep(0.1)
    connection.ensure_topic(connection.admin(), topic, partitions=1, config={})
    send(connection, topic, b"x", b"y", b"z")
    with pytest.raises(Corrupt) as stopped:
        drain(KafkaReader(connection, topic), position)
    assert (stopped.value.code, stopped.value.exit_code) == ("log.recreated", 78)
    assert _stop_of(reader, position).code == "log.recreated", "a reader that was open all the time stops, too"
    reader.close()


def _stop_of(reader: KafkaReader, position: Position) -> Corrupt:
    """What stops a reader, once it no longer waits."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            drain(reader, position)
        except Corrupt as stop:
            return stop
        except Unavailable:
            time.sleep(0.2)
    raise AssertionError("it did not stop")


def test_a_lost_range_stops_the_reader(connection: KafkaConnection, topic: str) -> None:
    from confluent_kafka import TopicPartition

    send(connection, topic, *[b"x"] * 10)
    reader = KafkaReader(connection, topic)
    batch = reader.read(after=Position.empty(), limit=3)
    assert batch is not None
    admin = connection.admin().client
    admin.delete_records([TopicPartition(topic, 0, 7)])[TopicPartition(topic, 0)].result(20)
    position = Position.empty().after(batch.spans)
    with pytest.raises(OffsetExpired) as expired:
        KafkaReader(connection, topic).read(after=position, limit=10)
    assert (expired.value.context["wanted"], expired.value.context["oldest"]) == (3, 7)
    assert reader.oldest() == {"0": 7}
    values, _ = drain(KafkaReader(connection, topic), Position({reader.log_id: {"0": ("6", "0")}}))
    assert values == [b"x"] * 3
    reader.close()


def test_new_partitions_are_picked_up(connection: KafkaConnection, topic: str) -> None:
    from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

    send(connection, topic, b"old", partition=0)
    reader = KafkaReader(connection, topic, group=f"g-{uuid4()}")
    values, position = drain(reader)
    assert values == [b"old"]
    admin = connection.admin().client
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(20)
    send(connection, topic, b"new", partition=1)
    deadline = time.monotonic() + 40
    while b"new" not in values and time.monotonic() < deadline:
        more, position = drain(reader, position)
        values += more
        time.sleep(0.1)
    assert values == [b"old", b"new"]
    reader.close()


def test_readers_of_a_group_share_the_partitions_and_the_position_decides(connection: KafkaConnection) -> None:
    topic, group = made(connection, partitions=4), f"g-{uuid4()}"
    for partition in range(4):
        send(connection, topic, *(b"%d-%d" % (partition, number) for number in range(50)), partition=partition)
    first, second = KafkaReader(connection, topic, group=group), KafkaReader(connection, topic, group=group)
    assert sorted(v or b"" for v in drain(first)[0]) == sorted(b"%d-%d" % (p, n) for p in range(4) for n in range(50))
    joining = threading.Thread(target=drain, args=(second,))
    joining.start()
    deadline, seen = time.monotonic() + 30, [set[str](), set[str]()]
    while time.monotonic() < deadline and not (seen[0] and seen[1] and not seen[0] & seen[1]):
        seen = [_partitions(first), set()]  # from the very beginning again: nothing but the position counts
        if not joining.is_alive():
            seen[1] = _partitions(second)
    joining.join()
    assert seen[0] | seen[1] == {"0", "1", "2", "3"}
    assert not seen[0] & seen[1]
    second.close()
    while time.monotonic() < deadline and len(_partitions(first)) < 4:
        pass
    assert len(drain(first)[0]) == 200, "what the other one had falls to those that stay"
    first.close()


def _partitions(reader: KafkaReader) -> set[str]:
    batch: Batch | None = reader.read(after=Position.empty(), limit=1_000)
    return set() if batch is None else {span.partition for span in batch.spans}


@pytest.mark.prop(15)
def test_processors_that_come_and_go_land_every_record_once(root: Path) -> None:
    project = Project.at(root)
    contract = project.contract("orders")
    writer, sent = project.log_writer(contract), Counter[str]()
    over = threading.Event()

    def traffic() -> None:
        number = 0
        while not over.is_set():
            orders = [order() for _ in range(20)]
            writer.append([Record(json.dumps(one).encode()) for one in orders], request=(number := number + 1), received_at=NOW)
            sent.update(str(one["id"]) for one in orders)

    sender = threading.Thread(target=traffic)
    sender.start()
    running: list[tuple[Engine, threading.Thread]] = []
    for step in range(6):  # each start and each stop is a rebalance
        engine = engines.engine(project.settings, ["orders"])
        thread = threading.Thread(target=engine.run)
        thread.start()
        running.append((engine, thread))
        time.sleep(1.0)
        if step % 2:
            running[0][0].stop()
            running.pop(0)[1].join()
    over.set()
    sender.join()
    for engine, thread in running:
        engine.stop()
        thread.join()
    assert engines.engine(project.settings, ["orders"], until_idle=True).run() == 0
    found = Counter(str(row["id"]) for row in project.lake.raw(contract).scan(selected_fields=("id",)).to_arrow().to_pylist())
    assert found == sent
    writer.close()


def test_a_cluster_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster") as cluster:
        connection = KafkaConnection(cluster.address, delivery_timeout=3)
        topic = made(connection, partitions=1)
        writer, reader = KafkaWriter(connection, topic), KafkaReader(connection, topic)
        writer.append([Record(b"a")], request=1, received_at=NOW)
        values, position = drain(reader)
        cluster.nodes[0].kill()
        with pytest.raises(Unavailable) as refused:
            writer.append([Record(b"b")], request=2, received_at=NOW)
        assert (refused.value.code, refused.value.retry) == ("log.unavailable", "backoff")
        with pytest.raises(Unavailable):
            reader.read(after=position, limit=1)
        cluster.nodes[0].start()
        cluster.wait()
        assert writer.append([Record(b"c")], request=3, received_at=NOW).spans
        more, _ = drain(reader, position)
        assert [*values, *more] in ([b"a", b"c"], [b"a", b"b", b"c"]), "what was acknowledged is there, in order"
        writer.close()
        reader.close()


def test_a_broker_that_was_killed_is_gone_on_with_by_the_same_clients(tmp_path: Path) -> None:
    """Its leaders have another epoch now: what was opened before must not ask by the old one for ever."""
    with Cluster(tmp_path / "cluster") as cluster:
        connection = KafkaConnection(cluster.address, delivery_timeout=30)
        topic = made(connection, partitions=2)
        writer, reader = KafkaWriter(connection, topic), KafkaReader(connection, topic)

        def keyed(number: int) -> None:
            key = IdempotencyKey(f"k{number}", b"body", b"receipt")
            writer.append([Record(f"v{number}".encode())], request=number, received_at=NOW, idempotency=key)

        keyed(1)
        values, position = drain(reader)
        (node,) = cluster.nodes
        node.kill()
        node.start()
        cluster.wait()
        deadline = time.monotonic() + 60
        while True:
            try:
                keyed(2)
                break
            except Unavailable:
                assert time.monotonic() < deadline, "the writer never came back"
        while b"v2" not in values:
            assert time.monotonic() < deadline, "the reader never came back"
            try:
                more, position = drain(reader, position)
                values += more
            except Unavailable:
                continue
        assert values == [b"v1", b"v2"]
        assert reader.lag(position) <= 2, "transaction markers"
        writer.close()
        reader.close()
