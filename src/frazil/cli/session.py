"""What one run of the command line works on: the project directory and the profile it was given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frazil.project import Project
    from frazil.settings import Settings


@dataclass
class Session:
    """`root`: the project's directory, None to search upwards from here; `profile`: overlay of `frazil.toml`."""

    root: Path | None = None
    profile: str | None = None


chosen = Session()
"""Set once by the options before the command."""

_WITH_VALUE = {"--project": "--project", "-C": "--project", "--profile": "--profile"}


def hoisted(arguments: list[str]) -> list[str]:
    """Move `--project DIR` and `--profile NAME` to the front, so that they may stand anywhere before a `--`."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest.append(word)
            rest.extend(words)
        elif word in _WITH_VALUE:
            front.append(_WITH_VALUE[word])
            value = next(words, None)
            front.extend([] if value is None else [value])
        elif word.startswith(("--project=", "--profile=")):
            front.append(word)
        else:
            rest.append(word)
    return front + rest


def settings() -> Settings:
    """The settings of the chosen project. Raises ConfigError."""
    from frazil import settings as configuration

    return configuration.load(chosen.root, profile=chosen.profile)


def project() -> Project:
    """The chosen project, opened lazily. Raises ConfigError.

    A command that is no role logs warnings only, and to stderr: stdout is for data.
    """
    from frazil import telemetry
    from frazil.project import Project

    telemetry.configure_once(level="warning")
    return Project(settings())
