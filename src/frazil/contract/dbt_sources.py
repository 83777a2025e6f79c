"""What dbt has to know of the contracts: the raw tables as sources, with the contract's rules as tests of their columns.

The file belongs to the contracts: `frazil contracts compile` writes it, a run refuses one that says something else.
Tests in the package `frazil` (`in_range`, `length_in`, `matches`, `unique_together`) are the platform's; the rest are dbt's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from frazil.contract import Contract, Field
from frazil.errors import ConfigError

FILE = Path("warehouse") / "models" / "sources.yml"
_HEAD = "# Derived from contracts/ by `frazil contracts compile`: change the contract, then run that again.\n"
_SYSTEM = {
    "event_date": "UTC day of the event time.",
    "event_hour": "UTC hour of the event time, 0..23.",
    "_received_at": "When the record was received.",
    "_contract_version": "Version of the contract that judged it.",
    "_commit": "Landing order: grows with every commit that adds rows.",
}
RESERVED = frozenset(
    {
        "all", "analyse", "analyze", "and", "anti", "any", "array", "as", "asc", "asof", "asymmetric", "at", "authorization", "binary",
        "both", "by", "case", "cast", "check", "collate", "collation", "column", "columns", "concurrently", "constraint", "create",
        "cross", "default", "deferrable", "desc", "describe", "distinct", "do", "else", "end", "except", "false", "fetch", "for",
        "foreign", "freeze", "from", "full", "generated", "glob", "group", "having", "ilike", "in", "initially", "inner", "intersect",
        "into", "is", "isnull", "join", "lambda", "lateral", "leading", "left", "like", "limit", "map", "natural", "not", "notnull",
        "null", "offset", "on", "only", "or", "order", "outer", "overlaps", "pivot", "pivot_longer", "pivot_wider", "placing",
        "positional", "primary", "qualify", "references", "returning", "right", "select", "semi", "show", "similar", "some", "struct",
        "summarize", "symmetric", "table", "tablesample", "then", "to", "trailing", "true", "try_cast", "tuple", "union", "unique",
        "unpack", "unpivot", "using", "variadic", "verbose", "when", "where", "window", "with",
    }
)  # fmt: skip
"""Words that are no column in DuckDB's SQL unless they are quoted. Only these are: a quoted name is another one in Snowflake."""


def sources_yaml(contracts: Iterable[Contract]) -> str:
    """The text of `sources.yml`: one table per contract in order of their names, columns in the contract's order."""
    tables = [_table(contract) for contract in sorted(contracts, key=lambda one: one.name)]
    lake = {"name": "lake", "description": "What has landed, one table per contract.", "schema": "{{ target.schema }}", "tables": tables}
    return _HEAD + yaml.safe_dump({"version": 2, "sources": [lake]}, sort_keys=False, width=140, allow_unicode=True)


def check_drift(root: Path, contracts: Iterable[Contract]) -> None:
    """Compare a project's `sources.yml` with its contracts; a project without a warehouse has none.

    Raises:
        ConfigError: `warehouse.sources_drift`; names the first lines that differ.
    """
    file = root / FILE
    if not (root / "warehouse" / "dbt_project.yml").is_file():
        return
    wanted, there = sources_yaml(contracts), file.read_text() if file.is_file() else ""
    if wanted == there:
        return
    lines = [line for line in difflib.unified_diff(there.splitlines(), wanted.splitlines(), lineterm="", n=0) if line[:1] in "+-"]
    changed = [line for line in lines if line[:3] not in ("+++", "---")][:4]
    raise ConfigError(
        f"{FILE} is not what the contracts say: {'; '.join(changed)}",
        code="warehouse.sources_drift",
        hint="run `frazil contracts compile`; a model that reads a field which is gone has to change, too",
        file=str(file),
    )


def write(root: Path, contracts: Iterable[Contract], *, dry_run: bool = False) -> Path | None:
    """Write a project's `sources.yml`; None when it has no warehouse or the file is right. `dry_run`: only say whether it would."""
    try:
        contracts = list(contracts)
        check_drift(root, contracts)
    except ConfigError:
        if not dry_run:
            (root / FILE).parent.mkdir(parents=True, exist_ok=True)
            (root / FILE).write_text(sources_yaml(contracts))
        return root / FILE
    return None


def _table(contract: Contract) -> dict[str, Any]:
    table: dict[str, Any] = {"name": f"raw_{contract.name}", "description": contract.description or f"Landed {contract.name}."}
    names = [pointer.removeprefix("/") for pointer in contract.key]
    tests = [_test("frazil.unique_together", columns=["_log", "_partition", "_offset"])]
    if len(names) > 1 and not any("/" in name for name in names):
        quoted = {"quote": True} if any(name.lower() in RESERVED for name in names) else {}
        tests.append(_test("frazil.unique_together", columns=names, **quoted))
    table["data_tests"] = tests
    columns = [_column(one, unique=names == [one.name]) for one in contract.fields]
    own = {one.name for one in contract.fields}
    columns += [{"name": name, "description": text, "data_tests": ["not_null"]} for name, text in _SYSTEM.items() if name not in own]
    return {**table, "columns": columns}


def _column(one: Field, *, unique: bool) -> dict[str, Any]:
    tests: list[Any] = ["unique"] if unique else []
    for field, members in _members(one, ()):
        tests += _tests(field, members)
    column: dict[str, Any] = {"name": one.name, "description": one.description, "quote": one.name.lower() in RESERVED}
    if one.pii is not None:
        column["config"] = {"meta": {"pii": one.pii}}
    return {name: value for name, value in {**column, "data_tests": tests}.items() if value}


def _members(one: Field, path: tuple[str, ...]) -> Iterator[tuple[Field, tuple[str, ...]]]:
    """A field and the members of its object, with the path to each; items of arrays are the kernel's to check."""
    yield one, path
    for child in one.fields:
        yield from _members(child, (*path, child.name))


def _tests(one: Field, members: tuple[str, ...]) -> list[Any]:
    """A field's rules. Members are named by `member`; a required one may be missing with the object it is in."""
    where = {"member": list(members)} if members else {}
    tests: list[Any] = ["not_null"] if one.required and not members else []
    if one.enum is not None:
        quote = one.kind == "string"
        values = list(one.enum)
        if members:
            tests.append(_test("frazil.one_of", values=values, quote=quote, **where))
        else:
            tests.append(_test("accepted_values", values=values, quote=quote))
    if one.minimum is not None or one.maximum is not None:
        bounds = {"minimum": one.minimum, "maximum": one.maximum, "above": one.exclusive_minimum, "below": one.exclusive_maximum}
        tests.append(_test("frazil.in_range", **{name: value for name, value in bounds.items() if value not in (None, False)}, **where))
    if one.min_length is not None or one.max_length is not None:
        lengths = {"least": one.min_length, "most": one.max_length}
        tests.append(_test("frazil.length_in", **{name: value for name, value in lengths.items() if value is not None}, **where))
    if one.pattern is not None:
        tests.append(_test("frazil.matches", pattern=one.pattern, **where))
    return tests


def _test(name: str, **arguments: Any) -> Mapping[str, Any]:
    return {name: {"arguments": arguments}}
