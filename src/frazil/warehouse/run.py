"""`transform`: dbt over the project's models, as a process of its own.

dbt holds state for a whole process (adapters, flags, loggers), takes seconds to import and cannot be broken off inside a
thread: `docs/decisions/0004-dbt-in-a-process.md`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from frazil import lineage
from frazil.contract.dbt_sources import check_drift
from frazil.contract.load import load_directory
from frazil.errors import ConfigError, FrazilError, Unavailable
from frazil.settings import Settings
from frazil.telemetry import logger
from frazil.warehouse import NodeResult, Outcome, Transformation
from frazil.warehouse.package import install

if TYPE_CHECKING:
    from frazil.lineage.telling import Telling

Command = Literal["build", "seed", "run", "test", "docs", "parse", "compile"]
WAREHOUSE = "warehouse"
BUSY = "warehouse.busy"
HELD = "Could not set lock on file"  # DuckDB: somebody looks into the scratch file

_log = logger("warehouse")
_OUTCOMES: dict[str, Outcome] = {
    "success": "success",
    "pass": "success",
    "warn": "warn",
    "fail": "fail",
    "error": "error",
    "partial success": "error",
    "runtime error": "error",
    "skipped": "skipped",
    "no-op": "success",
}
_KINDS: dict[str, Literal["seed", "model", "test", "snapshot"]] = {"seed": "seed", "model": "model", "snapshot": "snapshot"}
_TOLD: Final = ("build", "seed", "run", "test")  # what lineage hears of: the rest changes nothing
_WORDS: dict[Command, tuple[str, ...]] = {"docs": ("docs", "generate")}


def transform(
    settings: Settings,
    *,
    full_refresh: bool = False,
    select: Sequence[str] = (),
    target: str | None = None,
    command: Command = "build",
) -> Transformation:
    """Build the project's seeds and models in order and test them; each mart becomes visible in one swap.

    Args:
        settings: Of a project with a directory `warehouse/` (a dbt project).
        full_refresh: Build everything anew instead of from what landed since.
        select: dbt selectors (`fact_events+`, `tag:serving`); empty: all.
        target: Output of `profiles.yml`; default: the setting `warehouse.target`.
        command: What dbt does. `build`: seeds, models and tests; `docs` writes `.frazil/warehouse/target/index.html`.

    Returns:
        What became of every node. A node that failed is a result, not an exception: see `Transformation.failed`.

    Raises:
        ConfigError: `warehouse.absent`, `warehouse.not_installed`; `warehouse.sources_drift`: `sources.yml` is not what the
            contracts say.
        Unavailable: `warehouse.busy`: another run holds the warehouse.
        FrazilError: `warehouse.dbt_failed`: dbt stopped before it ran a node (a model that cannot be compiled, say).
    """
    if command not in _TOLD:
        return _transform(settings, full_refresh, select, target, command, None)
    with lineage.run(settings, "transform", "TRANSFORMATION") as telling:
        return _transform(settings, full_refresh, select, target, command, telling)


def _transform(
    settings: Settings, full_refresh: bool, select: Sequence[str], target: str | None, command: Command, telling: Telling | None
) -> Transformation:
    began = time.monotonic()
    directory = settings.root / WAREHOUSE
    _check(directory)
    check_drift(settings.root, load_directory(settings.contracts_dir).values())
    install(directory)
    target = target or settings.warehouse.target
    state = settings.state_dir / WAREHOUSE
    state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state, prefix="run-") as scratch:
        results = Path(scratch) / "run_results.json"
        words = [*_WORDS.get(command, (command,)), "--target", target]
        words += ["--full-refresh"] if full_refresh and command in ("build", "seed", "run", "compile") else []
        words += ["--select", *select] if select else []
        # a test that also reads what was not selected, and is not above it, may find nothing there
        words += ["--indirect-selection", "buildable"] if select and command in ("build", "test") else []
        words += ["--no-introspect", "--no-populate-cache"] if command == "compile" and target != "duckdb" else []  # needs no engine
        code, said = _dbt(settings, directory, state, words, results)
        report = json.loads(results.read_text()) if results.is_file() else None
    errors = [line["info"]["msg"] for line in said if line["info"]["level"] == "error"]
    if any(BUSY in line or HELD in line for line in errors):
        raise Unavailable(
            "another run, or another program, holds the warehouse's scratch file",
            code=BUSY,
            hint="wait until it has ended (`frazil runs`), or close the program; readers read the lake",
            file=str(settings.state_dir / "warehouse.duckdb"),
        )
    nodes = [] if report is None else [_node(one) for one in report["results"] if _kind(one) not in ("exposure", "operation")]
    if telling is not None and report is not None:
        _tell(telling, state / "target", report)
    done = Transformation(_invocation(report, said), target, time.monotonic() - began, nodes)
    if code and not done.failed:
        raise _stopped(errors, directory)
    if telling is not None and done.failed:
        telling.failure = "failed: " + ", ".join(node.name for node in done.failed[:20])
    _log.info("transformed", target=target, command=command, nodes=len(nodes), failed=len(done.failed), seconds=round(done.seconds, 3))
    return done


def _tell(telling: Telling, target: Path, report: dict[str, Any]) -> None:
    from frazil.lineage.models import tell

    with suppress(OSError):  # no manifest, no lineage
        tell(telling, target, report)


def _check(directory: Path) -> None:
    if not (directory / "dbt_project.yml").is_file():
        hint = "`frazil init DIR` writes a project with one; this project has tables, but nothing that transforms them"
        raise ConfigError(f"no dbt project in {directory}", code="warehouse.absent", hint=hint, directory=str(directory))
    if not is_installed():
        raise ConfigError("dbt is not installed", code="warehouse.not_installed", hint="pip install 'frazil[warehouse]'")


def is_installed() -> bool:
    """Whether the extra `warehouse` is there. Imports nothing."""
    try:
        return importlib.util.find_spec("dbt.cli") is not None and importlib.util.find_spec("dbt.adapters.duckdb") is not None
    except ModuleNotFoundError:
        return False


def _dbt(settings: Settings, directory: Path, state: Path, words: Sequence[str], results: Path) -> tuple[int, list[dict[str, Any]]]:
    """Run dbt; its exit code and what it said, one JSON object a line."""
    program = [sys.executable, "-m", "frazil.warehouse.child", *_arguments(directory, words, results)]
    environment = {**os.environ, **_environment(settings, state)}
    process = subprocess.Popen(program, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = process.communicate()[0]
    except BaseException:  # broken off: its marts are whole, old or new
        process.terminate()
        process.wait()
        raise
    return process.returncode, list(_lines(said))


def _arguments(directory: Path, words: Sequence[str], results: Path) -> list[str]:
    """What `frazil.warehouse.child` takes. `target/` stays where it is: a fresh one would lose the parsed project, half of dbt's start."""
    options = ["--log-format", "json", "--log-level", "info", "--no-use-colors"]
    return [str(results), *options, *words, "--project-dir", str(directory), "--profiles-dir", str(directory)]


def _environment(settings: Settings, state: Path) -> dict[str, str]:
    """What dbt's profile and the plugin read; the settings as they are now, with their profile."""
    return {
        "FRAZIL_ROOT": str(settings.root.resolve()),
        "FRAZIL_NAME": settings.name,
        "FRAZIL_LAKE__CATALOG": settings.lake.catalog,
        "FRAZIL_LAKE__STORAGE": settings.lake.storage,
        "FRAZIL_LAKE__COMPRESSION": settings.lake.compression,
        "DBT_TARGET_PATH": str(state.resolve() / "target"),
        "DBT_LOG_PATH": str(state.resolve() / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _lines(said: str) -> Iterator[dict[str, Any]]:
    """dbt's own lines; what is no JSON (a traceback, a library's warning) is an error line of its own if dbt died."""
    for line in said.splitlines():
        try:
            parsed = json.loads(line)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict) and "info" in parsed:
            yield parsed
        elif line.strip():
            yield {"info": {"level": "plain", "msg": line}, "data": {}}


def _kind(one: dict[str, Any]) -> str:
    return str(one["unique_id"]).partition(".")[0]


def _node(one: dict[str, Any]) -> NodeResult:
    kind, _, name = one["unique_id"].partition(".")
    outcome = _OUTCOMES.get(str(one["status"]).lower(), "error")
    rows = one.get("adapter_response", {}).get("rows_affected")
    return NodeResult(
        name=_short(kind, name),
        kind=_KINDS.get(kind, "test"),
        outcome=outcome,
        seconds=float(one.get("execution_time") or 0.0),
        rows=rows if isinstance(rows, int) and rows >= 0 else None,
        message=_message(_KINDS.get(kind, "test"), outcome, str(one.get("message") or "").strip()),
        relation=one.get("relation_name"),
    )


def _message(kind: str, outcome: Outcome, said: str) -> str:
    if outcome != "success":
        return said
    return said.removeprefix("OK").strip() if kind == "model" else ""


def _short(kind: str, name: str) -> str:
    """`shop.not_null_x.1a2b` of a test is `not_null_x`; `shop.fact_events` of a model `fact_events`."""
    parts = name.split(".")
    return parts[1] if kind == "test" and len(parts) > 1 else ".".join(parts[1:])


def _invocation(report: dict[str, Any] | None, said: Sequence[dict[str, Any]]) -> str:
    if report is not None:
        return str(report["metadata"]["invocation_id"])
    return next((str(line["info"]["invocation_id"]) for line in said if "invocation_id" in line["info"]), "")


def _stopped(errors: Sequence[str], directory: Path) -> FrazilError:
    told = [line.strip() for line in errors if line.strip()]
    for line in told:  # an error of ours inside dbt: say it as it is
        if "[warehouse." in line or "[contract." in line:
            return FrazilError(line, code="warehouse.dbt_failed", hint="see above")
    wrong = any("Compilation Error" in line or "Parsing Error" in line for line in told)  # the same however often it is tried
    return (ConfigError if wrong else FrazilError)(
        "dbt stopped: " + ("\n".join(told[-6:]) or "it said nothing"),
        code="warehouse.dbt_failed",
        hint=f"correct what it names below {directory}; .frazil/warehouse/logs has the whole story",
        directory=str(directory),
    )
