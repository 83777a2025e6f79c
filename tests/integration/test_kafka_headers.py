"""Key and headers of records that other producers wrote, on a real broker: kept from the record to the table, letters, live and replay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer
from testbed.kafka import Cluster
from testbed.registry import Registry
from websockets.sync.client import connect

from frazil.batch import headers_of, headers_text
from frazil.engine.beside import letters_beside
from frazil.log.kafka import KafkaConnection
from frazil.log.kafka.letters import dead_letters_topic
from frazil.project import Project
from tests.integration.running import frazil
from tests.integration.test_kafka_letters import read
from tests.integration.test_registry import WRITER, announced, landed, letters, pumped, theirs, toml
from tests.serving import SECONDS, make_project, order, serving

HEADERS: list[tuple[str, bytes | None]] = [
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tenant", "Zürich".encode()),
    ("tenant", b"twice"),
    ("sealed", b"\xff\x00\xfe"),
    ("empty", b""),
    ("nothing", None),
    ("frazil", b"not ours"),
]
TEXT = [
    ["traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    ["tenant", "Zürich"],
    ["tenant", "twice"],
    ["sealed", {"base64": "/wD+"}],
    ["empty", ""],
    ["nothing", None],
    ["frazil", "not ours"],
]


@pytest.fixture
def project(kafka: Cluster, registry: Registry, tmp_path: Path) -> Project:
    return Project.at(make_project(tmp_path / "project", toml=toml(kafka, registry.url)))


def write(project: Project, *records: tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]] | None]) -> None:
    """Value, key and headers, as any producer writes them."""
    contract = project.contract("orders")
    project.log_writer(contract).close()  # makes the topic
    producer = Producer(KafkaConnection(project.settings.log.url.removeprefix("kafka://")).client())
    for value, key, headers in records:
        producer.produce(project.settings.kafka.topic_prefix + contract.name, value, key, headers=headers)  # type: ignore[arg-type]
    assert producer.flush(20) == 0


def test_key_and_headers_are_kept_in_table_and_letters_by_a_replay_and_in_the_dead_letter_topic(
    project: Project, registry: Registry
) -> None:
    good, bad = json.dumps(order(value=7)).encode(), json.dumps(order(value=-7)).encode()
    write(
        project,
        (good, b"k-0", HEADERS),
        (bad, b"k-1", HEADERS[:1]),
        (theirs(announced(registry, WRITER)), b"\xff\xfe", HEADERS[1:2]),
        (None, None, HEADERS[2:3]),
        (good, b"k-4", HEADERS[3:4]),
        (json.dumps(order()).encode(), None, None),
    )
    pumped(project)
    rows, dead = landed(project), letters(project)
    assert [(row["_offset"], row["_key"], json.loads(row["_headers"] or "null")) for row in rows] == [
        (0, b"k-0", TEXT),
        (2, b"\xff\xfe", TEXT[1:2]),
        (5, None, None),
    ]
    assert headers_of(rows[0]["_headers"]) == HEADERS, "not a byte is lost"
    assert {at: (one["stage"], one["key"], json.loads(one["headers"] or "[]")) for at, one in dead.items() if one["stage"] != "dedupe"} == {
        1: ("validate", b"k-1", TEXT[:1]),
        3: ("parse", None, TEXT[2:3]),
    }
    shown = frazil("dead", "show", "1", cwd=project.settings.root)
    assert "header traceparent: 00-4bf92f" in shown.out
    with letters_beside(project.settings, ["orders"]):
        pass
    connection = KafkaConnection(project.settings.log.url.removeprefix("kafka://"))
    published = read(connection, dead_letters_topic(project.settings.kafka.topic_prefix + "orders"))
    first = next(message for message in published if message.key() == b"k-1")
    assert next(iter(first.headers() or ())) == HEADERS[0]
    assert frazil("dead", "replay", "1", "--patch", "value = 8", cwd=project.settings.root).code == 0
    mended = next(row for row in landed(project) if row["_offset"] == 1)
    assert (mended["value"], mended["_key"], headers_of(mended["_headers"])) == (8.0, b"k-1", HEADERS[:1])


def test_key_and_headers_are_seen_live_and_by_tail(project: Project, registry: Registry) -> None:
    root = project.settings.root
    with serving(root) as served:
        address = f"ws://127.0.0.1:{served.port}/api/v1/live/orders?after="
        write(
            project,
            (json.dumps(order(value=1)).encode(), b"k", HEADERS),
            (theirs(announced(registry, WRITER), value=2.0), b"\xff", HEADERS[:1]),
            (json.dumps(order(value=3)).encode(), None, None),
        )
        with connect(address, proxy=None, open_timeout=SECONDS) as connection:
            frames = [json.loads(connection.recv(timeout=SECONDS)) for _ in range(3)]
        assert [(frame.get("key"), frame.get("headers"), frame["event"]["value"]) for frame in frames] == [
            ("k", TEXT, 1),
            ({"base64": "/w=="}, TEXT[:1], 2.0),
            (None, None, 3),
        ]
        assert not {"_key", "_headers"} & set(frames[1]["event"])
        command = [sys.executable, "-m", "frazil.cli", "tail", "orders", "--json", "--after", "", "-n", "1"]
        tailed = subprocess.run(
            [*command, "--url", f"http://127.0.0.1:{served.port}"], capture_output=True, text=True, timeout=SECONDS, check=True, cwd=root
        )
    assert json.loads(tailed.stdout)["headers"] == TEXT


def test_headers_have_one_spelling_that_loses_nothing() -> None:
    assert headers_of(headers_text(HEADERS)) == HEADERS
    assert json.loads(headers_text(HEADERS) or "") == TEXT
    assert (headers_text([]), headers_of(None)) == (None, [])
