"""dbt's sources say what the contracts say: every rule is a test, and a file that says something else is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from frazil.contract import Contract, Field
from frazil.contract.dbt_sources import FILE, RESERVED, check_drift, sources_yaml, write
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


def test_a_column_that_sql_has_a_word_for_is_quoted_and_no_other_is() -> None:
    found = columns(sources_yaml([ORDERS]))
    assert [name for name, one in found.items() if one.get("quote")] == ["to"]
    versions = Contract("things", "1", (Field("order", "/order", "string"), Field("At", "/At", "timestamp")), key=("/order", "/At"))
    (table,) = yaml.safe_load(sources_yaml([versions]))["sources"][0]["tables"]
    assert {"frazil.unique_together": {"arguments": {"columns": ["order", "At"], "quote": True}}} in table["data_tests"]


def test_every_word_that_duckdb_takes_for_no_column_is_known() -> None:
    words = duckdb.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')").fetchall()
    assert {word for (word,) in words} <= RESERVED


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
