"""`frazil init`: a project that works, in an empty place, and never over what is there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from frazil import settings
from frazil.cli import app
from frazil.contract.load import load_directory
from tests.shared import ROOT


@pytest.mark.parametrize("example", ["shop", "blank", "github"])
def test_a_new_project_has_settings_and_good_contracts(tmp_path: Path, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "my place"
    assert app.run(["init", str(place), "--example", example]) == 0
    assert "frazil up" in capsys.readouterr().err
    assert settings.load(place).root == place
    contracts = load_directory(place / "contracts")
    assert contracts
    assert (place / ".gitignore").read_text() == ".frazil/\n"
    chosen = settings.load(place).default_contract
    assert chosen is None or chosen in contracts


def test_the_printed_command_can_be_pasted_whatever_the_directory_is_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "it's Köln [1]"
    app.run(["init", str(place), "--example", "blank"])
    [line] = [line.strip() for line in capsys.readouterr().err.splitlines() if line.strip().startswith("cd ")]
    assert shlex.split(line) == ["cd", str(place)]


def test_two_runs_of_the_printed_generate_bring_events_of_different_keys(tmp_path: Path) -> None:
    app.run(["init", str(tmp_path / "one"), "--example", "blank"])
    keys: list[str] = []
    for name in ("a", "b"):
        out = tmp_path / name
        assert app.run(["-C", str(tmp_path / "one"), "generate", "events", "--count", "20", "--out", str(out)]) == 0
        keys += [json.loads(line)["id"] for line in out.read_text().splitlines()]
    assert len(set(keys)) == 40


def test_where_no_contract_is_meant_it_is_said_how_to_name_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "one"
    app.run(["init", str(place), "--example", "blank"])
    text = (place / "contracts" / "events.odcs.yaml").read_text()
    (place / "contracts" / "rides.odcs.yaml").write_text(re.sub(r"(id|name): events", r"\1: rides", text))
    capsys.readouterr()
    assert app.run(["-C", str(place), "contracts", "show"]) == 3
    said = capsys.readouterr().err
    assert "None" not in said.splitlines()[0]
    assert "events, rides" in said
    assert "default_contract" in said


def test_a_blank_project_is_named_after_its_directory(tmp_path: Path) -> None:
    app.run(["init", str(tmp_path / "9 Fine-Days"), "--example", "blank"])
    assert settings.load(tmp_path / "9 Fine-Days").name == "p_9_fine_days"
    app.run(["init", str(tmp_path / "two"), "--example", "blank", "--name", "other"])
    assert settings.load(tmp_path / "two").name == "other"


def test_the_template_is_the_shop_itself(tmp_path: Path) -> None:
    app.run(["init", str(tmp_path / "p")])
    for file in (ROOT / "shop" / "contracts").iterdir():
        assert (tmp_path / "p" / "contracts" / file.name).read_bytes() == file.read_bytes()


def test_what_is_there_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert app.run(["init", str(tmp_path)]) == 3
    assert "[init.not_empty]" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["init", str(tmp_path / "p"), "--dry-run"]) == 0
    assert "would write" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_a_bad_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["init", str(tmp_path / "p"), "--name", "Not Good"]) == 3
    assert "[init.bad_name]" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
