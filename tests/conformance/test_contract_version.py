"""Rows and letters of every stage name the contract's version, the one its file says; hashes stand in commits only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from frazil.batch import Batch, Processed
from frazil.contract import Contract
from frazil.engine.patience import PatientProcessor
from frazil.flow import pump
from frazil.process import Processor
from frazil.process.python import PythonProcessor
from frazil.process.rust import RustProcessor
from frazil.sink.iceberg import IcebergSink
from frazil.sink.keys import TableKeys
from tests.landing import ORDERS, ListLog, event, open_lake, set_aside

VERSION = "2.7.1"
POISON = b'{"poison": true}'


class Failing:
    """Breaks on one record; judges the others as `inner` does."""

    def __init__(self, inner: Processor) -> None:
        self.inner, self.contract = inner, inner.contract

    def __call__(self, raw: Batch) -> Processed:
        if POISON in raw.rows.column("value").to_pylist():
            raise RuntimeError("it broke")
        return self.inner(raw)


@pytest.mark.parametrize("processor", [RustProcessor, PythonProcessor])
def test_every_stage_writes_the_contracts_version(processor: Callable[[Contract], Processor], tmp_path: Path) -> None:
    contract = replace(ORDERS, version=VERSION)
    lake, log = open_lake(tmp_path), ListLog()
    log.append(event(1), b"cut {", b"{}", POISON, event(1), event(1, 2))
    judge = PatientProcessor(Failing(processor(contract)), sleep=lambda seconds: None)
    sink = IcebergSink(lake, contract)
    commit = pump(log, judge, TableKeys(lake, contract, max_bytes=1 << 24), sink)
    assert commit is not None
    assert lake.raw(contract).scan().to_arrow().column("_contract_version").to_pylist() == [VERSION]
    stages = {letter["stage"]: letter["contract_version"] for letter in set_aside(lake, contract)}
    assert stages == dict.fromkeys(("parse", "validate", "process", "dedupe", "identity"), VERSION)
