"""What `deploy/connect` ships, in a real Connect worker: its settings are right, and a killed sink lands what Frazil lands."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pyiceberg.table import Table
from testbed.connect import SHIPPED, Refused, Worker, errors
from testbed.kafka import Cluster

from frazil.contract import Contract
from frazil.flow import pump
from frazil.log import IdempotencyKey, Record
from frazil.log.kafka import KafkaConnection
from frazil.project import Project
from tests.conftest import started_or_skipped
from tests.serving import ORDERS, TOML, lines, make_project, order

NOW = datetime(2026, 11, 20, 12, 34, 56, 789000, UTC)
CONTRACT = (
    ORDERS
    + """\
      - {name: price, logicalType: number, physicalType: "decimal(18,4)"}
      - {name: pieces, logicalType: integer}
      - {name: paid, logicalType: boolean}
      - {name: due, logicalType: date}
      - {name: tags, logicalType: array, items: {logicalType: string}}
      - {name: buyer, logicalType: object, properties: [{name: name, logicalType: string, required: true}, {name: born, logicalType: date}]}
"""
)
COLUMNS = ("id", "at", "value", "note", "price", "pieces", "paid", "due", "tags", "buyer", "_partition", "_offset")
LANDED_S = 90.0
Place = tuple[str, int]
Rows = dict[Place, dict[str, Any]]


@dataclass(frozen=True)
class Ground:
    """A project on Kafka, and a worker that looks at the same topic and the same catalog."""

    project: Project
    connection: KafkaConnection
    topic: str
    worker: Worker

    @property
    def contract(self) -> Contract:
        return self.project.contract("orders")

    def start_sink(self, name: str, *, topics: str) -> None:
        """Make the sink's table and its control topic as the documents say, and start it; it commits every second."""
        script = [sys.executable, str(SHIPPED / "table.py"), str(self.project.settings.root), "orders", "connect.orders"]
        subprocess.run(script, check=True, capture_output=True, timeout=60)
        changes = {
            "topics": topics,
            "iceberg.control.topic": f"frazil-connect-{name}",
            "iceberg.control.commit.interval-ms": "1000",
            "iceberg.kafka.session.timeout.ms": "6000",
        }
        admin = self.connection.admin()
        self.connection.ensure_topic(admin, changes["iceberg.control.topic"], partitions=1, config={"retention.ms": "-1"})
        settings = {**self.worker.connector("iceberg"), "name": name, **changes}
        self.worker.call("PUT", f"/connectors/{name}/config", settings)

    def state(self, name: str) -> str:
        """Of the sink's one task; `NONE` when it has none yet."""
        try:
            tasks = self.worker.call("GET", f"/connectors/{name}/status")["tasks"]
        except Refused:  # nobody has heard of the sink yet
            return "NONE"
        return str(tasks[0]["state"]) if tasks else "NONE"

    def until(self, there: Callable[[Rows], bool], *, between: Callable[[], object] = lambda: time.sleep(0.3)) -> Rows:
        """What the sink has landed, once it is `there`."""
        deadline = time.monotonic() + LANDED_S
        while not there(landed := self.theirs()):
            assert self.state("iceberg") != "FAILED", self.worker.tail()
            assert time.monotonic() < deadline, f"{len(landed)} records landed; {self.worker.tail()}"
            between()
        return landed

    def theirs(self) -> Rows:
        """The sink's rows by where their records lie; fails when a record is there twice."""
        return by_place(self.project.lake.catalog.load_table(("connect", "orders")))

    def ours(self) -> Rows:
        """What Frazil lands from the same topic, by where the records lie."""
        project, contract = self.project, self.contract
        parts = project.log_reader(contract), project.processor(contract), project.keys(contract), project.sink(contract)
        while pump(*parts) is not None:
            pass
        return by_place(project.lake.raw(contract))

    def produce(self, *values: bytes | None, topic: str | None = None) -> list[Place]:
        """What any producer does: no headers of ours. Where the records lie, as they were given."""
        producer, places = Producer(self.connection.client()), dict[int, Place]()

        def told(index: int) -> Callable[[object, Any], None]:
            return lambda error, message: places.update({index: (str(message.partition()), message.offset())})

        for index, value in enumerate(values):
            producer.produce(topic or self.topic, value, key=b"%d" % index, on_delivery=told(index))
        assert producer.flush(20) == 0
        return [places[index] for index in range(len(values))]

    def abort(self, value: bytes) -> None:
        """Send a value in a transaction that is given up."""
        producer = Producer(self.connection.client(transactional_id=str(uuid4())))
        producer.init_transactions(20)
        producer.begin_transaction()
        producer.produce(self.topic, value)
        producer.flush(20)
        producer.abort_transaction(20)

    def records_of(self, topic: str) -> int:
        consumer = Consumer(self.connection.client(group_id=str(uuid4())))
        first, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
        consumer.close()
        return int(end - first)


def by_place(table: Table) -> Rows:
    rows = table.scan().to_arrow().to_pylist()
    found = {(row["_partition"], row["_offset"]): row for row in rows}
    assert len(found) == len(rows), "a record landed twice"
    return found


@pytest.fixture(scope="module")
def ground(kafka: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    here = tmp_path_factory.mktemp("connect")
    prefix = f"{uuid4()}."
    log = f'[log]\nurl = "kafka://{kafka.address}"\n[kafka]\ntopic_prefix = "{prefix}"\npartitions = 3\n'
    toml = TOML.replace("[log]\nmin_free_bytes = 0\n", log)
    project = Project.at(make_project(here / "project", toml=toml, contracts={"orders": CONTRACT}))
    settings = project.settings
    environment = {
        "SINK_TOPIC": f"{prefix}orders",
        "SINK_CATALOG": str(settings.path_of(settings.lake.catalog)),
        "SINK_WAREHOUSE": str(settings.path_of(settings.lake.storage)),
        "SINK_TABLE": "connect.orders",
        "SINK_SNOWFLAKE_URL": "absent-account.snowflakecomputing.com",
        "SINK_SNOWFLAKE_USER": "FRAZIL",
        "SINK_SNOWFLAKE_ROLE": "FRAZIL_SINK",
        "SINK_SNOWFLAKE_DATABASE": "SHOP",
        "SINK_SNOWFLAKE_SCHEMA": "RAW",
        "SINK_SNOWFLAKE_TABLE": "ORDERS",
    }
    with started_or_skipped(lambda: Worker(here / "worker", kafka.address, environment), "Kafka Connect") as worker:
        yield Ground(project, KafkaConnection(kafka.address, delivery_timeout=10), f"{prefix}orders", worker)


@pytest.fixture(scope="module")
def snowflake(ground: Ground) -> dict[str, str]:
    """The connector's settings, with a key that would do; it gives up sooner than the shipped 20 s."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (ground.worker.secrets / "snowflake-private-key").write_text(base64.b64encode(pem).decode())
    return {**ground.worker.connector("snowflake"), "snowflake.jdbc.map": "loginTimeout:5"}


def test_the_worker_finds_nothing_wrong_with_the_iceberg_sink(ground: Ground) -> None:
    connector = ground.worker.connector("iceberg")
    assert errors(ground.worker.validated(connector)) == {}
    wrong = errors(ground.worker.validated({**connector, "iceberg.control.commit.interval-ms": "soon"}))
    assert list(wrong) == ["iceberg.control.commit.interval-ms"], "the check can fail"


def test_without_an_account_the_snowflake_sink_lacks_nothing_but_the_connection(ground: Ground, snowflake: dict[str, str]) -> None:
    found = errors(ground.worker.validated(snowflake))
    assert sorted(found) == ["snowflake.private.key", "snowflake.url.name", "snowflake.user.name"]
    assert all(len(said) == 1 and "Cannot connect to Snowflake" in said[0] for said in found.values()), found


def test_what_is_wrong_in_the_snowflake_sink_is_found_without_an_account(ground: Ground, snowflake: dict[str, str]) -> None:
    (ground.worker.secrets / "no-key").write_text("not-a-key-but-secret")
    for name, value in {
        "snowflake.private.key": "${dir:" + str(ground.worker.secrets) + ":no-key}",
        "snowflake.url.name": "https://example.org",
        "snowflake.ingestion.method": "BY_POST",
        "snowflake.topic2table.map": "a-b",
    }.items():
        answer = ground.worker.validated({**snowflake, name: value})
        assert list(errors(answer)) == [name]
        assert "not-a-key-but-secret" not in json.dumps(answer), "what a secret is, the worker does not tell"


def test_a_sink_killed_on_the_way_lands_each_record_once_and_as_frazil_does(ground: Ground) -> None:
    traffic = Traffic(ground)  # makes the topic
    ground.start_sink("iceberg", topics=ground.topic)
    ground.until(lambda landed: len(landed) > 0, between=lambda: traffic.send(2))
    *unjudged, _, _ = ground.produce(*lines([order(value=-1), {"note": "no id"}]).splitlines(), None, b"no JSON")
    ground.abort(b'{"note": "never"}')
    traffic.send(20)
    ground.worker.kill()
    assert 0 < len(ground.theirs()) < traffic.sent, "it was killed on the way"
    traffic.send(20)
    ground.worker.start()
    traffic.send(20)
    ground.until(lambda landed: len(landed) >= traffic.sent + len(unjudged))
    (last,) = ground.produce(*lines([full(0)]).splitlines())
    landed = ground.until(lambda landed: last in landed)  # what came before it was committed before it, or with it

    ours = ground.ours()
    assert len(ours) == traffic.sent + 1
    assert landed.keys() - ours.keys() == set(unjudged), "the sink judges nothing; aborted, without a value, or no JSON: it lands nothing"
    for place, row in ours.items():
        assert {name: landed[place][name] for name in COLUMNS} == {name: row[name] for name in COLUMNS}
    assert ground.records_of("frazil-connect-iceberg-refused") >= 1, "what is no JSON; twice, when the kill came right after it"


def test_a_value_of_another_type_stops_the_sink(ground: Ground) -> None:
    """Which is why `docs/connect.md` says when to leave landing to Frazil."""
    topic = f"other-{uuid4()}"
    ground.connection.ensure_topic(ground.connection.admin(), topic, partitions=1, config={})
    ground.start_sink("stopped", topics=topic)
    ground.produce(*lines([{"value": "a lot"}]).splitlines(), topic=topic)
    deadline = time.monotonic() + LANDED_S
    while ground.state("stopped") != "FAILED":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    ground.worker.call("DELETE", "/connectors/stopped")


@dataclass
class Traffic:
    """Requests of 20 orders each, as the API appends them; every third is a transaction."""

    ground: Ground
    sent: int = 0

    def __post_init__(self) -> None:
        self.writer = self.ground.project.log_writer(self.ground.contract)

    def send(self, requests: int) -> None:
        for _ in range(requests):
            records = [Record(line) for line in lines(full(self.sent + number) for number in range(20)).splitlines()]
            key = IdempotencyKey(f"k{self.sent}", b"body", b"") if self.sent % 60 == 0 else None
            self.writer.append(records, request=self.sent + 1, received_at=NOW, idempotency=key)
            self.sent += len(records)


def full(number: int) -> dict[str, object]:
    """An order with every field of the contract, and one that it does not name."""
    more = {
        "price": number / 100,
        "pieces": 2**53 - number,
        "paid": number % 2 == 0,
        "due": "2026-12-24",
        "tags": ["a", "ü"],
        "colour": "blue",
    }
    named = {"name": f"Ö{number}"} | ({"born": "1815-12-10"} if number % 3 else {})
    return order(at=f"2026-11-{1 + number % 3:02}T12:34:56.{number % 10**6:06}+02:00", buyer=named, **more)
