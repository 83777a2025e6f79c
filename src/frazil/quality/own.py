"""A project's own checks: `quality/*.yaml`, read with the line of everything that is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from frazil.contract import Contract
from frazil.contract.source import At, Source
from frazil.errors import ConfigError
from frazil.quality import Severity, suite
from frazil.quality.suite import Check
from frazil.settings import duration

_MEMBERS = ("table", "column", "columns", "severity", "about", "key", "with")
_KINDS = ("expect", "rows", "references", "fresh", "volume", "drift", "unique", "contract")


class Reader:
    """Reads suites of one project. `expectations`: names that Great Expectations knows, without `expect_`; None: not looked up."""

    def __init__(self, contracts: Mapping[str, Contract], expectations: Iterable[str] | None = None) -> None:
        self._contracts = contracts
        self._expectations = None if expectations is None else sorted(expectations)

    def directory(self, folder: Path) -> list[Check]:
        """All checks below `quality/`, in order of files and lines.

        Raises:
            ConfigError: `quality.suite_invalid`: every problem with file and line, and the known names.
        """
        checks: list[Check] = []
        problems = []
        for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            source = Source.read(file)
            checks += self._file(source)
            problems += source.problems
        if problems:
            first = sorted(problems)
            raise ConfigError(
                "\n".join(str(one) for one in first[:20]),
                code="quality.suite_invalid",
                hint="correct the suite, then `frazil quality run`",
                file=first[0].file,
                line=first[0].line,
            )
        return checks

    def _file(self, source: Source) -> list[Check]:
        if not isinstance(source.data, dict):
            if source.data is not None:
                source.report((), "a suite is a mapping", "write `suite: NAME` and `checks: [...]`")
            return []
        for name in source.data:
            _known(source, (name,), name, ("suite", "checks"), "a suite has")
        name, listed = source.data.get("suite"), source.data.get("checks")
        if not isinstance(name, str) or not isinstance(listed, list):
            source.report((), "a suite has a name and a list of checks", "write `suite: NAME` and `checks: [...]`")
            return []
        checks: list[Check] = []
        for number, one in enumerate(listed):
            at: At = ("checks", number)
            if not isinstance(one, dict):
                source.report(at, "a check is a mapping", "write {table: …, column: …, expect: …}")
                continue
            origin = f"{Path(source.file).name}:{source.line(at)}"
            checks += [replace(check, suite=name, origin=check.origin or origin) for check in self._check(source, at, one)]
        return checks

    def _check(self, source: Source, at: At, one: dict[str, Any]) -> list[Check]:
        before = len(source.problems)
        for name in one:
            _known(source, (*at, name), name, (*_MEMBERS, *_KINDS), "a check has")
        kinds = [kind for kind in _KINDS if kind in one]
        severity = one.get("severity", "warning")
        _known(source, (*at, "severity"), severity, get_args(Severity), "severities are")
        if len(kinds) != 1 or not isinstance(one.get("table"), str):
            source.report(at, "a check names its table and one thing to check", f"one of: {', '.join(_KINDS)}")
        if len(source.problems) > before:
            return []
        try:
            made = self._made(source, at, kinds[0], one)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            source.report((*at, kinds[0]), f"`{kinds[0]}` is not as it should be: {error}", "docs/quality.md shows each kind")
            return []
        key = tuple(one.get("key") or ())
        about = str(one.get("about", ""))
        return [
            replace(check, table=one["table"], severity=severity if "severity" in one else check.severity, key=key, about=about)
            for check in made
        ]

    def _made(self, source: Source, at: At, kind: str, one: dict[str, Any]) -> list[Check]:
        said, column, table = one[kind], one.get("column"), one["table"]
        if kind == "expect":
            name = str(said).removeprefix("expect_")
            if self._expectations is not None and not _known(source, (*at, kind), name, self._expectations, "expectations are"):
                return []
            return [Check("", table, f"expect_{name}", "warning", column, dict(one.get("with") or {}))]
        if kind == "rows":
            return [Check("", table, str(one.get("about") or "rows_at_fault"), "warning", None, {}, str(said))]
        if kind == "contract":
            return self._of_contract(source, (*at, kind), said, one)
        if kind == "unique":
            return [suite.unique(table, tuple([said] if isinstance(said, str) else said), "critical")]
        if not isinstance(column, str):
            raise TypeError("it needs a `column`")
        if kind == "references":
            other, _, to = said.partition(".")
            return [Check("", table, "references", "critical", column, {"to": said}, suite.references(column, other, to or column))]
        if kind == "fresh":
            return [Check("", table, "fresh", "warning", column, {"within": said}, suite.fresh(column, duration(said).total_seconds()))]
        if kind == "volume":
            limits = {"days": 7, "least": 0.3, "most": 3.0, **(said or {})}
            return [Check("", table, "volume", "warning", column, limits, suite.volume(column, **limits))]
        limits = {"days": 7, "most": 0.25, **(said or {})}
        return [Check("", table, "drift", "warning", column, limits, suite.drift(column, **limits))]

    def _of_contract(self, source: Source, at: At, name: str, one: dict[str, Any]) -> list[Check]:
        """Columns of a mart that keep the rules of a contract's fields: `columns: {event_value: /value}`."""
        if not _known(source, at, name, sorted(self._contracts), "contracts are"):
            return []
        contract = self._contracts[name]
        fields = {field.path: field for field in contract.walk()}
        checks: list[Check] = []
        for column, pointer in dict(one.get("columns") or {}).items():
            if _known(source, (*at[:-1], "columns", column), pointer, sorted(fields), f"fields of {name} are"):
                rules = suite.of_field(replace(fields[pointer], fields=()), column)
                checks += [replace(rule, origin=f"contract {contract.name} {contract.version}") for rule in rules]
        return checks


def _known(source: Source, at: At, name: Any, known: Iterable[str], what: str) -> bool:
    listed = list(known)
    if isinstance(name, str) and name in listed:
        return True
    close = difflib.get_close_matches(str(name), listed, 3)
    shown = f"did you mean {' or '.join(close)}?" if close else f"{what}: {', '.join(listed[:60])}"
    source.report(at, f"unknown name {str(name)[:80]!r}", shown)
    return False
