"""Tasks that call the platform's command line, each as a process in the platform's own environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import structlog
from airflow.sdk import BaseOperator, Connection
from airflow.sdk.exceptions import AirflowException, AirflowFailException

_log = structlog.get_logger("frazil.airflow")
_EXITS = {
    1: "the answer is no",
    2: "the command was not understood",
    3: "it failed",
    75: "a system does not answer",
    78: "it waits for an operator",
}
_FINAL = (1, 2, 78)
"""Exit codes that another try would not change."""


class FrazilOperator(BaseOperator):
    """Runs one `frazil` command; returns its JSON, None where it prints none.

    Exit 0 succeeds. 1 (the answer is no), 2 and 78 (an operator has to look) fail at once; 3 and 75 fail with retries.
    What the command says on stderr is in the task's log, line by line.

    Args:
        arguments: Words after `frazil`, such as `["verify", "--json"]`.
        project: Directory with `frazil.toml`.
        command: Path of `frazil` in the platform's environment; default: $FRAZIL_COMMAND, then $PATH.
        environment: Further variables.
        aws_conn_id, snowflake_conn_id: Connections handed over as the variables that these systems' clients read.
    """

    template_fields: Sequence[str] = ("arguments", "project", "environment")

    def __init__(
        self,
        *,
        project: str,
        arguments: Sequence[str] = (),
        command: str | None = None,
        environment: Mapping[str, str] | None = None,
        aws_conn_id: str | None = None,
        snowflake_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.arguments = list(arguments)
        self.project = project
        self.command = command
        self.environment = dict(environment or {})
        self.aws_conn_id = aws_conn_id
        self.snowflake_conn_id = snowflake_conn_id
        self._process: subprocess.Popen[str] | None = None

    def words(self, context: Any) -> list[str]:
        """The words after `frazil`."""
        return list(self.arguments)

    def execute(self, context: Any) -> Any:
        words = self.words(context)
        process = subprocess.Popen(
            [_command(self.command), "--project", self.project, *words],
            env=self._environment(),
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._process = process
        said: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        listener = threading.Thread(target=self._listen, args=(process.stderr, said), daemon=True)
        listener.start()
        out = process.stdout.read()
        code = process.wait()
        listener.join()
        answer = _json(out)
        if code:
            self.refused(answer)
            what = f"`frazil {' '.join(words)}`: exit {code}, {_EXITS.get(code, 'unknown')}\n" + "\n".join(said[-6:])
            raise (AirflowFailException if code in _FINAL else AirflowException)(what)
        return answer

    def refused(self, answer: Any) -> None:
        """Hear what the command printed before it failed."""

    def on_kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def _listen(self, stderr: IO[str], said: list[str]) -> None:
        for line in stderr:
            said.append(line.rstrip("\n"))
            self.log.info(line.rstrip("\n"))

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "_AIRFLOW", "PYTHON", "VIRTUAL_ENV"))}
        found = {**kept, "FRAZIL_RUN_CAUSE": "airflow"}
        if self.aws_conn_id is not None:
            found |= aws(Connection.get(self.aws_conn_id))
        if self.snowflake_conn_id is not None:
            found |= snowflake(Connection.get(self.snowflake_conn_id))
        return found | self.environment


class FrazilStepOperator(FrazilOperator):
    """One step of a pipeline. The steps of one DAG run are one run in `frazil runs`, named after it; Airflow does the retries."""

    def __init__(self, *, step: str, pipeline: str = "pipeline", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.pipeline = pipeline

    def words(self, context: Any) -> list[str]:
        name = "airflow-" + re.sub(r"[^A-Za-z0-9._-]", "_", str(context["run_id"]))
        return ["run", self.pipeline, "--id", name, "--step", self.step, "--attempts", "1", "--json"]


class GreatExpectationsOperator(FrazilStepOperator):
    """The suites of checks. A critical failure fails the task at once, and its details are in the log as one structured line."""

    def __init__(self, *, step: str = "quality", **kwargs: Any) -> None:
        super().__init__(step=step, **kwargs)

    def refused(self, answer: Any) -> None:
        steps = answer.get("steps", []) if isinstance(answer, dict) else []
        for one in steps:
            if one["name"] == self.step and one["error"]:
                _log.error("quality failed", **{name: one["error"].get(name) for name in ("code", "message", "hint", "context")})


def log_failure(context: Any) -> None:
    """An `on_failure_callback`: one structured line with what failed, where, and at which try."""
    _log.error("task failed", **_story(context))


def log_retry(context: Any) -> None:
    """An `on_retry_callback`: as `log_failure`, for a try that is followed by another."""
    _log.warning("task is tried again", **_story(context))


def _story(context: Any) -> dict[str, Any]:
    task, error = context["ti"], context.get("exception")
    return {
        "dag": task.dag_id,
        "run": str(context["run_id"]),
        "task": task.task_id,
        "attempt": task.try_number,
        "error": f"{type(error).__name__}: {error}",
    }


def aws(connection: Any) -> dict[str, str]:
    """An AWS connection as the variables that AWS clients read."""
    extra = connection.extra_dejson
    named = {
        "AWS_ACCESS_KEY_ID": connection.login,
        "AWS_SECRET_ACCESS_KEY": connection.password,
        "AWS_SESSION_TOKEN": extra.get("aws_session_token"),
        "AWS_DEFAULT_REGION": extra.get("region_name"),
        "AWS_ENDPOINT_URL": extra.get("endpoint_url"),
    }
    return {name: str(value) for name, value in named.items() if value}


def snowflake(connection: Any) -> dict[str, str]:
    """A Snowflake connection as the variables that the warehouse's profile reads."""
    extra = connection.extra_dejson
    named = {
        "SNOWFLAKE_USER": connection.login,
        "SNOWFLAKE_PASSWORD": connection.password,
        "SNOWFLAKE_SCHEMA": connection.schema,
        **{f"SNOWFLAKE_{name.upper()}": extra.get(name) for name in ("account", "warehouse", "database", "role", "private_key_path")},
    }
    return {name: str(value) for name, value in named.items() if value}


def _command(given: str | None) -> str:
    found = given or os.environ.get("FRAZIL_COMMAND") or shutil.which("frazil")
    if found is None or not Path(found).exists():
        raise AirflowFailException("`frazil` is not found: set FRAZIL_COMMAND to its path in the platform's environment")
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
