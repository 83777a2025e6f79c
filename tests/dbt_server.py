"""dbt kept warm: one process that runs many command lines, its imports and the parsed project paid for once.

Reads one JSON object a line from stdin, answers one a line:

- `{"environment": …, "directory": …, "arguments": [RESULTS, WORDS…]}` runs `frazil.warehouse.child` as `frazil.warehouse.run` does, and
  answers `{"code": …, "said": …}`;
- `{"environment": …, "directory": …, "words": […]}` runs dbt over a project that never changes, parsed once however many lakes
  there are, and answers `{"ok": …, "said": …, "nodes": {name: rows}}`.

What a real run does differently is only that its process ends: connections and plugins are closed after every run here, too.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner

from frazil.warehouse import child

MANIFESTS: dict[str, Any] = {}


def close() -> None:
    """End what a process would end: the scratch file and the lease."""
    environment = DuckDBConnectionManager._ENV
    if environment is not None:
        environment.close()
        environment._plugins["frazil"]._lease.release()
        DuckDBConnectionManager._ENV = None


def as_a_child(arguments: list[str]) -> dict[str, Any]:
    """The process that `transform` starts, its output kept."""
    with tempfile.TemporaryFile() as talk:
        kept = os.dup(1), os.dup(2)
        os.dup2(talk.fileno(), 1)
        os.dup2(talk.fileno(), 2)
        try:
            code = child.main(arguments)
        finally:
            close()
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, old in zip((1, 2), kept, strict=True):
                os.dup2(old, descriptor)
                os.close(old)
        talk.seek(0)
        return {"code": code, "said": talk.read().decode()}


def parsed_once(directory: str, words: list[str]) -> dict[str, Any]:
    places = ["--project-dir", directory, "--profiles-dir", directory]
    if directory not in MANIFESTS:
        MANIFESTS[directory] = dbtRunner().invoke(["--quiet", "parse", *places]).result
        close()
    done = dbtRunner(manifest=MANIFESTS[directory]).invoke(["--quiet", *words, *places])
    close()
    results = getattr(done.result, "results", None) or []
    failed = [f"{one.node.name}: {one.message}" for one in results if str(one.status) not in ("success", "pass", "warn")]
    return {
        "ok": bool(done.success),
        "said": failed + ([repr(done.exception)] if done.exception else []),
        "nodes": {one.node.name: one.adapter_response.get("rows_affected") for one in results},
    }


def main() -> None:
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever dbt prints is talk
    for line in sys.stdin:
        asked = json.loads(line)
        os.environ.update(asked["environment"])
        os.chdir(asked["directory"])
        answer = as_a_child(asked["arguments"]) if "arguments" in asked else parsed_once(asked["directory"], asked["words"])
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


if __name__ == "__main__":
    main()
