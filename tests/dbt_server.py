"""dbt kept warm: one process that runs many command lines, its imports and the parsed project paid for once.

Reads `{"environment": …, "words": […]}` a line from stdin, answers `{"ok": …, "said": …, "nodes": {name: rows}}` a line. What a
real run does differently is only that its process ends: connections and plugins are closed after every run here, too.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner


def close() -> None:
    """End what a process would end: the scratch file and the lease."""
    environment = DuckDBConnectionManager._ENV
    if environment is not None:
        environment.close()
        environment._plugins["frazil"]._lease.release()
        DuckDBConnectionManager._ENV = None


def main() -> None:
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever dbt prints is talk
    manifests: dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        os.environ.update(asked["environment"])
        words, directory = asked["words"], asked["directory"]
        os.chdir(directory)
        places = ["--project-dir", directory, "--profiles-dir", directory]
        if directory not in manifests:
            manifests[directory] = dbtRunner().invoke(["--quiet", "parse", *places]).result
            close()
        done = dbtRunner(manifest=manifests[directory]).invoke(["--quiet", *words, *places])
        close()
        results = getattr(done.result, "results", None) or []
        answer = {
            "ok": bool(done.success),
            "said": [f"{one.node.name}: {one.message}" for one in results if str(one.status) not in ("success", "pass", "warn")]
            + ([repr(done.exception)] if done.exception else []),
            "nodes": {one.node.name: one.adapter_response.get("rows_affected") for one in results},
        }
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


if __name__ == "__main__":
    main()
