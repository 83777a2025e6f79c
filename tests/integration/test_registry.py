"""Records in Avro behind a registry's frame, on a real broker with a real registry: read, written, refused, outlasted."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import fastavro
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from testbed.kafka import Cluster
from testbed.registry import Registry

from frazil.batch import Position
from frazil.contract.avro import avro_text
from frazil.contract.load import load_file
from frazil.errors import ContractError, Unavailable
from frazil.flow import pump
from frazil.log.kafka import KafkaConnection
from frazil.project import Project
from frazil.registry.confluent import ConfluentRegistry
from frazil.sink.books import verify
from tests.integration.running import frazil
from tests.serving import TOML, make_project, order, serving

WRITER = {
    "type": "record",
    "name": "theirs",
    "fields": [
        {"name": "value", "type": ["null", "double"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "id", "type": "string"},
        {"name": "colour", "type": "string", "default": "red"},
    ],
}
AT_MS = 1_795_178_096_000


def toml(kafka: Cluster, url: str, *more: str) -> str:
    log = f'[log]\nurl = "kafka://{kafka.address}"\n[kafka]\ntopic_prefix = "{uuid4()}."\npartitions = 1\n'
    return TOML.replace("[log]\nmin_free_bytes = 0\n", log + f'[registry]\nurl = "{url}"\n' + "".join(f"{line}\n" for line in more))


@pytest.fixture
def project(kafka: Cluster, registry: Registry, tmp_path: Path) -> Project:
    return Project.at(make_project(tmp_path / "project", toml=toml(kafka, registry.url)))


def framed(schema_id: int, schema: dict[str, Any], **fields: object) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), fields)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def theirs(schema_id: int, **fields: object) -> bytes:
    return framed(schema_id, WRITER, **{"id": str(uuid4()), "at": AT_MS, "value": 2.5, "colour": "blue", **fields})


def announced(registry: Registry, schema: dict[str, Any]) -> int:
    return SchemaRegistryClient({"url": registry.url}).register_schema(f"theirs-{uuid4()}-value", Schema(json.dumps(schema), "AVRO"))


def produce(project: Project, *values: bytes | None) -> None:
    """What any producer does: no headers of ours."""
    contract = project.contract("orders")
    project.log_writer(contract).close()  # makes the topic
    brokers = project.settings.log.url.removeprefix("kafka://")
    producer = Producer(KafkaConnection(brokers).client())
    for value in values:
        producer.produce(project.settings.kafka.topic_prefix + contract.name, value)
    assert producer.flush(20) == 0


def pumped(project: Project) -> None:
    contract = project.contract("orders")
    parts = project.log_reader(contract), project.processor(contract), project.keys(contract), project.sink(contract)
    while pump(*parts) is not None:
        pass
    project.dead_letters.adopt(parts[3])


def landed(project: Project) -> list[dict[str, Any]]:
    return project.lake.raw(project.contract("orders")).scan().to_arrow().sort_by("_offset").to_pylist()


def letters(project: Project) -> dict[int, dict[str, Any]]:
    return {row["_offset"]: row for row in project.lake.dead_letters().scan().to_arrow().to_pylist()}


def balanced(project: Project) -> bool:
    contract = project.contract("orders")
    return verify(contract, project.log_reader(contract), project.sink(contract), project.dead_letters).balanced


def test_framed_records_of_other_producers_land_beside_json(project: Project, registry: Registry) -> None:
    number = announced(registry, WRITER)
    plain = order(value=7)
    produce(project, theirs(number), json.dumps(plain).encode(), theirs(number, value=None), theirs(number, value=-1.0))
    pumped(project)
    rows = landed(project)
    assert [(row["_offset"], row["value"]) for row in rows] == [(0, 2.5), (1, 7.0), (2, None)]
    assert [row["at"].timestamp() * 1000 for row in rows[::2]] == [AT_MS, AT_MS]
    assert json.loads(rows[0]["_extra"]) == {"/colour": "blue"}, "a field that the contract does not name is kept"
    (letter,) = letters(project).values()
    assert [one["code"] for one in letter["violations"]] == ["range.below_minimum"]


def test_what_no_schema_reads_is_a_dead_letter_with_the_bytes_that_came(project: Project, registry: Registry) -> None:
    number = announced(registry, WRITER)
    good = theirs(number)
    proto = SchemaRegistryClient({"url": registry.url}).register_schema(
        f"p-{uuid4()}-value", Schema('syntax = "proto3"; message A { string a = 1; }', "PROTOBUF")
    )
    hostile = {
        b"\0\0\0": "avro.bad_frame",
        b"\0": "avro.bad_frame",
        b"\1" + bytes(15): "avro.bad_frame",
        b"\1" + bytes(16) + good[5:]: "avro.unknown_schema",
        b"\0\x7f\xff\xff\xff" + good[5:]: "avro.unknown_schema",
        b"\0\xff\xff\xff\xff" + good[5:]: "avro.unknown_schema",
        b"\0" + proto.to_bytes(4, "big") + good[5:]: "avro.bad_schema",
        good[:-1]: "avro.invalid",
        good + b"\0": "avro.invalid",
        good[:5]: "avro.invalid",
        b"\2" + good[1:]: "encoding.invalid_utf8",
        b"": "json.invalid",
    }
    produce(project, *hostile, good, None)
    pumped(project)
    found = letters(project)
    codes = {found[at]["value"]: found[at]["violations"][0]["code"] for at in range(len(hostile))}
    assert codes == hostile
    assert {one["stage"] for one in found.values()} == {"parse"}
    assert [row["_offset"] for row in landed(project)] == [len(hostile)]
    assert found[len(hostile) + 1]["violations"][0]["code"] == "record.null"
    assert balanced(project)


def test_a_record_of_an_unknown_schema_lands_by_a_replay_once_the_schema_is_there(
    project: Project, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(project, theirs(announced(registry, WRITER), value=1.0))
    with Registry(tmp_path / "empty") as empty:
        monkeypatch.setenv("FRAZIL_REGISTRY__URL", empty.url)
        pumped(Project.at(project.settings.root))
        monkeypatch.delenv("FRAZIL_REGISTRY__URL")
    assert [one["violations"][0]["code"] for one in letters(project).values()] == ["avro.unknown_schema"]
    done = frazil("dead", "replay", "--all", "--contract", "orders", "--json", cwd=project.settings.root)
    assert done.code == 0, done.err
    assert [row["value"] for row in landed(project)] == [1.0]
    assert balanced(project)


def test_good_records_are_written_framed_and_land_as_the_json_that_came(kafka: Cluster, registry: Registry, tmp_path: Path) -> None:
    root = make_project(tmp_path / "avro", toml=toml(kafka, registry.url, 'values = "avro"'))
    events = [order(value=n, note=f"n{n}") for n in range(5)]
    bad, extra = order(value=-1), order(colour="blue")
    with serving(root) as served:
        assert served.send([*events, bad, extra]).status == 202
        assert served.send([order()], idempotency_key="once").status == 202
    project = Project.at(root)
    contract = project.contract("orders")
    raw = project.log_reader(contract).read(after=Position.empty(), limit=100)
    assert raw is not None
    values = raw.rows["value"].to_pylist()
    assert [value[:1] for value in values] == [b"\0"] * 5 + [b"{", b"{"] + [b"\0"], "what Avro would lose stays JSON"
    pumped(project)
    rows = landed(project)
    assert {row["_contract_version"] for row in rows} == {"1.0.0"}
    assert [(row["value"], row["note"]) for row in rows[:5]] == [(float(n), f"n{n}") for n in range(5)]
    assert len(rows) == 7
    assert balanced(project)


def test_a_registry_that_is_down_holds_the_stream_and_loses_nothing(kafka: Cluster, tmp_path: Path) -> None:
    with Registry(tmp_path / "registry", durable=True) as own:
        project = Project.at(make_project(tmp_path / "project", toml=toml(kafka, own.url)))
        number, other = announced(own, WRITER), announced(own, {**WRITER, "name": "other"})
        produce(project, theirs(number))
        contract = project.contract("orders")
        parts = project.log_reader(contract), project.processor(contract), project.keys(contract), project.sink(contract)
        assert pump(*parts) is not None
        produce(project, theirs(number))
        own.kill()
        assert pump(*parts) is not None, "a schema that was read once is remembered"
        brokers = project.settings.log.url.removeprefix("kafka://")
        producer = Producer(KafkaConnection(brokers).client())
        producer.produce(
            project.settings.kafka.topic_prefix + "orders", framed(other, {**WRITER, "name": "other"}, id=str(uuid4()), at=AT_MS, value=1.0)
        )
        assert producer.flush(20) == 0
        with pytest.raises(Unavailable) as down:
            pump(*parts)
        assert down.value.code == "registry.unavailable"
        own.start()
        assert pump(*parts) is not None
        assert len(landed(project)) == 3


def test_a_contract_is_announced_with_its_compatibility_and_a_change_that_breaks_it_is_refused(
    project: Project, registry: Registry
) -> None:
    contract, client = project.contract("orders"), SchemaRegistryClient({"url": registry.url})
    subject = project.subject(contract)
    project.log_writer(contract).close()
    assert client.get_compatibility(subject) == "BACKWARD"
    assert json.loads(client.get_latest_version(subject).schema.schema_str or "") == json.loads(avro_text(contract))
    project.log_writer(contract).close()
    assert client.get_versions(subject) == [1], "the same schema is not announced twice"
    file = Path(contract.path or "")
    root = project.settings.root
    assert frazil("contracts", "check", cwd=root).code == 0
    file.write_text(file.read_text() + "      - {name: till, logicalType: string, required: true}\n")
    refused = frazil("contracts", "check", cwd=root)
    assert refused.code == 1
    assert f"{file}:1: [registry.incompatible]" in refused.out
    with pytest.raises(ContractError, match=r"registry\.incompatible"):
        Project.at(root).log_writer(load_file(file))
    assert client.get_versions(subject) == [1]


def test_a_registry_that_is_not_there_is_said() -> None:
    with pytest.raises(Unavailable) as down:
        ConfluentRegistry("http://127.0.0.1:1").schema(1)
    assert down.value.code == "registry.unavailable"
    assert "[registry] url" in down.value.hint
