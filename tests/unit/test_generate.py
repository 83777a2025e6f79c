"""The generator says exactly what it did, and the reference processor agrees."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.contract import Contract, Field
from frazil.contract.generate import Generator
from frazil.contract.load import load_directory
from frazil.contract.pattern import canonical, compiled
from frazil.contract.sample import Draw, maker, matching
from frazil.errors import ConfigError, ContractError
from frazil.process.python import PythonProcessor
from tests.shared import ROOT
from tests.strategies import RECEIVED, contracts, raw_batch

SHOP = load_directory(ROOT / "shop" / "contracts")
every_contract = pytest.mark.parametrize("contract", SHOP.values(), ids=SHOP)


def lines(contract: Contract, count: int, **shares: float) -> tuple[list[bytes], Generator]:
    generator = Generator(contract, seed=7, **shares)  # type: ignore[arg-type]
    return [line.removesuffix(b"\n") for line in generator.events(count, now=RECEIVED)], generator


@every_contract
def test_shares_are_exact_and_kinds_are_even(contract: Contract) -> None:
    made, generator = lines(contract, 1_000, invalid=0.2, late=0.033, duplicate=0.05)
    tally = generator.tally
    assert (tally.total, tally.invalid, tally.late, tally.duplicate, tally.plain) == (1_000, 200, 33, 50, 717)
    assert len(made) == 1_000
    assert set(tally.kinds) == set(generator.codes)
    assert sum(tally.kinds.values()) == 200
    assert max(tally.kinds.values()) - min(tally.kinds.values()) <= 1


@every_contract
def test_the_reference_finds_what_was_broken_and_nothing_else(contract: Contract) -> None:
    made, generator = lines(contract, 600, invalid=0.5, late=0.1, duplicate=0.1)
    out = PythonProcessor(contract)(raw_batch(made))
    found = [{broken["code"] for broken in row["violations"]} for row in out.dead.rows.to_pylist()]
    assert len(found) == generator.tally.invalid
    for code, count in generator.tally.kinds.items():
        assert sum(code in codes for codes in found) >= count, code
    single = Counter(next(iter(codes)) for codes in found if len(codes) == 1)
    assert sum(single.values()) >= 0.9 * len(found)


@every_contract
def test_good_events_have_distinct_keys_and_duplicates_equal_an_earlier_one(contract: Contract) -> None:
    made, generator = lines(contract, 2_000, late=0.2, duplicate=0.2)
    events = [json.loads(line) for line in made]
    keys = [tuple(event[pointer[1:]] for pointer in contract.key) for event in events]
    first: dict[tuple[str, ...], dict[str, object]] = {}
    repeats = 0
    for key, event in zip(keys, events, strict=True):
        if key in first:
            repeats += 1
            assert event == first[key]
        first.setdefault(key, event)
    assert repeats == generator.tally.duplicate
    assert len(first) == generator.tally.distinct
    assert len(made) - len(set(made)) < repeats  # some come byte for byte, some with their members in another order
    assert len(made) > len(set(made))


@every_contract
def test_late_events_are_1_to_72_hours_older_and_the_rest_is_of_the_last_hour(contract: Contract) -> None:
    made, generator = lines(contract, 1_000, late=0.1)
    name = (contract.event_time or "")[1:]
    ages = [RECEIVED - datetime.fromisoformat(json.loads(line)[name]) for line in made]
    late = [age for age in ages if age > timedelta(hours=1)]
    assert len(late) == generator.tally.late == 100
    assert min(ages) >= timedelta()
    assert max(late) <= timedelta(hours=73)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    contract = SHOP["events"]
    first, second, other = (list(Generator(contract, seed=seed, invalid=0.1).events(200, now=RECEIVED)) for seed in (1, 1, 2))
    assert first == second
    assert first != other


@given(st.integers(0, 60), st.floats(0, 0.4), st.floats(0, 0.3), st.floats(0, 0.3), st.integers(0, 9))
def test_any_shares_add_up(count: int, invalid: float, late: float, duplicate: float, seed: int) -> None:
    generator = Generator(SHOP["products"], seed=seed, invalid=invalid, late=late, duplicate=duplicate)
    made = list(generator.events(count, now=RECEIVED))
    tally = generator.tally
    assert len(made) == tally.total == count
    assert tally.invalid == round(count * invalid)
    assert tally.plain + tally.late + tally.duplicate + tally.invalid == count
    assert abs(tally.late - count * late) <= 1.5
    assert tally.duplicate == round(count * duplicate) or tally.plain + tally.late <= 1


@given(contracts(), st.integers(0, 5))
def test_any_contract_can_be_generated_or_says_why_not(contract: Contract, seed: int) -> None:
    try:
        generator = Generator(contract, seed=seed, invalid=0.5)
    except ContractError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert (refused.code, bool(refused.hint)) == ("contract.no_sample", True)
        return
    made = list(generator.events(10, now=RECEIVED))
    assert len(made) == 10
    assert all(line.endswith(b"\n") and b"\n" not in line[:-1] and line != b"\n" for line in made)


@pytest.mark.parametrize(
    "pattern", ["^[A-Z]{2}$", "^p_[0-9]{6}(?:-[a-f]+)?$", r"^\d+\.\d{2}$", "^[^a-z]$", "a|bc", "^.{3}$", r"^\w+\s\w+$"]
)
def test_texts_are_made_from_patterns(pattern: str) -> None:
    one = canonical(pattern)
    draw = Draw(1)
    assert all(compiled(one).search(matching(one, draw.rng)) for _ in range(50))
    field = Field("a", "/a", "string", pattern=one)
    make = maker(field, Contract("c", "1", (field,)), None, draw.rng)
    assert all(compiled(one).search(json.loads(make(draw))) for _ in range(50))


def test_every_violation_code_can_be_made() -> None:
    """From a contract that has every rule; `record.null` cannot be sent, and events are JSON: no other format's own codes."""
    codes = set(_made(_everything())) | set(_made(_everything(max_bytes=2_000, max_members=100)))
    listed = (ROOT / "docs" / "reference" / "verdicts.md").read_text().split("## Values")[0]
    named = {
        word
        for line in listed.splitlines()
        if line.startswith("| `")
        for word in line.split("|")[1].replace("`", " ").split()
        if "." in word or word[0] == "_"
    }
    expected = {f"format.invalid{word}" if word.startswith("_") else word for word in named} - {"record.null"}
    expected = {code for code in expected if code.split(".")[0] not in ("csv", "avro", "parquet")}
    assert codes == expected


def _made(contract: Contract) -> list[str]:
    generator = Generator(contract, invalid=0.9)
    list(generator.events(500, now=RECEIVED))
    return generator.codes


def _everything(**limits: int) -> Contract:
    formats = [Field(name, f"/{name}", "string", format=name) for name in ("email", "ipv4", "ipv6", "uri")]  # type: ignore[arg-type]
    fields = (
        Field("id", "/id", "uuid", required=True),
        Field("at", "/at", "timestamp", required=True),
        Field("n", "/n", "decimal", precision=9, scale=2, minimum="1", maximum="5"),
        Field("s", "/s", "string", min_length=2, max_length=5, pattern="^[a-z]+$"),
        Field("e", "/e", "string", enum=("a", "b")),
        Field("l", "/l", "array", min_items=1, max_items=2, items=Field("element", "/l/*", "integer")),
        *formats,
    )
    return Contract("everything", "1", fields, key=("/id",), event_time="/at", unknown="refuse", **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("shares", [{"invalid": -0.1}, {"invalid": 0.6, "late": 0.6}, {"duplicate": 1.5}])
def test_impossible_shares_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Generator(SHOP["events"], **shares)  # type: ignore[arg-type]


def test_a_contract_without_key_has_no_duplicates() -> None:
    with pytest.raises(ContractError) as caught:
        Generator(Contract("c", "1", (Field("a", "/a", "integer"),)), duplicate=0.1)
    assert caught.value.code == "contract.no_key"


def test_events_pass_at_any_time_of_receipt_near_now() -> None:
    made = list(Generator(SHOP["events"], seed=3, late=0.3).events(300, now=datetime.now(UTC)))
    out = PythonProcessor(SHOP["events"])(raw_batch([line[:-1] for line in made], received_us=int(datetime.now(UTC).timestamp() * 1e6)))
    assert len(out.good) == 300
