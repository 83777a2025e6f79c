"""The one list of violation codes, and the page docs/reference/violations.md made from it.

`python -m frazil.contract.violations` prints the page. A test compares the list with docs/reference/verdicts.md.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A stable code: the stage of its dead letter, the cause in the contract, and how such letters are repaired."""

    code: str
    stage: str
    means: str
    rule: str
    repair: str


_SENDER = "correct the sender; patch the letters' bytes and replay"
_FORMAT = "correct the sender, or take `format` out of the contract and replay"

CODES = (
    Code("record.null", "parse", "the record has no value", "", "discard it: there is nothing to land"),
    Code(
        "record.too_large", "parse", "more bytes than the contract allows", "`maxBytes`", "raise `maxBytes` and replay, or split the event"
    ),
    Code("encoding.invalid_utf8", "parse", "the bytes are not UTF-8", "", _SENDER),
    Code("json.too_deep", "parse", "objects and arrays nested too deep", "`maxDepth`", "raise `maxDepth` and replay, or flatten the event"),
    Code("json.invalid", "parse", "not JSON by RFC 8259: cut, broken, NaN, lone surrogates, a byte order mark", "", _SENDER),
    Code(
        "json.too_many_members",
        "parse",
        "more members and items than allowed",
        "`maxMembers`",
        "raise `maxMembers` and replay, or split the event",
    ),
    Code("json.not_object", "parse", "JSON, but not an object", "", _SENDER),
    Code("csv.wrong_cell_count", "parse", "a row of CSV with more or fewer cells than there are columns", "", _SENDER),
    Code("avro.bad_frame", "parse", "a record on Kafka that begins like a registry's frame and is shorter than one", "", _SENDER),
    Code(
        "avro.unknown_schema",
        "parse",
        "a record of a schema that the registry does not know",
        "",
        "register the schema, then replay",
    ),
    Code("avro.bad_schema", "parse", "a record of a schema that is not Avro, or refers to others", "", _SENDER),
    Code("avro.invalid", "parse", "a record that is no value of the schema it names", "", _SENDER),
    Code(
        "required.missing",
        "validate",
        "a required field is absent or null",
        "`required`",
        "patch the value in, or make the field optional, and replay",
    ),
    Code(
        "type.mismatch", "validate", "a value of another JSON type", "`logicalType`", "patch it (`number(value)`, `text(value)`) and replay"
    ),
    Code("type.out_of_range", "validate", "a number that its column cannot hold", "`logicalType`, `physicalType`", _SENDER),
    Code(
        "type.too_many_digits",
        "validate",
        "more digits after the point than the decimal's scale",
        "`physicalType: decimal(p,s)`",
        "give the decimal a larger scale and replay, or correct the sender",
    ),
    Code("format.invalid_uuid", "validate", "no UUID", "`format: uuid`", _SENDER),
    Code("format.invalid_email", "validate", "no e-mail address", "`format: email`", _FORMAT),
    Code("format.invalid_ipv4", "validate", "no IPv4 address", "`format: ipv4`", _FORMAT),
    Code("format.invalid_ipv6", "validate", "no IPv6 address", "`format: ipv6`", _FORMAT),
    Code("format.invalid_uri", "validate", "no URI", "`format: uri`", _FORMAT),
    Code(
        "time.invalid",
        "validate",
        "no RFC 3339 time, no date, or a local time the clock skipped",
        "`logicalType: timestamp`, `date`",
        _SENDER,
    ),
    Code(
        "time.no_zone",
        "validate",
        "a time without a zone, and the contract names none",
        "`timeZone`",
        "name the zone in the contract and replay",
    ),
    Code(
        "time.out_of_range",
        "validate",
        "the event time is before `earliest` or too far ahead of the receipt",
        "`earliest`, `ahead`",
        "check clock and `epochUnit`; widen the bounds and replay",
    ),
    Code("enum.unknown_value", "validate", "none of the allowed values", "`enum`", "add the value to the contract and replay"),
    Code("length.too_short", "validate", "fewer characters than allowed", "`minLength`", _SENDER),
    Code("length.too_long", "validate", "more characters than allowed", "`maxLength`", "raise `maxLength` and replay"),
    Code("pattern.no_match", "validate", "the text does not match", "`pattern`", _SENDER),
    Code("range.below_minimum", "validate", "below the lowest value", "`minimum`, `exclusiveMinimum`", _SENDER),
    Code("range.above_maximum", "validate", "above the highest value", "`maximum`, `exclusiveMaximum`", _SENDER),
    Code("items.too_few", "validate", "an array with too few items", "`minItems`", _SENDER),
    Code("items.too_many", "validate", "an array with too many items", "`maxItems`", "raise `maxItems` and replay"),
    Code("json.duplicate_key", "validate", "a name stands twice in an object", "", _SENDER),
    Code(
        "unknown.field",
        "validate",
        "a member the contract does not name, and it refuses those",
        "`unknownFields: refuse`",
        "add the field to the contract, or keep unknown fields, and replay",
    ),
    Code(
        "identity.conflict",
        "identity",
        "an event with this key has landed with other content",
        "`primaryKey`, `eventKey`",
        "give it a key of its own in a patch and replay, or discard it",
    ),
    Code("process.failed", "process", "our own code failed on this record three times", "", "replay once the defect is fixed"),
)
"""Every code a dead letter can carry, in the order rules are applied."""


def page() -> str:
    """docs/reference/violations.md."""
    lines = [
        "# Violations",
        "",
        "What can be wrong with a record. Each is the `code` of a violation: in the answer to a request, in `dead_letters`, on the",
        "command line. Codes are stable. The exact rules, messages and hints are in [verdicts](verdicts.md).",
        "This page is made from the list in `frazil.contract.violations`: `python -m frazil.contract.violations`.",
        "",
        "| Code | Stage | Means | Rule in the contract | Repair |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| `{one.code}` | {one.stage} | {one.means} | {one.rule} | {one.repair} |" for one in CODES]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(page(), end="")
