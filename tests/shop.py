"""The shop of this repository in a fresh directory: records land by the real pump, marts are built by the real dbt."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from frazil import settings as configuration
from frazil.engine.query import Warehouse
from frazil.flow import pump
from frazil.log import Record
from frazil.log.memory import MemoryLog
from frazil.project import Project
from frazil.settings import Settings
from frazil.warehouse import Transformation
from frazil.warehouse import run as warehouse
from frazil.warehouse.package import install
from tests.shared import ROOT

PRESENT = """-- One row per user who is there: a deleted one has a row no more.
-- depends_on: {{ ref('stg_users') }}
{{ config(unique_key='user_id', keys_from={'view': 'stg_users', 'raw': 'raw_users'}) }}
select user_id, user_name from {{ ref('int_user_versions') }}
where is_current
{% if frazil.incremental() %}
    and user_id in (select user_id from {{ ref('stg_users') }} where _commit > {{ frazil.after('raw_users') }})
{% endif %}
"""
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
        return warehouse.transform(self.settings, **options)

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query over the lake, as any reader sees it."""
        reader = Warehouse(self.project.lake)
        try:
            answer = reader.ask(sql)
            return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows()]
        finally:
            reader.close()


class Dbt:
    """dbt kept warm in a process of its own (`tests/dbt_server.py`); `run` has one mart more than the shop, `present_users`."""

    def __init__(self, root: Path) -> None:
        self.models = Shop(root).root / "warehouse"
        (self.models / "models/marts/present_users.sql").write_text(PRESENT)
        install(self.models)
        self._state = root / "dbt"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.dbt_server"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def transform(self, shop: Shop, **options: Any) -> Transformation:
        """`frazil.warehouse.run.transform` over a shop, only that the process it starts is there already."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(warehouse, "_dbt", self._as_a_child)
            return shop.transform(**options)

    def run(self, shop: Shop, *words: str) -> dict[str, Any]:
        """Run the models of this repository over a shop's lake; every node must be good. Rows by model."""
        asked = {"environment": warehouse._environment(shop.settings, self._state), "words": words, "directory": str(self.models)}
        answer = self._asked(asked)
        assert answer["ok"], answer["said"]
        nodes: dict[str, Any] = answer["nodes"]
        return nodes

    def _as_a_child(
        self, settings: Settings, directory: Path, state: Path, words: Sequence[str], results: Path
    ) -> tuple[int, list[dict[str, Any]]]:
        arguments = warehouse._arguments(directory, words, results)
        asked = {"environment": warehouse._environment(settings, state), "arguments": arguments, "directory": str(directory)}
        answer = self._asked(asked)
        return answer["code"], list(warehouse._lines(answer["said"]))

    def _asked(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


class Kept:
    """A shop with one user, product and event and its marts, built once: each test begins with a copy of it.

    A copy lies where the original lay: the lake's files name their places, and dbt's parsed project holds for these paths.
    """

    def __init__(self, root: Path, dbt: Dbt) -> None:
        self._root, self._aside = root / "shop", root / "aside"
        shop = Shop(self._root)
        shop.land("users", user("u1", -10))
        shop.land("products", product("p1", -10))
        shop.land("events", event(1))
        assert not dbt.transform(shop, command="run").failed
        self._logs = shop.logs
        shutil.copytree(self._root, self._aside)

    def again(self) -> Shop:
        shutil.rmtree(self._root)
        shutil.copytree(self._aside, self._root)
        shop = Shop(self._root)
        shop.logs = {name: _twin(log) for name, log in self._logs.items()}
        return shop


def _twin(log: MemoryLog) -> MemoryLog:
    """The same log with the same records, to go its own way."""
    made = MemoryLog()
    held = {name: copy.deepcopy(value) for name, value in vars(log).items() if name != "_changed"}
    vars(made).update(held)
    return made
