"""800 real events that nobody shaped for us: landed once, and once only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.running import frazil, up


@pytest.mark.prop(13)
@pytest.mark.prop(46)
def test_real_events_land_once_and_a_second_time_are_duplicates(tmp_path: Path, shared: Path) -> None:
    file = str(shared / "data" / "github-events" / "2021-07-21.ndjson")
    root = tmp_path / "github"
    assert frazil("init", str(root), "--example", "github", cwd=tmp_path).code == 0
    with up(root) as running:
        send = ("send", file, "--contract", "github_events", "--url", running.url, "--wait", "--json")
        first = frazil(*send, cwd=root)
        assert first.code == 0, first.err
        assert (first.json["accepted"], first.json["rejected"]) == (800, 0)
        assert first.json["verdict"] == {"landed": 800, "duplicates": 0, "dead": 0, "pending": 0}
        second = frazil(*send, cwd=root)
        assert second.code == 0, second.err
        assert second.json["verdict"] == {"landed": 0, "duplicates": 800, "dead": 0, "pending": 0}
        assert running.stop() == 0
    books = frazil("verify", "--json", cwd=root)
    assert books.code == 0, books.out
    [row] = books.json
    assert [row[name] for name in ("records", "landed", "dead", "duplicates", "pending")] == [1_600, 800, 0, 800, 0]
    sql = (
        "SELECT count(*) AS n, count(DISTINCT actor.login) AS who, min(created_at) AS first, any_value(payload) AS p FROM raw_github_events"
    )
    [answer] = frazil("query", sql, "--json", cwd=root).json
    assert answer["n"] == 800
    assert answer["who"] > 400
    assert answer["first"].startswith("2021-07-21T")
    assert answer["p"].startswith("{")
