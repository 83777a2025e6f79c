"""A contract as an Avro schema, for a schema registry and for records in Avro."""

from __future__ import annotations

import json
import re
from typing import Any

from frazil.contract import Contract, Field
from frazil.errors import ContractError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_TYPES: dict[str, Any] = {
    "uuid": {"type": "string", "logicalType": "uuid"},
    "string": "string",
    "json": "string",
    "integer": "long",
    "number": "double",
    "boolean": "boolean",
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
    "date": {"type": "int", "logicalType": "date"},
}


def avro_schema(contract: Contract) -> dict[str, Any]:
    """The Avro record of one event: every field of the contract by its name; optional ones are unions with null, default null.

    Values of type `json` are their JSON text. Members that the contract does not name have no place in it.

    Raises:
        ContractError: `contract.no_avro_name`: a field's name cannot stand in Avro.
    """
    for one in contract.walk():
        if one.path.endswith("/*"):
            continue
        if not _NAME.match(one.name):
            raise ContractError(
                f"field {one.path} cannot be named in Avro",
                code="contract.no_avro_name",
                hint="Avro names are letters, digits and _, and do not begin with a digit",
                contract=contract.name,
                field=one.path,
            )
    top = _record(contract.fields, re.sub(r"[^A-Za-z0-9_]", "_", contract.name))
    return top | ({"doc": contract.description} if contract.description else {})


def avro_text(contract: Contract) -> str:
    """The schema in one compact spelling: registries compare text. Errors as `avro_schema`."""
    return json.dumps(avro_schema(contract), separators=(",", ":"), ensure_ascii=False)


def _record(fields: tuple[Field, ...], name: str) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [_member(one, f"{name}_{one.name}") for one in fields]}


def _member(one: Field, name: str) -> dict[str, Any]:
    doc = {"doc": one.description} if one.description else {}
    if one.required:
        return {"name": one.name, "type": _type(one, name), **doc}
    return {"name": one.name, "type": ["null", _type(one, name)], "default": None, **doc}


def _type(one: Field, name: str) -> Any:
    if one.kind == "object":
        return _record(one.fields, name)
    if one.kind == "array" and one.items is not None:
        item = _type(one.items, f"{name}_item")
        return {"type": "array", "items": item if one.items.required else ["null", item]}
    if one.kind == "decimal":
        return {"type": "bytes", "logicalType": "decimal", "precision": one.precision, "scale": one.scale}
    return _TYPES[one.kind]
