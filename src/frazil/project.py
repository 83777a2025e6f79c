"""A project opened: the parts that its settings name. The one place where backends are chosen by URL.

Parts are imported when they are asked for: a command that looks at contracts only does not wait for the lake's libraries.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from frazil import settings as configuration
from frazil.contract import Contract
from frazil.errors import ConfigError, ContractError
from frazil.settings import Settings, duration

if TYPE_CHECKING:
    from frazil.batch import Position
    from frazil.contract.windows import WindowSpec
    from frazil.log import LogReader, LogWriter, Retention
    from frazil.log.kafka import KafkaConnection
    from frazil.log.kafka.letters import DeadLetterTopic, RetryTopic
    from frazil.process import Processor
    from frazil.process.framing import Framing
    from frazil.registry import SchemaRegistry
    from frazil.sink import KeyIndex
    from frazil.sink.dead_letters import IcebergDeadLetters
    from frazil.sink.iceberg import IcebergSink
    from frazil.sink.windows import WindowSink
    from frazil.table.catalog import Lake


class Project:
    """A project directory, its contracts and the backends its settings choose. Opens things when they are asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def at(cls, root: Path | None = None, *, profile: str | None = None) -> Project:
        return cls(configuration.load(root, profile=profile))

    @cached_property
    def contracts(self) -> dict[str, Contract]:
        """All contracts by name. Raises ContractError when a file is wrong."""
        from frazil.contract.load import load_directory

        return load_directory(self.settings.contracts_dir)

    def contract(self, name: str | None = None) -> Contract:
        """A contract by name; None is the project's default.

        Raises:
            ContractError: `contract.unknown`; names the known ones.
        """
        wanted = name or self.settings.default_contract or (next(iter(self.contracts)) if len(self.contracts) == 1 else None)
        if wanted is None or wanted not in self.contracts:
            known = ", ".join(sorted(self.contracts)) or "none"
            if wanted is None:
                says, hint = "no contract was named", f"name one of: {known}; or set default_contract in frazil.toml"
            else:
                says, hint = f"no contract {wanted!r}", f"known contracts: {known}"
            raise ContractError(says, code="contract.unknown", hint=hint, contract=wanted)
        return self.contracts[wanted]

    def log_writer(self, contract: Contract) -> LogWriter:
        if self.logs_are_kafka:
            from frazil.log.kafka import KafkaWriter

            return KafkaWriter(self._kafka, self._topic(contract), frame=self._framing(contract))
        from frazil.log.embedded import EmbeddedWriter

        return EmbeddedWriter(
            self._log_dir(contract), segment_bytes=self.settings.log.segment_bytes, min_free_bytes=self.settings.log.min_free_bytes
        )

    def seal_log(self, contract: Contract) -> None:
        """Let a contract's embedded log take no more records, whoever appends."""
        from frazil.log.embedded import EmbeddedWriter

        writer = EmbeddedWriter(self._log_dir(contract))
        try:
            writer.seal()
        finally:
            writer.close()

    def log_reader(self, contract: Contract, *, shared: bool = False) -> LogReader:
        """A reader of all of a contract's log; `shared`: of what falls to it among those that read together."""
        if self.logs_are_kafka:
            from frazil.log.kafka import KafkaReader

            return KafkaReader(self._kafka, self._topic(contract), group=self._group(contract) if shared else None)
        from frazil.log.embedded import EmbeddedReader

        return EmbeddedReader(self._log_dir(contract))

    def topic_writer(self, name: str) -> LogWriter:
        """A writer of a topic that is no contract's: results of live windows."""
        plain = Contract(name, "1", ())
        if self.logs_are_kafka:
            from frazil.log.kafka import KafkaWriter

            return KafkaWriter(self._kafka, self._topic(plain))
        return self.log_writer(plain)

    def topic_reader(self, name: str) -> LogReader:
        """A reader of a topic that is no contract's."""
        return self.log_reader(Contract(name, "1", ()))

    def log_retention(self, contract: Contract) -> Retention:
        if self.logs_are_kafka:
            from frazil.log.kafka import KafkaRetention

            return KafkaRetention()
        from frazil.log.embedded import EmbeddedRetention

        return EmbeddedRetention(self._log_dir(contract))

    def processor(self, contract: Contract) -> Processor:
        from frazil.process.rust import RustProcessor

        judge = RustProcessor(contract)
        if self.registry is None:
            return judge
        from frazil.process.framed import FramedProcessor

        return FramedProcessor(judge, self.registry)

    @cached_property
    def registry(self) -> SchemaRegistry | None:
        """The schema registry that the settings name."""
        chosen = self.settings.registry
        if chosen.url is None:
            return None
        from frazil.registry.confluent import ConfluentRegistry

        return ConfluentRegistry(chosen.url, chosen.properties(self.settings.root))

    def subject(self, contract: Contract) -> str:
        """Where the registry keeps a contract's schemas: the topic's name, as Kafka's own clients have it."""
        return f"{self.settings.kafka.topic_prefix}{contract.name}-value"

    def _framing(self, contract: Contract) -> Framing | None:
        """Announces the contract's schema; how records are framed by it, when they are."""
        if self.registry is None:
            return None
        from frazil.contract.avro import avro_text

        schema = avro_text(contract)
        number = self.registry.announce(self.subject(contract), schema, contract.compatibility)
        if self.settings.registry.values == "json":
            return None
        from frazil.process.framing import Framing
        from frazil.process.rust import RustProcessor

        return Framing(RustProcessor(contract), schema, number)

    @cached_property
    def lake(self) -> Lake:
        from frazil.table.catalog import Lake

        return Lake.open(self.settings)

    def sink(self, contract: Contract) -> IcebergSink:
        from frazil.sink.iceberg import IcebergSink

        return IcebergSink(self.lake, contract)

    def keys(self, contract: Contract) -> KeyIndex:
        from frazil.sink.keys import TableKeys

        return TableKeys(self.lake, contract, max_bytes=self.settings.lake.key_cache_bytes)

    @cached_property
    def windows(self) -> dict[str, WindowSpec]:
        """All live windows by name. Raises ConfigError `windows.invalid`, with file and line, when the file is wrong."""
        from frazil.contract.source import Problem
        from frazil.contract.windows import FILE, load_windows, refused
        from frazil.process.where import Where

        file = self.settings.root / FILE
        found = load_windows(file, self.contracts)
        for spec in found.values():
            try:
                Where(spec.where, self.contract(spec.contract)) if spec.where else None
            except ConfigError as error:
                raise refused([Problem(str(file), spec.line, spec.name, f"{spec.name}: {error.message}", error.hint)]) from error
        return found

    def window(self, name: str) -> WindowSpec:
        """A live window by name. Raises ConfigError `windows.unknown`; names the known ones."""
        if name not in self.windows:
            known = ", ".join(self.windows) or "none: write windows.yaml"
            raise ConfigError(f"no window {name!r}", code="windows.unknown", hint=f"known windows: {known}", window=name)
        return self.windows[name]

    def window_file(self, contract: Contract) -> Path:
        """Where the state of a contract's windows is kept."""
        return self.settings.state_dir / "windows" / f"{contract.name}.db"

    def window_positions(self, contract: Contract) -> list[Position]:
        """Where the live windows of a contract stand: nothing after it may leave the log. Empty where it has none."""
        from data_processor_rs import WindowReader

        from frazil.batch import Position

        file = self.window_file(contract)
        if not any(spec.contract == contract.name for spec in self.windows.values()) or not file.exists():
            return []
        return [Position.from_json(WindowReader(str(file)).position() or "{}")]

    def window_sink(self, contract: Contract) -> WindowSink:
        """The live windows of a contract, open for writing: one process at a time."""
        from frazil.process.where import Where
        from frazil.sink.windows import WindowSink

        specs = [spec for spec in self.windows.values() if spec.contract == contract.name]
        conditions = {spec.name: Where(spec.where, contract) for spec in specs if spec.where}
        memory_bytes = self.settings.live.memory_bytes
        return WindowSink(self.window_file(contract), contract, specs, conditions, memory_bytes=memory_bytes)

    @cached_property
    def dead_letters(self) -> IcebergDeadLetters:
        """The project's dead letters; `adopt` and `open` take the sink they follow."""
        from frazil.sink.dead_letters import IcebergDeadLetters

        return IcebergDeadLetters(self.lake)

    def letters_topics(self, contract: Contract) -> tuple[DeadLetterTopic, RetryTopic]:
        """Where a contract's dead letters are published, and where some wait to be tried again. Only on Kafka."""
        from frazil.log.kafka.letters import Backoff, DeadLetterTopic, RetryTopic

        kafka = self.settings.kafka
        backoff = Backoff(kafka.retry_first, kafka.retry_longest, kafka.retry_attempts)
        topic = self._topic(contract)
        publisher = DeadLetterTopic(self._kafka, topic, backoff)
        return publisher, RetryTopic(self._kafka, topic, self._group(contract), backoff)

    def _group(self, contract: Contract) -> str:
        return f"{self.settings.kafka.group or f'frazil-{self.settings.name}'}-{contract.name}"

    @property
    def logs_are_kafka(self) -> bool:
        """Whether several processes may share a contract's log among them."""
        return self.settings.log.url.startswith("kafka://")

    @cached_property
    def _kafka(self) -> KafkaConnection:
        from frazil.log.kafka import KafkaConnection

        brokers = self.settings.log.url.removeprefix("kafka://")
        kafka = self.settings.kafka
        return KafkaConnection(
            brokers,
            options=kafka.properties(self.settings.root),
            delivery_timeout=kafka.delivery_timeout.total_seconds(),
            seats=self.settings.state_dir / "run" / "kafka",
        )

    def _topic(self, contract: Contract) -> str:
        """The contract's topic, made when absent."""
        topic = self.settings.kafka.topic_prefix + contract.name
        asked = contract.topic_options
        retention = duration(asked["retention"]) if "retention" in asked else self.settings.log.retention
        self._kafka.ensure_topic(
            self._kafka.admin(),
            topic,
            partitions=int(asked.get("partitions", self.settings.kafka.partitions)),
            replication=int(asked.get("replication", self.settings.kafka.replication)),
            config={"retention.ms": str(int(retention.total_seconds() * 1000))},
        )
        return topic

    def _log_dir(self, contract: Contract) -> Path:
        scheme = self.settings.log.url.partition("://")[0]
        if scheme != "file":
            known = "known: file://PATH, kafka://HOST:PORT"
            raise ConfigError(f"unknown log {self.settings.log.url!r}", hint=known, code="config.unknown_log", url=self.settings.log.url)
        return self.settings.path_of(self.settings.log.url) / contract.name
