"""The command tree. Commands import what they need when they run, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from frazil import __version__
from frazil.cli import (
    bench,
    contracts,
    dead,
    generate,
    init,
    log,
    quality,
    query,
    roles,
    runs,
    send,
    session,
    status,
    tables,
    tail,
    trace,
    transform,
    verify,
    windows,
)
from frazil.cli import run as running
from frazil.cli.failure import show
from frazil.errors import EXIT_FAILED, EXIT_USAGE

app = typer.Typer(
    name="frazil",
    help="Events in, trusted tables out.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"frazil {__version__}\n")
        raise typer.Exit


@app.callback()
def _common(
    project: Annotated[Path | None, typer.Option("--project", "-C", help="Project directory; default: the nearest frazil.toml.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Overlay \\[profiles.NAME] of frazil.toml.")] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    session.chosen.root = None if project is None else project.resolve()
    session.chosen.profile = profile


for part in (
    init,
    roles,
    send,
    generate,
    contracts,
    status,
    dead,
    verify,
    bench,
    trace,
    query,
    tables,
    tail,
    windows,
    transform,
    quality,
    running,
    runs,
    log,
):
    part.register(app)


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    as_json = "--json" in arguments
    try:
        result = app(args=session.hoisted(arguments), prog_name="frazil", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except typer.Abort:
        sys.stderr.write("stopped\n")
        return 130
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left, which is its right
        return 0
    except typer.TyperException as error:
        return _usage(error)
    except Exception as error:
        return show(error, as_json=as_json)


def _usage(error: typer.TyperException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        return EXIT_USAGE  # the help is the answer, and is out
    context = getattr(error, "ctx", None)
    if context is not None:
        sys.stderr.write(f"{context.get_usage()}\n")
    sys.stderr.write(f"[usage.invalid] {error.format_message()}\n")
    if context is not None:
        sys.stderr.write(f"hint: `{context.command_path} --help` lists the arguments\n")
    return EXIT_USAGE if error.exit_code == EXIT_USAGE else EXIT_FAILED
