"""Which columns a query's columns come from, as far as its text tells: DuckDB's own parser reads it, nothing is run.

What decides which rows there are (filters, joins, groups) is not followed, only what a value is made of. A query with parts that
are not understood here gives nothing rather than a guess.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb

_NAMELESS = "?"


class Origin(NamedTuple):
    """A column of a relation; the relation as the parts of its name, lower case."""

    relation: tuple[str, ...]
    column: str


Made = Mapping[Origin, bool]
"""What a column is made of; True: it is that column, unchanged."""

Known = Callable[[tuple[str, ...]], "Sequence[str] | None"]
"""The columns of a relation by its name; None: not known."""


class Unclear(Exception):
    """The query has a part that is not followed here."""


@dataclass(frozen=True)
class _Source:
    """A relation in a scope. `columns` None: any column may be in it."""

    alias: str
    columns: dict[str, Made] | None
    relation: tuple[str, ...] = ()

    def get(self, name: str) -> Made | None:
        if self.columns is None:
            return {Origin(self.relation, name): True}
        return self.columns.get(name)


def columns_of(sql: str, known: Known) -> dict[str, Made] | None:
    """A query's columns in order, each with what it is made of; None when the text does not tell.

    Args:
        sql: One SELECT of DuckDB's.
        known: Columns of the relations it reads.
    """
    with duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}) as parser:
        parsed = json.loads(parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0])
    if parsed.get("error") or len(parsed["statements"]) != 1:
        return None
    try:
        found = _Query(known, {}).node(parsed["statements"][0]["node"])
    except (Unclear, KeyError, TypeError, RecursionError):
        return None
    return None if any(name.startswith(_NAMELESS) for name in found) else found


@dataclass
class _Query:
    known: Known
    tables: dict[str, dict[str, Made]]

    def node(self, node: Mapping[str, Any]) -> dict[str, Made]:
        inner = _Query(self.known, dict(self.tables))
        for one in node.get("cte_map", {}).get("map", []):
            value = one["value"]
            inner.tables[one["key"].lower()] = _renamed(inner.node(value.get("query_node") or value["query"]["node"]), value["aliases"])
        if node["type"] == "SELECT_NODE":
            return inner.select(node)
        if node["type"] == "SET_OPERATION_NODE":
            sides = [inner.node(side) for side in (node.get("children") or [node["left"], node["right"]])]
            return _united(sides, by_name=bool(node.get("setop_all_by_name")))
        raise Unclear(node["type"])

    def select(self, node: Mapping[str, Any]) -> dict[str, Made]:
        scope = list(self.sources(node["from_table"]))
        found: dict[str, Made] = {}
        for one in node["select_list"]:
            if one["class"] == "STAR":
                found |= _starred(one, scope)
            else:
                found[_named(one, len(found))] = self.made(one, scope, found)
        return found

    def sources(self, table: Mapping[str, Any]) -> Iterator[_Source]:
        kind, alias = table["type"], str(table.get("alias") or "").lower()
        if kind == "JOIN":
            yield from self.sources(table["left"])
            yield from self.sources(table["right"])
        elif kind == "BASE_TABLE":
            path = tuple(str(part).lower() for part in table["qualified_name"]["path"])
            if len(path) == 1 and path[0] in self.tables:
                yield _Source(alias or path[0], _renamed(self.tables[path[0]], table["column_name_alias"]))
            else:
                names = self.known(path)
                yield _Source(alias or path[-1], None if names is None else _own(path, names), path)
        elif kind == "SUBQUERY":
            inner = table["subquery"]["node"]
            yield _Source(alias, _renamed(self.node(inner), table["column_name_alias"]))
        elif kind != "EMPTY":
            raise Unclear(kind)

    def made(self, part: Any, scope: Sequence[_Source], before: Mapping[str, Made]) -> Made:
        """What an expression is made of; unchanged only when it is a column and nothing else."""
        if isinstance(part, dict) and part.get("class") == "COLUMN_REF":
            return _looked_up([str(name).lower() for name in part["column_names"]], scope, before)
        if isinstance(part, dict) and part.get("class") == "SUBQUERY":
            return {origin: False for made in self.node(part["subquery"]["node"]).values() for origin in made}
        children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return {origin: False for child in children for origin in self.made(child, scope, before)}


def _own(relation: tuple[str, ...], names: Sequence[str]) -> dict[str, Made]:
    return {name.lower(): {Origin(relation, name.lower()): True} for name in names}


def _looked_up(names: Sequence[str], scope: Sequence[_Source], before: Mapping[str, Made]) -> Made:
    if len(names) > 1:
        for source in scope:
            if source.alias == names[0]:
                made = source.get(names[1])
                return {origin: same and len(names) == 2 for origin, same in (made or {}).items()}
    for source in sorted(scope, key=lambda one: one.columns is None):  # who is known to have it, before who may
        made = source.get(names[0])
        if made is not None:
            if source.columns is None and sum(one.columns is None for one in scope) > 1:
                raise Unclear("a column of one of several unknown relations")
            return {origin: same and len(names) == 1 for origin, same in made.items()}
    return before.get(names[0], {})  # a parameter of a lambda is of no relation


def _starred(star: Mapping[str, Any], scope: Sequence[_Source]) -> dict[str, Made]:
    if star.get("expr") or star.get("rename_list") or star.get("replace_list") or star.get("columns"):
        raise Unclear("a star with changes")
    left_out = {str(one).lower() for one in star.get("exclude_list", [])}
    wanted = str(star.get("relation_name") or "").lower()
    found: dict[str, Made] = {}
    for source in scope:
        if wanted and source.alias != wanted:
            continue
        if source.columns is None:
            raise Unclear("a star over an unknown relation")
        found |= {name: made for name, made in source.columns.items() if name not in left_out and name not in found}
    return found


def _named(one: Mapping[str, Any], place: int) -> str:
    if one.get("alias"):
        return str(one["alias"]).lower()
    if one["class"] == "COLUMN_REF":
        return str(one["column_names"][-1]).lower()
    return f"{_NAMELESS}{place}"


def _renamed(columns: dict[str, Made], aliases: Sequence[str]) -> dict[str, Made]:
    names = [str(one).lower() for one in aliases] + list(columns)[len(aliases) :]
    return dict(zip(names, columns.values(), strict=True))


def _united(sides: Sequence[dict[str, Made]], *, by_name: bool) -> dict[str, Made]:
    """The columns of a union: made of what they are made of on every side."""
    first = sides[0]
    if by_name:
        return {name: _both([side.get(name, {}) for side in sides]) for name in dict.fromkeys(name for side in sides for name in side)}
    if any(len(side) != len(first) for side in sides):
        raise Unclear("a union of queries with different columns")
    return {name: _both([list(side.values())[place] for side in sides]) for place, name in enumerate(first)}


def _both(all_made: Sequence[Made]) -> Made:
    found: dict[Origin, bool] = {}
    for made in all_made:
        for origin, same in made.items():
            found[origin] = same and found.get(origin, True)
    return found
