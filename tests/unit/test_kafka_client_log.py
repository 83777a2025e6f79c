"""What the Kafka client has to say goes into our log, each thing once in a while."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
import structlog
from confluent_kafka import Consumer

from frazil import telemetry
from frazil.log.kafka import KafkaConnection


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_broker_that_is_not_there_is_said_once_and_in_our_log(nobody: str, capfd: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("json")
    consumer = Consumer(KafkaConnection(nobody).client(group_id="g"))
    try:
        until = time.monotonic() + 1.0  # the client tries about twenty times
        while time.monotonic() < until:
            consumer.poll(0.05)
    finally:
        consumer.close()
        structlog.reset_defaults()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    refused = [line for line in lines if "Connection refused" in line["said"]]
    assert [(line["component"], line["level"]) for line in refused] == [("kafka", "info")]
