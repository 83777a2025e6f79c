"""`frazil init`: write a project that its user owns."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

from frazil.cli.output import DryRun, say
from frazil.errors import ConfigError

_NEVER = {".frazil", "__pycache__", "target", "logs", "dbt_packages"}


def register(app: typer.Typer) -> None:
    app.command()(init)


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the project; made if it is not there.")],
    example: Annotated[
        Literal["shop", "blank", "github"],
        typer.Option(help="shop: a small online shop. blank: one contract to change. github: public GitHub events."),
    ] = "shop",
    name: Annotated[str | None, typer.Option(help="Namespace of the tables; default: the example's, for blank the directory's.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Write a project and print the next three commands."""
    source = template(example)
    files = sorted(one for one in source.rglob("*") if one.is_file() and not _NEVER.intersection(one.relative_to(source).parts))
    if (directory / "frazil.toml").exists() or (directory.is_dir() and any(one.name != ".git" for one in directory.iterdir())):
        raise ConfigError(
            f"{directory} is not empty",
            code="init.not_empty",
            hint="name a new directory, or remove what is there",
            directory=str(directory),
        )
    chosen = name or (_name_of(directory) if example == "blank" else None)
    if chosen is not None and re.fullmatch(r"[a-z][a-z0-9_]{0,62}", chosen) is None:
        raise ConfigError(f"{chosen!r} cannot name a namespace", code="init.bad_name", hint="use a-z, 0-9 and _, starting with a letter")
    for file in files:
        target = directory / file.relative_to(source)
        if dry_run:
            say(f"would write {target}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    if dry_run:
        return
    if chosen is not None:
        settings = directory / "frazil.toml"
        settings.write_text(re.sub(r'(?m)^name = "[^"]*"', f'name = "{chosen}"', settings.read_text("utf-8"), count=1), "utf-8")
    _next(directory, example, len(files))


def template(example: str) -> Path:
    """The directory an example is copied from: in an installed package, or in a clone of the repository."""
    package = Path(__file__).resolve().parent.parent
    clone = package.parent.parent
    for place in (package / "templates" / example, clone / ("shop" if example == "shop" else f"examples/{example}")):
        if (place / "frazil.toml").is_file():
            return place
    raise ConfigError(f"the example {example!r} is not part of this installation", code="init.no_template", hint="install frazil again")


def _name_of(directory: Path) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", directory.resolve().name.lower()).strip("_")
    return words if words[:1].isalpha() else f"p_{words}"[:63]


def _next(directory: Path, example: str, count: int) -> None:
    from rich.markup import escape

    contract = {"shop": "events", "blank": "events", "github": "github_events"}[example]
    third = f"frazil generate {contract} --count 1000 --send" if example != "github" else f"frazil send FILE.ndjson --contract {contract}"
    say(f"[bold green]{escape(str(directory))}[/] holds {count} files. Next:\n")
    say(f"  cd {escape(shlex.quote(str(directory)))}")
    say("  frazil up                                     [dim]# API, processing and maintenance; Ctrl-C stops[/]")
    say(f"  {third:<45} [dim]# in a second terminal[/]")
    say("\nThen [bold]frazil status[/], [bold]frazil dead list[/] and [bold]frazil verify[/].")
