"""The frame of the command line: where words go, how failures look, what each exit code means."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from frazil.cli import app, failure, output, session
from frazil.errors import CommitConflict, ConfigError, ContractError, Corrupt, FrazilError, OffsetExpired, Throttled, Unavailable

ERRORS = [
    (ConfigError("no", hint="do"), 3),
    (ContractError("no", hint="do"), 3),
    (Unavailable("no", hint="do"), 75),
    (Throttled("no", hint="do", retry_after=3), 75),
    (CommitConflict("no", hint="do"), 75),
    (OffsetExpired("no", hint="do"), 78),
    (Corrupt("no", hint="do"), 78),
    (FrazilError("no", hint="do"), 3),
]


@pytest.mark.prop(38)
@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_an_error_prints_code_facts_and_hint_and_decides_the_exit(
    error: FrazilError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    error.context = {"partition": "events/0", "wanted": 88}
    assert failure.show(error, as_json=False) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"[{error.code}] no\npartition='events/0' wanted=88\nhint: do\n"


def test_an_error_is_json_when_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    failure.show(Corrupt("odd", hint="look", offset=7), as_json=True)
    said = json.loads(capsys.readouterr().err)
    assert said["error"] == {"code": "state.corrupt", "message": "odd", "hint": "look", "retry": "never", "context": {"offset": 7}}


def test_an_unexpected_error_says_so_and_exits_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert failure.show(ZeroDivisionError("odd"), as_json=False) == 3
    said = capsys.readouterr().err
    assert "[frazil.unexpected] ZeroDivisionError: odd" in said
    assert "report it" in said


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert failure.show(FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere"), as_json=False) == 3
    assert "[system.os_error] No such file or directory\nfile='/nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nonsense"], 2, "nonsense"),
        (["send"], 2, "FILE"),
        (["init"], 2, "DIR"),
        (["query", "select 1", "--format", "xml"], 2, "xml"),
        (["-C", "/nowhere", "status"], 3, "config.no_project"),
    ],
)
def test_bad_usage_exits_2_and_says_what_is_wrong(words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(words) == code
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""


@pytest.mark.parametrize("group", ["contracts", "dead", "tables", "log"])
def test_a_group_alone_shows_its_commands(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([group]) == 2
    said = capsys.readouterr()
    assert "show" in said.out
    assert said.err == ""


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(**options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "app", interrupted)
    assert app.run(["status"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_help_loses_no_word_to_markup() -> None:
    """Square brackets are markup where help is drawn: `[pipelines]` unescaped would not be shown at all."""

    def texts(command: object) -> Iterator[str]:
        yield str(getattr(command, "help", None) or "")
        for option in getattr(command, "params", ()):
            yield str(getattr(option, "help", None) or "")
        for inner in getattr(command, "commands", {}).values():
            yield from texts(inner)

    said = list(texts(typer.main.get_command(app.app)))
    assert len(said) > 100
    for text in said:
        assert len(Text.from_markup(text).plain) >= len(text.replace("\\[", "[")), text


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    heavy = ["pyarrow", "pyiceberg", "duckdb", "fastapi", "sqlalchemy", "httpx2", "data_processor_rs", "pydantic", "structlog"]
    code = f"import sys; from frazil.cli.app import run; run(['--help']); sys.exit(','.join(m for m in {heavy!r} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_project_is_opened_without_the_libraries_of_its_lake(tmp_path: Path) -> None:
    heavy = ["pyarrow", "pyiceberg", "sqlalchemy", "duckdb", "data_processor_rs"]
    code = f"""
import sys
from frazil.cli.app import run
run(["init", {str(tmp_path / "p")!r}])
run(["-C", {str(tmp_path / "p")!r}, "contracts", "list"])
sys.exit(','.join(m for m in {heavy!r} if m in sys.modules) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "events" in done.stdout


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_no_defect_and_asks_to_try_again(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert failure.show(OSError(number, "No room"), as_json=False) == 75
    said = capsys.readouterr().err
    assert "[system.disk_full] No room" in said
    assert "free some space" in said
    assert failure.show(OSError(number, "No room", "/x"), as_json=True) == 75
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], error["retry"], error["context"]) == ("system.disk_full", "backoff", {"file": "/x"})


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m frazil.cli --help | head -n 1", shell=True, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stderr == ""


words = st.lists(st.text(alphabet="abc-", min_size=1, max_size=6).filter(lambda w: w not in ("-C", "--")), max_size=6)


@given(words, words, words)
def test_project_and_profile_may_stand_anywhere_before_two_dashes(before: list[str], after: list[str], raw: list[str]) -> None:
    given_words = [*before, "--project", "DIR", *after, "--profile=p", "--", *raw, "--project", "X"]
    hoisted = session.hoisted(given_words)
    assert hoisted[:3] == ["--project", "DIR", "--profile=p"]
    assert hoisted[3:] == [*before, *after, "--", *raw, "--project", "X"]


@given(st.integers(0, 2**60))
def test_sizes_read_back_within_a_digit(count: int) -> None:
    number, unit = output.size(count).replace(",", "").split(" ")
    scale = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}[unit]
    assert float(number) * scale == pytest.approx(count, abs=0.051 * scale)


@pytest.mark.parametrize(("back", "text"), [(5, "5 s ago"), (600, "10 min ago"), (7_200, "2 h ago"), (86_400 * 3, "3 d ago")])
def test_ages_are_in_the_largest_unit_that_says_enough(back: int, text: str) -> None:
    assert output.age(datetime.now(UTC) - timedelta(seconds=back)) == text
    assert output.age(None) == "never"


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_a_narrow_terminal_shortens_words_and_never_what_is_there_to_be_copied(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    row = {"snapshot_id": "1700581304094087882", "code": "range.above_maximum", "count": 12_345, "value": "é" * 60}
    output.table([row], list(row))
    line = screen.getvalue().splitlines()[1]
    assert all(text in line for text in ("1700581304094087882", "range.above_maximum", "12,345"))
    assert ("…" in line) == (width < 200)
    assert len(line.rstrip()) <= max(width, 70)


def test_data_is_not_cut_where_no_terminal_is_attached(capsys: pytest.CaptureFixture[str]) -> None:
    output.table([{"text": "x" * 3_000, "n": 1_234}], ["text", "n"])
    out = capsys.readouterr().out
    assert "x" * 3_000 in out
    assert "1,234" in out
