"""What happens to a topic behind Frazil's back: made anew, shortened, restored from a backup. It stops with 78, and nothing lands."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from testbed.kafka import Cluster
from testbed.quorum import Quorum

from frazil.engine import lines
from frazil.errors import EXIT_OPERATOR, EXIT_YES, Unavailable
from frazil.log import Record
from frazil.log.kafka import KafkaConnection, KafkaWriter
from tests.faults.kafka_ground import KafkaGround
from tests.faults.killing import CONTRACT

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def processed(ground: KafkaGround) -> tuple[int, object]:
    """The exit code of a run that has an end, and the code of what stopped it."""
    engine = lines.engine(ground.project.settings, [CONTRACT], until_idle=True)
    code = engine.run()
    error = engine.pulses[CONTRACT].error
    return code, None if error is None else error["code"]


def landed(ground: KafkaGround) -> int:
    return ground.ids().total()


def test_a_topic_that_was_made_anew_stops_the_processor(quorum: Quorum, tmp_path: Path) -> None:
    ground = KafkaGround.on(tmp_path / "p", quorum, partitions=1)
    ground.append(20, 0, 0)
    assert processed(ground) == (EXIT_YES, None)
    admin = ground.connection.admin().client
    admin.delete_topics([ground.topic])[ground.topic].result(20)
    deadline = time.monotonic() + 20
    while ground.topic in admin.list_topics(timeout=5).topics and time.monotonic() < deadline:
        time.sleep(0.1)
    ground.append(40, 0, 0)
    assert processed(ground) == (EXIT_OPERATOR, "log.recreated")
    assert landed(ground) == 20


def test_a_writer_goes_on_when_its_topic_was_made_anew_under_it(quorum: Quorum) -> None:
    """The new topic knows nothing of the producer's sequence: whatever state that leaves it in, it is not for ever."""
    connection = KafkaConnection(quorum.address, delivery_timeout=5)
    admin, topic = connection.admin(), f"t-{uuid4()}"
    connection.ensure_topic(admin, topic, partitions=1, config={})
    writer = KafkaWriter(connection, topic)
    for request in range(3):
        writer.append([Record(b"old")], request=request, received_at=NOW)
    admin.client.delete_topics([topic])[topic].result(20)
    deadline = time.monotonic() + 60
    while topic in admin.client.list_topics(timeout=5).topics:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    connection.ensure_topic(admin, topic, partitions=1, config={})
    while True:
        try:
            writer.append([Record(b"new")], request=9, received_at=NOW)
            break
        except Unavailable:
            assert time.monotonic() < deadline, "the writer never came back"
    writer.close()


def test_records_that_were_deleted_before_they_were_read_stop_the_processor(quorum: Quorum, tmp_path: Path) -> None:
    from confluent_kafka import TopicPartition

    ground = KafkaGround.on(tmp_path / "p", quorum, partitions=1)
    ground.append(20, 0, 0)
    assert processed(ground) == (EXIT_YES, None)
    ground.append(20, 0, 0)
    admin = ground.connection.admin().client
    admin.delete_records([TopicPartition(ground.topic, 0, 30)])[TopicPartition(ground.topic, 0)].result(20)
    assert processed(ground) == (EXIT_OPERATOR, "log.offset_expired")
    assert landed(ground) == 20


def test_offsets_of_the_group_that_somebody_resets_move_nothing(quorum: Quorum, tmp_path: Path) -> None:
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    ground = KafkaGround.on(tmp_path / "p", quorum, partitions=1)
    ground.append(20, 0, 0)
    assert processed(ground) == (EXIT_YES, None)
    admin, group = ground.connection.admin().client, f"frazil-{ground.project.settings.name}-{CONTRACT}"
    reset = ConsumerGroupTopicPartitions(group, [TopicPartition(ground.topic, 0, 3)])
    admin.alter_consumer_group_offsets([reset])[group].result(20)
    ground.append(20, 0, 0)
    assert processed(ground) == (EXIT_YES, None)
    ground.judged()


def test_a_log_restored_from_a_backup_is_known_short_and_regrown(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster") as cluster:
        ground, (node,) = KafkaGround.on(tmp_path / "p", cluster, partitions=1), cluster.nodes
        ground.append(20, 0, 0)
        assert processed(ground) == (EXIT_YES, None)
        node.stop()
        shutil.copytree(node.directory / "logs", tmp_path / "backup")
        node.start()
        cluster.wait()
        ground.append(20, 0, 0)
        assert processed(ground) == (EXIT_YES, None)
        node.stop()
        shutil.rmtree(node.directory / "logs")
        shutil.copytree(tmp_path / "backup", node.directory / "logs")
        node.start()
        cluster.wait()
        assert processed(ground) == (EXIT_OPERATOR, "log.truncated")
        ground.append(40, 0, 0)
        assert processed(ground) == (EXIT_OPERATOR, "log.record_changed")
        assert landed(ground) == 40
