"""The dbt package `frazil`: macros that the project's models use. Installed beside the project, as `dbt deps` would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from frazil import __version__

NAME = "frazil"
_SOURCE = Path(__file__).resolve().parent
_PROJECT = f"""# Written by Frazil {__version__}; the next run writes it again.
name: {NAME}
version: "{__version__}"
config-version: 2
macro-paths: [macros]
on-run-end: ["{{{{ frazil.leave() }}}}"]
"""


def files() -> Iterator[tuple[str, str]]:
    """Every file of the package, as path below its directory and text."""
    yield "dbt_project.yml", _PROJECT
    for macro in sorted((_SOURCE / "macros").glob("*.sql")):
        yield f"macros/{macro.name}", macro.read_text()


def install(directory: Path) -> None:
    """Write the package to `dbt_packages/frazil` of a dbt project; files that are right stay untouched."""
    place = directory / "dbt_packages" / NAME
    wanted = dict(files())
    for name, text in wanted.items():
        file = place / name
        if not file.is_file() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    for old in (place / "macros").glob("*.sql"):
        if f"macros/{old.name}" not in wanted:
            old.unlink()
