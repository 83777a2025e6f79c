"""`windows.yaml`: what it says is understood; what it cannot mean is told with file, line and what to change."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from frazil.batch import Position
from frazil.contract.windows import Value, load_windows
from frazil.errors import ConfigError
from frazil.project import Project
from tests.landing import ORDERS
from tests.serving import make_project
from tests.shared import ROOT

GOOD = """\
windows:
  sales:
    from: orders
    key: [note]
    hopping: {size: 10m, every: 1m}
    allowed_lateness: 30s
    emit: final
    values:
      n: count
      amount: sum(amount)
      p95: quantile(amount, 0.95)
"""


def read(tmp_path: Path, text: str) -> ConfigError:
    file = tmp_path / "windows.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load_windows(file, {"orders": ORDERS})
    assert refusal.value.code == "windows.invalid"
    assert refusal.value.hint, "says what to change"
    return refusal.value


def test_a_window_is_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "windows.yaml").write_text(GOOD)
    spec = load_windows(tmp_path / "windows.yaml", {"orders": ORDERS})["sales"]
    assert (spec.size, spec.hop, spec.gap) == (timedelta(minutes=10), timedelta(minutes=1), timedelta())
    assert (spec.lateness, spec.emit, spec.key, spec.shape) == (timedelta(seconds=30), "final", ("note",), "hopping")
    assert spec.values == (Value("n", "count"), Value("amount", "sum", "amount"), Value("p95", "quantile", "amount", 0.95))
    assert spec.line == 2


def test_without_a_file_there_are_no_windows(tmp_path: Path) -> None:
    assert load_windows(tmp_path / "windows.yaml", {}) == {}


@pytest.mark.parametrize(
    ("was", "becomes", "line", "says"),
    [
        ("from: orders", "from: order", 3, "no contract"),
        ("key: [note]", "key: [notes]", 4, "no field 'notes'"),
        ("every: 1m", "every: 11m", 5, "in none"),
        ("size: 10m, ", "", 5, "needs"),
        ("    hopping: {size: 10m, every: 1m}\n", "", 2, "one shape"),
        ("30s", "soon", 6, "no duration"),
        ("emit: final", "emit: often", 7, "none of"),
        ("n: count", "n: number", 9, "nothing to add up"),
        ("sum(amount)", "sum(note)", 10, "no number"),
        ("0.95", "95", 11, "share"),
        ("allowed_lateness", "alowed_lateness", 6, "says nothing"),
        ("windows:", "window:", 1, "alone"),
        ("  sales:", "  Sales Of:", 2, "no name"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, was: str, becomes: str, line: int, says: str) -> None:
    error = read(tmp_path, GOOD.replace(was, becomes))
    assert says in error.message
    assert error.context["line"] == line
    assert str(tmp_path / "windows.yaml") in error.message


def test_a_condition_that_cannot_be_read_is_told_with_its_line(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project")
    (root / "windows.yaml").write_text(GOOD.replace("amount", "value").replace("    emit", "    where: nowhere = 1\n    emit"))
    with pytest.raises(ConfigError) as refusal:
        _ = Project.at(root).windows
    assert refusal.value.code == "windows.invalid"
    assert "windows.yaml:2" in refusal.value.message


def test_the_shops_windows_are_good() -> None:
    assert set(Project.at(ROOT / "shop").windows) == {"activity", "revenue", "visits"}


def test_what_only_describes_a_window_does_not_start_it_anew(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(GOOD)
    (tmp_path / "two.yaml").write_text("# moved\n" + GOOD.replace("    emit", "    description: new\n    emit"))
    (tmp_path / "three.yaml").write_text(GOOD.replace("30s", "31s"))
    one, two, three = (load_windows(tmp_path / f"{name}.yaml", {"orders": ORDERS})["sales"].hash for name in ("one", "two", "three"))
    assert one == two != three


def test_the_log_keeps_what_windows_have_not_counted(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project")
    project = Project.at(root)
    assert project.window_positions(project.contract("orders")) == [], "no windows, no say"
    (root / "windows.yaml").write_text(GOOD.replace("amount", "value"))
    project = Project.at(root)
    orders, bills = project.contract("orders"), project.contract("bills")
    assert project.window_positions(orders) == [], "nothing counted yet: they begin at the oldest record there is"
    project.window_sink(orders)
    assert project.window_positions(orders) == [Position.empty()], "a sink that has passed nothing"
    assert project.window_positions(bills) == []
