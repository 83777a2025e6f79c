"""`frazil log switch`: seal the old logs, land what they hold, take up the new ones. Every step may be repeated after a kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tomlkit

from frazil.contract import Contract
from frazil.engine import lines
from frazil.errors import EXIT_YES, ConfigError, FrazilError, Unavailable
from frazil.project import Project
from frazil.sink.repair import settled
from frazil.table.switch import adopt_log


@dataclass(frozen=True)
class Switched:
    """One contract's move. `waiting`: records of the old log that are not landed yet."""

    contract: str
    old: str
    new: str
    waiting: int
    adopted: bool


def moved(project: Project, url: str) -> Project:
    """The same project with its log at another URL.

    Raises:
        ConfigError: `switch.same_log`, `switch.not_sealable`: only embedded logs can be sealed, others have producers of their own.
    """
    settings = project.settings
    if settings.log.url == url:
        raise ConfigError(f"the log is at {url} already", hint="name the log to move to", code="switch.same_log", url=url)
    if not settings.log.url.startswith("file://"):
        raise ConfigError(
            f"the log at {settings.log.url} cannot be sealed",
            hint="only an embedded log can be left: others may have producers that Frazil does not know",
            code="switch.not_sealable",
            url=settings.log.url,
        )
    return Project(settings.model_copy(update={"log": settings.log.model_copy(update={"url": url})}))


def plan(old: Project, new: Project) -> Iterator[Switched]:
    """Where each contract stands. The new logs are opened, so that one finds out before anything is sealed whether they can be."""
    for contract in old.contracts.values():
        yield _standing(old, new, contract)


def switch(old: Project, new: Project, told: Callable[[str], None] = lambda said: None) -> list[Switched]:
    """Move every contract; nothing is lost and nothing doubled, whenever it is interrupted.

    Raises:
        Unavailable: The new log, the catalog or the storage does not answer, or the old log could not be landed in time: run it again.
        FrazilError: What stops landing: `frazil status` shows it.
    """
    # A table that reads its new log already knows nothing of the old one, if that never held a record: it has nothing left to land.
    left = sorted(one.contract for one in plan(old, new) if not one.adopted)
    for contract in old.contracts.values():
        old.seal_log(contract)
    told("the old logs are sealed: they take no more records")
    if left:
        _drain(old, left)
    told("everything they held has landed")
    done = [settled(partial(_adopted, old, new, contract)) for contract in old.contracts.values()]
    told("the tables read the new logs from now on")
    return done


def _drain(old: Project, contracts: Sequence[str]) -> None:
    engine = lines.engine(old.settings, contracts, until_idle=True, lease=True)
    if (code := engine.run()) != EXIT_YES:
        failed = next((pulse.error for pulse in engine.pulses.values() if pulse.error), None)
        raise Unavailable(
            f"the old logs are not landed yet: {(failed or {}).get('message', 'another process lands them')}",
            hint="run `frazil log switch` again; what it did stays done",
            code="switch.not_drained",
            exit=code,
        )


def rewritten(text: str, url: str) -> str:
    """A `frazil.toml` with the log's new URL; everything else, comments too, stays."""
    settings = tomlkit.parse(text)
    if "log" not in settings:
        settings["log"] = tomlkit.table()
    settings["log"]["url"] = url
    return tomlkit.dumps(settings)


def write_url(file: Path, url: str) -> None:
    """Put the new URL into a project's file: a kill leaves the old file or the new one."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(rewritten(file.read_text("utf-8"), url), "utf-8")
    os.replace(part, file)


def _standing(old: Project, new: Project, contract: Contract) -> Switched:
    before, after = old.log_reader(contract), new.log_reader(contract)
    try:
        position = old.sink(contract).head().position
        adopted = after.log_id in position.logs
        return Switched(contract.name, before.log_id, after.log_id, 0 if adopted else before.lag(position), adopted)
    finally:
        before.close()
        after.close()


def _adopted(old: Project, new: Project, contract: Contract) -> Switched:
    reader, after = old.log_reader(contract), new.log_reader(contract)
    try:
        position = old.sink(contract).head().position
        if after.log_id not in position.logs and (waiting := reader.lag(position)):
            raise FrazilError(
                f"{waiting:,} records of {contract.name} are not landed", code="switch.not_drained", hint="run `frazil log switch` again"
            )
        adopt_log(old.lake, old.lake.raw_name(contract), log_id=after.log_id, drained=position)
        return Switched(contract.name, reader.log_id, after.log_id, 0, True)
    finally:
        reader.close()
        after.close()
