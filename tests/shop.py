"""The shop of this repository in a fresh directory: records land by the real pump, marts are built by the real dbt."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from frazil import settings as configuration
from frazil.engine.query import Warehouse
from frazil.flow import pump
from frazil.log import Record
from frazil.log.memory import MemoryLog
from frazil.project import Project
from frazil.warehouse import Transformation
from frazil.warehouse.package import install
from frazil.warehouse.run import _environment, transform
from tests.shared import ROOT

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def at(minutes: float) -> str:
    """An instant, minutes after noon, as clients write it."""
    return (NOON + timedelta(minutes=minutes)).isoformat()


def event(number: int, user: str = "u1", minutes: float = 0, **more: Any) -> dict[str, Any]:
    """An event; `number` is its key."""
    kept = {"event_id": str(UUID(int=number)), "event_type": "purchase", "user_id": user, "timestamp": at(minutes), "value": 10}
    return {**kept, "currency": "EUR", "properties": {"product_id": "p1", "quantity": 1}, **more}


def user(name: str = "u1", minutes: float = 0, **more: Any) -> dict[str, Any]:
    """A version of a user."""
    kept = {"user_id": name, "user_name": f"{name} at {minutes}", "created_at": at(-1000), "updated_at": at(minutes)}
    return {**kept, **more}


def product(thing: str = "p1", minutes: float = 0, **more: Any) -> dict[str, Any]:
    """A version of a product."""
    return {"product_id": thing, "name": f"{thing} at {minutes}", "price": 1, "updated_at": at(minutes), **more}


class Shop:
    """A project made from the shop, with its lake; logs are in memory."""

    def __init__(self, root: Path, *, leave_out: Sequence[str] = ()) -> None:
        self.root = root
        if not (root / "frazil.toml").exists():
            ignored = shutil.ignore_patterns(".frazil", "dbt_packages", "target", "logs", "__pycache__", *leave_out)
            shutil.copytree(ROOT / "shop", root, ignore=ignored, dirs_exist_ok=True)
        self.settings = configuration.load(root)
        self.project = Project(self.settings)
        self.logs: dict[str, MemoryLog] = {}

    def land(self, contract: str, *records: Mapping[str, Any]) -> None:
        """Send records as one request and land them in one commit."""
        log = self.logs.setdefault(contract, MemoryLog(partitions=1))
        values = [Record(json.dumps(record).encode(), None) for record in records]
        log.append(values, request=1, received_at=NOON + timedelta(days=1))
        one = self.project.contract(contract)
        sink, keys = self.project.sink(one), self.project.keys(one)
        while pump(log, self.project.processor(one), keys, sink) is not None:
            pass

    def transform(self, **options: Any) -> Transformation:
        return transform(self.settings, **options)

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query over the lake, as any reader sees it."""
        warehouse = Warehouse(self.project.lake)
        try:
            answer = warehouse.ask(sql)
            return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows()]
        finally:
            warehouse.close()


class Dbt:
    """dbt kept warm in a process of its own (`tests/dbt_server.py`), over any number of lakes with the shop's contracts."""

    def __init__(self, root: Path) -> None:
        self.models = Shop(root).root / "warehouse"
        install(self.models)
        self._state = root / "dbt"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.dbt_server"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, shop: Shop, *words: str) -> dict[str, Any]:
        """Run dbt over a shop's lake; every node must be good. Rows by model."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        environment = _environment(shop.settings, self._state)
        self._process.stdin.write(json.dumps({"environment": environment, "words": words, "directory": str(self.models)}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["ok"], answer["said"]
        nodes: dict[str, Any] = answer["nodes"]
        return nodes

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
