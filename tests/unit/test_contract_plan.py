"""`frazil contracts plan`: what a change is, what recorded traffic says to it, and what the contract's compatibility forbids."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from frazil.log import Record
from frazil.project import Project
from tests.integration.running import frazil
from tests.serving import ORDERS, make_project

GOOD = b'{"id": "0189d5a0-0000-7000-8000-000000000001", "at": "2026-11-20T12:00:00Z", "value": 5}'
LOOSER = ORDERS.replace("maximum: 1000", "maximum: 2000")
TIGHTER = ORDERS.replace("maximum: 1000", "maximum: 10")
WIDER = ORDERS + "      - {name: mood, logicalType: string}\n"
OTHER_TYPE = ORDERS.replace("{name: note, logicalType: string, logicalTypeOptions: {maxLength: 200}}", "{name: note, logicalType: boolean}")
OTHER_TIME = ORDERS.replace("value: at}", "value: seen}") + "      - {name: seen, logicalType: timestamp}\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose table is there and whose log holds one record."""
    made = make_project(tmp_path_factory.mktemp("plans") / "project")
    project = Project.at(made)
    orders = project.contract("orders")
    project.sink(orders).head()
    writer = project.log_writer(orders)
    writer.append([Record(GOOD)], request=1, received_at=datetime(2026, 11, 20, 12, tzinfo=UTC))
    writer.close()
    return made


def under(root: Path, compatibility: str, text: str) -> tuple[Path, Path]:
    """The project's own contract with a compatibility, and a file with the change."""
    rule = f"      - {{property: compatibility, value: {compatibility}}}\n"
    own, changed = root / "contracts" / "orders.odcs.yaml", root / "orders.odcs.yaml"
    own.write_text(ORDERS.replace("    customProperties:\n", "    customProperties:\n" + rule, 1))
    changed.write_text(text)
    return own, changed


@pytest.mark.parametrize(
    ("compatibility", "text", "effect", "refused"),
    [
        ("backward", WIDER, "additive", False),
        ("backward", LOOSER, "loosened", False),
        ("backward", TIGHTER, "tightened", True),
        ("forward", LOOSER, "loosened", True),
        ("forward", TIGHTER, "tightened", False),
        ("full", LOOSER, "loosened", True),
        ("full", WIDER, "additive", False),
        ("none", TIGHTER, "tightened", False),
    ],
)
def test_each_change_has_its_class_and_compatibility_decides(root: Path, compatibility: str, text: str, effect: str, refused: bool) -> None:
    _, changed = under(root, compatibility, text)
    done = frazil("contracts", "plan", str(changed), "--json", cwd=root)
    assert [(one["effect"], one["refused"]) for one in done.json["changes"]] == [(effect, refused)]
    assert done.json["newly_bad"] == 0, "the recorded event is good under all of them"
    assert (done.code, done.json["allowed"]) == ((1, False) if refused else (0, True))
    said = frazil("contracts", "plan", str(changed), cwd=root)
    assert said.code == done.code
    assert effect in said.out
    assert (f"refused: compatibility is {compatibility}" in said.out) == refused


@pytest.mark.parametrize(("text", "word"), [(OTHER_TYPE, "column note"), (OTHER_TIME, "event time")])
def test_what_the_table_cannot_take_is_refused_under_every_compatibility(root: Path, text: str, word: str) -> None:
    _, changed = under(root, "none", text)
    done = frazil("contracts", "plan", str(changed), "--json", cwd=root)
    assert done.code == 1
    assert done.json["table_change"].startswith("impossible")
    assert word in done.json["table_change"]
    assert "breaking" in [one["effect"] for one in done.json["changes"]]


def test_a_change_cannot_allow_itself(root: Path) -> None:
    _, changed = under(
        root,
        "backward",
        TIGHTER.replace("    customProperties:\n", "    customProperties:\n      - {property: compatibility, value: none}\n", 1),
    )
    assert frazil("contracts", "plan", str(changed), "--json", cwd=root).code == 1
