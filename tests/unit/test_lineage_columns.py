"""What a query's text tells of where its columns come from; what it does not tell is not guessed."""

from __future__ import annotations

import pytest

from frazil.lineage.columns import columns_of

TABLES = {("t",): ["a", "b", "c"], ("shop", "u"): ["a", "d"]}


def made(sql: str) -> dict[str, dict[str, bool]] | None:
    found = columns_of(sql, TABLES.get)
    if found is None:
        return None
    return {name: {f"{origin.relation[-1]}.{origin.column}": same for origin, same in origins.items()} for name, origins in found.items()}


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("select a from t", {"a": {"t.a": True}}),
        ("select A as X, b + c as y, 1 as z from T", {"x": {"t.a": True}, "y": {"t.b": False, "t.c": False}, "z": {}}),
        ("select * from t", {"a": {"t.a": True}, "b": {"t.b": True}, "c": {"t.c": True}}),
        ("select * exclude (b, c) from t", {"a": {"t.a": True}}),
        ("select t.a, u.a as other, d from t join shop.u on t.a = u.a", {"a": {"t.a": True}, "other": {"u.a": True}, "d": {"u.d": True}}),
        ("select u.* from t join shop.u using (a)", {"a": {"u.a": True}, "d": {"u.d": True}}),
        ("with x as (select a as k, max(b) as m from t group by 1) select k, m from x", {"k": {"t.a": True}, "m": {"t.b": False}}),
        ("with x(p, q) as (select a, b from t) select q from x", {"q": {"t.b": True}}),
        ("with x as (select a from t), y as (select * from x) select * from y", {"a": {"t.a": True}}),
        ("select v from (select b as v from t) s", {"v": {"t.b": True}}),
        ("select a as k from t union all select d from shop.u", {"k": {"t.a": True, "u.d": True}}),
        ("select a + 1 as k, k * 2 as l from t", {"k": {"t.a": False}, "l": {"t.a": False}}),
        ("select (select max(d) from shop.u) as top from t", {"top": {"u.d": False}}),
        ("select row_number() over (partition by a order by b) as n from t", {"n": {"t.a": False, "t.b": False}}),
        ("select a.x as inner_one from elsewhere", {"inner_one": {"elsewhere.a": False}}),
        ("select lower(e.name) as n from elsewhere e", {"n": {"elsewhere.name": False}}),
    ],
)
def test_columns_are_followed(sql: str, wanted: dict[str, dict[str, bool]]) -> None:
    assert made(sql) == wanted


@pytest.mark.parametrize(
    "sql",
    [
        "select * from elsewhere",
        "select a from elsewhere, otherwhere",
        "select * replace (a + 1 as a) from t",
        "select columns('a|b') from t",
        "select a + 1 from t",
        "select n from range(3) r(n)",
        "pivot t on a using sum(b)",
        "with recursive r as (select 1 as n union all select n + 1 from r where n < 3) select n from r",
        "select a frm t",
        "select 1 as a; select 2 as a",
        "create table x as select 1 as a",
        "",
    ],
)
def test_what_the_text_does_not_tell_is_left_out(sql: str) -> None:
    assert columns_of(sql, TABLES.get) is None
