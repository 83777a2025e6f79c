"""Orphans: files that no retained version of any table names. The writer never deletes; this sweep does, days later.

Killed writers, lost races, compactions and expiries leave files behind. A file is swept when it is older than three days
and absent from all retained metadata of all tables of the namespace and from the letters set aside by any retained
snapshot. RELIABILITY 2.6; Iceberg's own warning about shorter times is the reason for the three days.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from pyiceberg.table import Table

from frazil.errors import ConfigError, Corrupt
from frazil.table.catalog import Lake, answering
from frazil.table.durable_io import sync_directory
from frazil.table.snapshots import markers_of

LEAST_AGE = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: `orphans` of `files` in all, with their `bytes`; `deleted` of them. `young` ones wait."""

    files: int = 0
    orphans: int = 0
    bytes: int = 0
    young: int = 0
    deleted: int = 0
    paths: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "paths": list(self.paths)}


def sweep(lake: Lake, *, older_than: timedelta = LEAST_AGE, now: datetime | None = None, dry_run: bool = True) -> Swept:
    """Find orphans below the tables' directories, and delete them when it is not a dry run.

    Args:
        lake: Local storage.
        older_than: Least age; three days at least, and ten times the longest batch.
        now: The present, UTC; the clock by default.
        dry_run: Only look.

    Raises:
        ConfigError: `orphans.too_young`: a shorter age could take the files of a commit on its way.
        Corrupt: `orphans.other_place`: a table's files lie elsewhere than its location says; nothing was deleted.
        Unavailable: Catalog or storage do not answer; nothing was deleted then, or only orphans.
    """
    if older_than < LEAST_AGE:
        raise ConfigError(
            f"files younger than {LEAST_AGE.days} days may belong to a commit on its way",
            hint="sweep with at least three days",
            code="orphans.too_young",
            older_than=str(older_than),
        )
    limit = ((now or datetime.now(UTC)) - older_than).timestamp()
    with answering("orphans cannot be looked for", storage=lake.settings.lake.storage):
        tables = [table for name in lake.names() if (table := lake.find(name)) is not None]
        # listed first: what a commit names after this was there before, or is young
        found = {path: stat for table in tables for path, stat in _below(local_path(table.location()))}
        named = {local_path(path) for table in tables for path in _named(lake.find(table.name()[-1]) or table)}
        _refuse_strangers(tables, found)
        orphans = {path: stat for path, stat in found.items() if path not in named}
        old = sorted(path for path, stat in orphans.items() if stat.st_mtime < limit)
        if not dry_run:
            _delete(old)
    return Swept(
        files=len(found),
        orphans=len(old),
        bytes=sum(orphans[path].st_size for path in old),
        young=len(orphans) - len(old),
        deleted=0 if dry_run else len(old),
        paths=tuple(str(path) for path in old[:100]),
    )


def _refuse_strangers(tables: list[Table], found: Mapping[Path, os.stat_result]) -> None:
    """Stop when the tables do not name files where we look: then nothing would seem to be in use."""
    for table in tables:
        if local_path(table.metadata_location) not in found:
            raise Corrupt(
                f"the metadata of {table.name()[-1]} does not lie below its location",
                code="orphans.other_place",
                hint="was the lake moved or its storage remounted? nothing was deleted",
                metadata=table.metadata_location,
                location=table.location(),
            )


def local_path(location: str) -> Path:
    """The path of a `file://` location."""
    return Path(urlsplit(location).path)


def _named(table: Table) -> Iterator[str]:
    """Every file that a retained version of the table names."""
    yield table.metadata_location
    yield from (entry.metadata_file for entry in table.metadata.metadata_log)
    for snapshot in table.metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(table.io):
            yield manifest.manifest_path
            yield from (entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True))
        markers = markers_of(snapshot)
        if markers is not None:
            yield from (file.path for file in markers.set_aside)


def _below(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder) / name
            try:
                yield path, path.stat()
            except FileNotFoundError:
                continue


def _delete(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        sync_directory(folder)
