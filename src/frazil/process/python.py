"""The readable reference: judges records as docs/reference/verdicts.md says, in plain Python.

It is the oracle of the kernel's tests and the baseline of its benchmark. Every rule is written once, in the order of the
specification; nothing is done twice as fast by being said twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from frazil.batch import LETTERS, LINEAGE, Batch, Processed
from frazil.contract import Contract
from frazil.contract.derive import columns
from frazil.process.reference_csv import wrong_cell_count
from frazil.process.reference_json import Node, NotJson, TooDeep, read
from frazil.process.reference_rules import FOUND, Broken, Rules
from frazil.process.reference_values import DAY_US


@dataclass(slots=True)
class Verdict:
    """What became of one record: its columns, or the stage that refused it and every rule it broke."""

    stage: str = "validate"
    broken: list[Broken] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)
    extra: str | None = None
    event_us: int = 0


class PythonProcessor:
    """Gives each raw record its verdict under one contract version. Implements `frazil.process.Processor`."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    @property
    def contract(self) -> Contract:
        return self._contract

    def __call__(self, raw: Batch) -> Processed:
        """Good rows in the contract's columns + `LINEAGE`, dead ones in `LETTERS`; both keep the order and the spans of `raw`."""
        values, received = raw.rows["value"].to_pylist(), raw.rows["received_at"].cast(pa.int64()).to_pylist()
        formats = [source and source["format"] for source in raw.rows["source"].to_pylist()]
        verdicts = [self.judge(*record) for record in zip(values, received, formats, strict=True)]
        good = [index for index, verdict in enumerate(verdicts) if not verdict.broken]
        dead = [index for index, verdict in enumerate(verdicts) if verdict.broken]
        return Processed(
            Batch(self._rows([verdicts[at] for at in good], raw.rows.take(pa.array(good, pa.int64()))), raw.spans),
            Batch(self._letters([verdicts[at] for at in dead], raw.rows.take(pa.array(dead, pa.int64()))), raw.spans),
            raw,
        )

    def judge(self, value: bytes | None, received_us: int, format: str | None = None) -> Verdict:
        """The verdict on one record received at `received_us`, µs since 1970 UTC, in a body of this format."""
        node = self._parse(value, format)
        if isinstance(node, Broken):
            return Verdict("parse", [node])
        rules = Rules(self._contract, received_us)
        row = rules.object(self._contract.fields, node, "")
        return Verdict("validate", rules.all_broken(), row, rules.extra(), rules.event_us)

    def _parse(self, value: bytes | None, format: str | None) -> Node | Broken:
        """Record rules: the first that fails is the only violation."""
        contract = self._contract
        if value is None:
            return Broken("", "record.null", "the record has no value", "send the event as a JSON object")
        if len(value) > contract.max_bytes:
            hint = "split the event or raise maxBytes in the contract"
            return Broken("", "record.too_large", f"{len(value)} bytes, at most {contract.max_bytes}", hint)
        try:
            node, members = read(value.decode(), contract.max_depth)
        except UnicodeDecodeError as error:
            return Broken("", "encoding.invalid_utf8", f"not UTF-8 at byte {error.start}", "encode the record as UTF-8")
        except TooDeep:
            return Broken("", "json.too_deep", f"nested deeper than {contract.max_depth}", "flatten the event")
        except NotJson as error:
            return Broken("", "json.invalid", f"not JSON at byte {error.at}", "send one JSON object per record, RFC 8259")
        if members > contract.max_members:
            return Broken("", "json.too_many_members", f"more than {contract.max_members} members", "split the event")
        if node.kind == "array" and node.at == 0 and format == "csv":
            return wrong_cell_count(members)
        if node.kind != "object":
            return Broken("", "json.not_object", f"expected an object, found {FOUND[node.kind]}", "send one JSON object per record")
        return node

    def _rows(self, verdicts: Sequence[Verdict], raw: pa.RecordBatch) -> pa.RecordBatch:
        own = columns(self._contract)
        arrays = [pa.array([verdict.row.get(one.name) for verdict in verdicts], one.type) for one in own]
        if self._contract.unknown == "keep":
            arrays[-1] = pa.array([verdict.extra for verdict in verdicts], pa.string())
        event_us = [verdict.event_us for verdict in verdicts]
        lineage = {
            "event_date": pa.array([at // DAY_US for at in event_us], pa.int32()).cast(pa.date32()),
            "event_hour": pa.array([at % DAY_US // 3_600_000_000 for at in event_us], pa.int32()),
            "_contract_version": pa.array([self._contract.version] * len(verdicts), pa.string()).dictionary_encode(),
        }
        arrays += [lineage[one.name] if one.name in lineage else raw[one.name[1:]] for one in LINEAGE]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*own, *LINEAGE]))

    def _letters(self, verdicts: Sequence[Verdict], raw: pa.RecordBatch) -> pa.RecordBatch:
        count = len(verdicts)
        own: dict[str, list[Any]] = {
            "contract": [self._contract.name] * count,
            "contract_version": [self._contract.version] * count,
            "stage": [verdict.stage for verdict in verdicts],
            "violations": [[{"index": None, **broken._asdict()} for broken in verdict.broken] for verdict in verdicts],
            "first": [None] * count,
            "_replay": [None] * count,
        }
        arrays = [
            pa.array(own[one.name], one.type) if one.name in own else raw[one.name.removeprefix("_")].cast(one.type) for one in LETTERS
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=LETTERS)
