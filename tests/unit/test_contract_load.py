"""A contract file is read whole, or every problem is named with its line and what to change."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from frazil.contract import Contract
from frazil.contract.load import check_file, load_directory, load_file
from frazil.errors import ContractError
from tests.shared import ROOT

HEAD = """\
apiVersion: v3.1.0
kind: DataContract
id: notes
version: 1.2.0
status: active
schema:
  - name: notes
"""


def written(tmp_path: Path, schema: str, *, head: str = HEAD, name: str = "notes") -> Path:
    """A file whose schema begins on line 8, indented by four."""
    file = tmp_path / f"{name}.odcs.yaml"
    file.write_text(head + "\n".join("    " + line if line else line for line in schema.strip("\n").splitlines()) + "\n")
    return file


def read(tmp_path: Path, schema: str) -> Contract:
    return load_file(written(tmp_path, schema))


def problems(tmp_path: Path, schema: str) -> list[tuple[int, str]]:
    return [(one.line, one.message) for one in check_file(written(tmp_path, schema))]


def property_problems(tmp_path: Path, *lines: str) -> list[tuple[int, str]]:
    """Problems of one property `a`; its lines begin on line 9."""
    return problems(tmp_path, "properties:\n  - name: a\n" + "\n".join(f"    {line}" for line in lines))


# ---------------------------------------------------------------- good files


def test_the_shops_contracts_are_what_the_surface_says() -> None:
    shop = load_directory(ROOT / "shop" / "contracts")
    assert list(shop) == ["events", "products", "users"]
    events = {one.path: one for one in shop["events"].walk()}
    assert shop["events"].key == ("/event_id",)
    assert shop["events"].event_time == "/timestamp"
    assert events["/event_type"].enum == ("page_view", "click", "add_to_cart", "purchase", "search", "signup", "login", "refund")
    assert (events["/value"].kind, events["/value"].precision, events["/value"].scale, events["/value"].minimum) == ("decimal", 18, 4, "0")
    assert (events["/properties/quantity"].minimum, events["/properties/quantity"].maximum) == ("1", "1000")
    assert {
        "/properties/product_id",
        "/properties/price",
        "/properties/url",
        "/context/ip",
        "/context/user_agent",
        "/context/country",
    } <= set(events)
    assert shop["users"].key == ("/user_id", "/updated_at")
    assert next(one for one in shop["users"].fields if one.name == "email").pii == "hash"
    assert shop["products"].key == ("/product_id", "/updated_at")


@pytest.mark.parametrize("file", sorted((ROOT / "shop" / "contracts").glob("*.odcs.yaml")), ids=lambda file: file.name)
def test_the_shops_contracts_pass_datacontract_lint(file: Path) -> None:
    """The check of datacontract-cli, which lives in an environment of its own; the official JSON Schema is checked by every load."""
    command = ROOT / ".venv-datacontract" / "bin" / "datacontract"
    if not command.exists():
        if os.environ.get("CI"):
            pytest.fail("datacontract-cli is absent: `make test` installs it")
        pytest.skip("datacontract-cli is absent, `datacontract lint` was NOT run: `make .venv-datacontract/.installed` installs it")
    lint = subprocess.run([command, "lint", str(file)], capture_output=True, text=True, timeout=120, check=False)
    assert lint.returncode == 0, lint.stdout + lint.stderr
    assert check_file(file) == []


def test_everything_a_contract_can_say_is_read(tmp_path: Path) -> None:
    contract = read(
        tmp_path,
        """
customProperties:
  - {property: eventTime, value: at.sent}
  - {property: eventKey, value: [id, at.sent]}
  - {property: unknownFields, value: refuse}
  - {property: earliest, value: 2020-06-01}
  - {property: ahead, value: 36h}
  - {property: maxBytes, value: 2048}
  - {property: maxDepth, value: 8}
  - {property: maxMembers, value: 50}
  - {property: compatibility, value: full}
  - {property: icebergPartition, value: day}
  - {property: topicOptions, value: {partitions: 6}}
  - {property: owner, value: someone, vendor: acme}
properties:
  - {name: id, logicalType: string, logicalTypeOptions: {format: uuid}, required: true}
  - name: at
    logicalType: object
    required: true
    properties:
      - name: sent
        logicalType: timestamp
        required: true
        customProperties: [{property: epochUnit, value: ms}, {property: timeZone, value: Europe/Berlin}]
      - {name: day, logicalType: date, logicalTypeOptions: {format: yyyy-MM-dd}}
  - {name: n, logicalType: integer, logicalTypeOptions: {exclusiveMinimum: 0, maximum: 1e3}}
  - {name: small, logicalType: integer, logicalTypeOptions: {format: i8, minimum: -5}}
  - {name: x, logicalType: number, logicalTypeOptions: {minimum: 0.10, exclusiveMaximum: 12345678901234567890.5}}
  - {name: d, logicalType: number, physicalType: "DECIMAL(9, 2)"}
  - {name: b, logicalType: boolean}
  - {name: j, logicalType: object}
  - name: tags
    logicalType: array
    logicalTypeOptions: {minItems: 1, maxItems: 5}
    items: {logicalType: string, logicalTypeOptions: {maxLength: 10, pattern: '^\\w+$'}}
  - name: country
    logicalType: string
    customProperties: [{property: enum, value: [NO, DE]}, {property: piiAction, value: mask}, {property: sample, value: {like: country}}]
  - {name: level, logicalType: integer, enum: [{value: 1}, {value: 2}]}
  - name: old
    logicalType: string
    quality: [{type: library, metric: invalidValues, arguments: {validValues: [a, b]}, mustBe: 0}]
""",
    )
    by_path = {one.path: one for one in contract.walk()}
    assert (contract.name, contract.version, contract.key, contract.event_time) == ("notes", "1.2.0", ("/id", "/at/sent"), "/at/sent")
    assert (contract.unknown, contract.earliest_us, contract.ahead_us) == ("refuse", 1_590_969_600_000_000, 36 * 3_600_000_000)
    assert (contract.max_bytes, contract.max_depth, contract.max_members, contract.compatibility) == (2048, 8, 50, "full")
    assert contract.topic_options == {"partitions": "6"}
    assert (by_path["/at/sent"].unit, by_path["/at/sent"].zone) == ("ms", "Europe/Berlin")
    assert (by_path["/n"].minimum, by_path["/n"].exclusive_minimum, by_path["/n"].maximum) == ("0", True, "1000")
    assert (by_path["/small"].minimum, by_path["/small"].maximum) == ("-5", "127")
    assert (by_path["/x"].minimum, by_path["/x"].maximum, by_path["/x"].exclusive_maximum) == ("0.1", "12345678901234567890.5", True)
    assert (by_path["/d"].kind, by_path["/d"].precision, by_path["/d"].scale) == ("decimal", 9, 2)
    assert by_path["/j"].kind == "json"
    assert (by_path["/tags"].min_items, by_path["/tags"].max_items) == (1, 5)
    assert (by_path["/tags/*"].max_length, by_path["/tags/*"].pattern) == (10, "^[0-9A-Za-z_]+$")
    assert (by_path["/country"].enum, by_path["/country"].pii, by_path["/country"].sample) == (("NO", "DE"), "mask", {"like": "country"})
    assert (by_path["/level"].enum, by_path["/old"].enum) == (("1", "2"), ("a", "b"))


def test_primary_keys_follow_their_positions(tmp_path: Path) -> None:
    contract = read(
        tmp_path,
        """
properties:
  - {name: b, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 2}
  - {name: a, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
""",
    )
    assert contract.key == ("/a", "/b")


def test_talk_changes_neither_plan_nor_hash(tmp_path: Path) -> None:
    plain = read(tmp_path, "properties:\n  - {name: a, logicalType: string}")
    talk = read(tmp_path, "properties:\n  - {name: a, logicalType: string, description: words, examples: [x]}")
    assert (plain.hash, plain.plan) == (talk.hash, talk.plan)
    strict = read(tmp_path, "properties:\n  - {name: a, logicalType: string, required: true}")
    assert strict.hash != plain.hash


# ---------------------------------------------------------------- problems


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        (["logicalType: text"], 10, "'text' is not one of"),
        (["required: true"], 9, "logicalType is missing"),
        (["logicalType: time"], 10, "logicalType time"),
        (["logicalType: string", "logicalTypeOptions:", "  minimun: 1"], 12, "`minimun` is not part of ODCS here"),
        (["logicalType: string", "logicalTypeOptions: {pattern: 'a(?=b)'}"], 11, "pattern: only plain groups"),
        (["logicalType: string", "logicalTypeOptions: {pattern: 'a('}"], 11, "pattern: group is not closed"),
        (["logicalType: string", "logicalTypeOptions: {format: hostname}"], 11, "format hostname is not checked"),
        (["logicalType: string", "logicalTypeOptions: {minLength: 5, maxLength: 2}"], 11, "minLength is above maxLength"),
        (["logicalType: string", "logicalTypeOptions: {format: uuid, maxLength: 5}"], 11, "option `maxLength` is not checked for uuid"),
        (["logicalType: integer", "logicalTypeOptions:", "  minimum: 7", "  maximum: 3"], 12, "minimum 7 is above maximum 3"),
        (["logicalType: integer", "logicalTypeOptions: {exclusiveMinimum: 3, maximum: 3}"], 11, "minimum 3 is above maximum 3"),
        (["logicalType: integer", "logicalTypeOptions: {minimum: 3, exclusiveMinimum: 3}"], 11, "minimum and exclusiveMinimum both"),
        (["logicalType: number", "logicalTypeOptions: {multipleOf: 3}"], 11, "option `multipleOf` is not checked for number"),
        (["logicalType: number", "physicalType: 'decimal(40,2)'"], 11, "decimal(40,2) has no room"),
        (["logicalType: integer", "physicalType: 'decimal(9,2)'"], 11, "decimal(9,2) belongs to `logicalType: number`"),
        (["logicalType: array"], 9, "an array without `items`"),
        (["logicalType: timestamp", "logicalTypeOptions: {format: epoch}"], 11, "option `format` is not checked for timestamp"),
        (["logicalType: timestamp", "logicalTypeOptions: {timezone: false}"], 11, "times without a zone, and no zone is named"),
        (["logicalType: timestamp", "logicalTypeOptions: {defaultTimezone: Mars/Base}"], 11, "Mars/Base is not a time zone"),
        (["logicalType: timestamp", "customProperties:", "  - property: epochUnit", "    value: ns"], 13, "`epochUnit` is ns"),
        (["logicalType: string", "customProperties:", "  - {property: epochUnit, value: s}"], 12, "`epochUnit` does not belong to string"),
        (["logicalType: string", "customProperties:", "  - {property: enumm, value: [a]}"], 12, "unknown custom property `enumm`"),
        (["logicalType: string", "customProperties:", "  - {property: enum, value: [a, b, a]}"], 12, "a stands twice in the enum"),
        (["logicalType: boolean", "customProperties:", "  - {property: enum, value: [a]}"], 12, "boolean takes no enum"),
        (["logicalType: integer", "enum: [{value: one}]"], 11, "one is not a number"),
        (["logicalType: string", "unique: true"], 11, "only the key is kept unique"),
        (["logicalType: string", "primaryKey: true"], 11, "the key field /a may be missing"),
        (["logicalType: object", "primaryKey: true", "required: true"], 11, "the key field /a is of type json"),
        (["logicalType: string", "logicalType: string"], 11, "`logicalType` stands more than once"),
    ],
)  # fmt: skip
def test_a_problem_names_its_line_and_what_to_change(tmp_path: Path, lines: list[str], line: int, message: str) -> None:
    found = check_file(written(tmp_path, "properties:\n  - name: a\n" + "\n".join(f"    {one}" for one in lines)))
    assert [(one.line, message in one.message) for one in found] == [(line, True)], found
    assert found[0].hint
    assert str(found[0]).startswith(f"{tmp_path}/notes.odcs.yaml:{line}: ")


@pytest.mark.parametrize("name", ["_x", "event_date", "Event_Hour", "1a", "a-b", "a.b", "'a b'", "ä"])
def test_names_that_cannot_be_columns_are_refused(tmp_path: Path, name: str) -> None:
    assert [line for line, _ in problems(tmp_path, f"properties:\n  - name: {name}\n    logicalType: string")] == [9]


def test_names_may_not_differ_by_case_only(tmp_path: Path) -> None:
    found = problems(tmp_path, "properties:\n  - {name: a, logicalType: string}\n  - {name: A, logicalType: string}")
    assert found == [(10, "`A` is already the field `a`")]


@pytest.mark.parametrize(
    ("custom", "message"),
    [
        ("{property: eventTime, value: when}", "eventTime names when, which is not a field"),
        ("{property: eventTime, value: a}", "the event time a is of type string"),
        ("{property: eventTime, value: list.at}", "the event time list.at is inside an array"),
        ("{property: eventKey, value: [none]}", "the key names /none, which is not a field"),
        ("{property: eventKey, value: [list.at]}", "the key field /list/at is inside an array"),
        ("{property: eventKey, value: [o.b]}", "the key field /o/b may be missing"),
        ("{property: unknownFields, value: ignore}", "`unknownFields` is ignore"),
        ("{property: compatibility, value: maybe}", "`compatibility` is maybe"),
        ("{property: icebergPartition, value: hour}", "`icebergPartition` is hour"),
        ("{property: maxBytes, value: 1e3}", "`maxBytes` is 1000.0"),
        ("{property: maxDepth, value: 1000}", "`maxDepth` is 1000"),
        ("{property: ahead, value: 1d}", "`ahead` without an event time"),
        ("{property: earliest, value: long ago}", "earliest is long ago"),
        ("{property: topicOptions, value: 6}", "`topicOptions` is a map"),
        ("{property: evenTime, value: a}", "unknown custom property `evenTime`"),
    ],
)
def test_problems_of_the_event_itself_are_named(tmp_path: Path, custom: str, message: str) -> None:
    found = check_file(
        written(
            tmp_path,
            f"""
customProperties:
  - {custom}
properties:
  - {{name: a, logicalType: string, required: true}}
  - {{name: o, logicalType: object, properties: [{{name: b, logicalType: string, required: true}}]}}
  - {{name: list, logicalType: array, items: {{logicalType: object, properties: [{{name: at, logicalType: date, required: true}}]}}}}
""",
        )
    )
    assert [(one.line, one.message) for one in found] == [(9, message)]


def test_all_problems_are_told_in_order_of_lines(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
properties:
  - {name: _x, logicalType: string}
  - {name: b, logicalType: integer, logicalTypeOptions: {minimum: 2, maximum: 1}}
  - {name: c, logicalType: array}
""",
    )
    assert [one.line for one in check_file(file)] == [9, 10, 11]
    with pytest.raises(ContractError) as caught:
        load_file(file)
    error = caught.value
    assert (error.code, error.context["file"], error.context["line"]) == ("contract.invalid", str(file), 9)
    assert len(error.context["problems"]) == 3  # type: ignore[arg-type]
    assert "and 2 more" in error.message


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file is empty"),
        ("a: [1", 1, "not YAML"),
        ("a: 1\n\tb: 2", 2, "not YAML"),
        ("[1, 2]", 1, "is not of type 'object'"),
        ("apiVersion: v3.1.0\nkind: DataContract\nid: a", 1, "'version' is a required property"),
        ("apiVersion: v3.1.0\nkind: DataContract\nid: a\nversion: 1.0.0\nshema: []", 5, "`shema` is not part of ODCS here"),
        ("apiVersion: v3.1.0\nkind: DataContract\nid: a\nversion: 1.0.0", 1, "the contract has no `schema`"),
        ("apiVersion: v2.2.2\nkind: DataContract\nid: a\nversion: 1.0.0\nschema: [{name: notes}]", 1, "apiVersion v2.2.2"),
        (HEAD.replace("name: notes", "name: other") + "    properties: []", 7, "the schema is called other, the file notes"),
        ("a: &a [*a]", 1, "an alias repeats without end"),
        ("{1: 2}", 1, "is a required property"),
    ],
)  # fmt: skip
def test_files_that_are_no_contract_are_refused(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = tmp_path / "notes.odcs.yaml"
    file.write_text(text)
    assert any(one.line == line and message in one.message for one in check_file(file)), check_file(file)


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_problems(tmp_path: Path) -> None:
    file = tmp_path / "notes.odcs.yaml"
    file.write_bytes(b"\xff\xfe")
    assert "cannot be read" in check_file(file)[0].message
    assert "cannot be read" in check_file(tmp_path / "none.odcs.yaml")[0].message
    file.write_bytes(b"a: " + b"x" * 1_100_000)
    assert "larger than" in check_file(file)[0].message


def test_the_file_name_is_the_contracts(tmp_path: Path) -> None:
    schema = "properties:\n  - {name: a, logicalType: string}"
    good = written(tmp_path, schema, head=HEAD.replace("name: notes", "name: web_2"), name="web_2")
    assert load_file(good).name == "web_2"
    bad = written(tmp_path, schema, head=HEAD.replace("name: notes", "name: Web"), name="Web")
    assert [one.message for one in check_file(bad)] == ["`Web` is not a contract name"]


def test_a_directory_tells_the_problems_of_all_its_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path, "properties:\n  - {name: _x, logicalType: string}", head=HEAD.replace("name: notes", f"name: {name}"), name=name)
    (tmp_path / "README.md").write_text("not a contract")
    with pytest.raises(ContractError) as caught:
        load_directory(tmp_path)
    assert len(caught.value.context["problems"]) == 2  # type: ignore[arg-type]
    with pytest.raises(ContractError) as caught:
        load_directory(tmp_path / "none")
    assert caught.value.code == "contract.no_directory"


def test_yaml_means_what_it_says() -> None:
    """YAML 1.1 would read NO as false, 1:30 as 90 and 2026-11-20 as a date."""
    from frazil.contract.source import Source

    source = Source("text")
    source.parse("a: [NO, on, 1:30, 2026-11-20, 010, 1_000, true, 1.5, ~]")
    assert source.data == {"a": ["NO", "on", "1:30", "2026-11-20", 10, "1_000", True, 1.5, None]}
