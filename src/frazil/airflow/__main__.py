"""`python -m frazil.airflow PROJECT [PORT]`: Airflow in one process group, for this machine only, on the project's DAGs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PORT = 8793


def environment(project: Path, port: int = PORT) -> Mapping[str, str]:
    """What Airflow needs to run a project's DAGs, keep its state in `.frazil/airflow`, listen on loopback and phone nobody."""
    home = project.resolve() / ".frazil" / "airflow"
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project.resolve() / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(port + 1),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(port + 2),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def main(arguments: list[str]) -> None:
    project = Path(arguments[0] if arguments else ".")
    port = int(arguments[1]) if len(arguments) > 1 else PORT
    airflow = Path(sys.executable).parent / "airflow"
    path = f"{airflow.parent}:{os.environ.get('PATH', '')}"
    os.execve(airflow, [str(airflow), "standalone"], {**os.environ, **environment(project, port), "PATH": path})


if __name__ == "__main__":
    main(sys.argv[1:])
