"""dbt's sources say what the contracts say: every rule is a test, and a file that says something else is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from frazil.contract import Contract, Field
from frazil.contract.dbt_sources import FILE, check_drift, sources_yaml, write
from frazil.contract.load import load_directory
from frazil.errors import ConfigError
from frazil.warehouse import package
from tests.shared import ROOT

ORDERS = Contract(
    "orders",
    "1",
    (
        Field("id", "/id", "uuid", required=True),
        Field("state", "/state", "string", required=True, enum=("new", "it's paid")),
        Field("amount", "/amount", "decimal", minimum="0", maximum="10.50", exclusive_minimum=True, precision=18, scale=4),
        Field("to", "/to", "object", fields=(Field("zip", "/to/zip", "string", required=True, pattern="^[0-9]{5}$", max_length=5),)),
        Field("mail", "/mail", "string", pii="hash"),
    ),
    key=("/id",),
)


def columns(text: str) -> dict[str, Any]:
    (table,) = yaml.safe_load(text)["sources"][0]["tables"]
    return {one["name"]: one for one in table["columns"]}


def test_every_rule_of_a_contract_is_a_test_of_its_column() -> None:
    found = columns(sources_yaml([ORDERS]))
    assert found["id"]["data_tests"] == ["unique", "not_null"]
    accepted = {"accepted_values": {"arguments": {"values": ["new", "it's paid"], "quote": True}}}
    assert found["state"]["data_tests"] == ["not_null", accepted]
    assert found["amount"]["data_tests"] == [{"frazil.in_range": {"arguments": {"minimum": "0", "maximum": "10.50", "above": True}}}]
    assert found["to"]["data_tests"] == [
        {"frazil.length_in": {"arguments": {"most": 5, "member": ["zip"]}}},
        {"frazil.matches": {"arguments": {"pattern": "^[0-9]{5}$", "member": ["zip"]}}},
    ], "a member's `required` holds inside an object that is there"
    assert found["mail"]["config"] == {"meta": {"pii": "hash"}}
    assert found["_commit"]["data_tests"] == ["not_null"]


def test_a_key_of_several_fields_is_unique_together() -> None:
    versions = Contract("things", "1", (Field("a", "/a", "string"), Field("b", "/b", "timestamp")), key=("/a", "/b"))
    (table,) = yaml.safe_load(sources_yaml([versions]))["sources"][0]["tables"]
    assert {"frazil.unique_together": {"arguments": {"columns": ["a", "b"]}}} in table["data_tests"]
    assert "unique" not in str(table["columns"])


def test_the_shops_sources_are_what_its_contracts_say() -> None:
    check_drift(ROOT / "shop", load_directory(ROOT / "shop/contracts").values())


def test_drift_is_refused_with_the_lines_and_compile_mends_it(tmp_path: Path) -> None:
    check_drift(tmp_path, [ORDERS])  # no warehouse: nothing to say
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "warehouse/dbt_project.yml").touch()
    assert write(tmp_path, [ORDERS], dry_run=True) == tmp_path / FILE
    assert not (tmp_path / FILE).exists()
    assert write(tmp_path, [ORDERS]) == tmp_path / FILE
    assert write(tmp_path, [ORDERS]) is None
    (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace("maximum: '10.50'", "maximum: '99'"))
    with pytest.raises(ConfigError) as drift:
        check_drift(tmp_path, [ORDERS])
    assert drift.value.code == "warehouse.sources_drift"
    assert "99" in drift.value.message


def test_the_package_is_written_once_and_put_right(tmp_path: Path) -> None:
    package.install(tmp_path)
    macro = tmp_path / "dbt_packages/frazil/macros/mart.sql"
    then = macro.stat().st_mtime_ns
    package.install(tmp_path)
    assert macro.stat().st_mtime_ns == then
    macro.write_text("edited")
    (macro.parent / "old.sql").touch()
    package.install(tmp_path)
    assert "materialization iceberg" in macro.read_text()
    assert not (macro.parent / "old.sql").exists()
