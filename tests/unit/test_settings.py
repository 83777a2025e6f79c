"""Settings from the file, the profile and the environment; a wrong one is named by its key."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil import settings
from frazil.engine.diagnosis import examine
from frazil.errors import ConfigError

SPELLINGS = [
    ("0.2", timedelta(milliseconds=200)),
    ("5", timedelta(seconds=5)),
    ("5s", timedelta(seconds=5)),
    ("200ms", timedelta(milliseconds=200)),
    ("2m", timedelta(minutes=2)),
    ("1.5h", timedelta(minutes=90)),
    ("7d", timedelta(days=7)),
    ("1 w", timedelta(weeks=1)),
    ("PT2M", timedelta(minutes=2)),
    ("P1DT0.5S", timedelta(days=1, milliseconds=500)),
    ("0", timedelta()),
]
WRONG = ["soon", "", "-1", "-5s", "5 parsecs", "P", "PT", "1h30", "nan", "inf", "true", "٥s", "9999999999999d"]


def write(root: Path, text: str = "") -> Path:
    (root / "frazil.toml").write_text('name = "shop"\n' + text)
    return root


@pytest.mark.parametrize(("text", "wanted"), SPELLINGS)
def test_a_duration_is_written_as_people_do(text: str, wanted: timedelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.load(write(tmp_path, f'[process]\nmax_delay = "{text}"\n')).process.max_delay == wanted
    monkeypatch.setenv("FRAZIL_PROCESS__MAX_DELAY", text)
    assert settings.load(write(tmp_path)).process.max_delay == wanted


@pytest.mark.parametrize(("text", "seconds"), [("5", 5.0), ("0.25", 0.25), ("0", 0.0)])
def test_a_number_is_seconds(text: str, seconds: float, tmp_path: Path) -> None:
    assert settings.load(write(tmp_path, f"[api]\nbody_timeout = {text}\n")).api.body_timeout == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", [*(f'"{wrong}"' for wrong in WRONG), "-1", "true", "nan", "inf", "1e300", "[1]"])
def test_a_wrong_duration_names_its_key(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log\.retention: .*is no duration") as error:
        settings.load(write(tmp_path, f"[log]\nretention = {text}\n"))
    assert error.value.code == "config.invalid_value"
    assert "log.retention" in error.value.hint


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_duration_of_the_environment_names_its_key(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAZIL_LOG__RETENTION", text)
    with pytest.raises(ConfigError, match=r"log\.retention"):
        settings.load(write(tmp_path))


@given(st.text(max_size=12) | st.floats() | st.integers() | st.booleans() | st.none())
def test_no_text_or_number_breaks_the_reading(value: object) -> None:
    try:
        span = settings.duration(value)
    except ValueError:
        return
    assert span >= timedelta()


def test_an_unknown_key_of_a_known_section_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAZIL_LOG__ULR", "file://x")
    with pytest.raises(ConfigError, match=r"log\.ulr is no setting") as error:
        settings.load(write(tmp_path))
    assert "min_free_bytes" in error.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "root = 'x'",
        "[profiles.near]\nroot = 'x'",
        "profiles = 3",
        "[profiles]\nnear = 3",
        "log = 3",
        "log.url.x = 1",
        "[kafka]\noptions = 1",
    ],
)
def test_whatever_a_file_says_wrongly_is_an_error_that_names_it(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        settings.load(write(tmp_path, text), profile="near" if "near" in text else None)
    assert error.value.code == "config.invalid_value"
    assert str(error.value.context["key"]).split(".")[0] in text


def test_a_project_lies_where_its_file_lies_whatever_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAZIL_ROOT", "/elsewhere")
    assert settings.load(write(tmp_path)).root == tmp_path


def test_settings_are_read_as_utf_8_whatever_the_locale_is(tmp_path: Path) -> None:
    root = write(tmp_path, "# Köln…\n")
    words = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning"]
    done = subprocess.run(
        [
            sys.executable,
            *words,
            "-c",
            f"from frazil import settings; from pathlib import Path; print(settings.load(Path({str(root)!r})).name)",
        ],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin", "LC_ALL": "C"},
        check=False,
    )
    assert done.stdout == "shop\n", done.stderr


def test_doctor_says_that_the_default_contract_is_none_of_the_project(tmp_path: Path) -> None:
    root = write(tmp_path, 'default_contract = "nope"\n')
    (root / "contracts").mkdir()
    [found] = [one for one in examine(root, None) if one.part == "default contract"]
    assert (found.state, "nope" in found.says) == ("bad", True)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("FRAZIL_LOG__ULR", "FRAZIL_LOG__URL"), ("FRAZIL_LOGG__URL", "FRAZIL_LOG__URL"), ("FRAZIL_API_PORT", "FRAZIL_API__PORT")],
)
def test_doctor_names_a_misspelt_variable_and_the_one_meant(name: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.setenv("FRAZIL_API__PORT", "1")
    found = [one for one in examine(write(tmp_path), None) if one.part.startswith("variable")]
    assert [(one.part, one.state) for one in found] == [(f"variable {name}", "advice")]
    assert meant in found[0].hint
