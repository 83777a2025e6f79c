"""A contract as JSON Schema (draft 2020-12), for clients and editors. What it cannot express is said in `$comment`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from frazil.contract import Contract, Field

_TYPES = {"uuid": "string", "string": "string", "integer": "integer", "number": "number", "decimal": "number", "boolean": "boolean"}


def json_schema(contract: Contract) -> dict[str, Any]:
    """The schema of one record. Whatever meets the contract meets it; the other way round but for what `$comment` lists."""
    unsaid = [
        "a name may stand only once in an object",
        f"at most {contract.max_bytes} bytes, {contract.max_depth} levels, {contract.max_members} members",
    ]
    if contract.event_time is not None:
        unsaid.append(
            f"the event time {contract.event_time} lies between {contract.earliest_us} µs and the receipt + {contract.ahead_us} µs"
        )
    for one in contract.walk():
        unsaid += _unsaid(one)
    top = _object(contract.fields, contract.unknown)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:frazil:{contract.name}:{contract.version}",
        "title": contract.name,
        **({"description": contract.description} if contract.description else {}),
        **top,
        "$comment": "Not expressed here: " + "; ".join(unsaid),
    }


def _unsaid(one: Field) -> list[str]:
    unsaid = []
    if one.kind == "decimal":
        unsaid.append(f"{one.path} has at most {one.scale} digits after the point")
    if one.kind == "timestamp" and one.zone is not None:
        unsaid.append(f"{one.path} without a zone is local in {one.zone}")
    return unsaid


def _object(fields: tuple[Field, ...], unknown: str) -> dict[str, Any]:
    required = [one.name for one in fields if one.required]
    return {
        "type": "object",
        "properties": {one.name: _field(one, unknown) for one in fields},
        **({"required": required} if required else {}),
        **({"additionalProperties": False} if unknown == "refuse" else {}),
    }


def _field(one: Field, unknown: str) -> dict[str, Any]:
    schema = _kind(one, unknown)
    if one.description:
        schema["description"] = one.description
    if one.examples:
        schema["examples"] = list(one.examples)
    if not one.required and schema:  # null is the same as absent
        return _nullable(schema)
    return schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "type" not in schema:
        return schema
    nullable = {**schema, "type": [schema["type"], "null"]}
    return {**nullable, "enum": [*schema["enum"], None]} if "enum" in schema else nullable


def _kind(one: Field, unknown: str) -> dict[str, Any]:
    if one.kind == "json":
        return {"not": {"type": "null"}} if one.required else {}
    if one.kind == "object":
        return _object(one.fields, unknown)
    if one.kind == "array" and one.items is not None:
        return _present({"type": "array", "items": _field(one.items, unknown), "minItems": one.min_items, "maxItems": one.max_items})
    if one.kind in ("timestamp", "date"):
        return _time(one)
    return _present({"type": _TYPES[one.kind], **_text_rules(one), **_number_rules(one)})


def _time(one: Field) -> dict[str, Any]:
    if one.kind == "date":
        return {"type": "string", "format": "date"}
    text: dict[str, Any] = {"type": "string", "format": "date-time"} if one.zone is None else {"type": "string"}
    return {"anyOf": [text, {"type": "number"}]} if one.unit else text


def _text_rules(one: Field) -> Mapping[str, Any]:
    if one.kind not in ("string", "uuid"):
        return {}
    return {
        "format": "uuid" if one.kind == "uuid" else one.format,
        "enum": list(one.enum) if one.enum is not None else None,
        "minLength": one.min_length,
        "maxLength": one.max_length,
        "pattern": one.pattern,
    }


def _number_rules(one: Field) -> Mapping[str, Any]:
    if one.kind not in ("integer", "number", "decimal"):
        return {}
    low, high = _number(one.minimum), _number(one.maximum)
    return {
        "enum": [_number(value) for value in one.enum] if one.enum is not None else None,
        "exclusiveMinimum" if one.exclusive_minimum else "minimum": low,
        "exclusiveMaximum" if one.exclusive_maximum else "maximum": high,
    }


def _number(text: str | None) -> int | float | None:
    if text is None:
        return None
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else float(value)


def _present(rules: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rules.items() if value is not None}
