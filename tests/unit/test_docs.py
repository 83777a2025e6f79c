"""What the documents say is there, is there: links, files, commands and their options, make targets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from frazil.cli.app import app
from tests.shared import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "shop").rglob("*.md"), *(ROOT / "tests").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:src|crates|docs|tests|shop|examples|demo|benchmarks|requirements)/[\w./-]*[\w/]")
OF_A_RUN = re.compile(r"^(?:benchmarks/(?:results|reports)|\.frazil)")
COMMAND = re.compile(r"(?:^|[`$(|;] ?)frazil ((?:[a-z]|-)[^`\n#|;]*)", re.MULTILINE)
TREE = typer.main.get_command(app)


def named(page: Path) -> Iterator[str]:
    """Everything in a page that is code: spans and blocks."""
    text = page.read_text()
    yield from re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    yield from CODE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if not re.match(r"[a-z]+:", link)]
    broken = [link for link in links if link.partition("#")[0] and not (page.parent / link.partition("#")[0]).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page: Path) -> None:
    words = {word for code in named(page) for word in re.split(r"[\s,:\"'=]+", code)}
    paths = {word for word in words if PATH.fullmatch(word) and not OF_A_RUN.match(word)}
    assert not [path for path in sorted(paths) if not (ROOT / path).exists() and not (page.parent / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    wrong = [said for code in named(page) for said in COMMAND.findall(f"\n{code}") if not understood(said)]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = {target for code in named(page) for target in re.findall(r"(?:^|\n|&& )make ([a-z-]+)", code)}
    assert said <= targets


def understood(said: str) -> bool:
    """Whether the words name a command of the tree (alternatives as `a|b`), and its options are options of it."""
    node, words = TREE, said.split()
    while words and getattr(node, "commands", None) is not None:
        if words[0] in ("--project", "-C", "--profile"):
            words = words[2:]
            continue
        if words[0].startswith("-"):
            break
        if words[0] not in node.commands:
            return False
        node, words = node.commands[words[0]], words[1:]
    known = {name for one in (*node.params, *TREE.params) for name in (*one.opts, *one.secondary_opts)} | {"-h", "--help"}
    options = [re.split(r"[=.,)…]", word)[0] for word in words if re.match(r"--?[a-z]", word)]
    return all(option in known for option in options)


def test_every_command_that_a_hint_names_exists() -> None:
    sources = {file: file.read_text() for file in (ROOT / "src").rglob("*.py")}
    said = {(file.name, words) for file, text in sources.items() for words in re.findall(r"`frazil ([a-z][^`\n{]*)`", text)}
    assert len(said) > 10
    assert not [one for one in sorted(said) if not understood(one[1])]


def test_the_check_of_commands_can_fail() -> None:
    assert understood("send FILE --contract events")
    assert not understood("sent FILE")
    assert not understood("send FILE --contrat events")
    assert not understood("dead lst")
