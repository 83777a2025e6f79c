"""The models of a dbt project as the plugin sees them: what a mart is made of, and whether its making changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MART = "iceberg"
"""The materialization whose result is a table of the lake; every other one is scratch."""


@dataclass(frozen=True, slots=True)
class Input:
    """A table of the lake that a model reads, directly or through views. `raw`: a source; else another mart."""

    name: str
    raw: bool


class Graph:
    """dbt's graph of nodes and sources.

    Args:
        graph: dbt's own, as macros get it: `nodes` and `sources`, both by unique id.
        macros: What the project's and the package's macros say: part of every model's shape.
    """

    def __init__(self, graph: Mapping[str, Any], macros: str) -> None:
        self._nodes: Mapping[str, Any] = graph["nodes"]
        self._sources: Mapping[str, Any] = graph["sources"]
        self._macros = macros

    def inputs(self, unique_id: str) -> tuple[Input, ...]:
        """The tables of the lake that a model reads, in order of their names, each once."""
        found: dict[str, Input] = {}
        for parent in self._scratch_above(unique_id):
            for above in self._parents(parent):
                if above in self._sources:
                    found[above] = Input(self._sources[above]["identifier"], raw=True)
                elif self._is_mart(above):
                    found[above] = Input(self._nodes[above]["alias"], raw=False)
        return tuple(sorted(found.values(), key=lambda one: one.name))

    def shape(self, unique_id: str) -> str:
        """A hash over what decides a model's rows besides its inputs: its text, of views and seeds above, macros, key, partitions."""
        one = self._nodes[unique_id]
        config = {name: one["config"].get(name) for name in ("unique_key", "keys_from", "partition_by", "landed_by")}
        texts = sorted((node, str(self._nodes[node]["checksum"]["checksum"])) for node in self._scratch_above(unique_id))
        return hashlib.sha256(json.dumps([texts, config, self._macros], sort_keys=True).encode()).hexdigest()[:32]

    def _scratch_above(self, unique_id: str) -> Iterator[str]:
        """The model itself and the views and seeds it stands on, up to marts and sources."""
        seen, queue = {unique_id}, [unique_id]
        while queue:
            one = queue.pop()
            yield one
            for above in self._parents(one):
                if above in self._nodes and not self._is_mart(above) and above not in seen:
                    seen.add(above)
                    queue.append(above)

    def _parents(self, unique_id: str) -> list[str]:
        return list(self._nodes[unique_id].get("depends_on", {}).get("nodes", []))

    def _is_mart(self, unique_id: str) -> bool:
        return unique_id in self._nodes and self._nodes[unique_id]["config"].get("materialized") == MART


def macros_of(directory: Path) -> str:
    """A hash over all macros of a dbt project, those of its packages included."""
    files = sorted([*directory.glob("macros/**/*.sql"), *directory.glob("dbt_packages/*/macros/**/*.sql")])
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(directory)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()
