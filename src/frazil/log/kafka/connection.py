"""A Kafka cluster as settings describe it: client configurations, topics and their identity, errors in Frazil's tree."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from frazil.errors import ConfigError, Corrupt, FrazilError, Unavailable
from frazil.telemetry import logger

try:
    from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it does not say that it hands these on
        AdminClient,
        ConfigResource,
        NewTopic,
        OffsetSpec,
        ResourceType,
    )
except ImportError as error:
    raise ConfigError(
        "a kafka:// log needs confluent-kafka", hint="pip install 'frazil[kafka]'", code="config.missing_extra", extra="kafka"
    ) from error

_log = logger("kafka")

ANSWER_S = 10.0
"""How long a question to the cluster may take, tries together."""

_FIRST_TRY_S = 1.5  # a client waits for the broker that it asked; a new one, after this time, asks who leads now
_ELECTION_S = 3.0
_SAID_AGAIN_S = 30.0
T = TypeVar("T")
_REFUSED = (
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
)
_CAUSES = (*_REFUSED, KafkaError._SSL)
_DECIDED = (
    KafkaError.TOPIC_ALREADY_EXISTS,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
)


class Admin:
    """Asks about the cluster. After a failure with a new client: one that has seen a leader go asks with its epoch for ever."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings | {"error_cb": self._hear}
        self._client: AdminClient | None = None
        self._cause: KafkaError | None = None

    @property
    def client(self) -> AdminClient:
        if self._client is None:
            self._client = AdminClient(self._settings)
        return self._client

    def renew(self) -> None:
        """Ask with a new client from now on."""
        self._client, self._cause = None, None

    def cause(self) -> KafkaError | None:
        """Why brokers do not let us in, as far as was heard: a question by itself only ends unanswered."""
        self.client.poll(0)  # nothing is heard, and nothing logged, before somebody listens
        return self._cause

    def _hear(self, error: KafkaError) -> None:
        if error.code() in _CAUSES:
            self._cause = error


class _ClientLog:
    """What the client library has to say, in our log instead of lines of its own on stderr, each thing once in `_SAID_AGAIN_S`.

    Whatever it means for us is an error of ours; this is for whoever looks for the cause.
    """

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def log(self, _: int, form: str, *facts: object) -> None:
        said = form % facts
        what, now = said.partition(" (after ")[0], time.monotonic()
        if now - self._said.get(what, -_SAID_AGAIN_S) < _SAID_AGAIN_S:
            return
        self._said = {one: at for one, at in self._said.items() if now - at < _SAID_AGAIN_S} | {what: now}
        _log.info("the client says", said=said)


@dataclass(frozen=True)
class KafkaConnection:
    """How to reach a cluster.

    Args:
        brokers: `host:port[,host:port…]`.
        options: Further librdkafka properties (TLS, SASL), laid over ours.
        delivery_timeout: Seconds until an append that nobody answered is `Unavailable`.
        seats: Directory of this machine where who is killed leaves its names for who starts again; None: clusters learn by timeouts.
    """

    brokers: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a password
    delivery_timeout: float = 30.0
    seats: Path | None = None

    def client(self, **own: object) -> dict[str, Any]:
        """Configuration of a client; `own` with underscores for dots."""
        named = {name.replace("_", "."): value for name, value in own.items()}
        ours = {
            "bootstrap.servers": self.brokers,
            "client.id": "frazil",
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 1_000,  # a broker that was down for a while is back when it answers, not ten seconds later
            "logger": _ClientLog(),
        }
        return {**ours, **named, **self.options}

    def admin(self) -> Admin:
        return Admin(self.client())

    def ensure_topic(self, admin: Admin, topic: str, *, partitions: int, replication: int = -1, config: Mapping[str, str]) -> None:
        """Make a topic when it is absent; one that exists stays as it is.

        Raises:
            Unavailable, ConfigError: The cluster does not answer, or refuses.
        """
        made = NewTopic(topic, num_partitions=partitions, replication_factor=replication, config=dict(config))

        def make(client: AdminClient, seconds: float) -> None:
            client.create_topics([made], operation_timeout=seconds, request_timeout=seconds)[topic].result(seconds + 1)

        with answering(f"topic {topic!r} cannot be made", topic=topic):
            try:
                self._asked(admin, make, _DECIDED)
                self._described(admin, topic)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

    def _asked(self, admin: Admin, question: Callable[[AdminClient, float], T], final: Container[int] = ()) -> T:
        """Ask within so many seconds, and again with a new client and more time, until there is an answer or `ANSWER_S` are over."""
        until, seconds = time.monotonic() + ANSWER_S, _FIRST_TRY_S
        while True:
            try:
                return question(admin.client, seconds)
            except (KafkaException, TimeoutError) as error:
                cause, code = admin.cause(), error.args[0].code() if isinstance(error, KafkaException) else None
                admin.renew()
                over = time.monotonic() > until
                if cause is not None and (over or cause.code() in _REFUSED):
                    raise KafkaException(cause) from error
                if over or code in _REFUSED or code in final:
                    raise
            time.sleep(0.1)
            seconds = max(_FIRST_TRY_S, min(2 * seconds, until - time.monotonic()))

    def _described(self, admin: Admin, topic: str) -> Any:
        """The topic's description; None when the cluster does not know it, and still not after a while: brokers learn one by one."""
        until = time.monotonic() + _ELECTION_S

        def describe(client: AdminClient, seconds: float) -> Any:
            return client.describe_topics(TopicCollection([topic]), request_timeout=seconds)[topic].result(seconds + 1)

        while True:
            try:
                return self._asked(admin, describe, (KafkaError.UNKNOWN_TOPIC_OR_PART,))
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                if time.monotonic() > until:
                    return None
            time.sleep(0.1)

    def identity(self, admin: Admin, topic: str) -> tuple[str, tuple[int, ...]]:
        """The log's identity, `cluster id.topic id`, and the numbers of its partitions. A topic made anew has another.

        Raises:
            Corrupt: `log.recreated`: the topic is gone.
        """

        def describe(client: AdminClient, seconds: float) -> Any:
            return client.describe_cluster(request_timeout=seconds).result(seconds + 1)

        with answering("the cluster does not say what it holds", topic=topic):
            cluster = self._asked(admin, describe).cluster_id
            found = self._described(admin, topic)
        if found is None:
            raise Corrupt(f"topic {topic!r} is gone", code="log.recreated", hint="put the old topic back", topic=topic)
        return f"{cluster}.{found.topic_id}", tuple(sorted(one.id for one in found.partitions))

    def offsets(
        self, admin: Admin, topic: str, partitions: tuple[int, ...], *, oldest: bool = False, committed: bool = True
    ) -> dict[int, int]:
        """First offset held, or the one after the last that a reader may see, per partition.

        A reader sees nothing behind an open transaction; `committed=False` looks behind it.
        """
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        spec = OffsetSpec.earliest() if oldest else OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(topic, number): spec for number in partitions}

        def ask(client: AdminClient, seconds: float) -> dict[int, int]:
            answers = client.list_offsets(asked, isolation_level=isolation, request_timeout=seconds)
            found = {at.partition: answer.result(seconds + 1).offset for at, answer in answers.items()}
            if min(found.values(), default=0) < 0:  # a leader that was just elected does not know yet, and the client calls that no error
                raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))
            return found

        with answering("the cluster does not say how far the log goes", topic=topic):
            return self._asked(admin, ask)  # a new topic, a leader that is just being elected, or a client that knows the last one

    def topic_config(self, admin: Admin, topic: str) -> dict[str, str]:
        """The topic's configuration as the cluster holds it."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        with answering("the cluster does not say how the topic is set up", topic=topic):
            found = admin.client.describe_configs([resource], request_timeout=ANSWER_S)[resource].result(ANSWER_S)
        return {name: entry.value for name, entry in found.items()}


def frazil_error(error: KafkaError, message: str, **context: object) -> FrazilError:
    """A Kafka error in Frazil's tree: refusals are for a person, everything else may pass."""
    if error.code() in _REFUSED:
        return ConfigError(
            f"{message}: {error.str()}", code="log.refused", hint="check [kafka] in frazil.toml and the cluster's access rules", **context
        )
    return Unavailable(f"{message}: {error.str()}", code="log.unavailable", hint="is the cluster up and reachable?", **context)


@contextmanager
def answering(message: str, **context: object) -> Iterator[None]:
    """Turn what the client raises into Frazil's errors."""
    try:
        yield
    except KafkaException as error:
        _raise(error.args[0], message, context)
    except TimeoutError as error:
        raise Unavailable(
            f"{message}: no answer in {ANSWER_S:.0f} s", code="log.unavailable", hint="is the cluster up?", **context
        ) from error


def _raise(error: KafkaError, message: str, context: Mapping[str, object]) -> NoReturn:
    raise frazil_error(error, message, **context) from KafkaException(error)
