"""Maintenance of a whole project: every job, what it deletes, and what a dry run leaves alone."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from frazil.engine.upkeep import ALL_TABLES, Keeper
from frazil.errors import EXIT_YES
from frazil.project import Project
from frazil.table.orphans import local_path
from tests.integration.running import frazil
from tests.serving import make_project

DAY = 86_400


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def project_with_orphan(root: Path, days: float) -> tuple[Project, Path]:
    """The project with a table, and a file in it that nobody names."""
    project = Project.at(root)
    project.sink(next(iter(project.contracts.values()))).head()
    table = project.lake.find(project.lake.names()[0])
    assert table is not None
    orphan = local_path(table.location()) / "data" / "left-behind.parquet"
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"x" * 10)
    os.utime(orphan, (time.time() - days * DAY,) * 2)
    return project, orphan


def sweep_of(rows: list[dict[str, object]]) -> dict[str, object]:
    return next(row for row in rows if row["job"] == "orphans")


def test_orphans_are_reported_first_and_deleted_by_the_next_run(root: Path) -> None:
    project, orphan = project_with_orphan(root, days=4)
    code, rows = Keeper(project).report(force=True)
    told = sweep_of(rows)
    assert (code, told["table"], told["orphans"], told["deleted"], told["only_reported"]) == (EXIT_YES, ALL_TABLES, 1, 0, True)
    assert told["paths"] == [str(orphan)]
    assert orphan.exists()
    told = sweep_of(Keeper(project).report(force=True)[1])
    assert (told["orphans"], told["deleted"], told["only_reported"]) == (1, 1, False)
    assert not orphan.exists()
    assert project.sink(next(iter(project.contracts.values()))).head() is not None, "the table is as it was"


def test_a_dry_run_deletes_nothing_and_is_not_the_first_report(root: Path) -> None:
    project, orphan = project_with_orphan(root, days=4)
    for _ in range(2):
        assert sweep_of(Keeper(project, dry_run=True).report(force=True)[1])["deleted"] == 0
    assert sweep_of(Keeper(project).report(force=True)[1])["deleted"] == 0, "a person has seen nothing of a run that was a question"
    assert sweep_of(Keeper(project, dry_run=True).report(force=True)[1])["deleted"] == 0
    assert orphan.exists()


def test_another_storage_is_reported_first_again(root: Path) -> None:
    project, orphan = project_with_orphan(root, days=4)
    (project.settings.state_dir / "orphans.json").write_text(json.dumps({"storage": "file://elsewhere"}))
    assert sweep_of(Keeper(project).report(force=True)[1])["deleted"] == 0
    (project.settings.state_dir / "orphans.json").write_text("cut {")
    assert sweep_of(Keeper(project).report(force=True)[1])["deleted"] == 0
    assert orphan.exists()


def test_a_young_file_waits_and_named_tables_sweep_nothing(root: Path) -> None:
    project, orphan = project_with_orphan(root, days=1)
    for _ in range(2):
        told = sweep_of(Keeper(project).report(force=True)[1])
        assert (told["orphans"], told["young"], told["deleted"]) == (0, 1, 0)
    assert orphan.exists()
    assert "orphans" not in [row["job"] for row in Keeper(project).report([project.lake.names()[0]], force=True)[1]]


def test_tables_maintain_says_what_it_did(root: Path) -> None:
    _, orphan = project_with_orphan(root, days=4)
    asked = frazil("tables", "maintain", "--dry-run", "--json", cwd=root)
    assert asked.code == 0, asked.err
    assert {row["job"] for row in asked.json} == {"compact", "expire", "retain", "orphans"}
    assert frazil("tables", "maintain", cwd=root).code == 0
    done = frazil("tables", "maintain", cwd=root)
    assert "deleted 1" in done.out
    assert not orphan.exists()
    assert frazil("tables", "maintain", "raw_absent", cwd=root).code == 3


def test_maintain_once_does_everything_and_ends(root: Path) -> None:
    _, orphan = project_with_orphan(root, days=4)
    assert frazil("maintain", "--once", "--dry-run", cwd=root).code == 0
    first = frazil("maintain", "--once", cwd=root)
    assert first.code == 0, first.err
    assert orphan.exists()
    second = frazil("maintain", "--once", cwd=root)
    assert (second.code, orphan.exists()) == (0, False), second.err
    told = next(json.loads(line) for line in second.err.splitlines() if '"orphans"' in line and '"deleted"' in line)
    assert (told["job"], told["deleted"]) == ("orphans", 1)
