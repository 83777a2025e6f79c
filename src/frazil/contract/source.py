"""A contract file as data with line numbers, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

At = tuple[str | int, ...]
"""Where something stands in a document: keys and indexes from the top."""

MAX_BYTES = 1_048_576
_MAX_NODES = 100_000


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something to change in a contract file. `line` counts from 1; `where` is the place in the document."""

    file: str
    line: int
    where: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class _Core(yaml.SafeLoader):
    """YAML 1.2's core schema: `NO` is a country, `2026-11-20` and `1:30` are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # the shape PyYAML wants


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("merge", r"^<<$", "<"),
):
    _Core.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


class Source:
    """One file: its `data`, the line of every place, and the `problems` found so far."""

    def __init__(self, file: Path | str) -> None:
        self.file = str(file)
        self.data: object = None
        self.problems: list[Problem] = []
        self._lines: dict[At, int] = {(): 1}
        self._texts: dict[At, str] = {}
        self._nodes = 0

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read and parse; a file that cannot be read is a problem, too."""
        source = cls(path)
        try:
            raw = path.read_bytes()
            if len(raw) > MAX_BYTES:
                raise ValueError(f"the file is larger than {MAX_BYTES:,} bytes")
            source.parse(raw.decode("utf-8"))
        except OSError as error:
            source.report((), f"the file cannot be read: {error.strerror}", "name a file that is there and may be read")
        except ValueError as error:
            source.report((), f"the file cannot be read: {error}", "write it as UTF-8 YAML")
        return source

    def parse(self, text: str) -> None:
        """Fill `data`. Problems: not YAML, a key twice, a key that is not text."""
        try:
            loader = _Core(text)
            node = loader.get_single_node()
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or str(error)
            line = 1 if mark is None else mark.line + 1
            self.problems.append(Problem(self.file, line, "", f"not YAML: {problem}", "correct the indentation or the quotes"))
            return
        if node is None:
            self.report((), "the file is empty", "start from `frazil init` or another contract")
            return
        self.data = self._value(node, (), ())

    def report(self, at: At, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, self.line(at), ".".join(str(part) for part in at), message, hint))

    def line(self, at: At) -> int:
        """The line of a place, or of the nearest place above it."""
        while at not in self._lines:
            at = at[:-1]
        return self._lines[at]

    def text(self, at: At) -> str | None:
        """A scalar as it stands in the file, or None."""
        return self._texts.get(at)

    def _value(self, node: yaml.Node, at: At, above: tuple[int, ...]) -> object:
        self._nodes += 1
        self._lines.setdefault(at, node.start_mark.line + 1)
        if id(node) in above or self._nodes > _MAX_NODES:
            self.report(at, "an alias repeats without end", "write the value out")
            return None
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return dict(self._members(node, at, above))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*at, index), above) for index, item in enumerate(node.value)]
        try:  # "\\ud83e\\uddca" is one character, as in JSON
            self._texts[at] = str(node.value).encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.report(at, "half of a surrogate pair is no character", "write the character itself")
            return None
        return _scalar(node.tag, self._texts[at])

    def _members(self, node: yaml.MappingNode, at: At, above: tuple[int, ...]) -> Iterator[tuple[str, object]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key == "<<":
                self._lines[(*at, "?")] = key_node.start_mark.line + 1
                self.report((*at, "?"), "a key is not a plain text", "write the members out")
                continue
            place = (*at, key)
            self._lines[place] = key_node.start_mark.line + 1
            if key in seen:
                self.report(place, f"`{key}` stands more than once", "keep one of them")
                continue
            seen.add(key)
            yield key, self._value(value_node, place, above)


def _scalar(tag: str, text: str) -> object:
    match tag.rpartition(":")[2]:
        case "bool":
            return text.lower() == "true"
        case "null":
            return None
        case "int":
            return int(text)
        case "float":
            return float(text)
        case _:
            return text
