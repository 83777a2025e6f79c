"""❹ Processing judges a record: parse, validate, transform. Pure and per record.

One suite, `tests/conformance/test_processor.py`, runs on every implementation.
"""

from __future__ import annotations

from typing import Protocol

from frazil.batch import Batch, Processed
from frazil.contract import Contract


class Processor(Protocol):
    """Gives each raw record its verdict under one contract version.

    Laws: `good + dead == raw`, each record in exactly one of them, order kept; `process(a + b) == process(a) +
    process(b)`; no clock, network, history or global decides anything.
    """

    @property
    def contract(self) -> Contract: ...

    def __call__(self, raw: Batch) -> Processed: ...
