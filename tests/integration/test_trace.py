"""`frazil trace` over a real lake: landed, duplicate, dead and unknown."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from frazil.errors import EXIT_NO
from frazil.trace import NoTrace, trace
from tests.shop import Shop, event


def test_every_record_that_bore_an_id_is_told_with_its_verdict(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    shop.land("events", event(1), event(1), event(2, value=-5), event(3))
    adopted = shop.project.contract("events")
    shop.project.dead_letters.adopt(shop.project.sink(adopted))
    told = trace(shop.project, str(UUID(int=1)))
    assert [one["verdict"] for one in told["records"]] == ["landed", "duplicate"]
    landed, again = told["records"]
    assert Path(landed["file"]).is_file()
    assert landed["snapshot"]["id"].isdigit()
    assert landed["request"] == "1"
    assert again["first"] == landed["place"]
    (dead,) = trace(shop.project, str(UUID(int=2)))["records"]
    assert (dead["verdict"], dead["stage"]) == ("dead", "validate")
    assert dead["violations"][0]["path"] == "/value"
    assert trace(shop.project, dead["place"])["records"] == [dead]
    with pytest.raises(NoTrace) as unknown:
        trace(shop.project, str(UUID(int=99)))
    assert unknown.value.exit_code == EXIT_NO
    assert unknown.value.hint
