"""`frazil query` reads the lake and nothing else: no other file, no network, no setting, no writing; and it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from frazil.engine.query import Warehouse
from frazil.errors import ConfigError, FrazilError
from frazil.project import Project
from tests.integration.running import frazil
from tests.serving import make_project


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an empty table and, beside it, a file that is nobody's business."""
    made = make_project(tmp_path_factory.mktemp("query") / "project")
    project = Project.at(made)
    project.sink(project.contract("orders")).head()
    (made / "secret.csv").write_text("a,b\n1,hunter2\n")
    (made / "secret.json").write_text('{"a": "hunter2"}')
    return made


@pytest.fixture
def warehouse(root: Path) -> Iterator[Warehouse]:
    opened = Warehouse(Project.at(root).lake)
    yield opened
    opened.close()


READS = [
    "SELECT * FROM read_csv('{root}/secret.csv')",
    "SELECT * FROM read_text('{root}/secret.csv')",
    "SELECT * FROM read_blob('{root}/secret.csv')",
    "SELECT * FROM read_json('{root}/secret.json')",
    "SELECT * FROM '{root}/secret.csv'",
    "SELECT * FROM glob('{root}/*')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
    "SELECT * FROM read_parquet('{root}/.frazil/lake/**/*.parquet')",
    "SELECT * FROM sqlite_scan('{root}/.frazil/catalog.db', 'iceberg_tables')",
    "SELECT * FROM parquet_metadata('{root}/secret.csv')",
    "SELECT * FROM sniff_csv('{root}/secret.csv')",
    "SELECT getenv('HOME')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{root}/out.csv''')",
    "WITH x AS (SELECT * FROM read_text('{root}/secret.csv')) SELECT * FROM x",
    "EXPLAIN ANALYZE SELECT * FROM read_text('{root}/secret.csv')",
]
WRITES = [
    "COPY (SELECT 1) TO '{root}/out.csv'",
    "COPY raw_orders FROM '{root}/secret.csv'",
    "EXPORT DATABASE '{root}/out'",
    "IMPORT DATABASE '{root}/out'",
    "CREATE TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE OR REPLACE VIEW raw_orders AS SELECT 1",
    "DROP VIEW raw_orders",
    "INSERT INTO raw_orders SELECT * FROM raw_orders",
    "DELETE FROM raw_orders",
    "ATTACH '{root}/out.db' AS out",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "SET lock_configuration = false",
    "SET memory_limit = '1TB'",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CHECKPOINT",
    "BEGIN",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{root}/out.csv'",
    "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
    "EXPLAIN ANALYZE INSERT INTO t SELECT 1",
    "explain analyze DROP VIEW raw_orders",
    "EXPLAIN (ANALYZE, FORMAT JSON) DROP VIEW raw_orders",
    "EXPLAIN /* */ ANALYZE DROP VIEW raw_orders",
    "EXPLAIN ANALYZE -- x\nDROP VIEW raw_orders",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{root}/out.csv'",
    "",
    "-- nothing",
]


@pytest.mark.parametrize("sql", [*READS, *WRITES])
def test_the_sql_reaches_nothing_but_the_lake(sql: str, root: Path, warehouse: Warehouse) -> None:
    before = sorted(str(path) for path in root.rglob("*"))
    with pytest.raises(ConfigError) as error:
        list(warehouse.ask(sql.format(root=root)).rows())
    assert error.value.code in ("query.invalid", "query.not_reading")
    assert "hunter2" not in str(error.value)
    assert sorted(str(path) for path in root.rglob("*")) == before
    assert list(warehouse.ask("SELECT count(*) FROM raw_orders").rows()) == [(0,)]


def test_settings_are_locked(warehouse: Warehouse) -> None:
    [(outside, locked)] = warehouse.ask("SELECT current_setting('enable_external_access'), current_setting('lock_configuration')").rows()
    assert (outside, locked) == (False, True)


def test_what_reads_is_allowed(root: Path) -> None:
    for sql in (
        "SELECT 1 AS n",
        "WITH x AS (SELECT 1 AS n) SELECT n FROM x",
        "DESCRIBE raw_orders",
        "SUMMARIZE raw_orders",
        "EXPLAIN SELECT 1",
        "explain analyze SELECT 1",
        "EXPLAIN (FORMAT JSON) SELECT 1",
    ):
        done = frazil("query", sql, cwd=root)
        assert done.code == 0, (sql, done.err)
        assert done.out


def test_a_query_without_end_is_broken_off(warehouse: Warehouse, root: Path) -> None:
    endless = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range + b.range = -1"
    began = time.monotonic()
    with pytest.raises(FrazilError) as error:
        list(warehouse.ask(endless, timeout=0.5).rows())
    assert error.value.code == "query.timeout"
    done = frazil("query", endless, "--timeout", "0.5", cwd=root)
    assert (done.code, "[query.timeout]" in done.err) == (3, True)
    assert time.monotonic() - began < 30
    assert list(warehouse.ask("SELECT 1").rows()) == [(1,)], "the next query is not broken off"
