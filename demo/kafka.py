"""The same shop on Kafka: a real broker and a schema registry, no container.

make demo-kafka
python -m demo.kafka [--events N] [--dir DIR]
"""

from __future__ import annotations

import argparse
import io
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from rich.console import Console
from testbed.jars import Absent
from testbed.kafka import Cluster
from testbed.registry import Registry

from demo.fire import mixed
from demo.stage import Failed, Stage
from frazil.cli.sender import Sender
from frazil.errors import FrazilError

SCHEMA = {
    "type": "record",
    "name": "click",
    "fields": [
        {"name": "event_id", "type": "string"},
        {"name": "event_type", "type": "string"},
        {"name": "user_id", "type": "string"},
        {"name": "session_id", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "value", "type": "double"},
        {"name": "currency", "type": "string"},
    ],
}
FOREIGN = 1_000
LETTERS_S = 30.0


class KafkaStory:
    """What is shown, and whether it held."""

    def __init__(self, console: Console, stage: Stage, cluster: Cluster, registry: Registry, events: int) -> None:
        self.console, self.stage, self.cluster, self.registry, self.events = console, stage, cluster, registry, events
        self.failed: list[str] = []
        self.began = time.monotonic()

    def act(self, number: int, title: str) -> None:
        self.console.print(f"\n[bold cyan]{number}  {title}[/]  [dim]{time.monotonic() - self.began:.0f} s[/]")

    def check(self, says: str, holds: bool) -> None:
        self.console.print(f"  {'[green]✔[/]' if holds else '[bold red]✘[/]'} {says}", highlight=False, soft_wrap=True)
        if not holds:
            self.failed.append(says)

    def shown(self, *words: str) -> None:
        self.console.print(f"[bold]$ frazil {' '.join(words)}[/]", highlight=False, soft_wrap=True)
        self.stage.run(*words, show=True)

    def project(self) -> dict[str, Any]:
        """The shop of `frazil init`; one URL makes it run on Kafka."""
        self.act(1, "The same shop, another URL")
        self.stage.clear()
        self.stage.run("init", str(self.stage.root))
        self.shown("log", "switch", f"kafka://{self.cluster.address}")
        file = self.stage.root / "frazil.toml"
        file.write_text(f'{file.read_text()}\n[kafka]\npartitions = 4\n\n[registry]\nurl = "{self.registry.url}"\n')
        self.console.print(f"  a broker at {self.cluster.address}, a registry at {self.registry.url}: pinned jars, started here")
        out = self.stage.root / "events.ndjson"
        words = ("--count", str(self.events), "--invalid", "0.01", "--duplicate", "0.02", "--late", "0.02", "--seed", "7")
        facts: dict[str, Any] = self.stage.facts("generate", "events", *words, "--out", str(out))
        return facts

    def fire(self) -> None:
        """Everything over HTTP while the broker is killed and comes back."""
        self.act(2, "Everything over HTTP, while the broker is killed")
        sender, half = Sender(self.stage.url, "events"), threading.Event()
        pieces, failures = list(mixed(self.stage.root / "events.ndjson", seed=1)), []

        def send() -> None:
            sent = 0
            try:
                for piece in pieces:
                    sender.send(piece)
                    sent += len(piece.records)
                    if sent > self.events / 2:
                        half.set()
            except Exception as error:
                failures.append(error)
            finally:
                half.set()

        sending, began = threading.Thread(target=send), time.monotonic()
        sending.start()
        half.wait()
        (node,) = self.cluster.nodes  # started by this thread again: it lives no longer than its thread
        node.kill()
        time.sleep(1)
        node.start()
        self.cluster.wait()
        sending.join()
        sender.close()
        if failures:
            raise failures[0]
        self.console.print(
            f"  {sender.tally.received:,} events in {sender.tally.requests:,} requests, each acknowledged by the broker; "
            f"[red]kill -9[/] of the broker in the middle; {time.monotonic() - began:.1f} s"
        )

    def foreign(self) -> None:
        """A producer that knows nothing of Frazil: Avro behind a registry's frame, and some rubbish."""
        self.act(3, "A producer of somebody else: Avro by the registry, and what is not")
        number = SchemaRegistryClient({"url": self.registry.url}).register_schema("clicks-value", Schema(json.dumps(SCHEMA), "AVRO"))
        parsed, now = fastavro.parse_schema(SCHEMA), int(time.time() * 1000)
        producer = Producer({"bootstrap.servers": self.cluster.address})
        for at in range(FOREIGN):
            out = io.BytesIO()
            click = {"event_id": str(uuid4()), "event_type": "click", "user_id": f"u_{at:06d}", "session_id": "s_000001"}
            fastavro.schemaless_writer(out, parsed, {**click, "timestamp": now, "value": 0.0, "currency": "EUR"})
            producer.produce("events", b"\0" + number.to_bytes(4, "big") + out.getvalue())
        for rubbish in (b"\0\0\0", b"\0\x7f\xff\xff\xff no such schema", b"{cut"):
            producer.produce("events", rubbish)
        if producer.flush(30):
            raise Failed("the broker did not take what the other producer sent")
        self.console.print(f"  {FOREIGN:,} records in Avro, 3 that are none")

    def landed(self) -> None:
        self.stage.wait_for(lambda: sum(row["lag"] for row in self.stage.facts("log", "show", "events")) == 0, 90, "not everything landed")

    def books(self, tally: dict[str, Any]) -> None:
        self.act(4, "The books")
        self.shown("verify")
        (row,) = [one for one in self.stage.facts("verify", codes=(0, 1)) if one["contract"] == "events"]
        landed, dead = tally["distinct"] + FOREIGN, tally["invalid"] + 3
        self.check(
            f"sent {tally['total'] + FOREIGN + 3:,} = landed {row['landed']:,} + dead {row['dead']:,} + duplicates {row['duplicates']:,}",
            (row["landed"], row["dead"], row["duplicates"]) == (landed, dead, tally["duplicate"]) and row["balanced"],
        )
        self.shown("windows", "show", "activity")

    def letters(self, wanted: int) -> None:
        """What the topic of dead letters holds, as any consumer reads it."""
        self.act(5, "Dead letters, in a topic, too")
        consumer = Consumer({"bootstrap.servers": self.cluster.address, "group.id": str(uuid4()), "isolation.level": "read_committed"})
        consumer.assign([TopicPartition("events.dead-letters", 0, OFFSET_BEGINNING)])
        causes: Counter[str] = Counter()
        until = time.monotonic() + LETTERS_S
        while causes.total() < wanted and time.monotonic() < until:
            for message in consumer.consume(500, 0.5):
                headers: Any = message.headers() or ()
                causes.update(value.decode().split(",")[0] for name, value in headers if name == "frazil-cause")
        consumer.close()
        for cause, count in causes.most_common(6):
            self.console.print(f"  {count:>6,}  {cause}", highlight=False)
        self.check(f"each of {wanted:,} dead letters is there once", causes.total() == wanted)

    def end(self, code: int) -> int:
        self.check("stopped in good order", code == 0)
        seconds = time.monotonic() - self.began
        if self.failed:
            self.console.print(f"\n[bold red]{len(self.failed)} checks failed[/] after {seconds:.0f} s; see {self.stage.root / 'up.log'}")
            return 1
        self.console.print(f"\n[bold green]all checks hold[/], {seconds:.0f} s; the broker and the registry are stopped now")
        return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.kafka", description="The shop on Kafka, told and checked.")
    parser.add_argument("--events", type=int, default=30_000, help="how many events (default 30,000)")
    parser.add_argument("--dir", type=Path, default=Path(".demo-kafka"), help="where the project goes (default .demo-kafka)")
    asked = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    console.print("[bold]Frazil on Kafka[/]: external producers, a registry, live windows, dead letters in a topic")
    stage = Stage(asked.dir.resolve())
    servers = asked.dir.resolve().with_name(asked.dir.name + "-servers") / uuid4().hex[:8]
    try:
        with Cluster(servers / "kafka") as cluster, Registry(servers / "registry") as registry:
            story = KafkaStory(console, stage, cluster, registry, asked.events)
            tally = story.project()
            with stage.up() as up:
                story.fire()
                story.foreign()
                story.landed()
                story.books(tally)
                story.letters(tally["invalid"] + 3)
            return story.end(up.returncode)
    except (Failed, Absent, FrazilError) as error:
        console.print(f"\nthe demo failed: {error}", style="red", markup=False)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
