"""What a measurement works on: the files, and what is in them."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from frazil.bench.leaves import measured
from frazil.contract import Contract


@dataclass(frozen=True)
class Job:
    """Events on disk.

    `whole`: every record as NDJSON. `clean`: the same without the `bad` broken ones, for peers that stop at the first. `shuffled`: `whole`,
    members in another order in each record. `formats`: the first `format_events` good events as CSV, Avro, Parquet.
    `received_us`: when they are taken to have come. `day`: the column whose day partitions the rows. `compiled`: the contract,
    pickled by us.
    `sure`: the broken records are of sorts that every engine can tell from good ones; else peers that could read `whole` get `clean`, too.
    """

    contract_file: str
    whole: str
    clean: str
    shuffled: str
    events: int
    bad: int
    duplicates: int
    bytes: int
    sure: bool
    format_events: int
    received_us: int
    day: str = "event_date"
    compiled: str = ""
    formats: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> int:
        """Events that land."""
        return self.events - self.bad - self.duplicates

    @property
    def valid(self) -> int:
        """Good ones, repeats among them."""
        return self.events - self.bad

    @cached_property
    def contract(self) -> Contract:
        """As all candidates have it. What reads contracts takes more memory than some candidates: a measured process takes it ready."""
        if self.compiled:
            contract: Contract = pickle.loads(Path(self.compiled).read_bytes())
            return contract
        from frazil.contract.load import load_file

        return measured(load_file(self.contract_file))

    @property
    def broken_allowed(self) -> str:
        """What a peer reads that can skip a broken record."""
        return self.whole if self.sure else self.clean

    def save(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def load(cls, path: Path | str) -> Job:
        return cls(**json.loads(Path(path).read_text()))
