"""What the fault tests on Kafka share: a project on a cluster, clients that send until they are answered, and the judgement by sets."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from testbed.kafka import Cluster

from frazil.errors import FrazilError
from frazil.log.kafka import KafkaConnection, KafkaReader
from frazil.sink.books import Books
from tests.faults.killing import CONTRACT, Child, Ground, Zygote, until

OFTEN = {"FRAZIL_PROCESS__BATCH_RECORDS": "5000", "FRAZIL_PROCESS__MAX_DELAY": "PT0.2S"}


@dataclass
class KafkaGround(Ground):
    """A project whose log is a cluster. What clients brought is counted under a lock: they are several."""

    unsure: int = 0  # records that were sent again without a key after an answer that told nothing
    allowed: float = float("inf")  # good events that clients may have sent by now
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def on(cls, root: Path, cluster: Cluster, *, partitions: int = 3, **kafka: object) -> KafkaGround:
        ground = cls.made(root)
        assert isinstance(ground, KafkaGround)
        file = root / "frazil.toml"
        settings = {"partitions": partitions, "topic_prefix": f"{uuid.uuid4()}.", **kafka}
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        file.write_text(file.read_text().replace('"file://.frazil/log"', f'"kafka://{cluster.address}"') + f"\n[kafka]\n{lines}")
        return ground

    @property
    def topic(self) -> str:
        return f"{self.project.settings.kafka.topic_prefix}{CONTRACT}"

    @property
    def connection(self) -> KafkaConnection:
        return KafkaConnection(self.project.settings.log.url.removeprefix("kafka://"))

    def reader(self) -> KafkaReader:
        found = self.project.log_reader(self.project.contract(CONTRACT))
        assert isinstance(found, KafkaReader)
        return found

    def lag(self) -> int:
        """Offsets that no commit has passed yet."""
        project, reader = self.project, self.reader()
        try:
            return reader.lag(project.sink(project.contract(CONTRACT)).head().position)
        finally:
            reader.close()

    def commits(self) -> int:
        """The table's newest sequence number: one more with every commit."""
        return int(self.project.lake.raw(self.project.contract(CONTRACT)).metadata.last_sequence_number)

    def brought(self, good: int, bad: int, repeated: int) -> list[bytes]:
        with self.lock:
            return self.batch(good, bad, repeated)

    def judged(self) -> Books:
        """0 lost, 0 doubled, 0 invented, by sets of ids and by the books; what was stored twice is a duplicate.

        Records that break their contract have no key: one that was sent again without an idempotency key may be two letters.
        """
        rows = self.ids()
        assert [one for one, count in rows.items() if count > 1] == [], "doubled"
        assert set(self.acked) - set(rows) == set(), "lost"
        assert set(rows) - set(self.acked) == set(), "invented"
        books = self.books()
        assert books.pending == 0
        assert books.landed == len(self.acked)
        assert self.bad <= books.dead <= self.bad + self.unsure
        assert self.repeated <= books.duplicates <= self.repeated + self.unsure
        assert books.records == books.landed + books.dead + books.duplicates
        return books


class Client(threading.Thread):
    """Sends batches until told to stop, each again and again until it has a 202.

    Args:
        keyed: With an `Idempotency-Key`, as careful clients do; without one a batch may be stored twice.
        size: Most good events in a batch.
        pause: Seconds between batches.
    """

    def __init__(self, ground: KafkaGround, port: int, *, seed: int, keyed: bool, size: int = 60, pause: float = 0.02) -> None:
        super().__init__(daemon=True)
        self.ground, self.port, self.keyed, self.size, self.pause = ground, port, keyed, size, pause
        self.chance, self.ended = random.Random(seed), threading.Event()
        self.failure: BaseException | None = None
        self.longest = 0.0
        """Seconds that the slowest batch waited for its 202."""

    def run(self) -> None:
        try:
            while not self.ended.is_set():
                if len(self.ground.acked) >= self.ground.allowed:
                    time.sleep(0.01)
                    continue
                chance = self.chance
                self.send(self.ground.brought(chance.randint(1, self.size), chance.randint(0, 3), chance.randint(0, 5)))
                time.sleep(chance.uniform(0, self.pause))
        except BaseException as error:
            self.failure = error

    def send(self, records: list[bytes], patience: float = 120.0) -> None:
        body, began = b"\n".join(records), time.monotonic()
        headers = {"Content-Type": "application/x-ndjson"} | ({"Idempotency-Key": str(uuid.uuid4())} if self.keyed else {})
        while (answer := self._asked(body, headers)) != 202:
            assert answer in (0, 409, 429, 503), f"the server said {answer}"
            assert time.monotonic() - began < patience, f"no 202 in {patience:g} s, last {answer}"
            if not self.keyed:
                with self.ground.lock:
                    self.ground.unsure += len(records)
            time.sleep(0.2)
        self.longest = max(self.longest, time.monotonic() - began)

    def _asked(self, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of one try; 0 when there was no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", f"/api/v1/ingest?contract={CONTRACT}", body, dict(headers))
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


@contextmanager
def sending(ground: KafkaGround, port: int, *, size: int = 60, pause: float = 0.02) -> Iterator[list[Client]]:
    """Two clients, one with idempotency keys and one without; both have had an answer to everything when the block is left."""
    clients = [Client(ground, port, seed=seed, keyed=keyed, size=size, pause=pause) for seed, keyed in enumerate((True, False))]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.ended.set()
    for client in clients:
        client.join(150)
        assert not client.is_alive(), "a client got no answer"
        assert client.failure is None, repr(client.failure)


@dataclass
class Roles:
    """The processes of one project, forked: an API and processors."""

    ground: KafkaGround
    zygote: Zygote
    port: int = 0
    env: Mapping[str, str] = field(default_factory=lambda: OFTEN)

    def serve(self) -> Child:
        """An API that answers."""
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        child = self.start("serve", "--port", str(self.port))
        until(lambda: self._answers() or child.ended() is not None)
        assert child.ended() is None, self.said()
        return child

    def process(self) -> Child:
        return self.start("process")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *words: str) -> Child:
        return self.zygote.start("-C", str(self.ground.root), *words, **self.env)

    def drain(self, seconds: float = 120.0) -> None:
        """Land everything that is left."""
        assert self.start("process", "--until-idle").wait(seconds) == 0, self.said()

    def said(self) -> str:
        return self.zygote.log.read_text()[-3_000:]

    def _answers(self) -> bool:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/api/v1/health/live", timeout=2):
                return True
        except OSError:
            return False


class Stalls(threading.Thread):
    """Looks, ten times a second, how far the table is: how long each partition that was behind did not move. A context manager."""

    def __init__(self, ground: KafkaGround) -> None:
        super().__init__(daemon=True)
        self.ground, self.ended = ground, threading.Event()
        self.seen: list[tuple[float, float, str]] = []
        """When each wait was over (monotonic seconds), how many seconds it took, and of which partition."""

    @property
    def longest(self) -> float:
        return max((seconds for _, seconds, _ in self.seen), default=0.0)

    def worst_between(self, moments: Sequence[float]) -> list[float]:
        """The longest wait that ended between each moment and the next."""
        return [max((took for at, took, _ in self.seen if begun < at <= over), default=0.0) for begun, over in pairwise(moments)]

    def run(self) -> None:
        project, reader = self.ground.project, self.ground.reader()
        sink = project.sink(project.contract(CONTRACT))
        stood: dict[str, tuple[int, float]] = {}
        while not self.ended.wait(0.1):
            try:
                ends, position = reader.ends(), sink.head().position
            except FrazilError:
                continue
            now = time.monotonic()
            for partition, end in ends.items():
                at = position.last(reader.log_id, partition)
                at = -1 if at is None else at
                before, since = stood.get(partition, (at, now))
                if at > before:
                    self.seen.append((now, now - since, partition))
                stood[partition] = (before, since) if at == before and end > at else (at, now)
        self.seen += [(time.monotonic(), time.monotonic() - since, partition) for partition, (_, since) in stood.items()]
        reader.close()

    def __enter__(self) -> Stalls:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self.join(60)


def quantile(seconds: list[float], percent: int) -> float:
    ordered = sorted(seconds)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 2)
