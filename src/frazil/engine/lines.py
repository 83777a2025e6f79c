"""From a project to the lines an engine runs: one per contract, each with its own connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from frazil import lineage
from frazil.engine.bounded import UpTo
from frazil.engine.heartbeat import Heartbeat
from frazil.engine.lease import Lease
from frazil.engine.local import Engine, Line, Pace
from frazil.engine.upkeep import Upkeep
from frazil.engine.watch import watch
from frazil.project import Project
from frazil.settings import Settings


def running_dir(settings: Settings) -> Path:
    """Where leases and heartbeats lie."""
    return settings.state_dir / "run"


def lease_name(contract: str) -> str:
    return f"pump-{contract}"


def engine(
    settings: Settings,
    contracts: Sequence[str],
    *,
    until_idle: bool = False,
    lease: bool = True,
    ends: Mapping[str, Mapping[str, int]] | None = None,
) -> Engine:
    """An engine for the named contracts of a project; `lease=False` races with other processes, which is slow and safe.

    `ends`: last offsets by contract and partition to land up to; then it is over, under traffic, too.
    """
    pace = Pace(
        batch_records=settings.process.batch_records,
        max_delay=settings.process.max_delay.total_seconds(),
        attempts=settings.process.attempts,
        until_idle=until_idle or ends is not None,
    )
    above = lineage.parent()  # of the thread that asks for an engine; its own threads know of none
    makers = [_maker(settings, name, above, lease=lease, end=None if ends is None else ends[name]) for name in contracts]
    return Engine(makers, contracts, pace, Heartbeat(running_dir(settings), "process" if ends is None else "pipeline"))


def _maker(
    settings: Settings, name: str, above: lineage.RunRef | None, *, lease: bool, end: Mapping[str, int] | None
) -> Callable[[], Line]:
    def make() -> Line:
        project = Project(settings)  # one per thread: nothing is shared but files
        contract = project.contract(name)
        log = project.log_reader(contract, shared=True)
        return Line(
            contract=name,
            log=log if end is None else UpTo(log, end),
            process=project.processor(contract),
            keys=project.keys(contract),
            sink=project.sink(contract),
            letters=project.dead_letters,
            lease=Lease(running_dir(settings), lease_name(name))
            if lease and not project.logs_are_kafka
            else None,  # a consumer group shares the partitions
            upkeep=Upkeep(project, contract).after,
            watch=watch(settings, name, above),
        )

    return make
