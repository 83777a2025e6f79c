"""OpenLineage events: what was read and written by landing, repairs, dbt, quality and pipelines.

Stages call what is here; while lineage is off that costs a look at the settings and imports nothing. Events are built and sent
by a thread of their own (`sending`): a receiver that is slow, away or wrong never delays or fails the work it hears of.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import NAMESPACE_URL, uuid5

from frazil.errors import ConfigError
from frazil.settings import Settings
from frazil.telemetry import logger

if TYPE_CHECKING:
    from frazil.lineage.events import JobType, State
    from frazil.lineage.sending import Sender
    from frazil.lineage.telling import Telling

_log = logger("lineage")
PATH = "/api/v1/lineage"
"""Where receivers take events, when the URL names no path."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where events go: a file that grows by a line per event, or an HTTP endpoint. `api_key` is sent as a bearer token."""

    file: Path | None = None
    url: str = ""
    api_key: str | None = None


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run of a job, as others name it. `root`: the run that all of it belongs to; None: itself."""

    run_id: str
    namespace: str
    job: str
    root: RunRef | None = None


_parent: ContextVar[RunRef | None] = ContextVar("lineage_parent", default=None)
_senders: dict[tuple[int, Path], Sender] = {}
_lock = threading.Lock()
_told: set[str] = set()


def receiver(settings: Settings) -> Receiver | None:
    """Where `[lineage]` sends events, else where the variables of OpenLineage's own clients do; None: nowhere.

    `OPENLINEAGE_URL`, `OPENLINEAGE_ENDPOINT`, `OPENLINEAGE_API_KEY`; `OPENLINEAGE_DISABLED=true` turns everything off.
    """
    if os.environ.get("OPENLINEAGE_DISABLED", "").lower() == "true":
        return None
    chosen = settings.lineage
    if chosen.url is not None and chosen.url.startswith("file://"):
        return Receiver(file=settings.path_of(chosen.url))
    url = chosen.url or os.environ.get("OPENLINEAGE_URL")
    if not url:
        return None
    key = os.environ.get("OPENLINEAGE_API_KEY") if chosen.api_key is None else chosen.api_key.get_secret_value()
    path = "" if chosen.url else os.environ.get("OPENLINEAGE_ENDPOINT", "")
    bare = url.rstrip("/")
    has_path = "/" in bare.partition("://")[2]
    return Receiver(url=f"{bare}/{path.lstrip('/')}" if path else bare if has_path else bare + PATH, api_key=key)


def namespace(settings: Settings) -> str:
    """The namespace of this project's jobs."""
    return settings.lineage.namespace or os.environ.get("OPENLINEAGE_NAMESPACE") or settings.name


def sender(settings: Settings) -> Sender | None:
    """This process's sender for a project; None while lineage is off, or cannot be on, which is logged once."""
    to = receiver(settings)
    if to is None:
        return None
    key = (os.getpid(), settings.root.resolve())
    with _lock:
        found = _senders.get(key)
        if found is None and _installed():
            from frazil.lineage.sending import Sender

            found = _senders[key] = Sender(settings, to)
        return found


def close() -> None:
    """Send what waits, for a bounded time; what does not make it is kept on disk. Called at the end of the process, too."""
    with _lock:
        mine = [one for (process, _), one in _senders.items() if process == os.getpid()]
        _senders.clear()
    for one in mine:
        one.close()


atexit.register(close)


def parent() -> RunRef | None:
    """The run that this thread works for: of a pipeline's step, else the one that `OPENLINEAGE_PARENT_ID` names.

    The variable is spelled `namespace/job/run id`, as Airflow's macro `lineage_parent_id` writes it; `OPENLINEAGE_ROOT_PARENT_ID`
    likewise.
    """
    inner = _parent.get()
    if inner is not None:
        return inner
    named = _named("OPENLINEAGE_PARENT_ID")
    if named is None:
        return None
    return RunRef(named.run_id, named.namespace, named.job, _named("OPENLINEAGE_ROOT_PARENT_ID"))


@contextmanager
def within(run: RunRef | None) -> Iterator[None]:
    """What is done inside is done for this run."""
    token = _parent.set(run if run is not None else _parent.get())
    try:
        yield
    finally:
        _parent.reset(token)


def ref(settings: Settings, job: str, run_id: str, above: RunRef | None = None) -> RunRef:
    """A run of one of this project's jobs."""
    return RunRef(run_id, namespace(settings), job, None if above is None else above.root or above)


def stable_id(settings: Settings, *parts: object) -> str:
    """A run id that every process derives alike from what names the run in this project."""
    return str(uuid5(NAMESPACE_URL, "/".join(["frazil", str(settings.root.resolve()), *map(str, parts)])))


@contextmanager
def run(
    settings: Settings,
    job: str,
    kind: JobType,
    *,
    run_id: str | None = None,
    above: RunRef | None = None,
    calm: tuple[type[Exception], ...] = (),
) -> Iterator[Telling | None]:
    """What is done inside is a run: told when it begins, completes, fails or is broken off. None while lineage is off.

    It fails by an exception, or when `Telling.failure` was set.

    Args:
        settings: Of the project.
        job: Its name in the project's namespace.
        kind: What the job is.
        run_id: A UUID; default a fresh one.
        above: The run it is a part of; default the one this thread works for.
        calm: Exceptions that are no failure of the run.
    """
    to = sender(settings)
    if to is None:
        yield None
        return
    from frazil.lineage.telling import Telling
    from frazil.table.commit import fresh_id

    above = above or parent()
    telling = Telling(to, ref(settings, job, run_id or fresh_id(), above), kind, above)
    telling.tell("START")
    try:
        with within(telling.run):
            yield telling
    except calm:
        telling.tell("COMPLETE")
        raise
    except Exception as error:
        telling.tell("FAIL", str(error) or type(error).__name__)
        raise
    except BaseException:
        telling.tell("ABORT")
        raise
    telling.tell("COMPLETE" if telling.failure is None else "FAIL", telling.failure)


@contextmanager
def repair(settings: Settings, what: Literal["replay", "undo"], contract: str) -> Iterator[Callable[[int | None, int | None], None]]:
    """A replay or its undo as a run; inside, say the snapshot it made (None: none) and how many rows landed (None: not known)."""
    with run(settings, f"{what}.{contract}", "REPAIR") as telling:

        def told(snapshot_id: int | None, rows: int | None) -> None:
            if telling is not None and snapshot_id is not None:
                telling.reads("dead_letters" if what == "replay" else f"raw_{contract}")
                telling.writes(f"raw_{contract}", snapshot_id, rows)

        yield told


def state_of(settings: Settings, run: RunRef, kind: JobType, state: State, error: str | None = None) -> None:
    """A run that no one block of code holds changed its state."""
    to = sender(settings)
    if to is not None:
        from frazil.lineage.telling import Telling

        Telling(to, run, kind, parent()).tell(state, error)


def _named(variable: str) -> RunRef | None:
    parts = os.environ.get(variable, "").rsplit("/", 2)
    return RunRef(parts[2], parts[0], parts[1]) if len(parts) == 3 and all(parts) else None


def _installed() -> bool:
    if importlib.util.find_spec("openlineage") is not None:
        return True
    if "absent" not in _told:
        _told.add("absent")
        why = ConfigError("lineage is on, but its client is not installed", code="lineage.not_installed", hint=_INSTALL)
        _log.warning("no lineage events", code=why.code, error=why.message, hint=why.hint)
    return False


_INSTALL = "pip install 'frazil[lineage]', or take [lineage] out of frazil.toml"
