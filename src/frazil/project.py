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
from frazil.settings import Settings

if TYPE_CHECKING:
    from frazil.log import LogReader, LogWriter, Retention
    from frazil.process import Processor
    from frazil.sink import KeyIndex
    from frazil.sink.dead_letters import IcebergDeadLetters
    from frazil.sink.iceberg import IcebergSink
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
            raise ContractError(f"no contract {wanted!r}", code="contract.unknown", hint=f"known contracts: {known}", contract=wanted)
        return self.contracts[wanted]

    def log_writer(self, contract: Contract) -> LogWriter:
        from frazil.log.embedded import EmbeddedWriter

        return EmbeddedWriter(
            self._log_dir(contract), segment_bytes=self.settings.log.segment_bytes, min_free_bytes=self.settings.log.min_free_bytes
        )

    def log_reader(self, contract: Contract) -> LogReader:
        from frazil.log.embedded import EmbeddedReader

        return EmbeddedReader(self._log_dir(contract))

    def log_retention(self, contract: Contract) -> Retention:
        from frazil.log.embedded import EmbeddedRetention

        return EmbeddedRetention(self._log_dir(contract))

    def processor(self, contract: Contract) -> Processor:
        from frazil.process.rust import RustProcessor

        return RustProcessor(contract)

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
    def dead_letters(self) -> IcebergDeadLetters:
        """The project's dead letters; `adopt` and `open` take the sink they follow."""
        from frazil.sink.dead_letters import IcebergDeadLetters

        return IcebergDeadLetters(self.lake)

    def _log_dir(self, contract: Contract) -> Path:
        scheme = self.settings.log.url.partition("://")[0]
        if scheme != "file":
            raise ConfigError(
                f"unknown log {self.settings.log.url!r}", hint="known: file://PATH", code="config.unknown_log", url=self.settings.log.url
            )
        return self.settings.path_of(self.settings.log.url) / contract.name
