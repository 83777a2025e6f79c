"""Dead letters in a topic of a real broker, each once whatever happens, and letters tried again until their cause has passed."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from testbed.kafka import Cluster
from testbed.registry import Registry

from frazil.batch import LETTERS, Place
from frazil.engine.beside import letters_beside
from frazil.errors import Unavailable
from frazil.flow import pump
from frazil.log.kafka import KafkaConnection
from frazil.log.kafka.letters import Backoff, DeadLetterTopic, RetryTopic, dead_letters_topic, retry_topic
from frazil.project import Project
from tests.integration.running import frazil
from tests.integration.test_registry import WRITER, announced, landed, produce, theirs, toml
from tests.serving import make_project, order

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SCHEMA = pa.schema([*LETTERS, pa.field("_commit", pa.int64())])


def letter(commit: int, offset: int, code: str = "json.invalid") -> dict[str, object]:
    violation = {"index": None, "path": "", "code": code, "message": "m", "hint": "h", "value": None}
    return {
        "contract": "orders", "contract_version": "1", "_log": "cluster.a/b+c", "_partition": "0", "_offset": offset, "_request": 7,
        "_received_at": NOW, "stage": "parse", "violations": [violation], "value": f"v{offset}".encode(), "key": None, "source": None,
        "first": None, "_replay": None, "_commit": commit,
    }  # fmt: skip


class Table:
    """Letters that a table would hold; remembers from which commit on it was asked."""

    def __init__(self) -> None:
        self.letters: list[dict[str, object]] = []
        self.asked: list[int] = []

    def newer(self, commit: int) -> pa.Table:
        self.asked.append(commit)
        return pa.Table.from_pylist([one for one in self.letters if int(str(one["_commit"])) > commit], schema=SCHEMA)


@pytest.fixture
def connection(kafka: Cluster) -> KafkaConnection:
    return KafkaConnection(kafka.address, delivery_timeout=10)


def read(connection: KafkaConnection, topic: str) -> list[Message]:
    """Everything that a reader of committed records sees."""
    settings = connection.client(group_id=str(uuid4()), isolation_level="read_committed", enable_auto_commit=False)
    consumer = Consumer(settings | {"enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found = []
    while True:
        message = consumer.poll(10)
        assert message is not None
        if message.error() is not None:
            assert message.error().code() == KafkaError._PARTITION_EOF
            consumer.close()
            return found
        found.append(message)


def values(connection: KafkaConnection, topic: str) -> list[bytes | None]:
    return [message.value() for message in read(connection, dead_letters_topic(topic))]


def said(message: Message) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers() or ()}


def test_letters_are_published_once_in_the_order_they_were_set_aside(connection: KafkaConnection) -> None:
    topic, table = f"orders-{uuid4()}", Table()
    publisher = DeadLetterTopic(connection, topic, Backoff())
    assert publisher.publish(table.newer) == 0
    table.letters = [letter(3, 0), letter(3, 1), letter(5, 9)]
    assert publisher.publish(table.newer) == 3
    assert publisher.publish(table.newer) == 0
    table.letters.append(letter(6, 10))
    assert DeadLetterTopic(connection, topic, Backoff()).publish(table.newer) == 1, "a new process knows how far the topic came"
    assert table.asked == [0, 0, 5, 5]
    assert values(connection, topic) == [b"v0", b"v1", b"v9", b"v10"]
    headers = said(read(connection, dead_letters_topic(topic))[0])
    assert headers["frazil-cause"] == "json.invalid"
    assert headers["frazil-origin"] == "cluster.a/b+c/0/0"
    assert headers["frazil-contract"] == "orders"


def test_a_publisher_that_died_in_the_middle_or_was_overtaken_doubles_nothing(connection: KafkaConnection) -> None:
    topic, table = f"orders-{uuid4()}", Table()
    table.letters = [letter(1, 0)]
    one, two = DeadLetterTopic(connection, topic, Backoff()), DeadLetterTopic(connection, topic, Backoff())
    one.publish(table.newer)
    table.letters.append(letter(2, 1))
    half = one._ready()
    half.begin_transaction()
    one._send(half, table.newer(1))
    half.flush(5)  # sent, not committed: as after a kill
    assert two.publish(table.newer) == 1
    table.letters.append(letter(3, 2))
    with pytest.raises(Unavailable):
        one.publish(table.newer)
    assert one.publish(table.newer) == 1, "after it was fenced off it looks again"
    assert values(connection, topic) == [b"v0", b"v1", b"v2"]


def test_a_publisher_that_another_took_over_from_is_no_failure(connection: KafkaConnection) -> None:
    topic, table = f"orders-{uuid4()}", Table()
    one, two = DeadLetterTopic(connection, topic, Backoff()), DeadLetterTopic(connection, topic, Backoff())
    table.letters = [letter(1, 0)]
    assert one.publish(table.newer) == 1
    assert two.publish(table.newer) == 0
    table.letters.append(letter(2, 1))
    assert one.publish(table.newer) == 0, "the other has taken over"
    assert values(connection, topic) == [b"v0"]
    assert one.publish(table.newer) == 1, "and is taken over from"
    assert two.publish(table.newer) == 0
    assert values(connection, topic) == [b"v0", b"v1"]


def test_publishers_side_by_side_publish_each_letter_once(connection: KafkaConnection) -> None:
    topic, table, stop = f"orders-{uuid4()}", Table(), threading.Event()
    DeadLetterTopic(connection, topic, Backoff())

    def publish() -> None:
        publisher = DeadLetterTopic(connection, topic, Backoff())
        while not stop.is_set():
            try:
                publisher.publish(table.newer)
            except Unavailable:  # the cluster ends the transaction of the one before
                time.sleep(0.01)

    threads = [threading.Thread(target=publish) for _ in range(3)]
    for thread in threads:
        thread.start()
    for commit in range(1, 31):
        table.letters = [*table.letters, letter(commit, commit)]
        time.sleep(0.03)
    deadline = time.monotonic() + 30
    while len(values(connection, topic)) < 30 and time.monotonic() < deadline:
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert values(connection, topic) == [f"v{commit}".encode() for commit in range(1, 31)]


def test_what_may_pass_is_tried_again_ever_later_and_given_up_at_last(connection: KafkaConnection) -> None:
    topic, table = f"orders-{uuid4()}", Table()
    table.letters = [letter(1, 0), letter(1, 1, "process.failed"), letter(1, 2, "avro.unknown_schema")]
    backoff = Backoff(timedelta(seconds=10), timedelta(seconds=15), attempts=3)
    DeadLetterTopic(connection, topic, backoff).publish(table.newer)
    asked = [json.loads(message.value() or b"") for message in read(connection, retry_topic(topic))]
    assert [one["place"] for one in asked] == ["cluster.a/b+c/0/1", "cluster.a/b+c/0/2"], (
        "what is wrong with a record does not pass by itself"
    )
    retries = RetryTopic(connection, topic, f"g-{uuid4()}", backoff)
    published = datetime.now(UTC)
    first = until_due(retries, published + timedelta(seconds=11))
    assert {one.place for one in first} == {Place("cluster.a/b+c", "0", 1), Place("cluster.a/b+c", "0", 2)}
    assert retries.due(published) == []
    bad = frozenset({Place("cluster.a/b+c", "0", 2)})
    now = published + timedelta(seconds=11)
    waits = []
    for _ in range(2):
        due = until_due(retries, now)
        assert retries.done(due, bad, now) == 0
        (again,) = until_due(retries, now + timedelta(hours=1))
        waits.append((again.due - now).total_seconds())
        now = again.due
    assert waits == [15.0, 15.0], "doubled, and no longer than the longest"
    assert retries.done(until_due(retries, now), bad, now) == 1, "given up"
    retries.close()
    assert until_due(RetryTopic(connection, topic, f"g-{uuid4()}", backoff), now, wanted=0) != [], "another group begins at the beginning"


def until_due(retries: RetryTopic, now: datetime, wanted: int = 1) -> list[object]:  # the group takes a moment to form
    deadline = time.monotonic() + 20
    while len(found := retries.due(now)) < max(wanted, 1) and time.monotonic() < deadline:
        pass
    return list(found)


def test_a_retry_that_was_not_finished_is_done_by_the_next_process(connection: KafkaConnection) -> None:
    topic, table, group = f"orders-{uuid4()}", Table(), f"g-{uuid4()}"
    table.letters = [letter(1, at, "process.failed") for at in range(3)]
    DeadLetterTopic(connection, topic, Backoff()).publish(table.newer)
    late = datetime.now(UTC) + timedelta(hours=1)
    one = RetryTopic(connection, topic, group, Backoff())
    due = until_due(one, late, wanted=3)
    one.done([due[0]], frozenset(), late)  # type: ignore[list-item]
    one.close()
    two = RetryTopic(connection, topic, group, Backoff())
    assert [retry.place.offset for retry in until_due(two, late, wanted=2)] == [1, 2]  # type: ignore[attr-defined]
    two.close()


def test_a_letter_whose_schema_came_later_lands_by_itself_and_is_published(kafka: Cluster, registry: Registry, tmp_path: Path) -> None:
    root = make_project(tmp_path / "project", toml=toml(kafka, registry.url))
    text = (root / "frazil.toml").read_text()
    (root / "frazil.toml").write_text(text.replace("[kafka]\n", '[kafka]\nretry_first = "1s"\n'))
    project = Project.at(root)
    good, number = order(), announced(registry, WRITER)
    produce(project, json.dumps(good).encode(), b"no json", theirs(number))
    with Registry(tmp_path / "empty") as empty:
        done = frazil("process", "--until-idle", "--contract", "orders", cwd=root, FRAZIL_REGISTRY__URL=empty.url)
        assert done.code == 0, done.err
    contract = project.contract("orders")
    assert len(landed(project)) == 1
    with letters_beside(project.settings, ["orders"]):
        deadline = time.monotonic() + 30
        while len(landed(project)) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
    connection = KafkaConnection(kafka.address)
    topic = project.settings.kafka.topic_prefix + contract.name
    assert len(landed(project)) == 2
    causes = Counter(said(message)["frazil-cause"] for message in read(connection, dead_letters_topic(topic)))
    assert causes == {"json.invalid": 1, "avro.unknown_schema": 1}
    assert pump(project.log_reader(contract), project.processor(contract), project.keys(contract), project.sink(contract)) is None
