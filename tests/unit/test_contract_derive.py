"""Schemas derived from a contract: ids never move, nothing optional becomes required, what is derived agrees."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import DecimalType, LongType, NestedField, StringType, TimestamptzType

from frazil.contract import Contract, Field
from frazil.contract.derive import arrow_schema, compile_artefacts, iceberg_schema, json_schema, partition_field, partition_spec
from frazil.contract.load import load_directory
from frazil.contract.violations import CODES, page
from frazil.errors import ContractError
from frazil.process.python import PythonProcessor
from tests.shared import ROOT
from tests.strategies import batches, contracts, raw_batch

SHOP = load_directory(ROOT / "shop" / "contracts")


def contract_of(*fields: Field, **settings: object) -> Contract:
    return Contract("case", "1", fields, **settings)  # type: ignore[arg-type]


def ids(schema: Schema) -> dict[str, int]:
    return {name: schema.find_field(name).field_id for name in schema.column_names}


SYSTEM = [
    "event_date",
    "event_hour",
    "_log",
    "_partition",
    "_offset",
    "_request",
    "_received_at",
    "_contract_version",
    "_commit",
    "_replay",
    "_key",
    "_headers",
]


def test_system_columns_have_fixed_ids_and_the_contracts_begin_at_101() -> None:
    schema = iceberg_schema(SHOP["events"])
    given_ids = ids(schema)
    assert [given_ids[name] for name in ("_extra", *SYSTEM)] == list(range(1, 14))
    assert [one.name for one in schema.fields][-13:] == ["_extra", *SYSTEM]
    assert given_ids["event_id"] == 101
    assert given_ids["properties.url"] == 112
    assert schema.identifier_field_ids == [101]
    assert isinstance(schema.find_type("timestamp"), TimestamptzType)
    assert (isinstance(schema.find_type("_commit"), LongType), schema.find_field("_commit").required) == (True, True)


def test_the_table_is_partitioned_by_a_column_that_is_never_null() -> None:
    at = Field("at", "/at", "timestamp", required=True)
    nested = Field("o", "/o", "object", required=True, fields=(Field("at", "/o/at", "timestamp", required=True),))
    assert partition_field(contract_of(at, event_time="/at")) == "at"
    assert partition_field(contract_of(replace(at, required=False), event_time="/at")) == "event_date"
    assert partition_field(contract_of(nested, event_time="/o/at")) == "o.at"
    assert partition_field(contract_of(replace(nested, required=False), event_time="/o/at")) == "event_date"
    assert partition_field(contract_of(at)) == "_received_at"
    (field,) = partition_spec(contract_of(nested, event_time="/o/at")).fields
    assert (field.name, field.source_id, str(field.transform)) == ("o_at_day", 102, "day")


def test_a_table_keeps_its_ids_and_new_columns_get_new_ones() -> None:
    first = contract_of(Field("a", "/a", "string", required=True), Field("b", "/b", "integer"), key=("/a",))
    table = iceberg_schema(first)
    second = contract_of(
        Field("c", "/c", "number", required=True),
        Field("o", "/o", "object", fields=(Field("x", "/o/x", "date", required=True),)),
        Field("a", "/a", "string", required=True),
        key=("/a",),
    )
    evolved = iceberg_schema(second, table, last_column_id=300)
    assert {name: ids(evolved)[name] for name in ids(table)} == ids(table)
    assert [ids(evolved)[name] for name in ("c", "o", "o.x")] == [301, 302, 303]
    assert not any(evolved.find_field(name).required for name in ("c", "o", "o.x", "b"))
    assert evolved.find_field("a").required
    assert [one.name for one in evolved.fields][:4] == ["c", "o", "a", "b"]


def test_a_member_of_an_object_that_the_contract_lost_stays_as_optional() -> None:
    inner = (Field("x", "/o/x", "date", required=True), Field("y", "/o/y", "date", required=True))
    table = iceberg_schema(contract_of(Field("o", "/o", "object", required=True, fields=inner)))
    evolved = iceberg_schema(contract_of(Field("o", "/o", "object", required=True, fields=inner[:1])), table)
    assert ids(evolved) == ids(table)
    assert (evolved.find_field("o.x").required, evolved.find_field("o.y").required) == (True, False)


def test_what_was_optional_stays_optional_and_required_may_become_optional() -> None:
    loose, strict = contract_of(Field("a", "/a", "string")), contract_of(Field("a", "/a", "string", required=True))
    assert not iceberg_schema(strict, iceberg_schema(loose)).find_field("a").required
    assert not iceberg_schema(loose, iceberg_schema(strict)).find_field("a").required
    assert iceberg_schema(strict, iceberg_schema(strict)).find_field("a").required


def test_only_promotions_of_iceberg_change_a_type() -> None:
    small, large = (contract_of(Field("d", "/d", "decimal", precision=precision, scale=2)) for precision in (9, 18))
    assert iceberg_schema(large, iceberg_schema(small)).find_type("d") == DecimalType(18, 2)
    for wanted in (
        small,
        contract_of(Field("d", "/d", "string")),
        contract_of(Field("d", "/d", "object", fields=(Field("x", "/d/x", "date"),))),
    ):
        with pytest.raises(ContractError) as caught:
            iceberg_schema(wanted, iceberg_schema(large))
        assert (caught.value.code, caught.value.context["column"]) == ("contract.breaking_change", "d")


def test_extra_is_there_while_unknown_members_are_kept_and_stays_afterwards() -> None:
    keep, drop = contract_of(Field("a", "/a", "date")), contract_of(Field("a", "/a", "date"), unknown="drop")
    assert "_extra" not in iceberg_schema(drop).column_names
    assert "_extra" in iceberg_schema(drop, iceberg_schema(keep)).column_names
    assert "_extra" in iceberg_schema(keep, iceberg_schema(drop)).column_names


@given(contracts())
def test_ids_are_unique_and_evolving_to_itself_changes_nothing(contract: Contract) -> None:
    schema = iceberg_schema(contract)
    assert len(set(ids(schema).values())) == len(ids(schema))
    assert iceberg_schema(contract, schema) == schema
    assert partition_spec(contract, schema) == partition_spec(contract)


@given(contracts(), contracts())
def test_any_evolution_keeps_ids_and_never_tightens(first: Contract, second: Contract) -> None:
    before = iceberg_schema(first)
    try:
        after = iceberg_schema(second, before)
    except ContractError:
        return
    assert {name: ids(after)[name] for name in before.column_names} == ids(before)
    assert len(set(ids(after).values())) == len(ids(after))
    required = {name for name in after.column_names if after.find_field(name).required}
    assert all(before.find_field(name).required for name in required & set(before.column_names))
    assert all(".element" in name for name in required - set(before.column_names))  # of a new list only: no row has it yet


@given(contracts())
def test_arrow_and_iceberg_agree(contract: Contract) -> None:
    """Names, order, types and nullability; Iceberg has `_commit` and `_replay` besides, and its own name for 16 bytes."""
    iceberg = [
        one for one in schema_to_pyarrow(iceberg_schema(contract), include_field_ids=False) if one.name not in ("_commit", "_replay")
    ]
    assert [(one.name, one.nullable) for one in iceberg] == [(one.name, one.nullable) for one in arrow_schema(contract)]
    assert [_bare(one.type) for one in iceberg] == [_bare(one.type) for one in arrow_schema(contract)]


def _bare(kind: pa.DataType) -> object:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_struct(kind):
        return [(one.name, one.nullable, _bare(one.type)) for one in kind]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [kind.value_field.nullable, _bare(kind.value_type)]
    return {"large_string": "string", "large_binary": "binary"}.get(str(kind), str(kind))


@given(st.data())
def test_what_meets_the_contract_meets_its_json_schema(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    schema = json_schema(contract)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    values = data.draw(batches(contract))
    for offset in PythonProcessor(contract)(raw_batch(values)).good.rows["_offset"].to_pylist():
        text = values[offset] or b""
        if b"e" in text or b"." in text or len(text) > 200:  # the validator reads numbers as doubles
            continue
        assert list(validator.iter_errors(json.loads(text))) == []


def test_json_schema_refuses_what_it_can_express() -> None:
    validator = jsonschema.Draft202012Validator(json_schema(SHOP["events"]), format_checker=jsonschema.FormatChecker())
    good = {"event_id": "0192f3a1-7c00-7000-8000-000000000001", "event_type": "click", "user_id": "u", "timestamp": "2026-11-20T12:00:00Z"}
    assert validator.is_valid(good)
    for change in (
        {"event_type": "jump"},
        {"user_id": ""},
        {"value": -1},
        {"currency": "eur"},
        {"properties": {"quantity": 0}},
        {"event_id": 7},
    ):
        assert not validator.is_valid({**good, **change}), change
    assert not validator.is_valid({name: value for name, value in good.items() if name != "user_id"})


@pytest.mark.parametrize("contract", SHOP.values(), ids=SHOP)
def test_artefacts_are_files_that_read_back(contract: Contract) -> None:
    files = compile_artefacts(contract)
    assert sorted(files) == [f"{contract.name}.{kind}" for kind in ("arrow.txt", "avsc", "iceberg.json", "plan.json", "schema.json")]
    assert json.loads(files[f"{contract.name}.plan.json"])["hash"] == contract.hash
    assert Schema.model_validate_json(files[f"{contract.name}.iceberg.json"]) == iceberg_schema(contract)
    assert compile_artefacts(contract) == files


def test_iceberg_keeps_descriptions() -> None:
    field = iceberg_schema(contract_of(Field("a", "/a", "string", description="What it is."))).find_field("a")
    assert field == NestedField(101, "a", StringType(), required=False, doc="What it is.")


# ---------------------------------------------------------------- the list of violations


def test_the_list_of_violations_is_the_specifications() -> None:
    spec = (ROOT / "docs" / "reference" / "verdicts.md").read_text().split("## Values")[0]
    cells = [line.split("|")[1].replace("`", " ").split() for line in spec.splitlines() if line.startswith("| `")]
    named = {f"format.invalid{word}" if word.startswith("_") else word for words in cells for word in words if word != "…"}
    assert {one.code for one in CODES if one.stage in ("parse", "validate")} == named
    assert len({one.code for one in CODES}) == len(CODES)


def test_the_page_of_violations_is_made_from_the_list() -> None:
    assert (ROOT / "docs" / "reference" / "violations.md").read_text() == page(), "run python -m frazil.contract.violations"
