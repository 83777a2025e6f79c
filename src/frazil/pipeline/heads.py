"""Heads and news of a project's raw tables, as its lake knows them."""

from __future__ import annotations

from frazil.pipeline.news import Heads, Pin, has_news, pin, raw_tables
from frazil.table.catalog import Lake


def heads(lake: Lake) -> dict[str, Pin]:
    """The heads of all raw tables that have one. Raises Unavailable."""
    found = {}
    for name in raw_tables(lake.names()):
        table = lake.find(name)
        at = None if table is None else pin(table.metadata)
        if at is not None:
            found[name] = at
    return found


def news(lake: Lake, known: Heads) -> dict[str, Pin] | None:
    """The heads of all raw tables when one of them has news above `known`, else None. Raises Unavailable."""
    found, new = {}, False
    for name in raw_tables(lake.names()):
        table = lake.find(name)
        at = None if table is None else pin(table.metadata)
        if table is None or at is None:
            continue
        found[name] = at
        new = new or has_news(table.metadata, known.get(name))
    return found if new else None
